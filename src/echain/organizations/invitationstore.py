"""All SQL of invitations."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from echain.infra.crypto import SealedColumn
from echain.infra.database import Connection, Database, Row, Tx

EMAIL: Final = SealedColumn("invitations", index_column="email_index", normal=bytes.lower)


class NewInvitation(msgspec.Struct, frozen=True):
    """An invitation about to be written; without an address it is passed on by whoever made it."""

    id: UUID
    organization_id: UUID
    role: str
    token_hash: bytes
    sealed: bytes | None
    email_index: bytes | None
    invited_by: UUID
    created_at: datetime
    expires_at: datetime


async def insert(tx: Tx, invitation: NewInvitation) -> None:
    """Keep a new invitation."""
    await tx.execute(
        """
        INSERT INTO invitations (id, organization_id, role, token_hash, sealed, email_index, invited_by,
                                 created_at, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        """,
        *msgspec.structs.astuple(invitation),
    )


async def counts(tx: Tx, organization_id: UUID, user_id: UUID, *, since: datetime, now: datetime) -> Row:
    """Return how many invitations are open, and how many the organization and the user made since a moment.

    ``again`` is when the oldest of those was made.
    """
    row = await tx.fetchrow(
        """
        SELECT count(*) FILTER (WHERE organization_id = $1 AND ended_at IS NULL AND expires_at > $4) AS open,
               count(*) FILTER (WHERE organization_id = $1 AND created_at > $3) AS of_organization,
               count(*) FILTER (WHERE invited_by = $2 AND created_at > $3) AS of_user,
               min(created_at) FILTER (WHERE created_at > $3) AS oldest
          FROM invitations
         WHERE (organization_id = $1 AND (created_at > $3 OR (ended_at IS NULL AND expires_at > $4)))
            OR (invited_by = $2 AND created_at > $3)
        """,
        organization_id,
        user_id,
        since,
        now,
    )
    assert row is not None
    return row


async def lock_email(tx: Tx, indexes: Sequence[bytes]) -> None:
    """Let those who invite one address take turns until the transaction ends."""
    await tx.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 17))", indexes[0].hex())


async def mails_to(tx: Tx, indexes: Sequence[bytes], since: datetime) -> Sequence[datetime]:
    """Return when an address was invited since a moment, whoever did it, the first first."""
    rows = await tx.fetch(
        """
        SELECT created_at FROM invitations WHERE email_index = ANY($1) AND created_at > $2
         ORDER BY created_at
        """,
        list(indexes),
        since,
    )
    return [row["created_at"] for row in rows]


async def open_of(
    connection: Connection | Database, organization_id: UUID, *, now: datetime
) -> Sequence[Row]:
    """Return an organization's open invitations, the newest first."""
    return await connection.fetch(
        """
        SELECT id, role, sealed, created_at, expires_at FROM invitations
         WHERE organization_id = $1 AND ended_at IS NULL AND expires_at > $2
         ORDER BY created_at DESC, id DESC
        """,
        organization_id,
        now,
    )


async def by_token(connection: Connection | Database, token_hash: bytes) -> Row | None:
    """Return the invitation of a token, whether or not it is open."""
    return await connection.fetchrow(
        """
        SELECT invitation.id, invitation.organization_id, invitation.role, expires_at, ended_at,
               organization.name
          FROM invitations AS invitation
          JOIN organizations AS organization ON organization.id = organization_id
         WHERE token_hash = $1
        """,
        token_hash,
    )


async def to_mail(connection: Connection, invitation_id: UUID, *, now: datetime) -> Row | None:
    """Return an open invitation that is to be mailed."""
    return await connection.fetchrow(
        """
        SELECT invitation.id, role, sealed, name FROM invitations AS invitation
          JOIN organizations AS organization ON organization.id = organization_id
         WHERE invitation.id = $1 AND ended_at IS NULL AND expires_at > $2 AND sealed IS NOT NULL
        """,
        invitation_id,
        now,
    )


async def end(tx: Tx, invitation_id: UUID, how: str, by: UUID | None, *, now: datetime) -> bool:
    """End an open invitation and forget whom it was mailed to; False when it is not open.

    Of those who race one changes the row; the others wait for its transaction and then find it ended.
    """
    row = await tx.fetchrow(
        """
        UPDATE invitations SET ended_at = $4, ended_how = $2, ended_by = $3, sealed = NULL
         WHERE id = $1 AND ended_at IS NULL AND expires_at > $4 RETURNING id
        """,
        invitation_id,
        how,
        by,
        now,
    )
    return row is not None


async def role_of(tx: Tx, organization_id: UUID, invitation_id: UUID, *, now: datetime) -> str | None:
    """Return the role of an organization's open invitation."""
    role: str | None = await tx.fetchval(
        """
        SELECT role FROM invitations
         WHERE id = $2 AND organization_id = $1 AND ended_at IS NULL AND expires_at > $3
        """,
        organization_id,
        invitation_id,
        now,
    )
    return role


async def revoke_of(
    tx: Tx, organization_id: UUID, user_id: UUID, *, except_to: Collection[str], now: datetime
) -> None:
    """Revoke a user's open invitations in a locked organization, but for those to some roles."""
    await tx.execute(
        """
        UPDATE invitations SET ended_at = $4, ended_how = 'revoked', sealed = NULL
         WHERE organization_id = $1 AND invited_by = $2 AND ended_at IS NULL AND NOT role = ANY($3)
        """,
        organization_id,
        user_id,
        list(except_to),
        now,
    )


async def revoke_offers(tx: Tx, user_id: UUID, *, now: datetime) -> None:
    """Revoke whatever a user has open, in all organizations."""
    await tx.execute(
        """
        UPDATE invitations SET ended_at = $2, ended_how = 'revoked', sealed = NULL
         WHERE id IN (SELECT id FROM invitations WHERE invited_by = $1 AND ended_at IS NULL
                       ORDER BY id FOR UPDATE)
        """,
        user_id,
        now,
    )


async def revoke_all(tx: Tx, organization_ids: Collection[UUID], *, now: datetime) -> None:
    """Revoke what organizations that end have open.

    The rows stay for as long as any, or whoever ends one organization after another mails without bounds.
    """
    await tx.execute(
        """
        UPDATE invitations SET ended_at = $2, ended_how = 'revoked', sealed = NULL
         WHERE organization_id = ANY($1) AND ended_at IS NULL
        """,
        list(organization_ids),
        now,
    )


async def mailed_since(
    tx: Tx, organization_id: UUID, user_id: UUID, since: datetime
) -> tuple[Sequence[datetime], Sequence[datetime]]:
    """Return when an organization, and when a user, had invitations mailed since a moment; oldest first."""
    rows = await tx.fetch(
        """
        SELECT created_at, organization_id = $1 AS here, invited_by IS NOT DISTINCT FROM $2 AS theirs
          FROM invitations
         WHERE (organization_id = $1 OR invited_by = $2) AND created_at > $3 AND email_index IS NOT NULL
         ORDER BY created_at
        """,
        organization_id,
        user_id,
        since,
    )
    here = [row["created_at"] for row in rows if row["here"]]
    return here, [row["created_at"] for row in rows if row["theirs"]]


async def sweep(
    database: Database, *, now: datetime, mailed_before: datetime, forget_before: datetime
) -> None:
    """Forget to whom invitations were mailed that are over, and altogether those that ended long ago."""
    await database.execute(
        """
        UPDATE invitations SET sealed = NULL, email_index = NULL
         WHERE email_index IS NOT NULL AND created_at <= $2 AND (ended_at IS NOT NULL OR expires_at <= $1)
        """,
        now,
        mailed_before,
    )
    await database.execute("DELETE FROM invitations WHERE expires_at <= $1", forget_before)
