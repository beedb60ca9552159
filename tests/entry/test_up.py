"""One command runs everything, mends what breaks, and leaves nothing behind."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from tests.entry.conftest import Installation, gone, plain_environment

from echain.chain.keys import DEVNET_KEY
from echain.infra.embedded.anvil import Anvil
from echain.infra.embedded.postgres import Postgres
from echain.infra.embedded.redis import Redis

Install = Callable[..., Installation]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One installation that several tests share; each leaves it running."""
    home = tmp_path_factory.mktemp("running")
    one = Installation(home, plain_environment(home, {}))
    one.start()
    one.until_ready()
    eventually(lambda: healthy(one))
    yield one
    one.stop()


def eventually(check: Callable[[], bool], *, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)


def healthy(installation: Installation) -> bool:
    return bool(installation.get("/api/health")[1]["data"]["status"] == "ok")


def role(installation: Installation, name: str) -> psutil.Process | None:
    for process in installation.family():
        try:
            if process.cmdline()[-1:] == [name]:
                return process
        except psutil.NoSuchProcess:
            continue
    return None


def name_of(process: psutil.Process) -> str:
    """Return a process's name, empty when it has ended: PostgreSQL's come and go with its connections."""
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return ""


def test_it_serves_restarts_quickly_and_leaves_nothing_running(install: Install) -> None:
    one = install()
    one.start()
    first = one.until_ready()
    eventually(lambda: healthy(one))
    family = one.family()
    assert {"postgres", "redis-server", "anvil"} <= {name_of(process) for process in family}
    assert one.stop() == 0
    assert gone(family, seconds=1) == []
    one.start()
    second = one.until_ready()
    eventually(lambda: healthy(one))
    print(f"first start {first:.2f} s, second start {second:.2f} s")  # noqa: T201 - told, not judged
    family = one.family()
    assert one.stop(signal.SIGINT) == 0
    assert gone(family, seconds=1) == []


def test_killing_it_leaves_nothing_running_and_it_starts_again(install: Install) -> None:
    one = install()
    one.start()
    one.until_ready()
    eventually(lambda: healthy(one))
    family = one.family()
    one.stop(signal.SIGKILL)
    assert gone(family, seconds=20) == []
    one.start()
    one.until_ready()
    eventually(lambda: healthy(one))


def test_what_is_killed_is_started_again(running: Installation) -> None:
    one = running
    for name in ("api", "indexer", "worker"):
        victim = role(one, name)
        assert victim is not None
        victim.kill()
        eventually(lambda name=name, victim=victim: role(one, name) not in (None, victim))
    for name in ("redis-server", "postgres", "anvil"):
        victim = next(process for process in one.family() if name_of(process) == name)
        victim.kill()
        eventually(lambda name=name, victim=victim: restarted(one, name, victim))
    one.until_ready()
    eventually(lambda: healthy(one))


def restarted(one: Installation, name: str, victim: psutil.Process) -> bool:
    direct = psutil.Process(one.process.pid).children() if one.process else []
    return any(name_of(process) == name and process != victim for process in direct)


def test_a_second_one_in_the_same_home_is_refused(running: Installation, install: Install) -> None:
    one = running
    other = install("two", ECHAIN_HOME=one.environment["ECHAIN_HOME"])
    other.start()
    assert other.process is not None
    assert other.process.wait(20) == 73
    assert "another echain runs from" in other.log.read_text()
    assert one.get("/health/ready")[0] == 200


def test_a_taken_port_is_said_plainly(running: Installation, install: Install) -> None:
    one = running
    other = install("two", ECHAIN_PORT=one.environment["ECHAIN_PORT"])
    other.start()
    assert other.process is not None
    assert other.process.wait(20) == 73
    assert "ECHAIN_PORT" in other.log.read_text()
    assert "Traceback" not in other.log.read_text()


def run(installation: Installation, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*installation.command[:-1], *arguments],
        env=installation.environment,
        cwd=installation.home,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_wrong_configuration_is_refused_with_every_fault_and_no_traceback(install: Install) -> None:
    one = install(ECHAIN_DATABSE_URL="postgresql://x/y", ECHAIN_PORT="many", ECHAIN_PLATFORM_KEY="secretkey")
    for command in ("up", "api", "indexer", "worker", "config", "migrate"):
        done = run(one, command)
        assert done.returncode == 2
        assert "did you mean ECHAIN_DATABASE_URL?" in done.stderr
        assert "ECHAIN_PORT must be a whole number" in done.stderr
        assert "Traceback" not in done.stderr
        assert "secretkey" not in done.stderr + done.stdout


