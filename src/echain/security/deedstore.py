"""SQL of what wallets did lately, read where the projections have it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from echain.infra.database import Row, Tx
from echain.kernel.evm import Address

Blocks = Sequence[tuple[int, int]]
"""Chains and numbers."""


class Deed(msgspec.Struct, frozen=True):
    """Something a wallet did so many times; ``fact`` names it, also after a reorg has moved it."""

    wallet: Address
    fact: str
    at: datetime
    amount: int


_OF_BLOCKS = """
    FROM unnest($1::bigint[], $2::bigint[]) AS asked (chain, number)
    JOIN {table} AS fact ON fact.chain_id = asked.chain AND fact.block_number = asked.number
"""


async def sales(tx: Tx, blocks: Blocks) -> Sequence[Row]:
    """Return the purchases in blocks, as far as they still hold."""
    return await tx.fetch(
        f"SELECT fact.* {_OF_BLOCKS.format(table='sales')}",
        *_columns(blocks),
    )


async def transfers(tx: Tx, blocks: Blocks) -> Sequence[Row]:
    """Return in blocks the tickets that went from one wallet to another."""
    return await tx.fetch(
        f"""
        SELECT fact.* {_OF_BLOCKS.format(table="transfers")}
        WHERE from_address <> '\\x0000000000000000000000000000000000000000'
          AND to_address <> '\\x0000000000000000000000000000000000000000' AND from_address <> to_address
        """,
        *_columns(blocks),
    )


async def payouts(tx: Tx, blocks: Blocks) -> Sequence[Row]:
    """Return in blocks what contracts paid to organizers and to the platform."""
    return await tx.fetch(
        f"SELECT fact.* {_OF_BLOCKS.format(table='payouts')}",
        *_columns(blocks),
    )


async def usual_prices(
    tx: Tx, sales: Sequence[tuple[int, Address, int, int]], *, newest: int
) -> Sequence[Row]:
    """Return for each sale what its tier cost before: the ``median`` of how many ``sales``.

    A sale is its chain, contract, tier and first token. Of a contract's last ``newest`` sales before it those
    of the tier count: tokens are numbered in the order in which they are sold.
    """
    return await tx.fetch(
        """
        SELECT usual.median, usual.sales
        FROM unnest($1::bigint[], $2::bytea[], $3::integer[], $4::bigint[])
             WITH ORDINALITY AS asked (chain, contract, tier, token, place)
        CROSS JOIN LATERAL (
            SELECT coalesce(percentile_disc(0.5) WITHIN GROUP (ORDER BY unit_price_wei), 0) AS median,
                   count(*) AS sales
            FROM (
                SELECT unit_price_wei, tier_id FROM sales
                WHERE chain_id = asked.chain AND ticket_contract = asked.contract
                  AND first_token_id < asked.token
                ORDER BY first_token_id DESC LIMIT $5
            ) AS before WHERE tier_id = asked.tier
        ) AS usual
        ORDER BY place
        """,
        *(list(column) for column in zip(*sales, strict=True)),
        newest,
    )


async def add(tx: Tx, kind: str, deeds: Sequence[Deed]) -> None:
    """Remember what wallets did; what is known is not counted again."""
    await tx.execute(
        """
        INSERT INTO security_deeds (kind, wallet, fact, at, amount)
        SELECT $1, * FROM unnest($2::bytea[], $3::text[], $4::timestamptz[], $5::integer[])
        ON CONFLICT (kind, wallet, fact) DO NOTHING
        """,
        kind,
        [deed.wallet for deed in deeds],
        [deed.fact for deed in deeds],
        [deed.at for deed in deeds],
        [deed.amount for deed in deeds],
    )


async def totals(
    tx: Tx, kind: str, newest: Sequence[tuple[Address, datetime]], *, within: timedelta
) -> Sequence[Row]:
    """Return how much each wallet did in the time up to its newest deed."""
    return await tx.fetch(
        """
        SELECT asked.wallet, asked.newest, sum(deed.amount)::bigint AS total
        FROM unnest($2::bytea[], $3::timestamptz[]) AS asked (wallet, newest)
        JOIN security_deeds AS deed ON deed.kind = $1 AND deed.wallet = asked.wallet
         AND deed.at > asked.newest - $4::interval AND deed.at <= asked.newest
        GROUP BY asked.wallet, asked.newest
        """,
        kind,
        [wallet for wallet, _ in newest],
        [at for _, at in newest],
        within,
    )


async def sweep(tx: Tx, *, before: datetime) -> None:
    """Forget what was done before a moment."""
    await tx.execute("DELETE FROM security_deeds WHERE at < $1", before)


def _columns(blocks: Blocks) -> tuple[list[int], list[int]]:
    return [chain for chain, _ in blocks], [number for _, number in blocks]
