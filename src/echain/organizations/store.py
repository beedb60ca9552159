"""All SQL of organizations, their wallets and members."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

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
