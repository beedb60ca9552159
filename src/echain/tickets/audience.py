"""Who holds tickets of an event, and what was sold, for those who tell people of it."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

import msgspec

from echain.infra.database import Connection
from echain.kernel.evm import Address
from echain.kernel.money import Wei
from echain.tickets import store


class Holder(msgspec.Struct, frozen=True):
    """Somebody with tickets that can still be used, and how many."""

    address: Address
    tickets: int


class EventSales(msgspec.Struct, frozen=True):
    """What one event sold in a period: tickets, and what was paid for them."""

    event_id: UUID
    chain_id: int
    name: str
    tickets: int
    paid_wei: Wei


async def holders(
    connection: Connection,
    chain_id: int,
    ticket_contract: Address,
    *,
    after: Address | None,
    limit: int,
    final: bool,
) -> list[Holder]:
    """Return who holds tickets that still admit, by address, those above ``after``.

    ``final``: only tickets of which no reorg can take back how they stand.
    """
    rows = await store.holders(connection, chain_id, ticket_contract, after=after, limit=limit, final=final)
    return [Holder(Address(row["owner"]), row["tickets"]) for row in rows]


async def sales_between(
    connection: Connection, organizers: Collection[Address], *, since: datetime, until: datetime
) -> list[EventSales]:
    """Return what events of these organizers sold in a period, as far as no reorg can take it back."""
    rows = await store.sales_between(connection, organizers, since=since, until=until)
    return [
        EventSales(row["id"], row["chain_id"], row["name"], int(row["tickets"]), Wei(int(row["paid_wei"])))
        for row in rows
    ]
