"""What signing in keeps of a person, and how it goes. See `docs/privacy.md` for what stays elsewhere."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

from echain.accounts import store
from echain.infra.database import Connection, Tx
from echain.infra.personal import Holding, Section, Subject
from echain.kernel.errors import EchainError, Kind
from echain.kernel.evm import ZERO_ADDRESS, Address


class StillAdministrator(EchainError):
    """You administer the platform; have the role taken from your wallet first, by yourself or by another."""

    kind = Kind.CONFLICT
    code = "auth.still_administrator"


_SECTIONS: Final = (
    Section(
        "account",
        "The account itself.",
        """
        SELECT id::text AS key, id, created_at AS "createdAt", suspended_at AS "suspendedAt"
          FROM users JOIN subject ON subject.user_id = users.id
        """,
    ),
    Section(
        "wallets",
        "Wallets that signed in as this account.",
        """
        SELECT encode(address, 'hex') AS key, address, created_at AS "createdAt",
               last_sign_in_at AS "lastSignInAt"
          FROM wallets JOIN subject USING (user_id)
        """,
    ),
    Section(
        "sessions",
        "Devices that are signed in, and those whose session ended within the last 30 days.",
        """
        SELECT id::text AS key, id, address, device, name, method, created_at AS "createdAt",
               refreshed_at AS "refreshedAt", expires_at AS "expiresAt", ended_at AS "endedAt",
               ended_by AS "endedBy"
          FROM sessions JOIN subject USING (user_id)
        """,
    ),
    Section(
        "apiKeys",
        "API keys. Of a key itself only a hash is kept, which is not shown.",
        """
        SELECT id::text AS key, id, address, name, prefix, scopes, created_at AS "createdAt",
               expires_at AS "expiresAt", last_used_at AS "lastUsedAt", revoked_at AS "revokedAt",
               most_writes AS "mostWrites", most_reads AS "mostReads"
          FROM api_keys JOIN subject USING (user_id)
        """,
    ),
)


async def subject_of(connection: Connection, user_id: UUID) -> Subject | None:
    """Return a user with all wallets; None when there is none."""
    if await connection.fetchval("SELECT TRUE FROM users WHERE id = $1", user_id) is None:
        return None
    return Subject(user_id, tuple(await store.addresses_of(connection, user_id)))


async def opened_at(connection: Connection, session_id: UUID) -> datetime | None:
    """Return when a session was opened; refreshing it since does not count."""
    opened: datetime | None = await connection.fetchval(
        "SELECT created_at FROM sessions WHERE id = $1", session_id
    )
    return opened


async def lock_person(tx: Tx, user_id: UUID) -> Subject | None:
    """Return a user with all wallets, and let none of them sign in until ``tx`` ends; None: there is none.

    In the order of a sign-in, which holds the wallet when it asks for the user. And in the weaker mode, for
    whoever holds the user's row may still have to see by a foreign key that the wallet is there.
    """
    rows = await tx.fetch(
        "SELECT address FROM wallets WHERE user_id = $1 ORDER BY address FOR NO KEY UPDATE", user_id
    )
    if await tx.fetchval("SELECT TRUE FROM users WHERE id = $1 FOR NO KEY UPDATE", user_id) is None:
        return None
    return Subject(user_id, tuple(Address(row["address"]) for row in rows))


async def lock_alone(tx: Tx, user_id: UUID) -> None:
    """Wait for whoever writes about a person that `lock_person` locked, and let nobody begin to."""
    await tx.execute("SELECT FROM users WHERE id = $1 FOR UPDATE", user_id)


async def _lock(tx: Tx, subject: Subject, _now: datetime) -> None:
    """Keep the platform's administrators as they are.

    Raises:
        StillAdministrator: the person is one.
    """
    held = await tx.fetchval(
        "SELECT TRUE FROM platform_admins WHERE address = ANY($1) FOR UPDATE", list(subject.wallets)
    )
    if held:
        raise StillAdministrator


async def _forget(tx: Tx, subject: Subject, _now: datetime) -> None:
    """Erase the account; its sessions and keys are refused by every process once ``tx`` commits."""
    for table in ("sessions", "api_keys"):
        await tx.execute(
            f"""
            WITH gone AS (DELETE FROM {table} WHERE user_id = $1 RETURNING id)
            SELECT pg_notify('session_ended', id::text) FROM gone
            """,  # noqa: S608 -- one of two constants
            subject.user_id,
        )
    await tx.execute(
        "UPDATE platform_admins SET granted_by = $2 WHERE granted_by = ANY($1)",
        list(subject.wallets),
        ZERO_ADDRESS,
    )
    await tx.execute("DELETE FROM sign_in_nonces WHERE address = ANY($1)", list(subject.wallets))
    await tx.execute("DELETE FROM wallets WHERE user_id = $1", subject.user_id)
    await tx.execute("DELETE FROM users WHERE id = $1", subject.user_id)


HOLDING: Final = Holding(_SECTIONS, _forget, _lock)
