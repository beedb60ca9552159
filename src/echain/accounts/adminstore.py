"""All SQL of the platform's administrators, and of suspending users."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from echain.infra.database import Connection, Database, Row, Tx
from echain.kernel.evm import Address


async def is_granted(database: Database | Connection, address: Address) -> bool:
    """Return whether a wallet was given the role."""
    row = await database.fetchrow("SELECT FROM platform_admins WHERE address = $1", address)
    return row is not None


async def granted(connection: Database | Connection) -> Sequence[Row]:
    """Return the wallets that were given the role, the first first."""
    return await connection.fetch(
        "SELECT address, granted_by, granted_at FROM platform_admins ORDER BY granted_at, address"
    )


async def lock_granted(tx: Tx) -> set[Address]:
    """Return the wallets that were given the role; nobody gives or takes it meanwhile.

    The table is locked, not its rows: a row that is about to come cannot be.
    """
    await tx.execute("LOCK TABLE platform_admins IN SHARE ROW EXCLUSIVE MODE")
    return {Address(row["address"]) for row in await tx.fetch("SELECT address FROM platform_admins")}


async def grant(tx: Tx, address: Address, by: Address, *, now: datetime) -> bool:
    """Give a wallet the role; False when it has it."""
    row = await tx.fetchrow(
        """
        INSERT INTO platform_admins (address, granted_by, granted_at) VALUES ($1, $2, $3)
        ON CONFLICT (address) DO NOTHING RETURNING address
        """,
        address,
        by,
        now,
    )
    return row is not None


async def revoke(tx: Tx, address: Address) -> bool:
    """Take the role from a wallet; False when it was not given it."""
    row = await tx.fetchrow("DELETE FROM platform_admins WHERE address = $1 RETURNING address", address)
    return row is not None


async def tell_role_changed(tx: Tx, address: Address) -> Sequence[UUID]:
    """Have every process ask anew, once ``tx`` commits, what the user of a wallet may; return whose it is.

    Who remembers callers hears it like the end of a session, who keeps channels open like a change of the
    user's standing in an organization.
    """
    rows = await tx.fetch(
        """
        SELECT user_id, pg_notify('session_ended', user_id::text),
               pg_notify('standing_changed', user_id::text)
        FROM wallets WHERE address = $1
        """,
        address,
    )
    return [row["user_id"] for row in rows]


async def suspend(tx: Tx, user_id: UUID, *, now: datetime) -> bool | None:
    """Suspend a user; False when they are already, None when there is no such user.

    Whoever opens a session or makes a key holds a lock on the user's row: this waits for them, and ends what
    they have made.
    """
    row = await tx.fetchrow("SELECT suspended_at FROM users WHERE id = $1 FOR UPDATE", user_id)
    if row is None:
        return None
    if row["suspended_at"] is not None:
        return False
    await tx.execute("UPDATE users SET suspended_at = $2 WHERE id = $1", user_id, now)
    return True


async def reinstate(tx: Tx, user_id: UUID) -> bool | None:
    """Let a suspended user in again; False when they are not suspended, None when there is no such user."""
    row = await tx.fetchrow("SELECT suspended_at FROM users WHERE id = $1 FOR UPDATE", user_id)
    if row is None:
        return None
    if row["suspended_at"] is None:
        return False
    await tx.execute("UPDATE users SET suspended_at = NULL WHERE id = $1", user_id)
    return True


async def end_everything(tx: Tx, user_id: UUID, *, now: datetime) -> Sequence[UUID]:
    """End all live sessions and keys of a user, telling all processes at commit; return which.

    Sessions are locked in the order of their ids, as when their user signs out everywhere.
    """
    rows = await tx.fetch(
        """
        WITH live AS (
            SELECT id FROM sessions WHERE user_id = $1 AND ended_at IS NULL AND expires_at > $2
            ORDER BY id FOR UPDATE
        ), sessions_ended AS (
            UPDATE sessions SET ended_at = $2, ended_by = 'admin'
            FROM live WHERE sessions.id = live.id RETURNING sessions.id
        ), keys_revoked AS (
            UPDATE api_keys SET revoked_at = $2
            WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2 RETURNING id
        )
        SELECT id, pg_notify('session_ended', id::text)
        FROM (SELECT id FROM sessions_ended UNION ALL SELECT id FROM keys_revoked) AS ended ORDER BY id
        """,
        user_id,
        now,
    )
    return [row["id"] for row in rows]


async def suspended(tx: Tx, user_id: UUID) -> bool:
    """Return whether a user is suspended, and keep it so until ``tx`` ends."""
    row = await tx.fetchrow("SELECT suspended_at FROM users WHERE id = $1 FOR SHARE", user_id)
    return row is not None and row["suspended_at"] is not None


_USERS = """
    SELECT users.id, users.created_at, users.suspended_at, wallets.addresses, wallets.last_sign_in_at
    FROM users
    LEFT JOIN LATERAL (
        SELECT array_agg(address ORDER BY created_at, address) AS addresses,
               max(last_sign_in_at) AS last_sign_in_at
        FROM wallets WHERE user_id = users.id
    ) AS wallets ON true
"""


async def users(
    connection: Database | Connection,
    *,
    suspended: bool | None,
    before: UUID | None,
    limit: int,
) -> Sequence[Row]:
    """Return the newest users before one, those suspended, those not, or all."""
    return await connection.fetch(
        f"""
        {_USERS} WHERE ($1::boolean IS NULL OR (users.suspended_at IS NOT NULL) = $1)
          AND ($2::uuid IS NULL OR users.id < $2)
        ORDER BY users.id DESC LIMIT $3
        """,
        suspended,
        before,
        limit,
    )


async def user(connection: Database | Connection, user_id: UUID) -> Row | None:
    """Return one user as `users` does."""
    return await connection.fetchrow(f"{_USERS} WHERE users.id = $1", user_id)


async def users_by_wallet(
    connection: Database | Connection, first: bytes, last: bytes, *, limit: int
) -> Sequence[Row]:
    """Return the users with a wallet from ``first`` to ``last``, as `users` does."""
    return await connection.fetch(
        f"""
        {_USERS} WHERE users.id IN (
            SELECT user_id FROM wallets WHERE address BETWEEN $1 AND $2 ORDER BY address LIMIT $3
        )
        ORDER BY users.id DESC
        """,  # noqa: S608 -- a constant
        first,
        last,
        limit,
    )


async def usage(connection: Database | Connection, user_id: UUID, *, now: datetime) -> Row:
    """Return how many live sessions and keys a user has, and when a session was used last."""
    row = await connection.fetchrow(
        """
        SELECT count(*) AS sessions, max(refreshed_at) AS refreshed_at,
               (SELECT count(*) FROM api_keys
                WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2) AS keys
        FROM sessions WHERE user_id = $1 AND ended_at IS NULL AND expires_at > $2
        """,
        user_id,
        now,
    )
    assert row is not None, "an aggregate has a row"
    return row
