"""All organizations, for administrators of the platform."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec

from echain.edge.http import AddressText
from echain.infra.database import Database, Row
from echain.kernel.evm import Address, checksum
from echain.kernel.paging import Page, PageInfo
from echain.organizations import overviewstore, store
from echain.organizations.types import OrganizationNotFound, Role


class OrganizationSummary(msgspec.Struct, frozen=True, rename="camel"):
    """An organization, with how many members it has and how many events stand on chain by its wallets."""

    id: UUID
    name: str
    created_at: datetime
    deleted_at: datetime | None
    wallets: list[AddressText]
    members: int
    events: int


class Membership(msgspec.Struct, frozen=True, rename="camel"):
    """A member and their role."""

    user_id: UUID
    role: Role
    joined_at: datetime


class OrganizationReport(OrganizationSummary, frozen=True, rename="camel"):
    """With its members."""

    people: list[Membership]


class OrganizationSearch(msgspec.Struct, frozen=True):
    """A part of the organizations, the newest first, of those whose name holds ``search``."""

    search: Annotated[str, msgspec.Meta(max_length=80)] = ""
    cursor: UUID | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 50


async def organizations(database: Database, part: OrganizationSearch) -> Page[OrganizationSummary]:
    """Return a part of all organizations, deleted ones too."""
    rows = await overviewstore.organizations(
        database, search=part.search, before=part.cursor, limit=part.limit + 1
    )
    shown = [OrganizationSummary(**_fields(row)) for row in rows[: part.limit]]
    following = str(shown[-1].id) if len(rows) > part.limit else None
    return Page(shown, PageInfo(per_page=part.limit, next_cursor=following))


async def organization(database: Database, organization_id: UUID) -> OrganizationReport:
    """Return one organization with its members.

    Raises:
        OrganizationNotFound: there never was one of this id.
    """
    row = await overviewstore.organization(database, organization_id)
    if row is None:
        raise OrganizationNotFound
    members = await store.members_of(database, organization_id)
    return OrganizationReport(
        **_fields(row),
        people=[Membership(one["user_id"], Role(one["role"]), one["joined_at"]) for one in members],
    )


def _fields(row: Row) -> dict[str, Any]:
    fields = dict(row.items())
    fields["wallets"] = [checksum(Address(one)) for one in row["wallets"]]
    return fields
