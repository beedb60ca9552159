"""SQL of the events' projections: facts a row a log, and `events` and `tiers` folded from them.

Every fold states the whole row from the facts of its key, the number of sold tickets excepted: that is a sum
which `tickets` keeps by `add_sold`, added to with each sale and taken back with each that a reorg removes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec

from echain.infra.database import Connection, Tx
from echain.kernel.evm import Address

TierKey = tuple[Address, int]
"""Ticket contract and tier id."""

Rows = Sequence[tuple[Any, ...]]

COLUMNS: Final = {
    "event_creations": (
        *("chain_id", "block_number", "log_index", "ticket_contract", "id", "blockchain_id", "organizer"),
        *("name", "metadata_uri", "metadata_hash", "ticket_price_wei", "max_tickets", "starts_at", "ends_at"),
        *("fee_bps", "gift_policy", "max_gifts", "gifts_to_contracts", "resale_cap_bps", "royalty_bps"),
        *("tx_hash", "mined_at"),
    ),
    "event_updates": (
        *("chain_id", "block_number", "log_index", "blockchain_id"),
        *("metadata_uri", "metadata_hash", "starts_at", "ends_at"),
    ),
    "event_cancellations": ("chain_id", "block_number", "log_index", "blockchain_id"),
    "tier_additions": (
        *("chain_id", "block_number", "log_index", "ticket_contract", "tier_id", "price_wei", "supply"),
        *("sale_starts_at", "sale_ends_at", "max_per_purchase", "max_per_wallet", "allow_list_root"),
    ),
    "price_updates": ("chain_id", "block_number", "log_index", "ticket_contract", "tier_id", "price_wei"),
}

NAMES: Final = (*COLUMNS, "events", "tiers")
"""Every table of these projections."""


class EventKey(msgspec.Struct, frozen=True):
    """By what an event is known on and off chain."""

    blockchain_id: int
    ticket_contract: Address
    id: UUID
    organizer: Address


class TierSold(msgspec.Struct, frozen=True):
    """A tier after a change of its sales; ``organizer`` is None when no event names the contract."""

    supply: int
    sold: int
    organizer: Address | None


async def add_facts(tx: Tx, table: str, rows: Rows) -> None:
    """Append rows to one of the fact tables of `COLUMNS`."""
    if rows:
        await tx.copy_records_to_table(table, records=rows, columns=COLUMNS[table])


async def organizers_of(
    connection: Connection, chain_id: int, contracts: Collection[Address]
) -> dict[Address, Address]:
    """Return who organizes the events with these ticket contracts."""
    if not contracts:
        return {}
    rows = await connection.fetch(
        "SELECT ticket_contract, organizer FROM events WHERE chain_id = $1 AND ticket_contract = ANY($2)",
        chain_id,
        list(contracts),
    )
    return {Address(row["ticket_contract"]): Address(row["organizer"]) for row in rows}


async def events_by_number(
    connection: Connection, chain_id: int, blockchain_ids: Collection[int]
) -> dict[int, EventKey]:
    """Return the events with these numbers in the factory."""
    if not blockchain_ids:
        return {}
    rows = await connection.fetch(
        """
        SELECT DISTINCT ON (blockchain_id) blockchain_id, ticket_contract, id, organizer FROM event_creations
        WHERE chain_id = $1 AND blockchain_id = ANY($2::numeric[])
        ORDER BY blockchain_id, block_number, log_index
        """,
        chain_id,
        list(blockchain_ids),
    )
    return {
        int(row["blockchain_id"]): EventKey(
            int(row["blockchain_id"]), row["ticket_contract"], row["id"], row["organizer"]
        )
        for row in rows
    }


async def fold_events(tx: Tx, chain_id: int, contracts: Collection[Address]) -> None:
    """State these events anew from creation, last update, tier 0's last price and cancellation."""
    if not contracts:
        return
    await tx.execute(
        """
        INSERT INTO events (
            chain_id, ticket_contract, id, blockchain_id, organizer, name, metadata_uri, metadata_hash,
            ticket_price_wei, max_tickets, starts_at, ends_at, fee_bps, gift_policy, max_gifts,
            gifts_to_contracts, resale_cap_bps, royalty_bps, cancelled, created_block, created_at,
            transaction_hash
        )
        SELECT $1, made.ticket_contract, made.id, made.blockchain_id, made.organizer, made.name,
               coalesce(changed.metadata_uri, made.metadata_uri),
               coalesce(changed.metadata_hash, made.metadata_hash),
               coalesce(price.price_wei, made.ticket_price_wei), made.max_tickets,
               coalesce(changed.starts_at, made.starts_at), coalesce(changed.ends_at, made.ends_at),
               made.fee_bps, made.gift_policy, made.max_gifts, made.gifts_to_contracts, made.resale_cap_bps,
               made.royalty_bps,
               EXISTS (
                   SELECT 1 FROM event_cancellations AS gone
                   WHERE gone.chain_id = $1 AND gone.blockchain_id = made.blockchain_id
               ),
               made.block_number, made.mined_at, made.tx_hash
        FROM unnest($2::bytea[]) AS touched (ticket_contract)
        CROSS JOIN LATERAL (
            SELECT * FROM event_creations AS fact
            WHERE fact.chain_id = $1 AND fact.ticket_contract = touched.ticket_contract
            ORDER BY fact.block_number, fact.log_index LIMIT 1
        ) AS made
        LEFT JOIN LATERAL (
            SELECT * FROM event_updates AS fact
            WHERE fact.chain_id = $1 AND fact.blockchain_id = made.blockchain_id
            ORDER BY fact.block_number DESC, fact.log_index DESC LIMIT 1
        ) AS changed ON TRUE
        LEFT JOIN LATERAL (
            SELECT price_wei FROM price_updates AS fact
            WHERE fact.chain_id = $1 AND fact.ticket_contract = made.ticket_contract AND fact.tier_id = 0
            ORDER BY fact.block_number DESC, fact.log_index DESC LIMIT 1
        ) AS price ON TRUE
        ON CONFLICT (chain_id, ticket_contract) DO UPDATE SET
            metadata_uri = excluded.metadata_uri, metadata_hash = excluded.metadata_hash,
            ticket_price_wei = excluded.ticket_price_wei, starts_at = excluded.starts_at,
            ends_at = excluded.ends_at, cancelled = excluded.cancelled
        """,
        chain_id,
        sorted(contracts),
    )


