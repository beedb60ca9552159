"""SQL of the tickets' projections: facts a row a log, `tickets` by last facts, `contract_escrow` by sums.

Going forward a ticket's row takes the new facts on top of what it says; after a reorg it is read again from
the facts that remain. A property test holds both to the same result.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import repeat
from typing import Any, Final

import asyncpg
import msgspec

from echain.infra import bulk
from echain.infra.database import Tx
from echain.kernel.evm import Address

TicketKey = tuple[Address, int]
"""Ticket contract and token id."""

TierKey = tuple[Address, int]
"""Ticket contract and tier id."""

Rows = Sequence[tuple[Any, ...]]

_MANY: Final = 200
"""From here on COPY is cheaper than arrays, of which the driver inspects every element."""

_PLACE: Final = ("chain_id", "block_number", "log_index", "ticket_contract")

_FACT: Final = {"chain_id": bulk.INT8, "block_number": bulk.INT8, "log_index": bulk.INT4}
_CONTRACT: Final = {"ticket_contract": bulk.ADDRESS}
_MINED: Final = {"tx_hash": bulk.HASH, "mined_at": bulk.INT8}

TRANSFERS: Final = bulk.Table(
    "transfers",
    {
        **(_FACT | _CONTRACT),
        "token_id": bulk.INT8,
        "from_address": bulk.ADDRESS,
        "to_address": bulk.ADDRESS,
        **_MINED,
    },
)
SALES: Final = bulk.Table(
    "sales",
    {
        **(_FACT | _CONTRACT),
        "buyer": bulk.ADDRESS,
        "tier_id": bulk.INT4,
        "quantity": bulk.INT4,
        "first_token_id": bulk.INT8,
        **_MINED,
        "unit_price_wei": bulk.VARIED,
    },
)
TICKETS: Final = bulk.Table(
    "tickets",
    {
        **({"chain_id": bulk.INT8} | _CONTRACT),
        "token_id": bulk.INT8,
        "owner": bulk.ADDRESS,
        "tier_id": bulk.INT4,
        "minted_block": bulk.INT8,
        "minted_at": bulk.INT8,
        "updated_block": bulk.INT8,
        "gifts": bulk.INT4,
        "state": bulk.VARIED,
        "price_paid_wei": bulk.VARIED,
    },
)
"""The tables that take thousands of rows a second."""

COLUMNS: Final = {
    "grants": (*_PLACE, "tier_id", "quantity", "first_token_id", "tx_hash", "mined_at"),
    "ticket_marks": (*_PLACE, "token_id", "state", "gifts"),
    "refunds": (*_PLACE, "token_id", "holder", "amount_wei", "tx_hash", "mined_at"),
    "payouts": (*_PLACE, "kind", "receiver", "amount_wei", "tx_hash", "mined_at"),
}

NAMES: Final = ("transfers", "sales", *COLUMNS, "tickets", "contract_escrow")
"""Every table of these projections."""


class Money(msgspec.Struct, gc=False):
    """What a change adds to a contract's sums, or takes back."""

    paid_in_wei: int = 0
    refunded_wei: int = 0
    withdrawn_wei: int = 0
    fees_wei: int = 0


class Minted(msgspec.Struct, gc=False):
    """A ticket that a change makes, as it stands after that change."""

    owner: Address
    tier_id: int
    price_paid_wei: int
    block_number: int
    minted_at: Any
    updated_block: int
    state: str = "valid"
    gifts: int = 0


class Moved(msgspec.Struct, gc=False):
    """What a change says of a ticket that was there before; None leaves a column as it is."""

    updated_block: int
    owner: Address | None = None
    state: str | None = None
    gifts: int | None = None


class Removed(msgspec.Struct, frozen=True):
    """What a reorg took: tickets per tier, and the contracts touched."""

    sold: Mapping[TierKey, int]
    contracts: Collection[Address]


