"""All SQL of organizations, their wallets and members."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from echain.infra.database import Connection, Row, Tx
from echain.kernel.evm import Address

STANDING_CHANNEL: Final = "standing_changed"


async def standing_to(connection: Connection, user_id: UUID, organizer: Address) -> Row:
    """Return a wallet's organization, the user's role there, and whether the wallet is the user's own."""
    row = await connection.fetchrow(
        """
        SELECT owned.organization_id, member.role,
               EXISTS (SELECT FROM wallets WHERE address = $2 AND user_id = $1) AS own
          FROM (SELECT) AS always
          LEFT JOIN organization_wallets AS owned ON owned.address = $2
          LEFT JOIN members AS member
            ON member.organization_id = owned.organization_id AND member.user_id = $1
        """,
        user_id,
        organizer,
    )
    assert row is not None
    return row


async def role_in(connection: Connection, user_id: UUID, organization_id: UUID) -> str | None:
    """Return a user's role in an organization that is not deleted."""
    role: str | None = await connection.fetchval(
        "SELECT role FROM members WHERE organization_id = $1 AND user_id = $2", organization_id, user_id
    )
    return role


async def organizers_of(connection: Connection, user_id: UUID, roles: Collection[str]) -> list[Address]:
    """Return the wallets of organizations in which the user has one of these roles.

    With ``owner`` among them also the user's own wallets that belong to no organization.
    """
    rows = await connection.fetch(
        """
        SELECT owned.address
          FROM members AS member JOIN organization_wallets AS owned USING (organization_id)
         WHERE member.user_id = $1 AND member.role = ANY($2)
        UNION ALL
        SELECT own.address FROM wallets AS own
         WHERE own.user_id = $1 AND 'owner' = ANY($2)
           AND NOT EXISTS (SELECT FROM organization_wallets AS owned WHERE owned.address = own.address)
        """,
        user_id,
        list(roles),
    )
    return [Address(row["address"]) for row in rows]


async def organizations_of(connection: Connection, user_id: UUID, roles: Collection[str]) -> list[UUID]:
    """Return the organizations in which the user has one of these roles."""
    rows = await connection.fetch(
        "SELECT organization_id FROM members WHERE user_id = $1 AND role = ANY($2)", user_id, list(roles)
    )
    return [row["organization_id"] for row in rows]


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


async def wallets_of(connection: Connection, organization_id: UUID) -> list[Address]:
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
