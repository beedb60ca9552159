"""Migrations run once, whoever starts them."""

from __future__ import annotations

import asyncio

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from tests.conftest import psql

from echain.infra.database import Database, DatabaseUnavailable, connect
from echain.infra.embedded.postgres import Postgres
from echain.infra.migrate import head, migrate, scripts

TABLES = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"


def empty(postgres: Postgres, name: str) -> str:
    psql(postgres.url("postgres"), f"CREATE DATABASE {name}")
    return postgres.url(name)


async def test_those_who_start_together_take_turns(postgres: Postgres) -> None:
    url = empty(postgres, "together")
    await asyncio.gather(*(migrate(url) for _ in range(6)))
    database = await Database.connect(url, size=1)
    assert await database.fetchval(TABLES) > 10
    assert await database.fetchval("SELECT count(*) FROM alembic_version") == 1
    await database.close()


async def test_a_second_run_changes_nothing(database_url: str, database: Database) -> None:
    before = await database.fetchval(TABLES)
    await migrate(database_url)
    assert await database.fetchval(TABLES) == before


async def test_a_table_in_use_fails_the_migration_instead_of_blocking_its_readers(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An open transaction holds ``outbox``; the migration that indexes it gives up after its lock timeout."""
    monkeypatch.setattr("echain.infra.migrate.LOCK_TIMEOUT_SECONDS", 1)
    url = empty(postgres, "held")
    await migrate(url, revision="0001_platform")
    holder = await connect(url)
    async with holder.transaction():
        await holder.execute("LOCK TABLE outbox IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(Exception, match="lock timeout"):
            await migrate(url)
    await migrate(url)
    assert await holder.fetchval(TABLES) > 10
    await holder.close()


async def test_no_database_is_said_plainly() -> None:
    with pytest.raises(DatabaseUnavailable):
        await migrate("postgresql://nobody@127.0.0.1:1/none")


def test_the_newest_revision_is_the_one_that_alembic_would_reach() -> None:
    config = Config()
    config.set_main_option("script_location", str(scripts()))
    assert ScriptDirectory.from_config(config).get_heads() == [head()]
