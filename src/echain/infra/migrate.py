"""Brings the schema to the version that this code needs."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import asyncpg

from echain.infra.database import DatabaseUnavailable, connect

if TYPE_CHECKING:
    from sqlalchemy import Connection

_LOCK: Final = 0x6563_6861_696E
"""The advisory lock of whoever migrates: "echain" in ASCII."""

LOCK_TIMEOUT_SECONDS: Final = 5
CONNECT_SECONDS: Final = 5


async def migrate(url: str, *, revision: str = "head") -> None:
    """Run the migrations that are missing, each in its own transaction; those who start together take turns.

    A migration that cannot have its table lock within 5 s fails instead of blocking all who read the table.

    Raises:
        DatabaseUnavailable: nothing answers at ``url``.
    """
    if await _stands_at(url, head() if revision == "head" else revision):
        return
    # Imported only now: for most starts there is nothing to do, and Alembic takes a second to import.
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import NullPool

    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=partial(asyncpg.connect, url, timeout=CONNECT_SECONDS),
        poolclass=NullPool,
    )
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_upgrade, revision)
    except (OSError, asyncpg.PostgresConnectionError) as error:
        raise DatabaseUnavailable(f"the database does not answer: {error}") from error
    finally:
        await engine.dispose()


def scripts() -> Path:
    """Return the folder of the migrations: in the package when installed, beside ``src`` in a checkout."""
    package = Path(__file__).parent.parent
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parent.parent / "migrations"


def head() -> str:
    """Return the newest revision: each is named as its file, and the files sort in their order."""
    return max(path.stem for path in (scripts() / "versions").glob("[0-9]*.py"))


async def _stands_at(url: str, revision: str) -> bool:
    connection = await connect(url, name="echain migrate")
    try:
        return await connection.fetchval("SELECT version_num FROM alembic_version") == revision
    except asyncpg.UndefinedTableError:
        return False
    finally:
        await connection.close()


def _upgrade(connection: Connection, revision: str) -> None:
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import text

    # Session locks and settings outlive the transactions of the migrations and end with the connection.
    connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK})
    connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT_SECONDS}s'"))
    connection.commit()
    config = Config()
    config.set_main_option("script_location", str(scripts()).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
