"""SQL of the transparency pages; reads projections only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from echain.infra.database import Database, Row
from echain.kernel.evm import Address

_ZERO: Final = "'\\x0000000000000000000000000000000000000000'"

_BOOKS: Final = """
    SELECT coalesce(paid_in_wei, 0) AS paid_in_wei, coalesce(refunded_wei, 0) AS refunded_wei,
           coalesce(withdrawn_wei, 0) AS withdrawn_wei, coalesce(fees_wei, 0) AS fees_wei,
           at.block_number, at.block_hash
      FROM (VALUES ($1::bigint, $2::bytea)) AS asked (chain_id, ticket_contract)
      LEFT JOIN contract_escrow USING (chain_id, ticket_contract)
      LEFT JOIN chain_cursors AS at USING (chain_id)
"""

_MOVEMENTS: Final = f"""
    SELECT 'sale' AS kind, unit_price_wei * quantity AS amount, buyer AS sender, NULL::bytea AS receiver,
           first_token_id, quantity, tier_id, block_number, log_index, tx_hash, mined_at
      FROM sales
     WHERE chain_id = $1 AND ticket_contract = $2 AND (block_number, log_index) < ($3, $4)
     UNION ALL
    SELECT 'transfer', 0, from_address, to_address, token_id, 1, NULL, block_number, log_index, tx_hash,
           mined_at
      FROM transfers
     WHERE chain_id = $1 AND ticket_contract = $2 AND (block_number, log_index) < ($3, $4)
       AND from_address <> {_ZERO} AND to_address <> {_ZERO}
     UNION ALL
    SELECT 'refund', amount_wei, NULL, holder, token_id, 1, NULL, block_number, log_index, tx_hash, mined_at
      FROM refunds
     WHERE chain_id = $1 AND ticket_contract = $2 AND (block_number, log_index) < ($3, $4)
     UNION ALL
    SELECT CASE kind WHEN 'fee' THEN 'fee' ELSE 'withdrawal' END, amount_wei, NULL, receiver,
           NULL, NULL, NULL, block_number, log_index, tx_hash, mined_at
      FROM payouts
     WHERE chain_id = $1 AND ticket_contract = $2 AND (block_number, log_index) < ($3, $4)
     ORDER BY block_number DESC, log_index DESC
     LIMIT $5
"""  # noqa: S608 -- a constant

_CHAINS: Final = """
    SELECT asked.chain_id, at.block_number,
           (SELECT count(*) FROM events WHERE events.chain_id = asked.chain_id) AS events,
           coalesce(sum(paid_in_wei), 0) AS paid_in_wei, coalesce(sum(refunded_wei), 0) AS refunded_wei,
           coalesce(sum(withdrawn_wei), 0) AS withdrawn_wei, coalesce(sum(fees_wei), 0) AS fees_wei
      FROM unnest($1::bigint[]) AS asked (chain_id)
      LEFT JOIN chain_cursors AS at ON at.chain_id = asked.chain_id AND at.block_hash IS NOT NULL
      LEFT JOIN contract_escrow AS escrow ON escrow.chain_id = asked.chain_id
     GROUP BY asked.chain_id, at.block_number
     ORDER BY asked.chain_id
"""


async def books(database: Database, chain_id: int, ticket_contract: Address) -> Row:
    """Return a contract's sums with the block up to which they count: one statement, one snapshot."""
    row = await database.fetchrow(_BOOKS, chain_id, ticket_contract)
    assert row is not None, "VALUES gives a row"
    return row


async def movements(
    database: Database, chain_id: int, ticket_contract: Address, *, before: tuple[int, int], limit: int
) -> Sequence[Row]:
    """Return a contract's movements before a (block, log index), newest first."""
    return await database.fetch(_MOVEMENTS, chain_id, ticket_contract, *before, limit)


async def chains(database: Database, chain_ids: Sequence[int]) -> Sequence[Row]:
    """Return the sums over each chain's contracts; linear in the events."""
    return await database.fetch(_CHAINS, list(chain_ids))
