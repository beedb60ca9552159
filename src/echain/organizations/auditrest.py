"""The route of an organization's audit log."""

from __future__ import annotations

from typing import Final
from uuid import UUID

import msgspec

from echain.edge.http import Auth, Call, Endpoint, Nothing, get
from echain.infra.audit import reading
from echain.infra.audit.reading import AuditEntry, AuditFilter
from echain.infra.database import Database
from echain.kernel.paging import Page
from echain.organizations import service
from echain.organizations.types import OrganizationNotFound, Permission, PermissionMissing

TAG: Final = "organizations"


class OrganizationPath(msgspec.Struct, frozen=True):
    """An organization."""

    id: UUID


def endpoints(database: Database) -> list[Endpoint]:
    """Return the route that shows what was changed in an organization, and by whom."""

    @get(
        "/api/v1/organizations/{id}/audit",
        summary="What was changed in an organization, by whom, the newest first",
        tag=TAG,
        answer=list[AuditEntry],
        path_params=OrganizationPath,
        query=AuditFilter,
        auth=Auth.USER,
        errors=(OrganizationNotFound, PermissionMissing),
        description="Nobody can change an entry; `echain audit verify` finds whoever tried.",
    )
    async def audit(call: Call[OrganizationPath, AuditFilter, Nothing]) -> Page[AuditEntry]:
        async with database.connection() as connection:
            await service.require_of(connection, call.user, call.path.id, Permission.AUDIT_READ)
            return await reading.page(connection, call.query, chain=call.path.id)

    return [audit]
