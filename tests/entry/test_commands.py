"""The commands of an operator who runs the parts themselves."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

from tests.conftest import psql
from tests.entry.conftest import Installation

from echain.infra.embedded.anvil import Anvil
from echain.infra.embedded.postgres import Postgres


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


def test_a_new_database_and_chain_are_made_ready_step_by_step(
    install: Callable[..., Installation], postgres: Postgres, anvil: Anvil, redis_url: str
) -> None:
    psql(postgres.url("postgres"), "CREATE DATABASE step_by_step")
    one = install(
        ECHAIN_DATABASE_URL=postgres.url("step_by_step"),
        ECHAIN_REDIS_URL=redis_url,
        ECHAIN_RPC_URL_84532=anvil.url,
        ECHAIN_DEVNET="true",
    )
    for _ in range(2):
        done = run(one, "migrate")
        assert (done.returncode, done.stdout) == (0, "the schema is up to date\n")
    first, second = run(one, "deploy", "--chain", "84532"), run(one, "deploy", "--chain", "84532")
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "transaction" in first.stdout
    assert second.stdout == "".join(
        line for line in first.stdout.splitlines(keepends=True) if not line.startswith("transaction")
    )
    done = run(one, "doctor")
    assert done.returncode == 1
    assert "the indexer has not begun" in done.stdout


def test_a_chain_that_is_not_configured_is_refused(install: Callable[..., Installation]) -> None:
    done = run(install(ECHAIN_DATABASE_URL="postgresql://x@127.0.0.1:1/x"), "deploy", "--chain", "10")
    assert done.returncode == 2
    assert "chain 10 is not configured" in done.stderr


def test_a_role_without_a_database_says_what_is_missing(install: Callable[..., Installation]) -> None:
    for role in ("api", "indexer", "worker"):
        done = run(install(), role)
        assert done.returncode == 2
        assert "ECHAIN_DATABASE_URL is missing" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_database_that_is_away_is_said_in_one_line(install: Callable[..., Installation]) -> None:
    done = run(install(ECHAIN_DATABASE_URL="postgresql://x@127.0.0.1:1/x"), "migrate")
    assert done.returncode == 69
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_what_an_embedded_installation_needs_is_checked(install: Callable[..., Installation]) -> None:
    done = run(install(), "doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("embedded, installed") == 3
