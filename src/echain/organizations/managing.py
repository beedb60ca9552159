"""Use cases of organizations: begun, named, given wallets, staffed, handed over, ended."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

import msgspec

from echain.edge.http import Caller
from echain.infra.database import Connection, Database, Row, Tx
from echain.kernel.evm import Address, checksum
from echain.kernel.ids import uuid7
from echain.organizations import invitationstore, rules, service, store
from echain.organizations.types import (
    EventsRunning,
    LastOwner,
    Member,
    MemberNotFound,
    Organization,
    OrganizationNotFound,
    Permission,
    Role,
    Standing,
    TooManyOrganizations,
    TooManyWallets,
    WalletNotFound,
    WalletTaken,
)


class Holdings(Protocol):
    """What slices above keep for organizations; `entry` hands it in."""

    async def changed(self, tx: Tx, wallets: Collection[Address]) -> None:
        """Show these wallets' events anew: their organization, or its name, has changed."""
        ...

    async def running(self, tx: Tx, wallets: Collection[Address], now: datetime) -> int:
        """Return how many events of these wallets are neither over nor cancelled."""
        ...

    async def dropped(self, tx: Tx, organization_id: UUID, now: datetime) -> None:
        """Delete the drafts of an organization that ends."""
        ...


class Change(msgspec.Struct, frozen=True):
    """A member's role before and after; None is no member."""

    before: Role | None
    after: Role | None


async def create(tx: Tx, caller: Caller, name: str, *, now: datetime) -> Organization:
    """Begin an organization of which the caller is the owner; it has no wallet yet.

    Raises:
        Invalid: no name that can be shown.
        TooManyOrganizations: the caller is in 50.
    """
    name = rules.name_of(name)
    await check_room(tx, caller.id)
    organization_id = uuid7()
    await store.insert_organization(tx, organization_id, name, caller.id, now=now)
    return await read(tx, caller, organization_id)


async def check_room(tx: Tx, user_id: UUID) -> None:
    """Lock a user, who may begin or join one organization more.

    Raises:
        TooManyOrganizations: they are in 50.
    """
    await store.lock_user(tx, user_id)
    if await store.memberships(tx, user_id) >= rules.MOST_ORGANIZATIONS:
        raise TooManyOrganizations


async def read(connection: Connection | Database, caller: Caller, organization_id: UUID) -> Organization:
    """Return an organization as the caller sees it; one statement.

    Raises:
        OrganizationNotFound: there is none, or the caller is no member.
    """
    row = await store.shown(connection, caller.id, organization_id)
    if row is None:
        raise OrganizationNotFound
    return _shown(row)


async def mine(connection: Connection | Database, caller: Caller) -> list[Organization]:
    """Return the caller's organizations, the first joined first; one statement."""
    return [_shown(row) for row in await store.all_shown(connection, caller.id)]


async def rename(
    tx: Tx, caller: Caller, organization_id: UUID, name: str, holdings: Holdings
) -> tuple[Organization, str]:
    """Call an organization something else, everywhere it is shown; return it, and its old name.

    Raises:
        OrganizationNotFound, PermissionMissing: see `locked`.
        Invalid: no name that can be shown.
    """
    name = rules.name_of(name)
    standing = await locked(tx, caller, organization_id, Permission.MEMBERS)
    await store.rename(tx, organization_id, name)
    await holdings.changed(tx, await store.wallets_of(tx, organization_id))
    assert standing.name is not None
    return await read(tx, caller, organization_id), standing.name


async def delete(tx: Tx, caller: Caller, organization_id: UUID, holdings: Holdings, *, now: datetime) -> None:
    """End an organization and its drafts; its wallets belong to those who signed in with them again.

    Raises:
        OrganizationNotFound, PermissionMissing: see `locked`.
        EventsRunning: it has events that are not over; the details say how many.
    """
    await locked(tx, caller, organization_id, Permission.MEMBERS)
    wallets = await store.wallets_of(tx, organization_id)
    if running := await holdings.running(tx, wallets, now):
        raise EventsRunning(None, events=running)
    members = await store.roles_of(tx, organization_id)
    await holdings.dropped(tx, organization_id, now)
    await holdings.changed(tx, wallets)
    await invitationstore.revoke_all(tx, [organization_id], now=now)
    await store.delete_organization(tx, organization_id, now=now)
    await service.tell_standing(tx, members)


