"""All SQL of identities at OpenID providers and of sign-ins under way."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from echain.infra.crypto import SealedColumn
from echain.infra.database import Connection, Database, Row, Tx

STARTS: Final = SealedColumn("oidc_starts")
IDENTITIES: Final = SealedColumn("identities")
_SWEPT_AT_ONCE: Final = 100


class Start(msgspec.Struct, frozen=True):
    """A sign-in under way; with a user it links to that user's account, from that session."""

    id: UUID
    provider: str
    sealed: bytes
    return_to: str
    user_id: UUID | None
    session_id: UUID | None
    created_at: datetime


class NewIdentity(msgspec.Struct, frozen=True):
    """An identity about to be written, if it is not there already."""

    id: UUID
    user_id: UUID
    issuer: str
    subject: str
    provider: str
    sealed: bytes
    created_at: datetime


async def insert_start(
    tx: Tx | Database, start: Start, *, state: bytes, browser: bytes, expires_at: datetime
) -> None:
    """Keep a sign-in under way and drop some that expired, so that starting does not grow the table."""
    await tx.execute(
        f"""
        WITH swept AS (
            DELETE FROM oidc_starts WHERE id IN (
                SELECT id FROM oidc_starts WHERE expires_at <= $9
                ORDER BY expires_at LIMIT {_SWEPT_AT_ONCE} FOR UPDATE SKIP LOCKED
            )
        )
        INSERT INTO oidc_starts (id, state_hash, browser_hash, provider, sealed, return_to, user_id,
                                 session_id, created_at, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        """,  # noqa: S608 -- a constant
        start.id,
        state,
        browser,
        start.provider,
        start.sealed,
        start.return_to,
        start.user_id,
        start.session_id,
        start.created_at,
        expires_at,
    )


async def take_start(database: Database, *, state: bytes, browser: bytes, now: datetime) -> Start | None:
    """Consume a sign-in that this browser began; of those who race one gets it, also across processes."""
    row = await database.fetchrow(
        """
        DELETE FROM oidc_starts WHERE state_hash = $1 AND browser_hash = $2 AND expires_at > $3
        RETURNING id, provider, sealed, return_to, user_id, session_id, created_at
        """,
        state,
        browser,
        now,
    )
    return None if row is None else Start(**row)


async def identify(tx: Tx, identity: NewIdentity) -> tuple[UUID, UUID]:
    """Return an identity's id and user, a new user's at its first sign-in; exactly one whatever races.

    A known user's row is locked before the identity's, in the order in which accounts are erased.
    """
    await tx.execute(
        """
        SELECT FROM users WHERE id = (SELECT user_id FROM identities WHERE issuer = $1 AND subject = $2)
        FOR SHARE
        """,
        identity.issuer,
        identity.subject,
    )
    row = await tx.fetchrow(
        """
        WITH identity AS (
            INSERT INTO identities AS i (id, user_id, issuer, subject, provider, sealed, created_at,
                                         last_sign_in_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $7)
            ON CONFLICT (issuer, subject) DO UPDATE
                SET last_sign_in_at = greatest(i.last_sign_in_at, $7), provider = $5
            RETURNING id, user_id
        ), newcomer AS (
            INSERT INTO users (id, created_at) SELECT user_id, $7 FROM identity WHERE user_id = $2
        )
        SELECT id, user_id FROM identity
        """,
        *msgspec.structs.astuple(identity),
    )
    assert row is not None
    return row["id"], row["user_id"]


async def link(tx: Tx, identity: NewIdentity) -> tuple[UUID, UUID]:
    """Return an identity's id and whose it is: a given user's, unless it was somebody's before."""
    row = await tx.fetchrow(
        """
        INSERT INTO identities AS i (id, user_id, issuer, subject, provider, sealed, created_at,
                                     last_sign_in_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $7)
        ON CONFLICT (issuer, subject) DO UPDATE SET provider = i.provider
        RETURNING id, user_id
        """,
        *msgspec.structs.astuple(identity),
    )
    assert row is not None
    return row["id"], row["user_id"]


async def describe(tx: Tx, identity_id: UUID, sealed: bytes) -> None:
    """Write what the provider told of a person last."""
    await tx.execute("UPDATE identities SET sealed = $2 WHERE id = $1", identity_id, sealed)


async def hold_session(tx: Tx, session_id: UUID, user_id: UUID, *, now: datetime) -> bool:
    """Return whether a user's session lives, and keep both from being erased until ``tx`` ends."""
    await tx.execute("SELECT FROM users WHERE id = $1 FOR KEY SHARE", user_id)
    row = await tx.fetchrow(
        """
        SELECT FROM sessions WHERE id = $1 AND user_id = $2 AND ended_at IS NULL AND expires_at > $3
        FOR KEY SHARE
        """,
        session_id,
        user_id,
        now,
    )
    return row is not None


