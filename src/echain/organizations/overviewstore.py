"""SQL of all organizations, as administrators of the platform see them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from echain.infra.database import Connection, Database, Row

_ALL: Final = """
    SELECT organization.id, organization.name, organization.created_at, organization.deleted_at,
           (SELECT count(*) FROM members WHERE organization_id = organization.id) AS members,
           array(SELECT address FROM organization_wallets AS owned
                  WHERE owned.organization_id = organization.id ORDER BY added_at, address) AS wallets,
           (SELECT count(*) FROM organization_wallets AS owned
              JOIN events ON events.organizer = owned.address
             WHERE owned.organization_id = organization.id) AS events
      FROM organizations AS organization
"""


async def organizations(
    connection: Connection | Database, *, search: str, before: UUID | None, limit: int
) -> Sequence[Row]:
    """Return the newest organizations before one, whose name holds a text."""
    return await connection.fetch(
        f"""
        {_ALL} WHERE ($1 = '' OR strpos(lower(organization.name), lower($1)) > 0)
          AND ($2::uuid IS NULL OR organization.id < $2)
        ORDER BY organization.id DESC LIMIT $3
        """,
        search,
        before,
        limit,
    )


async def organization(connection: Connection | Database, organization_id: UUID) -> Row | None:
    """Return one organization, deleted ones too."""
    return await connection.fetchrow(f"{_ALL} WHERE organization.id = $1", organization_id)
