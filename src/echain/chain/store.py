"""SQL of the log store: blocks, logs, followed contracts, cursors."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import repeat
from typing import Final

import msgspec

from echain.chain.types import Block, Contract, Log
from echain.infra import bulk
from echain.infra.database import Connection, Tx
from echain.kernel.errors import EchainError, Kind
from echain.kernel.evm import Address, Hash32
from echain.kernel.time import from_unix

_LOGS: Final = bulk.Table(
    "chain_logs",
    {
        "chain_id": bulk.INT8,
        "block_number": bulk.INT8,
        "log_index": bulk.INT4,
        "tx_index": bulk.INT4,
        "tx_hash": bulk.HASH,
        "address": bulk.ADDRESS,
        "topics": bulk.VARIED,
        "data": bulk.VARIED,
    },
)

_REGISTER_LOCK: Final = 0x6563_6861
"""Advisory lock class of registering: CREATE TABLE IF NOT EXISTS alone does not survive two at once."""


class NotFollowed(EchainError):
    """The chain was never indexed here; start the indexer first."""

    kind = Kind.NOT_FOUND
    code = "chain.not_followed"


class Cursor(msgspec.Struct, frozen=True):
    """How far a chain is ingested. ``block_hash`` is None only right before ``from_block``."""

    chain_id: int
    from_block: int
    block_number: int
    block_hash: Hash32 | None
    finalized_number: int


class StoredLogs(msgspec.Struct, frozen=True):
    """Some stored logs in chain order, with the times of their blocks."""

    logs: Sequence[Log]
    times: Mapping[int, datetime]


async def create_partition(tx: Tx, chain_id: int) -> None:
    """Make the chain's partition of the logs unless it stands."""
    await tx.execute("SELECT pg_advisory_xact_lock($1, 0)", _REGISTER_LOCK)
    name = f"chain_logs_{chain_id:d}"
    if await tx.fetchval("SELECT to_regclass($1)", name) is None:
        await tx.execute(f"CREATE TABLE {name} PARTITION OF chain_logs FOR VALUES IN ({chain_id:d})")


async def create_cursor(tx: Tx, chain_id: int, from_block: int) -> None:
    """Start a chain right before ``from_block``; one that stands is left as it is."""
    await tx.execute(
        """
        INSERT INTO chain_cursors (chain_id, from_block, block_number) VALUES ($1, $2, $2::bigint - 1)
        ON CONFLICT (chain_id) DO NOTHING
        """,
        chain_id,
        from_block,
    )


async def add_roots(tx: Tx, chain_id: int, roots: Sequence[Contract]) -> int | None:
    """Follow these contracts; return the lowest block from which one of them is new, None when none is."""
    return await tx.fetchval(
        """
        WITH added AS (
            INSERT INTO chain_contracts (chain_id, address, kind, from_block, root)
            SELECT $1, address, kind, from_block, TRUE
            FROM unnest($2::bytea[], $3::text[], $4::bigint[]) AS root (address, kind, from_block)
            ON CONFLICT (chain_id, address) DO NOTHING
            RETURNING from_block
        )
        SELECT min(from_block) FROM added
        """,
        chain_id,
        [root.address for root in roots],
        [root.kind for root in roots],
        [root.from_block for root in roots],
    )


async def add_contracts(tx: Tx, chain_id: int, contracts: Sequence[Contract]) -> None:
    """Follow contracts that a log created; they go when a reorg takes that log."""
    await tx.execute(
        """
        INSERT INTO chain_contracts (chain_id, address, kind, from_block, root)
        SELECT $1, address, kind, from_block, FALSE
        FROM unnest($2::bytea[], $3::text[], $4::bigint[]) AS made (address, kind, from_block)
        ON CONFLICT (chain_id, address) DO NOTHING
        """,
        chain_id,
        [contract.address for contract in contracts],
        [contract.kind for contract in contracts],
        [contract.from_block for contract in contracts],
    )


async def contracts(connection: Connection, chain_id: int) -> list[Contract]:
    """Return every followed contract of a chain."""
    rows = await connection.fetch(
        "SELECT address, kind, from_block FROM chain_contracts WHERE chain_id = $1", chain_id
    )
    return [Contract(row["address"], row["kind"], row["from_block"]) for row in rows]


async def roots(connection: Connection, chain_id: int) -> set[Address]:
    """Return the contracts of a chain that are followed for good."""
    rows = await connection.fetch(
        "SELECT address FROM chain_contracts WHERE chain_id = $1 AND root", chain_id
    )
    return {row["address"] for row in rows}


async def kinds(tx: Tx, chain_id: int, addresses: Collection[Address]) -> dict[Address, str]:
    """Return the kinds of those addresses that are followed."""
    rows = await tx.fetch(
        "SELECT address, kind FROM chain_contracts WHERE chain_id = $1 AND address = ANY($2::bytea[])",
        chain_id,
        list(addresses),
    )
    return {row["address"]: row["kind"] for row in rows}


async def read_cursor(connection: Connection, chain_id: int, *, lock: bool = False) -> Cursor:
    """Return a registered chain's cursor; ``lock`` makes other ingesters wait until the transaction ends."""
    row = await connection.fetchrow(
        f"""
        SELECT chain_id, from_block, block_number, block_hash, finalized_number
        FROM chain_cursors WHERE chain_id = $1 {"FOR NO KEY UPDATE" if lock else ""}
        """,  # noqa: S608 - one of two constants
        chain_id,
    )
    if row is None:
        raise NotFollowed(f"nothing of chain {chain_id} was ever indexed; start the indexer first")
    return Cursor(*row)


