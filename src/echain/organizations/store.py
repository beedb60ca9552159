"""All SQL of organizations, their wallets and members."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from echain.accounts.admintypes import UserSuspended
from echain.infra.database import Connection, Database, Row, Tx
from echain.kernel.evm import Address

STANDING_CHANNEL: Final = "standing_changed"


async def standing_to(connection: Connection | Database, user_id: UUID, organizer: Address) -> Row:
    """Return a wallet's organization, the user's role there, and whether the wallet is the user's own."""
    row = await connection.fetchrow(
        """
        SELECT owned.organization_id, organization.name, member.role,
               EXISTS (SELECT FROM wallets WHERE address = $2 AND user_id = $1) AS own
          FROM (SELECT) AS always
          LEFT JOIN organization_wallets AS owned ON owned.address = $2
          LEFT JOIN organizations AS organization ON organization.id = owned.organization_id
          LEFT JOIN members AS member
            ON member.organization_id = owned.organization_id AND member.user_id = $1
        """,
        user_id,
        organizer,
    )
    assert row is not None
    return row


async def organization_of(connection: Connection | Database, address: Address) -> UUID | None:
    """Return which organization a wallet belongs to."""
    return await connection.fetchval(
        "SELECT organization_id FROM organization_wallets WHERE address = $1", address
    )


async def role_in(connection: Connection | Database, user_id: UUID, organization_id: UUID) -> Row | None:
    """Return a user's role in an organization, and its name; deleted ones have no members."""
    return await connection.fetchrow(
        """
        SELECT member.role, organization.name
          FROM members AS member JOIN organizations AS organization ON organization.id = organization_id
         WHERE organization_id = $1 AND user_id = $2
        """,
        organization_id,
        user_id,
    )


async def reach_of(connection: Connection | Database, user_id: UUID, roles: Collection[str]) -> Row:
    """Return the organizations where the user has one of these roles, their wallets, and those of all theirs.

    The user's own wallets that belong to no organization count as if the user were their owner.
    """
    row = await connection.fetchrow(
        """
        WITH theirs AS (SELECT organization_id, role FROM members WHERE user_id = $1),
             shared AS (SELECT address, role FROM theirs JOIN organization_wallets USING (organization_id)),
             alone AS (
                 SELECT own.address, 'owner' AS role FROM wallets AS own
                  WHERE own.user_id = $1 AND NOT EXISTS (
                      SELECT FROM organization_wallets AS owned WHERE owned.address = own.address)
             ),
             every AS (SELECT * FROM shared UNION ALL SELECT * FROM alone)
        SELECT array(SELECT organization_id FROM theirs WHERE role = ANY($2)) AS organizations,
               array(SELECT address FROM every WHERE role = ANY($2)) AS wallets,
               array(SELECT address FROM every) AS every_wallet
        """,
        user_id,
        list(roles),
    )
    assert row is not None
    return row


async def lock_wallet(tx: Tx, address: Address) -> None:
    """Keep the organization of a wallet that signed in as it is until ``tx`` ends."""
    await tx.execute("SELECT FROM wallets WHERE address = $1 FOR NO KEY UPDATE", address)


async def insert_organization(
    tx: Tx, organization_id: UUID, name: str, owner: UUID, *, now: datetime
) -> None:
    """Keep a new organization with its first owner."""
    await tx.execute(
        """
        WITH made AS (INSERT INTO organizations (id, name, created_at) VALUES ($1, $2, $4))
        INSERT INTO members (organization_id, user_id, role, joined_at) VALUES ($1, $3, 'owner', $4)
        """,
        organization_id,
        name,
        owner,
        now,
    )


async def insert_wallet(tx: Tx, organization_id: UUID, address: Address, *, now: datetime) -> bool:
    """Give a wallet to an organization; False when it belongs to one."""
    row = await tx.fetchrow(
        """
        INSERT INTO organization_wallets (address, organization_id, added_at) VALUES ($1, $2, $3)
        ON CONFLICT (address) DO NOTHING RETURNING address
        """,
        address,
        organization_id,
        now,
    )
    return row is not None


async def wallets_of(connection: Connection | Database, organization_id: UUID) -> list[Address]:
    """Return an organization's wallets, the first first."""
    rows = await connection.fetch(
        "SELECT address FROM organization_wallets WHERE organization_id = $1 ORDER BY added_at, address",
        organization_id,
    )
    return [Address(row["address"]) for row in rows]


async def tell_standing(tx: Tx, user_ids: Sequence[UUID]) -> None:
    """Tell every process, once ``tx`` commits, that the standing of these users has changed."""
    await tx.execute(
        "SELECT pg_notify($1, user_id::text) FROM unnest($2::uuid[]) AS user_id", STANDING_CHANNEL, user_ids
    )


async def lock_user(tx: Tx, user_id: UUID) -> None:
    """Let what one user begins, joins or offers take turns until the transaction ends.

    Raises:
        UserSuspended: an administrator has suspended the user, whose session ends everywhere only now.
    """
    row = await tx.fetchrow("SELECT suspended_at FROM users WHERE id = $1 FOR NO KEY UPDATE", user_id)
    if row is not None and row["suspended_at"] is not None:
        raise UserSuspended