def test_the_configuration_is_shown_without_secrets(install: Install) -> None:
    one = install(
        ECHAIN_PLATFORM_KEY="ab" * 32,
        ECHAIN_CODE_KEY="cd" * 32,
        ECHAIN_DATABASE_URL="postgresql://user:hunter2@db.example/echain",
        ECHAIN_RPC_URL_8453="https://node.example/v2/apikey",
    )
    done = run(one, "config")
    assert done.returncode == 0
    assert "ECHAIN_PLATFORM_KEY" in done.stdout
    assert "db.example" in done.stdout
    for secret in ("ab" * 32, "cd" * 32, "hunter2", "apikey"):
        assert secret not in done.stdout + done.stderr


def test_a_dead_part_degrades_the_answer_within_a_second(
    install: Install, own_postgres: Postgres, own_redis: Redis, anvil: Anvil
) -> None:
    one = install(
        command=(*Installation.command[:-1], "api"),
        ECHAIN_DATABASE_URL=own_postgres.url(),
        ECHAIN_REDIS_URL=own_redis.url,
        ECHAIN_RPC_URL_84532=anvil.url,
        ECHAIN_DEVNET="true",
    )
    one.start()
    one.until_ready()
    parts = {"redis": own_redis, "database": own_postgres, "chains": anvil}
    for name, part in parts.items():
        part.stop()
        assert status_of(one, name) == ("degraded", "down")
        part.start()
        eventually(lambda name=name: status_of(one, name)[1] != "down", seconds=10)
    for part in parts.values():
        part.kill()
    for name in parts:
        assert status_of(one, name) == ("down", "down")
    assert one.get("/health/live")[0] == 200
    assert one.get("/health/ready")[0] == 503
    assert one.get("/api/v1/openapi.json")[0] == 200
    status, body = one.get("/api/v1/auth/nonce")
    assert (status, body["error"]["code"]) == (503, "database.unavailable")
    assert "Traceback" not in one.log.read_text()
    own_postgres.start()
    eventually(lambda: one.get("/api/v1/auth/nonce")[0] == 200, seconds=10)


def status_of(one: Installation, name: str) -> tuple[str, str]:
    began = time.monotonic()
    status, body = one.get("/api/health")
    assert time.monotonic() - began < 1
    assert status == 200
    part = body["data"][name]
    return body["data"]["status"], (part[0] if isinstance(part, list) else part)["status"]


def test_a_part_that_hangs_degrades_the_answer_within_a_second(
    install: Install, own_postgres: Postgres, own_redis: Redis, anvil: Anvil
) -> None:
    one = install(
        command=(*Installation.command[:-1], "api"),
        ECHAIN_DATABASE_URL=own_postgres.url(),
        ECHAIN_REDIS_URL=own_redis.url,
        ECHAIN_RPC_URL_84532=anvil.url,
        ECHAIN_DEVNET="true",
    )
    one.start()
    one.until_ready()
    for hung, part in (("database", own_postgres), ("redis", own_redis)):
        assert part._process is not None
        root = psutil.Process(part._process.pid)
        held = [root, *root.children(recursive=True)]
        for process in held:
            process.suspend()
        try:
            assert status_of(one, hung) == ("degraded", "down")
            assert status_of(one, hung) == ("degraded", "down")
        finally:
            for process in held:
                process.resume()
        eventually(lambda hung=hung: status_of(one, hung)[1] == "ok", seconds=15)


def test_logs_are_json_lines_without_secrets_when_nobody_watches(running: Installation) -> None:
    def roles() -> set[str]:
        return {json.loads(line)["role"] for line in running.log.read_text().splitlines()}

    eventually(lambda: roles() >= {"up", "api", "indexer", "worker"})
    text = running.log.read_text()
    code_key = (Path(running.environment["ECHAIN_HOME"]) / "code.key").read_text().strip()
    assert len(code_key) == 64
    assert code_key not in text
    assert DEVNET_KEY.reveal() not in text
