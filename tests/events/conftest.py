"""A shop for every test, whose chain has a node but no contracts unless the test brings them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from tests.accounts.people import Clock
from tests.events.shop import CHAIN_ID, Shop

from echain.chain.rpc import Rpc
from echain.infra.cache import Cache
from echain.infra.database import Database
from echain.infra.embedded.anvil import Anvil

TABLES = (
    *("events", "tiers", "tickets", "transfers", "sales", "grants", "refunds", "ticket_marks"),
    *("metadata_documents", "event_drafts", "event_registrations", "idempotency_keys", "outbox"),
    *("invitations", "organization_wallets"),
)
EMPTY = "; ".join(f"DELETE FROM {table}" for table in TABLES)
"""Faster than TRUNCATE, which makes new files for tables that hold a handful of rows."""


@pytest.fixture(scope="session")
def shop_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Anvil]:
    """A node for fee quotes and refusals; nothing is ever written to it."""
    folder = tmp_path_factory.mktemp("shop-node")
    with Anvil(folder, home=folder, keep=False) as node:
        yield node


@pytest.fixture(scope="module")
def shop_url(fresh_database: Callable[[], str]) -> str:
    """One database for a module's many small tests; `shop` empties it."""
    return fresh_database()


@pytest.fixture
async def shop(shop_url: str, shop_node: Anvil) -> AsyncIterator[Shop]:
    database = await Database.connect(shop_url, size=20, name="shop")
    await database.execute(EMPTY)
    rpc = Rpc([shop_node.url], chain_id=CHAIN_ID)
    async with Cache(shop_url, None) as cache:
        shop = Shop(database, cache, rpc, Clock(), None)
        yield shop
        await shop.fees.close()
    await rpc.close()
    await database.close()
