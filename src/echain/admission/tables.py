"""SQL of the door's projections: what the chain said of gates, and the POAPs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final
from uuid import UUID

from echain.infra.database import Tx
from echain.kernel.evm import Address

GateKey = tuple[int, Address]
"""The event's number in the factory, and the gate's key."""

NAMES: Final = ("gate_settings", "gate_keys", "poaps")
"""Every table of these projections."""

_SETTINGS: Final = (
    "chain_id",
    "block_number",
    "log_index",
    "blockchain_id",
    "gate",
    "valid_from",
    "valid_until",
)


async def add_gate_settings(tx: Tx, rows: Sequence[tuple[Any, ...]]) -> None:
    """Append facts in the order of the columns: place, event's number, gate, from, until."""
    if rows:
        await tx.copy_records_to_table("gate_settings", records=rows, columns=_SETTINGS)


async def fold_gates(tx: Tx, chain_id: int, gates: Collection[GateKey]) -> None:
    """State these gates anew by the last word on each; one that is disabled has no row."""
    if not gates:
        return
    keys = sorted(gates)
    numbers, addresses = [number for number, _ in keys], [gate for _, gate in keys]
    await tx.execute(
        """
        DELETE FROM gate_keys USING unnest($2::numeric[], $3::bytea[]) AS touched (blockchain_id, gate)
        WHERE gate_keys.chain_id = $1 AND gate_keys.blockchain_id = touched.blockchain_id
          AND gate_keys.gate = touched.gate
        """,
        chain_id,
        numbers,
        addresses,
    )
    await tx.execute(
        """
        INSERT INTO gate_keys (chain_id, blockchain_id, gate, valid_from, valid_until)
        SELECT $1, touched.blockchain_id, touched.gate, said.valid_from, said.valid_until
        FROM unnest($2::numeric[], $3::bytea[]) AS touched (blockchain_id, gate)
        CROSS JOIN LATERAL (
            SELECT valid_from, valid_until FROM gate_settings AS fact
            WHERE fact.chain_id = $1 AND fact.blockchain_id = touched.blockchain_id
              AND fact.gate = touched.gate
            ORDER BY block_number DESC, log_index DESC LIMIT 1
        ) AS said
        WHERE said.valid_until > to_timestamp(0)
        """,
        chain_id,
        numbers,
        addresses,
    )


async def add_poaps(tx: Tx, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert POAPs: chain, event's number, token, attendee, block, log index, tx, time. The first stands."""
    if not rows:
        return
    await tx.execute(
        """
        INSERT INTO poaps (
            chain_id, blockchain_id, token_id, attendee, block_number, log_index, tx_hash, mined_at
        )
        SELECT * FROM unnest($1::bigint[], $2::numeric[], $3::bigint[], $4::bytea[], $5::bigint[],
                             $6::integer[], $7::bytea[], $8::timestamptz[])
            AS poap (chain_id, blockchain_id, token_id, attendee, block_number, log_index, tx_hash, mined_at)
        ORDER BY block_number, log_index
        ON CONFLICT (chain_id, blockchain_id, token_id) DO NOTHING
        """,
        *map(list, zip(*rows, strict=True)),
    )


async def checked_in(tx: Tx, chain_id: int, blockchain_ids: Collection[int]) -> dict[int, int]:
    """Return how many POAPs each of these events has."""
    rows = await tx.fetch(
        """
        SELECT blockchain_id, count(*) AS number FROM poaps
        WHERE chain_id = $1 AND blockchain_id = ANY($2::numeric[]) GROUP BY blockchain_id
        """,
        chain_id,
        list(blockchain_ids),
    )
    return {int(row["blockchain_id"]): row["number"] for row in rows}


async def gates_of(
    tx: Tx, chain_id: int, tickets: Collection[tuple[Address, int]]
) -> dict[tuple[Address, int], UUID]:
    """Return the gates that admitted these tickets (contract, token id), where one of ours did."""
    if not tickets:
        return {}
    contracts, tokens = zip(*tickets, strict=True)
    rows = await tx.fetch(
        """
        SELECT ticket_contract, token_id, gate_id
        FROM unnest($2::bytea[], $3::bigint[]) AS ticket (ticket_contract, token_id)
        JOIN admissions USING (ticket_contract, token_id)
        WHERE chain_id = $1 AND undone_at IS NULL AND gate_id IS NOT NULL
        """,
        chain_id,
        list(contracts),
        list(tokens),
    )
    return {(row["ticket_contract"], row["token_id"]): row["gate_id"] for row in rows}


async def remove_above(tx: Tx, chain_id: int, ancestor: int) -> None:
    """Remove gate settings and POAPs above a block and fold the gates touched."""
    await tx.execute("DELETE FROM poaps WHERE chain_id = $1 AND block_number > $2", chain_id, ancestor)
    rows = await tx.fetch(
        "DELETE FROM gate_settings WHERE chain_id = $1 AND block_number > $2 RETURNING blockchain_id, gate",
        chain_id,
        ancestor,
    )
    await fold_gates(tx, chain_id, {(int(row["blockchain_id"]), row["gate"]) for row in rows})
