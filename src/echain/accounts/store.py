"""All SQL of users, wallets, sessions and sign-in nonces."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from echain.accounts.rules import RefreshState
from echain.accounts.types import Method
from echain.infra.database import Connection, Database, Row, Tx
from echain.kernel.evm import Address

ENDED_CHANNEL: Final = "session_ended"
"""Where the id of each ended session is told when its transaction commits."""

_SWEPT_AT_ONCE: Final = 100


class NewRefresh(msgspec.Struct, frozen=True):
    """The hash of a refresh token and when it expires."""

    hash: bytes
    expires_at: datetime


class NewSession(msgspec.Struct, frozen=True):
    """A session about to be written."""

    id: UUID
    user_id: UUID
    address: Address | None
    device: str
    created_at: datetime
    expires_at: datetime
    method: Method = "wallet"


class SessionRow(msgspec.Struct, frozen=True):
    """A live session as stored."""

    id: UUID
    address: Address | None
    device: str
    name: str | None
    method: Method
    created_at: datetime
    refreshed_at: datetime
    expires_at: datetime


class Bearer(msgspec.Struct, frozen=True):
    """Whom an access token speaks for, and until when."""

    session_id: UUID
    user_id: UUID
    address: Address | None
    expires_at: datetime


class RefreshToken(msgspec.Struct, frozen=True):
    """A refresh token as stored; ``salt`` is set once it was used."""

    state: RefreshState
    used_at: datetime | None
    salt: bytes | None


class Use(msgspec.Struct, frozen=True):
    """Who uses a refresh token, and the salt that what it gives is derived with."""

    refresh_hash: bytes
    client: bytes
    salt: bytes


async def insert_nonce(
    database: Database,
    nonce: str,
    browser: bytes,
    address: Address | None,
    *,
    expires_at: datetime,
    now: datetime,
) -> None:
    """Keep a nonce and drop some that expired, so that asking for nonces does not grow the table."""
    await database.execute(
        f"""
        WITH swept AS (
            DELETE FROM sign_in_nonces WHERE nonce IN (
                SELECT nonce FROM sign_in_nonces WHERE expires_at <= $5
                ORDER BY expires_at LIMIT {_SWEPT_AT_ONCE} FOR UPDATE SKIP LOCKED
            )
        )
        INSERT INTO sign_in_nonces (nonce, browser_hash, address, expires_at) VALUES ($1, $2, $3, $4)
        """,  # noqa: S608 -- a constant
        nonce,
        browser,
        address,
        expires_at,
        now,
    )


async def delete_nonce(tx: Tx, nonce: str, browser: bytes, address: Address, *, now: datetime) -> bool:
    """Consume the nonce; False when this browser holds no such live nonce that this address may use.

    Of those who race one deletes the row; the others wait for its transaction and then find nothing.
    """
    row = await tx.fetchrow(
        """
        DELETE FROM sign_in_nonces
        WHERE nonce = $1 AND browser_hash = $2 AND (address IS NULL OR address = $3) AND expires_at > $4
        RETURNING nonce
        """,
        nonce,
        browser,
        address,
        now,
    )
    return row is not None


async def nonce_exists(tx: Tx | Database, nonce: str, browser: bytes, *, now: datetime) -> bool:
    """Return whether this browser holds the live nonce, for whichever address."""
    row = await tx.fetchrow(
        "SELECT FROM sign_in_nonces WHERE nonce = $1 AND browser_hash = $2 AND expires_at > $3",
        nonce,
        browser,
        now,
    )
    return row is not None


async def user_of_wallet(tx: Tx, address: Address, *, new_id: UUID, now: datetime) -> UUID:
    """Return whose wallet this is, a new user's at its first sign-in; exactly one user whatever races."""
    row = await tx.fetchrow(
        """
        WITH wallet AS (
            INSERT INTO wallets AS w (address, user_id, created_at, last_sign_in_at) VALUES ($1, $2, $3, $3)
            ON CONFLICT (address) DO UPDATE SET last_sign_in_at = greatest(w.last_sign_in_at, $3)
            RETURNING user_id
        ), newcomer AS (
            INSERT INTO users (id, created_at) SELECT user_id, $3 FROM wallet WHERE user_id = $2
        )
        SELECT user_id FROM wallet
        """,
        address,
        new_id,
        now,
    )
    assert row is not None
    return row["user_id"]


async def lock_user(tx: Tx, user_id: UUID) -> None:
    """Let what adds to a user take turns until ``tx`` ends; who only refers to them does not wait."""
    await tx.execute("SELECT FROM users WHERE id = $1 FOR NO KEY UPDATE", user_id)


