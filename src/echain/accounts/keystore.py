"""All SQL of API keys."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec

from echain.accounts.admintypes import UserSuspended
from echain.infra.database import Database, Row, Tx
from echain.kernel.evm import Address

_USE_NOTED: Final = timedelta(minutes=1)
"""A key in constant use is written once in so long."""


class NewKey(msgspec.Struct, frozen=True):
    """A key about to be written."""

    id: UUID
    user_id: UUID
    address: Address | None
    name: str
    prefix: str
    hash: bytes
    scopes: Sequence[str]
    created_at: datetime
    expires_at: datetime
    most_writes: int | None
    most_reads: int | None


class KeyBearer(msgspec.Struct, frozen=True):
    """Whom a key speaks for, what it may, until when, and whether it still does."""

    key_id: UUID
    user_id: UUID
    address: Address | None
    scopes: Sequence[str]
    expires_at: datetime
    most_writes: int | None
    most_reads: int | None
    live: bool


async def insert_key(tx: Tx, key: NewKey, *, most_live: int, forget_before: datetime) -> bool:
    """Write a key, unless its user has ``most_live`` live ones; drop those dead since ``forget_before``.

    The user's row is the lock that makes the count true.

    Raises:
        UserSuspended: an administrator has suspended the user, whose session ends everywhere only now.
    """
    user = await tx.fetchrow("SELECT suspended_at FROM users WHERE id = $1 FOR NO KEY UPDATE", key.user_id)
    if user is not None and user["suspended_at"] is not None:
        raise UserSuspended
    await tx.execute(
        "DELETE FROM api_keys WHERE user_id = $1 AND least(revoked_at, expires_at) < $2",
        key.user_id,
        forget_before,
    )
    row = await tx.fetchrow(
        """
        INSERT INTO api_keys (id, user_id, address, name, prefix, hash, scopes, created_at, expires_at,
                              most_writes, most_reads)
        SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11
        WHERE $12 > (
            SELECT count(*) FROM api_keys WHERE user_id = $2 AND revoked_at IS NULL AND expires_at > $8
        )
        RETURNING id
        """,
        key.id,
        key.user_id,
        key.address,
        key.name,
        key.prefix,
        key.hash,
        key.scopes,
        key.created_at,
        key.expires_at,
        key.most_writes,
        key.most_reads,
        most_live,
    )
    return row is not None


async def key_bearer(database: Database, key_hash: bytes, *, now: datetime) -> KeyBearer | None:
    """Return whom a key speaks for, or spoke for until it ended, and note that a live one was used."""
    row = await database.fetchrow(
        """
        SELECT id, user_id, address, scopes, expires_at, most_writes, most_reads,
               revoked_at IS NULL AND expires_at > $2 AS live, last_used_at
        FROM api_keys WHERE hash = $1
        """,
        key_hash,
        now,
    )
    if row is None:
        return None
    *bearer, last_used_at = row.values()
    if row["live"] and (last_used_at is None or last_used_at <= now - _USE_NOTED):
        await database.execute(
            "UPDATE api_keys SET last_used_at = greatest(last_used_at, $2) WHERE id = $1", row["id"], now
        )
    return KeyBearer(*bearer)


async def keys_of(database: Database, user_id: UUID, *, limit: int) -> Sequence[Row]:
    """Return a user's keys, the newest first, dead ones among them."""
    return await database.fetch(
        """
        SELECT id, name, prefix, scopes, most_writes, most_reads, created_at, expires_at, last_used_at,
               revoked_at
        FROM api_keys WHERE user_id = $1 ORDER BY id DESC LIMIT $2
        """,
        user_id,
        limit,
    )


async def lock_key(tx: Tx, user_id: UUID, key_id: UUID, *, now: datetime) -> Row | None:
    """Return a live key of a user as it stands, which nobody else changes before ``tx`` ends."""
    return await tx.fetchrow(
        """
        SELECT id, name, prefix, scopes, most_writes, most_reads, created_at, expires_at, last_used_at,
               revoked_at
        FROM api_keys WHERE id = $2 AND user_id = $1 AND revoked_at IS NULL AND expires_at > $3
        FOR NO KEY UPDATE
        """,
        user_id,
        key_id,
        now,
    )


async def change_key(
    tx: Tx, key_id: UUID, *, name: str, most_writes: int | None, most_reads: int | None
) -> None:
    """Rename a key and limit it anew; all processes forget at commit what they remember of it."""
    await tx.execute(
        """
        WITH changed AS (
            UPDATE api_keys SET name = $2, most_writes = $3, most_reads = $4 WHERE id = $1 RETURNING id
        )
        SELECT pg_notify('session_ended', id::text) FROM changed
        """,
        key_id,
        name,
        most_writes,
        most_reads,
    )


async def revoke_key(tx: Tx, user_id: UUID, key_id: UUID, *, now: datetime) -> bool:
    """End one live key of a user, telling all processes at commit; False when there is none."""
    row = await tx.fetchrow(
        """
        UPDATE api_keys SET revoked_at = $3
        WHERE id = $2 AND user_id = $1 AND revoked_at IS NULL AND expires_at > $3
        RETURNING pg_notify('session_ended', id::text)
        """,
        user_id,
        key_id,
        now,
    )
    return row is not None


async def revoke_all(tx: Tx, user_id: UUID, *, now: datetime) -> list[UUID]:
    """End all live keys of a user, telling all processes at commit; return which.

    The user's row is locked first: a key that is being made is waited for, and ended too.
    """
    await tx.execute("SELECT FROM users WHERE id = $1 FOR NO KEY UPDATE", user_id)
    rows = await tx.fetch(
        """
        WITH live AS (
            SELECT id FROM api_keys WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2
            ORDER BY id FOR UPDATE
        )
        UPDATE api_keys SET revoked_at = $2 FROM live WHERE api_keys.id = live.id
        RETURNING api_keys.id, pg_notify('session_ended', api_keys.id::text)
        """,
        user_id,
        now,
    )
    return [row["id"] for row in rows]