async def fold_tiers(tx: Tx, chain_id: int, tiers: Collection[TierKey]) -> None:
    """State these tiers anew from their addition and their last price."""
    if not tiers:
        return
    keys = sorted(tiers)
    await tx.execute(
        """
        INSERT INTO tiers (
            chain_id, ticket_contract, tier_id, price_wei, supply, sale_starts_at, sale_ends_at,
            max_per_purchase, max_per_wallet, allow_list_root
        )
        SELECT $1, made.ticket_contract, made.tier_id, coalesce(price.price_wei, made.price_wei), made.supply,
               made.sale_starts_at, made.sale_ends_at, made.max_per_purchase, made.max_per_wallet,
               made.allow_list_root
        FROM unnest($2::bytea[], $3::integer[]) AS touched (ticket_contract, tier_id)
        CROSS JOIN LATERAL (
            SELECT * FROM tier_additions AS fact
            WHERE fact.chain_id = $1 AND fact.ticket_contract = touched.ticket_contract
              AND fact.tier_id = touched.tier_id
            ORDER BY fact.block_number, fact.log_index LIMIT 1
        ) AS made
        LEFT JOIN LATERAL (
            SELECT price_wei FROM price_updates AS fact
            WHERE fact.chain_id = $1 AND fact.ticket_contract = touched.ticket_contract
              AND fact.tier_id = touched.tier_id
            ORDER BY fact.block_number DESC, fact.log_index DESC LIMIT 1
        ) AS price ON TRUE
        ON CONFLICT (chain_id, ticket_contract, tier_id) DO UPDATE SET price_wei = excluded.price_wei
        """,
        chain_id,
        [contract for contract, _ in keys],
        [tier_id for _, tier_id in keys],
    )


