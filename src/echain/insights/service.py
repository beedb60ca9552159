"""Transparency: where every coin went, and whether the chain agrees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from echain.chain.chains import Chain
from echain.events.types import Published
from echain.infra.database import Database, Row
from echain.insights import store
from echain.insights.audit import Auditor
from echain.insights.types import (
    Audit,
    Books,
    ChainTotals,
    EventTotals,
    Movement,
    MovementFilter,
    Totals,
    Transparency,
)
from echain.kernel.evm import Hash32, checksum, to_hex

_FROM_THE_END: Final = (2**62, 0)


async def platform(database: Database, chains: Mapping[int, Chain]) -> list[ChainTotals]:
    """Return the totals of every chain that is served, also of those without events."""
    rows = await store.chains(database, list(chains))
    return [
        ChainTotals(
            chain_id=row["chain_id"],
            name=chains[row["chain_id"]].name,
            native_symbol=chains[row["chain_id"]].native_symbol,
            events=row["events"],
            indexed_block=row["block_number"],
            totals=_totals(_books(row)),
        )
        for row in rows
    ]


async def event(
    database: Database, auditor: Auditor, chain: Chain, which: Published, part: MovementFilter
) -> Transparency:
    """Return an event's totals beside what the chain says of them, and a part of its movements.

    Answers within 2 s of the database's time, whatever the chain's node does.
    """
    row = await store.books(database, which.chain_id, which.ticket_contract)
    books = _books(row)
    audit = await auditor.at(which.chain_id, which.ticket_contract, row["block_hash"])
    movements = await store.movements(
        database,
        which.chain_id,
        which.ticket_contract,
        before=_place(part.cursor),
        limit=part.limit + 1,
    )
    rows = [_movement(movement, chain) for movement in movements[: part.limit]]
    more = len(movements) > part.limit
    return Transparency(
        event_id=which.public_id,
        chain_id=which.chain_id,
        native_symbol=chain.native_symbol,
        ticket_contract=checksum(which.ticket_contract),
        contract_url=chain.address_url(which.ticket_contract),
        indexed_block=row["block_number"] if row["block_hash"] is not None else None,
        totals=_event_totals(books, audit.balance_wei),
        matches_chain=matches(books, audit),
        reason=audit.doubt,
        rows=rows,
        next_cursor=f"{rows[-1].block_number}-{rows[-1].log_index}" if more else None,
    )


def matches(books: Books, audit: Audit) -> bool | None:
    """Return whether our books are the contract's and it holds what they say it owes; None: not known.

    It may hold more: anybody can force ether into a contract.
    """
    if audit.books is None or audit.balance_wei is None:
        return None
    return audit.books == books and audit.balance_wei >= books.owed_wei


def _place(cursor: str) -> tuple[int, int]:
    if not cursor:
        return _FROM_THE_END
    block, _, index = cursor.partition("-")
    return int(block), int(index)


def _books(row: Row) -> Books:
    return Books(
        paid_in_wei=int(row["paid_in_wei"]),
        refunded_wei=int(row["refunded_wei"]),
        withdrawn_wei=int(row["withdrawn_wei"]),
        fees_wei=int(row["fees_wei"]),
    )


def _totals(books: Books) -> Totals:
    return Totals(
        paid_in=str(books.paid_in_wei),
        refunded=str(books.refunded_wei),
        withdrawn=str(books.withdrawn_wei),
        fees=str(books.fees_wei),
        owed=str(books.owed_wei),
    )


def _event_totals(books: Books, balance_wei: int | None) -> EventTotals:
    balance = None if balance_wei is None else str(balance_wei)
    return EventTotals(**msgspec.structs.asdict(_totals(books)), balance=balance)


def _movement(row: Row, chain: Chain) -> Movement:
    transaction_hash = Hash32(row["tx_hash"])
    return Movement(
        kind=row["kind"],
        amount=str(int(row["amount"])),
        sender=None if row["sender"] is None else checksum(row["sender"]),
        receiver=None if row["receiver"] is None else checksum(row["receiver"]),
        first_token_id=row["first_token_id"],
        quantity=row["quantity"],
        tier_id=row["tier_id"],
        block_number=row["block_number"],
        log_index=row["log_index"],
        at=row["mined_at"],
        transaction_hash=to_hex(transaction_hash),
        transaction_url=chain.transaction_url(transaction_hash),
    )
