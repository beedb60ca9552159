"""What organizations keep of a person: where they belong, whom they invited. The organizations stay."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

from echain.infra.crypto import DataKeys
from echain.infra.database import Connection, Tx
from echain.infra.personal import Holding, Section, Subject
from echain.kernel.errors import EchainError, Kind
from echain.organizations import invitationstore, store
from echain.organizations.invitationstore import EMAIL

_ERASED: Final = "erased"

_MEMBERSHIPS: Final = """
    SELECT organization_id::text AS key, organization_id AS "organizationId", name, role,
           joined_at AS "joinedAt"
      FROM members JOIN subject USING (user_id) JOIN organizations ON organizations.id = organization_id
"""
_WALLETS: Final = """
    SELECT encode(address, 'hex') AS key, address, organization_id AS "organizationId", added_at AS "addedAt"
      FROM organization_wallets WHERE address = ANY((SELECT wallets FROM subject)::bytea[])
"""
# The invited person's address is theirs, and not shown here.
_INVITATIONS: Final = """
    SELECT id::text AS key, id, organization_id AS "organizationId", role, invited_by = user_id AS "byYou",
           created_at AS "createdAt", ended_at AS "endedAt", ended_how AS "endedHow"
      FROM invitations JOIN subject ON user_id IN (invited_by, ended_by)
"""


class HandOverFirst(EchainError):
    """Others are members where you are the only owner; make one of them an owner, or delete it."""

    kind = Kind.CONFLICT
    code = "organizations.hand_over_first"


async def alone_in(connection: Connection, user_id: UUID) -> list[UUID]:
    """Return the organizations of which a user is the only member; they end with the user."""
    rows = await connection.fetch(
        """
        SELECT organization_id FROM members AS own
         WHERE user_id = $1 AND NOT EXISTS (
             SELECT FROM members AS other
              WHERE other.organization_id = own.organization_id AND other.user_id <> $1)
         ORDER BY organization_id
        """,
        user_id,
    )
    return [row["organization_id"] for row in rows]


async def _lock(tx: Tx, subject: Subject, _now: datetime) -> None:
    """Keep the members of the user's organizations as they are.

    Raises:
        HandOverFirst: somebody else is a member where the user is the only owner.
    """
    await tx.execute(
        """
        SELECT FROM organizations WHERE id IN (SELECT organization_id FROM members WHERE user_id = $1)
         ORDER BY id FOR UPDATE
        """,
        subject.user_id,
    )
    rows = await tx.fetch(
        """
        SELECT organizations.id, name FROM members AS own JOIN organizations ON id = organization_id
         WHERE user_id = $1 AND role = 'owner'
           AND EXISTS (SELECT FROM members AS other
                        WHERE other.organization_id = own.organization_id AND other.user_id <> $1)
           AND NOT EXISTS (SELECT FROM members AS other
                            WHERE other.organization_id = own.organization_id AND other.user_id <> $1
                              AND other.role = 'owner')
         ORDER BY organizations.id
        """,
        subject.user_id,
    )
    if rows:
        raise HandOverFirst(organizations=[{"id": str(row["id"]), "name": row["name"]} for row in rows])


async def _forget(tx: Tx, subject: Subject, now: datetime) -> None:
    """End the organizations that nobody else is in, and leave the others; what the user offered ends.

    A wallet whose organization goes on stays its organizer's: its events stand on the chain.
    """
    alone = await alone_in(tx, subject.user_id)
    await invitationstore.revoke_all(tx, alone, now=now)
    await invitationstore.revoke_offers(tx, subject.user_id, now=now)
    await tx.execute("DELETE FROM organization_wallets WHERE organization_id = ANY($1)", alone)
    await tx.execute(
        "UPDATE organizations SET deleted_at = $2, name = $3 WHERE id = ANY($1)", alone, now, _ERASED
    )
    await tx.execute("DELETE FROM members WHERE user_id = $1", subject.user_id)
    await tx.execute("UPDATE invitations SET invited_by = NULL WHERE invited_by = $1", subject.user_id)
    await tx.execute("UPDATE invitations SET ended_by = NULL WHERE ended_by = $1", subject.user_id)
    await store.tell_standing(tx, [subject.user_id])


async def forget_invited(tx: Tx, keys: DataKeys, address: bytes, now: datetime) -> None:
    """Take back invitations to an e-mail address, and forget it with them."""
    await tx.execute(
        """
        UPDATE invitations
           SET sealed = NULL, email_index = NULL, ended_at = coalesce(ended_at, $2),
               ended_how = coalesce(ended_how, 'revoked')
         WHERE email_index = ANY($1)
        """,
        list(EMAIL.indexes(keys, address)),
        now,
    )


HOLDING: Final = Holding(
    (
        Section("organizations", "Organizations that you belong to, and as what.", _MEMBERSHIPS),
        Section("organizationWallets", "Wallets of yours whose events belong to an organization.", _WALLETS),
        Section("invitations", "Invitations that you made or answered.", _INVITATIONS),
    ),
    _forget,
    _lock,
)
