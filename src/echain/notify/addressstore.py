"""SQL of e-mail addresses: those that are verified, and those that were asked."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from echain.infra.crypto import SealedColumn
from echain.infra.database import Connection, Row, Tx

ADDRESS: Final = SealedColumn(
    "email_addresses", id_column="user_id", index_column="found_by", normal=bytes.lower
)
ASKED: Final = SealedColumn("email_verifications", index_column="found_by", normal=bytes.lower)


class Verification(msgspec.Struct, frozen=True):
    """A verification mail to be: the sealed address, and the hash of the token in its link."""

    id: UUID
    user_id: UUID
    sealed: bytes
    found_by: bytes
    token_hash: bytes
    created_at: datetime
    expires_at: datetime


async def lock_address(tx: Tx, found_by: Sequence[bytes]) -> None:
    """Let those who ask for mail to one address take turns until the transaction ends."""
    await tx.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 13))", found_by[0].hex())


async def lock_user(tx: Tx, user_id: UUID) -> None:
    """Let what one user does with their address take turns until the transaction ends."""
    await tx.execute("SELECT FROM users WHERE id = $1 FOR NO KEY UPDATE", user_id)


async def asked_since(tx: Tx, user_id: UUID, found_by: Sequence[bytes], since: datetime) -> Sequence[Row]:
    """Return when a user asked for verification mails, and when anybody did for an address."""
    return await tx.fetch(
        """
        SELECT created_at, user_id = $1 AS own, found_by = ANY($2) AS same_address
          FROM email_verifications
         WHERE created_at > $3 AND (user_id = $1 OR found_by = ANY($2))
        """,
        user_id,
        list(found_by),
        since,
    )


async def insert_verification(tx: Tx, verification: Verification) -> None:
    """Keep a request; the user's earlier ones are void."""
    await tx.execute(
        """
        WITH void AS (
            UPDATE email_verifications SET void_at = $6
             WHERE user_id = $2 AND used_at IS NULL AND void_at IS NULL
        )
        INSERT INTO email_verifications (id, user_id, sealed, found_by, token_hash, created_at, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        """,
        verification.id,
        verification.user_id,
        verification.sealed,
        verification.found_by,
        verification.token_hash,
        verification.created_at,
        verification.expires_at,
    )


async def open_verification(connection: Connection, verification_id: UUID, *, now: datetime) -> Row | None:
    """Return a request that can still be answered."""
    return await connection.fetchrow(
        """
        SELECT id, user_id, sealed FROM email_verifications
         WHERE id = $1 AND used_at IS NULL AND void_at IS NULL AND expires_at > $2
        """,
        verification_id,
        now,
    )


async def pending(connection: Connection, user_id: UUID, *, now: datetime) -> Row | None:
    """Return the request of a user that can still be answered."""
    return await connection.fetchrow(
        """
        SELECT id, sealed, created_at, expires_at FROM email_verifications
         WHERE user_id = $1 AND used_at IS NULL AND void_at IS NULL AND expires_at > $2
         ORDER BY created_at DESC LIMIT 1
        """,
        user_id,
        now,
    )


async def lock_asker(tx: Tx, token_hash: bytes) -> None:
    """Let what the user who asked with a token does take turns; before any row of theirs is touched."""
    await tx.execute(
        """
        SELECT FROM users
         WHERE id = (SELECT user_id FROM email_verifications WHERE token_hash = $1) FOR NO KEY UPDATE
        """,
        token_hash,
    )


async def use_verification(tx: Tx, token_hash: bytes, *, now: datetime) -> Row | None:
    """Answer a request with its token; of those who race one does."""
    return await tx.fetchrow(
        """
        UPDATE email_verifications SET used_at = $2
         WHERE token_hash = $1 AND used_at IS NULL AND void_at IS NULL AND expires_at > $2
        RETURNING id, user_id, sealed
        """,
        token_hash,
        now,
    )


async def void_verifications(tx: Tx, user_id: UUID, *, now: datetime) -> bool:
    """Take back what a user asked; False when nothing was open."""
    tag = await tx.execute(
        """
        UPDATE email_verifications SET void_at = $2
         WHERE user_id = $1 AND used_at IS NULL AND void_at IS NULL AND expires_at > $2
        """,
        user_id,
        now,
    )
    return tag != "UPDATE 0"


async def forget_verifications(tx: Tx, *, before: datetime) -> None:
    """Forget requests from before a moment, answered or not: the address that was asked goes with them."""
    await tx.execute("DELETE FROM email_verifications WHERE created_at < $1", before)


async def address(connection: Connection, user_id: UUID) -> Row | None:
    """Return a user's verified address, sealed."""
    return await connection.fetchrow(
        "SELECT user_id, sealed, verified_at, bounces, suspended_at FROM email_addresses WHERE user_id = $1",
        user_id,
    )


async def keep_address(tx: Tx, user_id: UUID, sealed: bytes, found_by: bytes, *, now: datetime) -> None:
    """Make an address a user's own; what came back before counts no more."""
    await tx.execute(
        """
        INSERT INTO email_addresses (user_id, sealed, found_by, verified_at) VALUES ($1, $2, $3, $4)
        ON CONFLICT (user_id) DO UPDATE
           SET sealed = excluded.sealed, found_by = excluded.found_by, verified_at = excluded.verified_at,
               bounces = 0, suspended_at = NULL
        """,
        user_id,
        sealed,
        found_by,
        now,
    )


async def remove_address(tx: Tx, user_id: UUID) -> bool:
    """Forget a user's address; False when there was none."""
    tag = await tx.execute("DELETE FROM email_addresses WHERE user_id = $1", user_id)
    return tag != "DELETE 0"


async def bounced(tx: Tx, user_id: UUID, *, limit: int, now: datetime) -> bool:
    """Count a mail that came back; return whether this one suspends the address."""
    row = await tx.fetchrow(
        """
        UPDATE email_addresses
           SET bounces = bounces + 1,
               suspended_at = CASE WHEN bounces + 1 < $2 THEN suspended_at
                                   ELSE coalesce(suspended_at, $3) END
         WHERE user_id = $1
        RETURNING bounces = $2 AS suspended
        """,
        user_id,
        limit,
        now,
    )
    return row is not None and row["suspended"]


async def arrived(tx: Tx, user_id: UUID) -> None:
    """Note that mail arrives: only bounces in a row count."""
    await tx.execute("UPDATE email_addresses SET bounces = 0 WHERE user_id = $1 AND bounces > 0", user_id)