async def add_facts(tx: Tx, table: str, rows: Rows) -> None:
    """Append rows to one of the fact tables of `COLUMNS`."""
    if rows:
        await tx.copy_records_to_table(table, records=rows, columns=COLUMNS[table])


async def add_tickets(
    tx: Tx, chain_id: int, minted: Mapping[TicketKey, Minted], encoded: bulk.Rows | None
) -> None:
    """Insert new tickets. One that is there already only changes hands: no mint of a token counts twice.

    ``encoded`` holds the same rows; None when they are few.
    """
    if encoded is not None:
        try:
            async with tx.transaction():
                await encoded.copy(tx)
        except asyncpg.UniqueViolationError:
            # No honest contract mints a token twice; one that does must not stop the indexer.
            await _upsert_tickets(tx, chain_id, minted)
    elif minted:
        await _upsert_tickets(tx, chain_id, minted)


def encoded_tickets(chain_id: int, minted: Mapping[TicketKey, Minted]) -> bulk.Rows | None:
    """Return many new tickets as rows to send, None where arrays are cheaper."""
    if len(minted) <= _MANY:
        return None
    tickets = minted.values()
    return TICKETS.rows(
        len(minted),
        repeat(chain_id),
        [contract for contract, _ in minted],
        [token_id for _, token_id in minted],
        [ticket.owner for ticket in tickets],
        [ticket.tier_id for ticket in tickets],
        [ticket.block_number for ticket in tickets],
        [bulk.moment(ticket.minted_at) for ticket in tickets],
        [ticket.updated_block for ticket in tickets],
        [ticket.gifts for ticket in tickets],
        [bulk.text(ticket.state) for ticket in tickets],
        [bulk.numeric(ticket.price_paid_wei) for ticket in tickets],
    )


async def _upsert_tickets(tx: Tx, chain_id: int, minted: Mapping[TicketKey, Minted]) -> None:
    tickets = minted.values()
    await tx.execute(
        """
        INSERT INTO tickets (
            chain_id, ticket_contract, token_id, owner, tier_id, price_paid_wei, minted_block, minted_at,
            updated_block, state, gifts
        )
        SELECT $1, ticket_contract, token_id, owner, tier_id, price_paid_wei::numeric, minted_block,
               minted_at, updated_block, state, gifts
        FROM unnest($2::bytea[], $3::bigint[], $4::bytea[], $5::integer[], $6::text[], $7::bigint[],
                    $8::timestamptz[], $9::bigint[], $10::text[], $11::integer[])
            AS made (ticket_contract, token_id, owner, tier_id, price_paid_wei, minted_block, minted_at,
                     updated_block, state, gifts)
        ON CONFLICT (chain_id, ticket_contract, token_id) DO UPDATE SET
            owner = excluded.owner, updated_block = excluded.updated_block
        """,
        chain_id,
        [contract for contract, _ in minted],
        [token_id for _, token_id in minted],
        [ticket.owner for ticket in tickets],
        [ticket.tier_id for ticket in tickets],
        # As text: building PostgreSQL's binary numerics in Python costs more than parsing them there.
        [str(ticket.price_paid_wei) for ticket in tickets],
        [ticket.block_number for ticket in tickets],
        [ticket.minted_at for ticket in tickets],
        [ticket.updated_block for ticket in tickets],
        [ticket.state for ticket in tickets],
        [ticket.gifts for ticket in tickets],
    )


async def move_tickets(tx: Tx, chain_id: int, moved: Mapping[TicketKey, Moved]) -> None:
    """Bring tickets to what was said last; a token that was never minted has no row and gets none."""
    if not moved:
        return
    tickets = moved.values()
    await tx.execute(
        """
        UPDATE tickets SET
            owner = coalesce(said.owner, tickets.owner), state = coalesce(said.state, tickets.state),
            gifts = coalesce(said.gifts, tickets.gifts), updated_block = said.updated_block
        FROM unnest($2::bytea[], $3::bigint[], $4::bytea[], $5::text[], $6::integer[], $7::bigint[])
            AS said (ticket_contract, token_id, owner, state, gifts, updated_block)
        WHERE tickets.chain_id = $1 AND tickets.ticket_contract = said.ticket_contract
          AND tickets.token_id = said.token_id
        """,
        chain_id,
        [contract for contract, _ in moved],
        [token_id for _, token_id in moved],
        [ticket.owner for ticket in tickets],
        [ticket.state for ticket in tickets],
        [ticket.gifts for ticket in tickets],
        [ticket.updated_block for ticket in tickets],
    )


