"""Brings the schema to the version that this code needs."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

import asyncpg
from alembic import command
from alembic.config import Config as AlembicConfig
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from echain.infra.database import DatabaseUnavailable

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


def _upgrade(connection: Connection, revision: str) -> None:
    # Session locks and settings outlive the transactions of the migrations and end with the connection.
    connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK})
    connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT_SECONDS}s'"))
    connection.commit()
    config = AlembicConfig()
    config.set_main_option("script_location", str(scripts()).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
