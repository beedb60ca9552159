"""SQL of comparing our books with the contracts: what they say at a final block, and whose turn it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from echain.infra.database import Connection, Row, Tx
from echain.kernel.evm import Address

FIRST: Final = Address(bytes(20))


async def cursor(connection: Connection, chain_id: int) -> Row | None:
    """Return the newest block in our tables, ``number`` and ``hash``, and up to which all is ``final``."""
    return await connection.fetchrow(
        """
        SELECT block_number AS number, block_hash AS hash, least(finalized_number, block_number) AS final
        FROM chain_cursors WHERE chain_id = $1 AND block_hash IS NOT NULL
        """,
        chain_id,
    )


async def progress(connection: Connection, chain_id: int) -> tuple[int | None, Address]:
    """Return up to which block moved money was compared, and after which contract the round goes on."""
    row = await connection.fetchrow(
        "SELECT block_number, next_contract FROM security_audits WHERE chain_id = $1", chain_id
    )
    return (None, FIRST) if row is None else (row["block_number"], Address(row["next_contract"]))


async def keep_progress(tx: Tx, chain_id: int, block_number: int, after: Address) -> None:
    """Remember how far comparing has come."""
    await tx.execute(
        """
        INSERT INTO security_audits (chain_id, block_number, next_contract) VALUES ($1, $2, $3)
        ON CONFLICT (chain_id) DO UPDATE SET block_number = $2, next_contract = $3
        """,
        chain_id,
        block_number,
        after,
    )


async def moved(connection: Connection, chain_id: int, *, above: int, upto: int, limit: int) -> Sequence[Row]:
    """Return the contracts that moved money in blocks ``above`` (exclusive) to ``upto``."""
    return await connection.fetch(
        """
        SELECT ticket_contract FROM sales
         WHERE chain_id = $1 AND block_number > $2 AND block_number <= $3
        UNION
        SELECT ticket_contract FROM refunds
         WHERE chain_id = $1 AND block_number > $2 AND block_number <= $3
        UNION
        SELECT ticket_contract FROM payouts
         WHERE chain_id = $1 AND block_number > $2 AND block_number <= $3
         ORDER BY ticket_contract LIMIT $4
        """,
        chain_id,
        above,
        upto,
        limit,
    )


async def next_in_round(
    connection: Connection, chain_id: int, *, after: Address, limit: int
) -> Sequence[Row]:
    """Return the next contracts with money after one, by address."""
    return await connection.fetch(
        """
        SELECT ticket_contract FROM contract_escrow WHERE chain_id = $1 AND ticket_contract > $2
        ORDER BY ticket_contract LIMIT $3
        """,
        chain_id,
        after,
        limit,
    )


async def books_at(
    connection: Connection, chain_id: int, contracts: Sequence[Address], *, block: int
) -> Sequence[Row]:
    """Return contracts' sums as of a block: today's less what came after it, which is little."""
    return await connection.fetch(
        """
        SELECT asked.contract AS ticket_contract,
               coalesce(paid_in_wei, 0) - coalesce((
                   SELECT sum(quantity * unit_price_wei) FROM sales
                   WHERE chain_id = $1 AND block_number > $3 AND ticket_contract = asked.contract), 0)
                   AS paid_in_wei,
               coalesce(refunded_wei, 0) - coalesce((
                   SELECT sum(amount_wei) FROM refunds
                   WHERE chain_id = $1 AND block_number > $3 AND ticket_contract = asked.contract), 0)
                   AS refunded_wei,
               coalesce(withdrawn_wei, 0) - coalesce((
                   SELECT sum(amount_wei) FROM payouts WHERE chain_id = $1 AND block_number > $3
                   AND ticket_contract = asked.contract AND kind = 'proceeds'), 0) AS withdrawn_wei,
               coalesce(fees_wei, 0) - coalesce((
                   SELECT sum(amount_wei) FROM payouts WHERE chain_id = $1 AND block_number > $3
                   AND ticket_contract = asked.contract AND kind = 'fee'), 0) AS fees_wei
        FROM unnest($2::bytea[]) AS asked (contract)
        LEFT JOIN contract_escrow AS escrow
          ON escrow.chain_id = $1 AND escrow.ticket_contract = asked.contract
        ORDER BY asked.contract
        """,
        chain_id,
        list(contracts),
        block,
    )
