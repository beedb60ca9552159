"""What slices above ask: what somebody is to an organizer, and whether that allows what they want."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from echain.edge.http import Caller
from echain.infra.database import Connection, Database, Tx
from echain.kernel.errors import EchainError
from echain.kernel.evm import Address, checksum
from echain.kernel.ids import uuid7
from echain.organizations import rules, store
from echain.organizations.types import (
    NoWallet,
    OrganizationNotFound,
    Permission,
    PermissionMissing,
    Role,
    Standing,
    WalletTaken,
)

STANDING_CHANNEL: Final = store.STANDING_CHANNEL
"""PostgreSQL's channel on which each change of somebody's standing is told when it commits.

The payload is the user's id in its canonical text and nothing else: what the user may do from then on is to
be read again. Told for every member when an organization gets or loses a wallet, or is deleted; for one when
they join, leave, are removed or get another role. A listener that was away has missed some, and must take
every standing as changed.
"""


async def require(
    connection: Connection | Database,
    caller: Caller,
    organizer: Address,
    permission: Permission,
    *,
    missing: type[EchainError],
) -> Standing:
    """Return what the caller is to the organizer of an event; one statement, read at each request.

    A wallet without organization is its own user's, who stands as its owner.

    Raises:
        EchainError: ``missing``, when the caller has nothing to do with that wallet or its organization.
        PermissionMissing: the caller's role does not allow it.
    """
    standing = await standing_to(connection, caller, organizer)
    if standing is None:
        raise missing
    check(standing.role, permission)
    return standing


async def require_of(
    connection: Connection | Database,
    caller: Caller,
    organization_id: UUID,
    permission: Permission,
    *,
    missing: type[EchainError] = OrganizationNotFound,
) -> Standing:
    """Return what the caller is in an organization; one statement, read at each request.

    Raises:
        EchainError: ``missing``, when the caller is no member, or there is no such organization.
        PermissionMissing: the caller's role does not allow it.
    """
    row = await store.role_in(connection, caller.id, organization_id) if caller.kind == "user" else None
    if row is None:
        raise missing
    standing = Standing(organization_id, Role(row["role"]), row["name"])
    check(standing.role, permission)
    return standing


async def standing_to(
    connection: Connection | Database, caller: Caller, organizer: Address
) -> Standing | None:
    """Return what the caller is to the organizer of an event, None when nothing."""
    if caller.kind != "user":
        return None
    row = await store.standing_to(connection, caller.id, organizer)
    if row["organization_id"] is None:
        return Standing(None, Role.OWNER) if row["own"] else None
    if row["role"] is None:
        return None
    return Standing(row["organization_id"], Role(row["role"]), row["name"])


async def organization_of(connection: Connection | Database, organizer: Address) -> UUID | None:
    """Return which organization a wallet and its events belong to, None when to none."""
    return await store.organization_of(connection, organizer)


def check(role: Role, permission: Permission) -> None:
    """Refuse what a role does not allow.

    Raises:
        PermissionMissing: the details say the role, the permission, and which roles have it.
    """
    if not rules.allows(role, permission):
        raise PermissionMissing(
            f"As {role} of the organization you lack the permission {permission}; ask an owner.",
            role=role,
            permission=permission,
            roles=[one.value for one in rules.roles_with(permission)],
        )


class Reach(msgspec.Struct, frozen=True):
    """What a user has a permission for: ``organizations``, and the ``wallets`` whose events they are.

    ``every_wallet`` holds those of all the user's organizations, whatever the role. Wallets of the user's own
    that belong to no organization count among both.
    """

    organizations: Sequence[UUID]
    wallets: Sequence[Address]
    every_wallet: Sequence[Address]


async def reach(connection: Connection | Database, user_id: UUID, permission: Permission) -> Reach:
    """Return everything for which the user has a permission; one statement."""
    row = await store.reach_of(connection, user_id, rules.roles_with(permission))
    return Reach(**row)


async def organization_of_wallet(
    tx: Tx, caller: Caller, wallet: Address, permission: Permission, *, now: datetime
) -> tuple[Standing, bool]:
    """Return what the caller is in the organization of their own wallet, and whether it was made just now.

    Raises:
        WalletTaken: it belongs to an organization that the caller is no member of.
        PermissionMissing: the caller's role there does not allow it.
    """
    await store.lock_wallet(tx, wallet)
    row = await store.standing_to(tx, caller.id, wallet)
    organization_id: UUID | None = row["organization_id"]
    if organization_id is None:
        organization_id = uuid7()
        name = default_name(wallet)
        await store.insert_organization(tx, organization_id, name, caller.id, now=now)
        await store.insert_wallet(tx, organization_id, wallet, now=now)
        return Standing(organization_id, Role.OWNER, name), True
    if row["role"] is None:
        raise WalletTaken(None, organizationId=str(organization_id))
    check(Role(row["role"]), permission)
    return Standing(organization_id, Role(row["role"]), row["name"]), False


async def signer(
    connection: Connection | Database, organization_id: UUID, preferred: Address | None
) -> Address:
    """Return the wallet that publishes for an organization.

    It is ``preferred`` where that is one of its wallets, else the one that it has had the longest.

    Raises:
        NoWallet: the organization has none.
    """
    wallets = await store.wallets_of(connection, organization_id)
    if not wallets:
        raise NoWallet
    return preferred if preferred is not None and preferred in wallets else wallets[0]


async def tell_standing(tx: Tx, user_ids: Collection[UUID]) -> None:
    """Tell on STANDING_CHANNEL, once ``tx`` commits, that the standing of these users has changed."""
    await store.tell_standing(tx, sorted(user_ids))


def default_name(wallet: Address) -> str:
    """Return what an organization is called until its owner names it: its wallet, shortened."""
    text = checksum(wallet)
    return f"{text[:6]}…{text[-4:]}"


def allows(standing: Standing, permission: Permission) -> bool:
    """Return whether what somebody is allows something."""
    return rules.allows(standing.role, permission)


def roles_with(permission: Permission) -> list[Role]:
    """Return the roles that allow something."""
    return rules.roles_with(permission)


async def wallets_of(connection: Connection | Database, organization_id: UUID) -> list[Address]:
    """Return the wallets whose events are an organization's, the one that it has had the longest first."""
    return await store.wallets_of(connection, organization_id)