async def move_cursor(tx: Tx, cursor: Cursor) -> None:
    """Set how far the chain is ingested; the head is never told lower than that."""
    await tx.execute(
        """
        UPDATE chain_cursors
        SET block_number = $2, block_hash = $3, finalized_number = $4, updated_at = now(),
            head_number = greatest(head_number, $2)
        WHERE chain_id = $1
        """,
        cursor.chain_id,
        cursor.block_number,
        cursor.block_hash,
        cursor.finalized_number,
    )


async def note_head(connection: Connection, chain_id: int, head_number: int) -> None:
    """Keep the node's height, from which others tell how far the projections lag."""
    await connection.execute(
        "UPDATE chain_cursors SET head_number = $2 WHERE chain_id = $1 AND head_number <> $2",
        chain_id,
        head_number,
    )


async def hashes(connection: Connection, chain_id: int, first: int, last: int) -> dict[int, Hash32]:
    """Return the hashes of the kept blocks from ``first`` to ``last``."""
    rows = await connection.fetch(
        "SELECT number, hash FROM chain_blocks WHERE chain_id = $1 AND number BETWEEN $2 AND $3",
        chain_id,
        first,
        last,
    )
    return {row["number"]: row["hash"] for row in rows}


async def hashes_down(
    connection: Connection, chain_id: int, below: int, limit: int
) -> list[tuple[int, Hash32]]:
    """Return number and hash of the highest kept blocks under ``below``, highest first."""
    rows = await connection.fetch(
        """
        SELECT number, hash FROM chain_blocks
        WHERE chain_id = $1 AND number < $2 ORDER BY number DESC LIMIT $3
        """,
        chain_id,
        below,
        limit,
    )
    return [(row["number"], row["hash"]) for row in rows]


async def add_blocks(tx: Tx, chain_id: int, blocks: Iterable[Block]) -> None:
    await tx.copy_records_to_table(
        "chain_blocks",
        records=[
            (chain_id, block.number, block.hash, block.parent_hash, from_unix(block.timestamp))
            for block in blocks
        ],
        columns=("chain_id", "number", "hash", "parent_hash", "mined_at"),
    )


def encoded_logs(chain_id: int, logs: Sequence[Log]) -> bulk.Rows:
    """Return logs as rows to send."""
    return _LOGS.rows(
        len(logs),
        repeat(chain_id),
        [log.block_number for log in logs],
        [log.log_index for log in logs],
        [log.tx_index for log in logs],
        [log.tx_hash for log in logs],
        [log.address for log in logs],
        bulk.varied([b"".join(log.topics) for log in logs]),
        bulk.varied([log.data for log in logs]),
        # Straight into the partition: routing row by row through the parent costs a tenth more.
        into=f"chain_logs_{chain_id:d}",
    )


async def remove_above(tx: Tx, chain_id: int, ancestor: int) -> None:
    """Forget blocks, logs and created contracts above ``ancestor``."""
    await tx.execute("DELETE FROM chain_logs WHERE chain_id = $1 AND block_number > $2", chain_id, ancestor)
    await tx.execute("DELETE FROM chain_blocks WHERE chain_id = $1 AND number > $2", chain_id, ancestor)
    await tx.execute(
        "DELETE FROM chain_contracts WHERE chain_id = $1 AND from_block > $2 AND NOT root",
        chain_id,
        ancestor,
    )


async def prune_blocks(tx: Tx, chain_id: int, above: int, upto: int) -> None:
    """Forget the blocks in between that cannot change any more and have no followed log."""
    await tx.execute(
        """
        DELETE FROM chain_blocks AS block
        WHERE chain_id = $1 AND number > $2 AND number <= $3
          AND NOT EXISTS (
              SELECT 1 FROM chain_logs AS log
              WHERE log.chain_id = $1 AND log.block_number = block.number
          )
        """,
        chain_id,
        above,
        upto,
    )


async def count_logs(connection: Connection, chain_id: int) -> int:
    """Return how many logs of a chain are stored."""
    return await connection.fetchval("SELECT count(*) FROM chain_logs WHERE chain_id = $1", chain_id) or 0


async def read_logs(
    connection: Connection, chain_id: int, after: int, upto: int, at_least: int
) -> StoredLogs:
    """Return the next logs after a block, in chain order, of whole blocks: what belongs together stays so."""
    rows = await connection.fetch(
        """
        SELECT log.block_number, log.log_index, log.tx_hash, log.tx_index, log.address, log.topics, log.data,
               block.hash, block.mined_at
        FROM (
            SELECT * FROM chain_logs
            WHERE chain_id = $1 AND block_number > $2 AND block_number <= $3
            ORDER BY block_number FETCH FIRST $4 ROWS WITH TIES
        ) AS log
        JOIN chain_blocks AS block ON block.chain_id = $1 AND block.number = log.block_number
        ORDER BY log.block_number, log.log_index
        """,
        chain_id,
        after,
        upto,
        at_least,
    )
    logs = [
        Log(
            number,
            index,
            tx_hash,
            tx_index,
            address,
            tuple(topics[at : at + 32] for at in range(0, len(topics), 32)),
            data,
            block_hash,
        )
        for number, index, tx_hash, tx_index, address, topics, data, block_hash, _ in rows
    ]
    return StoredLogs(logs, {row["block_number"]: row["mined_at"] for row in rows})
