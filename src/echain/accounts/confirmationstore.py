"""All SQL of confirmations: what wallets were asked to sign for, until they have."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from echain.infra.database import Database, Tx
from echain.kernel.evm import Address

_SWEPT_AT_ONCE: Final = 100


class Asked(msgspec.Struct, frozen=True):
    """What a session's wallet was asked to sign, word by word, and what for."""

    id: UUID
    user_id: UUID
    session_id: UUID
    address: Address
    action: str
    target: str
    chain_id: int
    message: str
    expires_at: datetime


async def insert(tx: Tx, asked: Asked, *, most_open: int, now: datetime) -> None:
    """Keep a confirmation; drop the session's oldest beyond ``most_open``, and some that expired."""
    await tx.execute(
        f"""
        WITH swept AS (
            DELETE FROM confirmations WHERE id IN (
                SELECT id FROM confirmations WHERE expires_at <= $10
                ORDER BY expires_at LIMIT {_SWEPT_AT_ONCE} FOR UPDATE SKIP LOCKED
            )
        ), crowded AS (
            DELETE FROM confirmations WHERE id IN (
                SELECT id FROM confirmations WHERE session_id = $3 AND expires_at > $10
                ORDER BY id DESC OFFSET $11 FOR UPDATE SKIP LOCKED
            )
        )
        INSERT INTO confirmations
            (id, user_id, session_id, address, action, target, chain_id, message, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        """,  # noqa: S608 -- a constant
        *msgspec.structs.astuple(asked),
        now,
        most_open - 1,
    )


async def find(database: Database, confirmation_id: UUID, *, now: datetime) -> Asked | None:
    """Return a confirmation that is open."""
    row = await database.fetchrow(
        """
        SELECT id, user_id, session_id, address, action, target, chain_id, message, expires_at
        FROM confirmations WHERE id = $1 AND expires_at > $2
        """,
        confirmation_id,
        now,
    )
    return None if row is None else Asked(**row)


async def fail(database: Database, confirmation_id: UUID, *, most: int, now: datetime) -> None:
    """Count a wrong signature; the confirmation is over with the ``most``-th of them."""
    await database.execute(
        """
        UPDATE confirmations
        SET failures = failures + 1, expires_at = CASE WHEN failures + 1 < $2 THEN expires_at ELSE $3 END
        WHERE id = $1 AND expires_at > $3
        """,
        confirmation_id,
        most,
        now,
    )


async def delete(tx: Tx, confirmation_id: UUID, session_id: UUID, *, now: datetime) -> bool:
    """Consume the confirmation; False when it is gone or has expired.

    Of those who race one deletes the row; the others wait for its transaction and then find nothing.
    """
    row = await tx.fetchrow(
        "DELETE FROM confirmations WHERE id = $1 AND session_id = $2 AND expires_at > $3 RETURNING id",
        confirmation_id,
        session_id,
        now,
    )
    return row is not None
