"""The door on the real application and database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
from tests.accounts.people import Clock
from tests.admission.house import House

from echain.infra.database import Database


@pytest.fixture(scope="module")
def module_database_url(fresh_database: Callable[[], str]) -> str:
    """One database for a module's many small tests; `database` empties it."""
    return fresh_database()


@pytest.fixture
async def database(module_database_url: str) -> AsyncIterator[Database]:
    pool = await Database.connect(module_database_url, size=16, name="test")
    await pool.execute("TRUNCATE admissions, scans, gates, gate_keys, poaps, tickets, events, users CASCADE")
    yield pool
    await pool.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def house(database: Database, clock: Clock) -> House:
    return House(database, clock)