async def give_wallet(tx: Tx, address: Address, user_id: UUID, *, now: datetime) -> UUID:
    """Return whose wallet this is: a given user's, unless it was somebody's before."""
    row = await tx.fetchrow(
        """
        INSERT INTO wallets AS w (address, user_id, created_at, last_sign_in_at) VALUES ($1, $2, $3, $3)
        ON CONFLICT (address) DO UPDATE SET last_sign_in_at = greatest(w.last_sign_in_at, $3)
        RETURNING user_id
        """,
        address,
        user_id,
        now,
    )
    assert row is not None
    return row["user_id"]


async def insert_session(tx: Tx, session: NewSession, first: NewRefresh, *, forget_before: datetime) -> bool:
    """Write a session with its first refresh token; drop the user's that ended or expired before a moment.

    False, and no session, for a user who is suspended; nobody is suspended until ``tx`` ends.
    """
    row = await tx.fetchrow(
        """
        WITH welcome AS (
            SELECT FROM users WHERE id = $2 AND suspended_at IS NULL FOR SHARE
        ), dead AS (
            DELETE FROM sessions WHERE user_id = $2 AND least(ended_at, expires_at) < $10
        ), session AS (
            INSERT INTO sessions (id, user_id, address, device, created_at, refreshed_at, expires_at, method)
            SELECT $1::uuid, $2::uuid, $3::bytea, $4::text, $5::timestamptz, $5::timestamptz, $6::timestamptz,
                   $7::text
            FROM welcome RETURNING id
        )
        INSERT INTO refresh_tokens (hash, session_id, expires_at) SELECT $8, id, $9 FROM session
        RETURNING session_id
        """,
        session.id,
        session.user_id,
        session.address,
        session.device,
        session.created_at,
        session.expires_at,
        session.method,
        first.hash,
        first.expires_at,
        forget_before,
    )
    return row is not None


async def session_bearer(
    database: Database, session_id: UUID, user_id: UUID, *, now: datetime
) -> Bearer | None:
    """Return whom a live session of this user speaks for."""
    row = await database.fetchrow(
        """
        SELECT id, user_id, address, expires_at FROM sessions
        WHERE id = $1 AND user_id = $2 AND ended_at IS NULL AND expires_at > $3
        """,
        session_id,
        user_id,
        now,
    )
    return None if row is None else Bearer(*row.values())


async def bearer(database: Database, access_hash: bytes, *, now: datetime) -> Bearer | None:
    """Return whom a live access token of a live session speaks for, of the kind given out until 0016."""
    row = await database.fetchrow(
        """
        SELECT s.id, s.user_id, s.address, least(a.expires_at, s.expires_at) AS expires_at
        FROM access_tokens a JOIN sessions s ON s.id = a.session_id
        WHERE a.hash = $1 AND s.ended_at IS NULL AND a.expires_at > $2 AND s.expires_at > $2
        """,
        access_hash,
        now,
    )
    return None if row is None else Bearer(*row.values())


async def ended_among(database: Database, sessions: Sequence[UUID]) -> list[UUID]:
    """Return which of these sessions have ended, or are not known any more."""
    rows = await database.fetch(
        """
        SELECT asked.id FROM unnest($1::uuid[]) AS asked (id)
        WHERE NOT EXISTS (SELECT FROM sessions WHERE sessions.id = asked.id AND ended_at IS NULL)
        """,
        sessions,
    )
    return [row["id"] for row in rows]


async def lock_session_of(tx: Tx, refresh_hash: bytes) -> NewSession | None:
    """Return and lock the session that a refresh token belongs to; its row is the lock of its tokens."""
    row = await tx.fetchrow(
        """
        SELECT s.id, s.user_id, s.address, s.device, s.created_at, s.expires_at, s.method
        FROM refresh_tokens r JOIN sessions s ON s.id = r.session_id
        WHERE r.hash = $1 FOR UPDATE OF s
        """,
        refresh_hash,
    )
    return None if row is None else NewSession(**row)


async def refresh_token(tx: Tx, refresh_hash: bytes) -> RefreshToken:
    """Return a refresh token whose session is locked."""
    row = await tx.fetchrow(
        """
        SELECT s.ended_at IS NOT NULL AS session_ended, s.expires_at AS session_expires_at,
               r.expires_at, r.used_at, r.client, next.used_at IS NOT NULL AS successor_used, r.salt
        FROM refresh_tokens r
        JOIN sessions s ON s.id = r.session_id
        LEFT JOIN refresh_tokens next ON next.hash = r.successor
        WHERE r.hash = $1
        """,
        refresh_hash,
    )
    assert row is not None
    *state, salt = row.values()
    return RefreshToken(RefreshState(*state), row["used_at"], salt)