async def add_money(tx: Tx, chain_id: int, sums: Mapping[Address, Money]) -> None:
    """Add to the contracts' sums; contracts of which all is zero have no row."""
    paid = {contract: money for contract, money in sorted(sums.items()) if money != Money()}
    if not paid:
        return
    await tx.execute(
        """
        INSERT INTO contract_escrow AS escrow (
            chain_id, ticket_contract, paid_in_wei, refunded_wei, withdrawn_wei, fees_wei
        )
        SELECT $1, * FROM unnest($2::bytea[], $3::numeric[], $4::numeric[], $5::numeric[], $6::numeric[])
        ON CONFLICT (chain_id, ticket_contract) DO UPDATE SET
            paid_in_wei = escrow.paid_in_wei + excluded.paid_in_wei,
            refunded_wei = escrow.refunded_wei + excluded.refunded_wei,
            withdrawn_wei = escrow.withdrawn_wei + excluded.withdrawn_wei,
            fees_wei = escrow.fees_wei + excluded.fees_wei
        """,
        chain_id,
        list(paid),
        [money.paid_in_wei for money in paid.values()],
        [money.refunded_wei for money in paid.values()],
        [money.withdrawn_wei for money in paid.values()],
        [money.fees_wei for money in paid.values()],
    )


async def remove_above(tx: Tx, chain_id: int, ancestor: int) -> Removed:
    """Remove every fact above a block and bring tickets and sums to what remains."""
    keys = await _remove_ticket_facts(tx, chain_id, ancestor)
    await _read_again(tx, chain_id, ancestor, keys)
    sold, sums = await _remove_money_facts(tx, chain_id, ancestor)
    await add_money(
        tx,
        chain_id,
        {
            contract: Money(-money.paid_in_wei, -money.refunded_wei, -money.withdrawn_wei, -money.fees_wei)
            for contract, money in sums.items()
        },
    )
    await tx.execute(
        """
        DELETE FROM contract_escrow
        WHERE chain_id = $1 AND ticket_contract = ANY($2::bytea[])
          AND paid_in_wei = 0 AND refunded_wei = 0 AND withdrawn_wei = 0 AND fees_wei = 0
        """,
        chain_id,
        list(sums),
    )
    return Removed(
        {key: -quantity for key, quantity in sold.items()},
        {*sums, *(contract for contract, _ in sold), *(contract for contract, _ in keys)},
    )


async def _remove_ticket_facts(tx: Tx, chain_id: int, ancestor: int) -> set[TicketKey]:
    rows = await tx.fetch(
        """
        WITH moved AS (
            DELETE FROM transfers WHERE chain_id = $1 AND block_number > $2
            RETURNING ticket_contract, token_id
        ), marked AS (
            DELETE FROM ticket_marks WHERE chain_id = $1 AND block_number > $2
            RETURNING ticket_contract, token_id
        )
        SELECT ticket_contract, token_id FROM moved UNION SELECT ticket_contract, token_id FROM marked
        """,
        chain_id,
        ancestor,
    )
    return {(row["ticket_contract"], row["token_id"]) for row in rows}