async def add_wallet(
    tx: Tx, caller: Caller, organization_id: UUID, wallet: Address, holdings: Holdings, *, now: datetime
) -> Organization:
    """Give the wallet that the caller signed in with to an organization: its events are the organization's.

    Giving it what it has already changes nothing.

    Raises:
        OrganizationNotFound, PermissionMissing: see `locked`.
        WalletTaken: it belongs to another organization.
        TooManyWallets: the organization has 20.
    """
    await store.lock_wallet(tx, wallet)
    await locked(tx, caller, organization_id, Permission.MEMBERS)
    wallets = await store.wallets_of(tx, organization_id)
    if wallet not in wallets:
        if len(wallets) >= rules.MOST_WALLETS:
            raise TooManyWallets
        if not await store.insert_wallet(tx, organization_id, wallet, now=now):
            raise WalletTaken
        await _moved(tx, organization_id, wallet, holdings)
    return await read(tx, caller, organization_id)


async def remove_wallet(
    tx: Tx, caller: Caller, organization_id: UUID, wallet: Address, holdings: Holdings
) -> None:
    """Take a wallet, and with it its events, out of an organization; drafts stay.

    Owners may, and whoever signed in with that wallet, member or not: who holds its key runs its events on
    the chain in any case.

    Raises:
        OrganizationNotFound, PermissionMissing: neither an owner nor the wallet's own user.
        WalletNotFound: the organization has no such wallet.
    """
    if await store.holds_wallet(tx, caller.id, organization_id, wallet):
        await store.lock(tx, organization_id)
    else:
        await locked(tx, caller, organization_id, Permission.MEMBERS)
    if not await store.delete_wallet(tx, organization_id, wallet):
        raise WalletNotFound
    await _moved(tx, organization_id, wallet, holdings)


async def members(connection: Connection | Database, caller: Caller, organization_id: UUID) -> list[Member]:
    """Return an organization's members, at most 200, the first joined first; two statements.

    Raises:
        OrganizationNotFound, PermissionMissing: see `service.require_of`.
    """
    await service.require_of(connection, caller, organization_id, Permission.GATE_STAFF)
    return [_member(row) for row in await store.members_of(connection, organization_id)]


async def member(connection: Connection, organization_id: UUID, user_id: UUID) -> Member:
    """Return one member of an organization."""
    row = next(
        row for row in await store.members_of(connection, organization_id) if row["user_id"] == user_id
    )
    return _member(row)


async def check_owner(connection: Connection | Database, caller: Caller, organization_id: UUID) -> None:
    """Refuse before a signature is asked for what will be refused after it.

    Raises:
        OrganizationNotFound, PermissionMissing: see `service.require_of`.
    """
    await service.require_of(connection, caller, organization_id, Permission.MEMBERS)


async def owns(connection: Connection | Database, organization_id: UUID, user_id: UUID) -> bool:
    """Return whether a user is an owner of an organization now."""
    row = await store.role_in(connection, user_id, organization_id)
    return row is not None and row["role"] == Role.OWNER


async def change_role(
    tx: Tx, caller: Caller, organization_id: UUID, user_id: UUID, role: Role, *, now: datetime
) -> Change:
    """Give a member another role.

    Raises:
        OrganizationNotFound, PermissionMissing: see `locked`.
        MemberNotFound: nobody with this id is a member.
        LastOwner: nobody else is an owner.
    """
    await locked(tx, caller, organization_id, Permission.MEMBERS)
    roles = await store.roles_of(tx, organization_id)
    change = Change(_role(roles, user_id), role)
    _check_owner_stays(roles, user_id, role)
    if change.before is not role:
        await store.change_role(tx, organization_id, user_id, role)
        await _changed(tx, organization_id, {user_id: role}, now)
    return change