async def rotate(tx: Tx, session_id: UUID, use: Use, successor: NewRefresh, *, now: datetime) -> None:
    """Mark a refresh token as used, write what it gives, drop the session's expired tokens."""
    await tx.execute(
        """
        WITH used AS (
            UPDATE refresh_tokens SET used_at = $2, salt = $3, client = $4, successor = $6 WHERE hash = $5
            RETURNING session_id
        ), refresh AS (
            INSERT INTO refresh_tokens (hash, session_id, expires_at) SELECT $6, session_id, $7 FROM used
        ), expired_access AS (
            DELETE FROM access_tokens WHERE session_id = $1 AND expires_at <= $2
        ), expired_refresh AS (
            DELETE FROM refresh_tokens WHERE session_id = $1 AND expires_at <= $2 AND hash <> $5
        )
        UPDATE sessions SET refreshed_at = $2 WHERE id = $1
        """,
        session_id,
        now,
        use.salt,
        use.client,
        use.refresh_hash,
        successor.hash,
        successor.expires_at,
    )


async def end_session(tx: Tx, user_id: UUID, session_id: UUID, *, by: str, now: datetime) -> bool:
    """End one live session of a user; False when there is none."""
    row = await tx.fetchrow(
        """
        UPDATE sessions SET ended_at = $3, ended_by = $4
        WHERE id = $2 AND user_id = $1 AND ended_at IS NULL AND expires_at > $3
        RETURNING pg_notify('session_ended', id::text)
        """,
        user_id,
        session_id,
        now,
        by,
    )
    return row is not None


async def end_all_sessions(tx: Tx, user_id: UUID, *, now: datetime) -> list[UUID]:
    """End a user's live sessions, locked in the order of their ids; return which."""
    rows = await tx.fetch(
        """
        WITH live AS (
            SELECT id FROM sessions WHERE user_id = $1 AND ended_at IS NULL AND expires_at > $2
            ORDER BY id FOR UPDATE
        )
        UPDATE sessions s SET ended_at = $2, ended_by = 'logout' FROM live WHERE s.id = live.id
        RETURNING s.id, pg_notify('session_ended', s.id::text)
        """,
        user_id,
        now,
    )
    return [row["id"] for row in rows]


async def rename_session(
    tx: Tx, user_id: UUID, session_id: UUID, name: str | None, *, now: datetime
) -> SessionRow | None:
    """Give one live session of a user a name, or none; None when there is no such session."""
    row = await tx.fetchrow(
        """
        UPDATE sessions SET name = $3
        WHERE id = $2 AND user_id = $1 AND ended_at IS NULL AND expires_at > $4
        RETURNING id, address, device, name, method, created_at, refreshed_at, expires_at
        """,
        user_id,
        session_id,
        name,
        now,
    )
    return None if row is None else SessionRow(**row)


async def live_sessions(
    database: Database, user_id: UUID, *, limit: int, now: datetime
) -> Sequence[SessionRow]:
    """Return a user's live sessions, the last used first."""
    rows = await database.fetch(
        """
        SELECT id, address, device, name, method, created_at, refreshed_at, expires_at FROM sessions
        WHERE user_id = $1 AND ended_at IS NULL AND expires_at > $2
        ORDER BY refreshed_at DESC, id DESC LIMIT $3
        """,
        user_id,
        now,
        limit,
    )
    return [SessionRow(**row) for row in rows]


async def users_of(connection: Connection, addresses: Collection[Address]) -> Sequence[Row]:
    """Return the users of wallets that have signed in."""
    return await connection.fetch(
        "SELECT address, user_id FROM wallets WHERE address = ANY($1)", list(addresses)
    )


async def known(connection: Connection, users: Collection[UUID]) -> set[UUID]:
    """Return which of these users there are."""
    rows = await connection.fetch("SELECT id FROM users WHERE id = ANY($1)", list(users))
    return {row["id"] for row in rows}


async def addresses_of(connection: Connection, user_id: UUID) -> Sequence[Address]:
    """Return a user's wallets, the first first."""
    rows = await connection.fetch(
        "SELECT address FROM wallets WHERE user_id = $1 ORDER BY created_at, address", user_id
    )
    return [Address(row["address"]) for row in rows]