async def lock_for(tx: Tx, organization_id: UUID, user_id: UUID) -> bool:
    """Keep an organization as it is until the transaction ends, if the user is a member; return whether."""
    row = await tx.fetchrow(
        """
        SELECT FROM organizations
         WHERE id = $1 AND deleted_at IS NULL
           AND EXISTS (SELECT FROM members WHERE organization_id = $1 AND user_id = $2)
           FOR NO KEY UPDATE
        """,
        organization_id,
        user_id,
    )
    return row is not None


async def lock(tx: Tx, organization_id: UUID) -> str | None:
    """Keep an organization as it is until the transaction ends; return its name, None when it is deleted."""
    name: str | None = await tx.fetchval(
        "SELECT name FROM organizations WHERE id = $1 AND deleted_at IS NULL FOR NO KEY UPDATE",
        organization_id,
    )
    return name


_SHOWN: Final = """
    SELECT organization.id, organization.name, organization.created_at, member.role,
           array(SELECT address FROM organization_wallets AS owned
                  WHERE owned.organization_id = organization.id ORDER BY added_at, address) AS wallets
      FROM members AS member JOIN organizations AS organization ON organization.id = organization_id
     WHERE member.user_id = $1
"""


async def shown(connection: Connection | Database, user_id: UUID, organization_id: UUID) -> Row | None:
    """Return an organization as one of its members sees it."""
    return await connection.fetchrow(f"{_SHOWN} AND organization.id = $2", user_id, organization_id)


async def all_shown(connection: Connection | Database, user_id: UUID) -> Sequence[Row]:
    """Return a user's organizations, the first joined first."""
    return await connection.fetch(f"{_SHOWN} ORDER BY member.joined_at, organization.id", user_id)


async def rename(tx: Tx, organization_id: UUID, name: str) -> None:
    """Give a locked organization another name."""
    await tx.execute("UPDATE organizations SET name = $2 WHERE id = $1", organization_id, name)


async def delete_organization(tx: Tx, organization_id: UUID, *, now: datetime) -> None:
    """End a locked organization: nobody is in it, and no wallet belongs to it."""
    await tx.execute("UPDATE organizations SET deleted_at = $2 WHERE id = $1", organization_id, now)
    await tx.execute("DELETE FROM organization_wallets WHERE organization_id = $1", organization_id)
    await tx.execute("DELETE FROM members WHERE organization_id = $1", organization_id)


async def delete_wallet(tx: Tx, organization_id: UUID, address: Address) -> bool:
    """Take a wallet out of a locked organization; False when it has no such wallet."""
    row = await tx.fetchrow(
        "DELETE FROM organization_wallets WHERE organization_id = $1 AND address = $2 RETURNING address",
        organization_id,
        address,
    )
    return row is not None


async def holds_wallet(tx: Tx, user_id: UUID, organization_id: UUID, address: Address) -> bool:
    """Return whether a wallet of the organization is one that the user signed in with."""
    row = await tx.fetchrow(
        """
        SELECT FROM organization_wallets JOIN wallets USING (address)
         WHERE organization_id = $1 AND address = $2 AND user_id = $3
        """,
        organization_id,
        address,
        user_id,
    )
    return row is not None


async def members_of(connection: Connection | Database, organization_id: UUID) -> Sequence[Row]:
    """Return an organization's members, the first joined first, with their wallets."""
    return await connection.fetch(
        """
        SELECT user_id, role, joined_at,
               array(SELECT address FROM wallets AS own WHERE own.user_id = member.user_id
                      ORDER BY created_at, address) AS wallets
          FROM members AS member WHERE organization_id = $1 ORDER BY joined_at, user_id
        """,
        organization_id,
    )


async def roles_of(tx: Tx, organization_id: UUID) -> dict[UUID, str]:
    """Return who is what in a locked organization."""
    rows = await tx.fetch("SELECT user_id, role FROM members WHERE organization_id = $1", organization_id)
    return {row["user_id"]: row["role"] for row in rows}


async def memberships(connection: Connection, user_id: UUID) -> int:
    """Return in how many organizations a user is a member."""
    count: int | None = await connection.fetchval("SELECT count(*) FROM members WHERE user_id = $1", user_id)
    return count or 0


async def insert_member(tx: Tx, organization_id: UUID, user_id: UUID, role: str, *, now: datetime) -> None:
    """Add a member to a locked organization."""
    await tx.execute(
        "INSERT INTO members (organization_id, user_id, role, joined_at) VALUES ($1, $2, $3, $4)",
        organization_id,
        user_id,
        role,
        now,
    )


async def change_role(tx: Tx, organization_id: UUID, user_id: UUID, role: str) -> None:
    """Give a member of a locked organization another role."""
    await tx.execute(
        "UPDATE members SET role = $3 WHERE organization_id = $1 AND user_id = $2",
        organization_id,
        user_id,
        role,
    )


async def delete_member(tx: Tx, organization_id: UUID, user_id: UUID) -> None:
    """Remove a member of a locked organization."""
    await tx.execute(
        "DELETE FROM members WHERE organization_id = $1 AND user_id = $2", organization_id, user_id
    )
