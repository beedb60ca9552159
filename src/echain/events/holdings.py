"""What an organization holds here: events that run, and drafts; asked when the organization changes."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Final
from uuid import UUID

from echain.events import store
from echain.infra import cache
from echain.infra.database import Tx
from echain.kernel.evm import Address

_MANY: Final = 10_001
"""So many keys make the cache forget everything."""


async def changed(tx: Tx, wallets: Collection[Address]) -> None:
    """Have the events of these wallets rendered anew: their organization, or its name, has changed."""
    await cache.invalidate(tx, [f"event:{event}" for event in await store.of_wallets(tx, wallets, _MANY)])


async def running(tx: Tx, wallets: Collection[Address], now: datetime) -> int:
    """Return how many events of these wallets are neither over nor cancelled."""
    return await store.running(tx, wallets, now)


async def dropped(tx: Tx, organization_id: UUID, now: datetime) -> None:
    """Hide the drafts of an organization that is deleted."""
    await store.delete_drafts_of(tx, organization_id, now)