async def bind_session(tx: Tx, session_id: UUID, identity_id: UUID, sid: str | None) -> None:
    """Note which identity opened a session, and the provider's own session."""
    await tx.execute(
        "INSERT INTO identity_sessions (session_id, identity_id, sid) VALUES ($1, $2, $3)",
        session_id,
        identity_id,
        sid,
    )


async def identities_of(connection: Connection | Database, user_id: UUID) -> Sequence[Row]:
    """Return a user's identities, the first linked first."""
    return await connection.fetch(
        """
        SELECT id, provider, issuer, sealed, created_at, last_sign_in_at FROM identities
        WHERE user_id = $1 ORDER BY created_at, id
        """,
        user_id,
    )


async def other_ways_in(tx: Tx, user_id: UUID, identity_id: UUID) -> int:
    """Return how many wallets and other identities a user has, and keep the number true until ``tx`` ends."""
    await tx.execute("SELECT FROM users WHERE id = $1 FOR NO KEY UPDATE", user_id)
    row = await tx.fetchrow(
        """
        SELECT (SELECT count(*) FROM wallets WHERE user_id = $1)
             + (SELECT count(*) FROM identities WHERE user_id = $1 AND id <> $2) AS ways
        """,
        user_id,
        identity_id,
    )
    assert row is not None
    return row["ways"]


async def identity_of(tx: Tx, user_id: UUID, identity_id: UUID) -> Row | None:
    """Return one identity of a user."""
    return await tx.fetchrow(
        "SELECT id, provider, issuer FROM identities WHERE id = $2 AND user_id = $1", user_id, identity_id
    )


async def end_sessions_of(tx: Tx, identity_id: UUID, *, now: datetime) -> list[UUID]:
    """End the live sessions that an identity opened; return which."""
    rows = await tx.fetch(
        """
        WITH live AS (
            SELECT s.id FROM identity_sessions i JOIN sessions s ON s.id = i.session_id
            WHERE i.identity_id = $1 AND s.ended_at IS NULL AND s.expires_at > $2
            ORDER BY s.id FOR UPDATE OF s
        )
        UPDATE sessions s SET ended_at = $2, ended_by = 'user' FROM live WHERE s.id = live.id
        RETURNING s.id, pg_notify('session_ended', s.id::text)
        """,
        identity_id,
        now,
    )
    return [row["id"] for row in rows]


async def delete_identity(tx: Tx, identity_id: UUID) -> None:
    """Forget an identity and what the provider told of it."""
    await tx.execute("DELETE FROM identities WHERE id = $1", identity_id)


async def end_by_provider(
    tx: Tx, issuer: str, subject: str | None, sid: str | None, *, until: datetime, now: datetime
) -> list[tuple[UUID, UUID]]:
    """End the live sessions that a provider signed out; return each with its identity.

    Those of its session ``sid`` where it names one, else those of ``subject`` that began before ``until``.
    """
    rows = await tx.fetch(
        """
        WITH live AS (
            SELECT s.id, one.id AS identity_id
            FROM identities one
            JOIN identity_sessions i ON i.identity_id = one.id
            JOIN sessions s ON s.id = i.session_id
            WHERE one.issuer = $1 AND ($2::text IS NULL OR one.subject = $2)
              AND CASE WHEN $3::text IS NULL THEN s.created_at <= $4 ELSE i.sid = $3 END
              AND s.ended_at IS NULL AND s.expires_at > $5
            ORDER BY s.id FOR UPDATE OF s
        )
        UPDATE sessions s SET ended_at = $5, ended_by = 'provider' FROM live WHERE s.id = live.id
        RETURNING s.id, live.identity_id, pg_notify('session_ended', s.id::text)
        """,
        issuer,
        subject,
        sid,
        until,
        now,
    )
    return [(row["id"], row["identity_id"]) for row in rows]


async def lock_identities(tx: Tx, user_id: UUID) -> None:
    """Wait for whoever signs in by a user's identities, and let nobody begin to until ``tx`` ends."""
    await tx.execute("SELECT FROM identities WHERE user_id = $1 ORDER BY id FOR NO KEY UPDATE", user_id)


async def forget_user(tx: Tx, user_id: UUID) -> None:
    """Forget all identities of a user, and what is under way for them."""
    await tx.execute("DELETE FROM oidc_starts WHERE user_id = $1", user_id)
    await tx.execute("DELETE FROM identities WHERE user_id = $1", user_id)