async def add_sold(tx: Tx, chain_id: int, deltas: Mapping[TierKey, int]) -> dict[TierKey, TierSold]:
    """Add to the tickets sold of tiers and their events, or take back; return the tiers as they stand then.

    Tiers and events that the chain never made are left out.
    """
    if not deltas:
        return {}
    keys = sorted(deltas)
    rows = await tx.fetch(
        """
        WITH delta AS (
            SELECT * FROM unnest($2::bytea[], $3::integer[], $4::bigint[])
                AS delta (ticket_contract, tier_id, quantity)
        ), event AS (
            UPDATE events SET sold_tickets = sold_tickets + total.quantity
            FROM (
                SELECT ticket_contract, sum(quantity)::bigint AS quantity FROM delta GROUP BY ticket_contract
            ) AS total
            WHERE events.chain_id = $1 AND events.ticket_contract = total.ticket_contract
            RETURNING events.ticket_contract, events.organizer
        ), tier AS (
            UPDATE tiers SET sold = sold + delta.quantity
            FROM delta
            WHERE tiers.chain_id = $1 AND tiers.ticket_contract = delta.ticket_contract
              AND tiers.tier_id = delta.tier_id
            RETURNING tiers.ticket_contract, tiers.tier_id, tiers.supply, tiers.sold
        )
        SELECT ticket_contract, tier_id, supply, sold, organizer
        FROM tier LEFT JOIN event USING (ticket_contract)
        """,
        chain_id,
        [contract for contract, _ in keys],
        [tier_id for _, tier_id in keys],
        [deltas[key] for key in keys],
    )
    return {
        (row["ticket_contract"], row["tier_id"]): TierSold(row["supply"], row["sold"], row["organizer"])
        for row in rows
    }


async def remove_above(tx: Tx, chain_id: int, ancestor: int) -> set[Address]:
    """Remove every fact above a block, fold what they touched; return the ticket contracts touched.

    Events and tiers whose creation went are gone, their sums with them.
    """
    made = await _delete(tx, "event_creations", "ticket_contract, id", chain_id, ancestor)
    await tx.execute(
        "DELETE FROM events WHERE chain_id = $1 AND ticket_contract = ANY($2::bytea[])"
        " AND created_block > $3",
        chain_id,
        [row["ticket_contract"] for row in made],
        ancestor,
    )
    added = await _delete(tx, "tier_additions", "ticket_contract, tier_id", chain_id, ancestor)
    await _delete_tiers(tx, chain_id, {(row["ticket_contract"], row["tier_id"]) for row in added})
    priced = await _delete(tx, "price_updates", "ticket_contract, tier_id", chain_id, ancestor)
    numbers = {
        int(row["blockchain_id"])
        for table in ("event_updates", "event_cancellations")
        for row in await _delete(tx, table, "blockchain_id", chain_id, ancestor)
    }
    changed = await events_by_number(tx, chain_id, numbers)
    touched = {row["ticket_contract"] for rows in (made, added, priced) for row in rows}
    touched.update(event.ticket_contract for event in changed.values())
    await fold_events(tx, chain_id, touched)
    await fold_tiers(tx, chain_id, {(row["ticket_contract"], row["tier_id"]) for row in (*added, *priced)})
    return touched


async def _delete_tiers(tx: Tx, chain_id: int, tiers: Collection[TierKey]) -> None:
    """Delete those of these tiers that nothing adds any more."""
    await tx.execute(
        """
        DELETE FROM tiers USING unnest($2::bytea[], $3::integer[]) AS gone (ticket_contract, tier_id)
        WHERE tiers.chain_id = $1 AND tiers.ticket_contract = gone.ticket_contract
          AND tiers.tier_id = gone.tier_id
          AND NOT EXISTS (
              SELECT 1 FROM tier_additions AS fact
              WHERE fact.chain_id = $1 AND fact.ticket_contract = gone.ticket_contract
                AND fact.tier_id = gone.tier_id
          )
        """,
        chain_id,
        [contract for contract, _ in tiers],
        [tier_id for _, tier_id in tiers],
    )


async def _delete(tx: Tx, table: str, returned: str, chain_id: int, ancestor: int) -> list[Any]:
    return await tx.fetch(
        f"DELETE FROM {table} WHERE chain_id = $1 AND block_number > $2 RETURNING {returned}",  # noqa: S608 - names of this file
        chain_id,
        ancestor,
    )