async def _read_again(tx: Tx, chain_id: int, ancestor: int, keys: Collection[TicketKey]) -> None:
    gone = await tx.fetch(
        """
        DELETE FROM tickets USING unnest($2::bytea[], $3::bigint[]) AS gone (ticket_contract, token_id)
        WHERE tickets.chain_id = $1 AND tickets.ticket_contract = gone.ticket_contract
          AND tickets.token_id = gone.token_id AND tickets.minted_block > $4
        RETURNING tickets.ticket_contract, tickets.token_id
        """,
        chain_id,
        [contract for contract, _ in keys],
        [token_id for _, token_id in keys],
        ancestor,
    )
    left = set(keys) - {(row["ticket_contract"], row["token_id"]) for row in gone}
    await tx.execute(
        """
        UPDATE tickets SET
            owner = moved.to_address, state = coalesce(marked.state, 'valid'),
            gifts = coalesce(gifted.gifts, 0),
            updated_block = greatest(moved.block_number, marked.block_number, gifted.block_number)
        FROM unnest($2::bytea[], $3::bigint[]) AS touched (ticket_contract, token_id)
        CROSS JOIN LATERAL (
            SELECT to_address, block_number FROM transfers AS fact
            WHERE fact.chain_id = $1 AND fact.ticket_contract = touched.ticket_contract
              AND fact.token_id = touched.token_id
            ORDER BY block_number DESC, log_index DESC LIMIT 1
        ) AS moved
        LEFT JOIN LATERAL (
            SELECT state, block_number FROM ticket_marks AS fact
            WHERE fact.chain_id = $1 AND fact.ticket_contract = touched.ticket_contract
              AND fact.token_id = touched.token_id AND state IS NOT NULL
            ORDER BY block_number DESC, log_index DESC LIMIT 1
        ) AS marked ON TRUE
        LEFT JOIN LATERAL (
            SELECT gifts, block_number FROM ticket_marks AS fact
            WHERE fact.chain_id = $1 AND fact.ticket_contract = touched.ticket_contract
              AND fact.token_id = touched.token_id AND gifts IS NOT NULL
            ORDER BY block_number DESC, log_index DESC LIMIT 1
        ) AS gifted ON TRUE
        WHERE tickets.chain_id = $1 AND tickets.ticket_contract = touched.ticket_contract
          AND tickets.token_id = touched.token_id
        """,
        chain_id,
        [contract for contract, _ in left],
        [token_id for _, token_id in left],
    )


async def _remove_money_facts(
    tx: Tx, chain_id: int, ancestor: int
) -> tuple[dict[TierKey, int], dict[Address, Money]]:
    """Delete what was sold, granted, refunded and paid out above a block; return its sums."""
    rows = await tx.fetch(
        """
        WITH sold AS (
            DELETE FROM sales WHERE chain_id = $1 AND block_number > $2
            RETURNING ticket_contract, tier_id, quantity, quantity * unit_price_wei AS wei
        ), granted AS (
            DELETE FROM grants WHERE chain_id = $1 AND block_number > $2
            RETURNING ticket_contract, tier_id, quantity
        ), refunded AS (
            DELETE FROM refunds WHERE chain_id = $1 AND block_number > $2
            RETURNING ticket_contract, amount_wei
        ), paid AS (
            DELETE FROM payouts WHERE chain_id = $1 AND block_number > $2
            RETURNING ticket_contract, kind, amount_wei
        )
        SELECT 'paid_in_wei' AS what, ticket_contract, tier_id, quantity, wei FROM sold
        UNION ALL SELECT NULL, ticket_contract, tier_id, quantity, 0 FROM granted
        UNION ALL SELECT 'refunded_wei', ticket_contract, NULL, 0, amount_wei FROM refunded
        UNION ALL SELECT CASE kind WHEN 'fee' THEN 'fees_wei' ELSE 'withdrawn_wei' END,
                         ticket_contract, NULL, 0, amount_wei FROM paid
        """,
        chain_id,
        ancestor,
    )
    sold: dict[TierKey, int] = {}
    sums: dict[Address, Money] = {}
    for what, contract, tier_id, quantity, wei in rows:
        if tier_id is not None:
            sold[contract, tier_id] = sold.get((contract, tier_id), 0) + quantity
        if what is not None:
            money = sums.setdefault(contract, Money())
            setattr(money, what, getattr(money, what) + int(wei))
    return sold, sums
