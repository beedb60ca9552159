"""The routes of webhooks on the real application and database, with people who signed in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
from tests.accounts.people import Clock
from tests.webhooks.office import Office

from echain.infra.database import Database

TABLES = (
    *(
        "webhook_subscriptions",
        "payment_charges",
        "webhook_inbox",
        "jobs.queue",
        "outbox",
        "idempotency_keys",
    ),
    *("events", "event_drafts", "metadata_documents"),
)


@pytest.fixture(scope="module")
def office_url(fresh_database: Callable[[], str]) -> str:
    """One database for a module's many small tests; `office` empties it."""
    return fresh_database()


@pytest.fixture
async def office(office_url: str) -> AsyncIterator[Office]:
    database = await Database.connect(office_url, size=20, name="office")
    await database.execute("; ".join(f"DELETE FROM {table}" for table in TABLES))
    async with Office(database, Clock()) as office:
        yield office
    await database.close()