async def remove_member(
    tx: Tx, caller: Caller, organization_id: UUID, user_id: UUID, *, now: datetime
) -> Change:
    """End a membership: the caller's own, or that of somebody whom the caller's role may remove.

    Raises:
        OrganizationNotFound: the caller is no member.
        PermissionMissing: the caller's role may not remove anybody, or not from that role.
        MemberNotFound: nobody with this id is a member.
        LastOwner: nobody else is an owner.
    """
    leaves = user_id == caller.id
    standing = await locked(tx, caller, organization_id, None if leaves else Permission.GATE_STAFF)
    roles = await store.roles_of(tx, organization_id)
    before = _role(roles, user_id)
    if not (leaves or rules.may_staff(standing.role, before)):
        service.check(standing.role, Permission.MEMBERS)
    _check_owner_stays(roles, user_id, None)
    await store.delete_member(tx, organization_id, user_id)
    await _changed(tx, organization_id, {user_id: None}, now)
    return Change(before, None)


async def hand_over(tx: Tx, caller: Caller, organization_id: UUID, user_id: UUID, *, now: datetime) -> Change:
    """Make a member the owner in the caller's place, who is a manager from then on.

    Raises:
        OrganizationNotFound, PermissionMissing: see `locked`.
        MemberNotFound: nobody else with this id is a member.
    """
    await locked(tx, caller, organization_id, Permission.MEMBERS)
    if user_id == caller.id:
        raise MemberNotFound
    before = _role(await store.roles_of(tx, organization_id), user_id)
    await store.change_role(tx, organization_id, user_id, Role.OWNER)
    await store.change_role(tx, organization_id, caller.id, Role.MANAGER)
    await _changed(tx, organization_id, {user_id: Role.OWNER, caller.id: Role.MANAGER}, now)
    return Change(before, Role.OWNER)


async def locked(tx: Tx, caller: Caller, organization_id: UUID, permission: Permission | None) -> Standing:
    """Return what the caller is in an organization that stays as it is until ``tx`` ends; two statements.

    The role is read after the lock is had: who waited for it may have lost the role meanwhile. Strangers lock
    nothing.

    Raises:
        OrganizationNotFound: there is none, or the caller is no member.
        PermissionMissing: the caller's role does not allow it.
    """
    if caller.kind != "user" or not await store.lock_for(tx, organization_id, caller.id):
        raise OrganizationNotFound
    row = await store.role_in(tx, caller.id, organization_id)
    if row is None:
        raise OrganizationNotFound
    standing = Standing(organization_id, Role(row["role"]), row["name"])
    if permission is not None:
        service.check(standing.role, permission)
    return standing


async def _moved(tx: Tx, organization_id: UUID, wallet: Address, holdings: Holdings) -> None:
    await holdings.changed(tx, [wallet])
    await service.tell_standing(tx, await store.roles_of(tx, organization_id))


async def _changed(tx: Tx, organization_id: UUID, roles: dict[UUID, Role | None], now: datetime) -> None:
    """Tell whose standing changed, and revoke what they offered that their role may not offer any more."""
    for user_id, role in roles.items():
        offers = () if role is None else rules.STAFFS[role]
        await invitationstore.revoke_of(tx, organization_id, user_id, except_to=offers, now=now)
    await service.tell_standing(tx, roles)


def _check_owner_stays(roles: dict[UUID, str], user_id: UUID, role: Role | None) -> None:
    owners = [one for one, other in roles.items() if other == Role.OWNER]
    if role is not Role.OWNER and owners == [user_id]:
        raise LastOwner


def _role(roles: dict[UUID, str], user_id: UUID) -> Role:
    if user_id not in roles:
        raise MemberNotFound
    return Role(roles[user_id])


def _member(row: Row) -> Member:
    return Member(row["user_id"], Role(row["role"]), _texts(row["wallets"]), row["joined_at"])


def _shown(row: Row) -> Organization:
    role = Role(row["role"])
    return Organization(
        id=row["id"],
        name=row["name"],
        role=role,
        permissions=sorted(rules.GRANTS[role]),
        wallets=_texts(row["wallets"]),
        created_at=row["created_at"],
    )


def _texts(wallets: Sequence[bytes]) -> list[str]:
    return [checksum(Address(wallet)) for wallet in wallets]
