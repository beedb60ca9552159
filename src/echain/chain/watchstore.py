"""Transactions that people asked to be watched, and how far the projections are."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from echain.infra.database import Connection, Database
from echain.kernel.evm import Address, Hash32


class Watched(msgspec.Struct, frozen=True):
    """A transaction with what is known of it without asking a node."""

    chain_id: int
    sender: Address | None = None
    nonce: int | None = None
    raw: bytes | None = None


class Indexed(msgspec.Struct, frozen=True):
    """A chain's projections reach up to ``block_number``; ``head_number`` is the node's last known height."""

    chain_id: int
    block_number: int
    head_number: int


_ADD: Final = """
    INSERT INTO watched_transactions AS known (hash, chain_id, sender, nonce, raw, submitted_by, submitted_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (hash) DO UPDATE
    SET sender = COALESCE(known.sender, excluded.sender), nonce = COALESCE(known.nonce, excluded.nonce),
        raw = COALESCE(known.raw, excluded.raw)
"""

_FIND: Final = """
    SELECT chain_id, sender, nonce, raw FROM watched_transactions WHERE hash = $1
    UNION ALL
    SELECT job.chain_id, job.sender, attempt.nonce, NULL
    FROM chain_attempts AS attempt JOIN chain_transactions AS job ON job.id = attempt.transaction_id
    WHERE attempt.hash = $1
    LIMIT 1
"""

_INDEXED: Final = """
    SELECT chain_id, block_number, head_number FROM chain_cursors WHERE chain_id = ANY($1)
"""

_IS_INDEXED: Final = """
    SELECT EXISTS (
        SELECT FROM chain_cursors AS cursor
        WHERE cursor.chain_id = $1 AND $2 BETWEEN cursor.from_block AND cursor.block_number
          AND NOT EXISTS (SELECT FROM chain_blocks AS block
                          WHERE block.chain_id = $1 AND block.number = $2 AND block.hash <> $3)
    )
"""


async def add(
    connection: Connection,
    transaction_hash: Hash32,
    watched: Watched,
    *,
    submitted_by: Address | None,
    now: datetime,
) -> None:
    """Watch a transaction; what is known of it already stays."""
    await connection.execute(
        _ADD,
        transaction_hash,
        watched.chain_id,
        watched.sender,
        watched.nonce,
        watched.raw,
        submitted_by,
        now,
    )


async def find(database: Database, transaction_hash: Hash32) -> Watched | None:
    """Return a transaction that is watched, or that the platform sent itself."""
    row = await database.fetchrow(_FIND, transaction_hash)
    if row is None:
        return None
    nonce = None if row["nonce"] is None else int(row["nonce"])
    return Watched(row["chain_id"], row["sender"], nonce, row["raw"])


async def indexed(database: Database, chain_ids: Sequence[int]) -> dict[int, Indexed]:
    """Return how far each chain is; those that nothing was read of yet are missing."""
    rows = await database.fetch(_INDEXED, list(chain_ids))
    return {
        row["chain_id"]: Indexed(row["chain_id"], row["block_number"], row["head_number"]) for row in rows
    }


async def is_indexed(database: Database, chain_id: int, block_number: int, block_hash: Hash32) -> bool:
    """Return whether the projections have this very block."""
    return bool(await database.fetchval(_IS_INDEXED, chain_id, block_number, block_hash))
