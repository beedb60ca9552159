"""Routes of organizations, their wallets and their members."""

from __future__ import annotations

from typing import Annotated, Final
from uuid import UUID

import msgspec

from echain.accounts.admintypes import UserSuspended
from echain.accounts.types import WalletNeeded, address_of
from echain.edge.http import AddressText, Auth, Call, Endpoint, Nothing, Reply, delete, get, post, put
from echain.infra.database import Database
from echain.kernel.evm import checksum, parse_address
from echain.organizations import managing
from echain.organizations.managing import Holdings
from echain.organizations.types import (
    Member,
    Organization,
    OrganizationNotFound,
    PermissionMissing,
    TakenOut,
    TooManyOrganizations,
    TooManyWallets,
    WalletNotFound,
    WalletTaken,
)

TAG: Final = "organizations"
PATH: Final = "/api/v1/organizations"
MEMBER_ERRORS: Final = (OrganizationNotFound, PermissionMissing)


class Name(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an organization is called, as everybody sees it beside its events."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=80)]


class OrganizationPath(msgspec.Struct, frozen=True):
    """An organization."""

    id: UUID


class WalletPath(msgspec.Struct, frozen=True):
    """A wallet of an organization."""

    id: UUID
    address: AddressText


class MemberPath(msgspec.Struct, frozen=True):
    """A member of an organization, by their user id."""

    id: UUID
    user: UUID


def endpoints(database: Database, holdings: Holdings) -> list[Endpoint]:
    """Return the routes of organizations, but for those of owners and of invitations."""
    return [
        *_own_endpoints(database),
        *_organization_endpoints(database, holdings),
        *_wallet_endpoints(database, holdings),
        _members_endpoint(database),
    ]


def _own_endpoints(database: Database) -> list[Endpoint]:
    @post(
        PATH,
        summary="Begin an organization",
        tag=TAG,
        answer=Organization,
        body=Name,
        status=201,
        auth=Auth.USER,
        idempotent=True,
        errors=(TooManyOrganizations, UserSuspended),
        description="You are its owner. Add the wallet that you signed in with, and its events belong to it.",
    )
    async def create(call: Call[Nothing, Nothing, Name]) -> Reply:
        async with database.transaction() as tx:
            await call.once(tx)
            made = await managing.create(tx, call.user, call.body.name, now=call.now)
            await call.audit(
                tx,
                "organization.created",
                resource=f"organization:{made.id}",
                organization=made.id,
                # No declared field: it may be a person's name, and the log keeps what it is told for ever.
                diff={"called": [None, made.name]},
            )
        return Reply(made, headers=(("Location", f"{PATH}/{made.id}"),))

    @get(
        PATH,
        summary="List my organizations",
        tag=TAG,
        answer=list[Organization],
        auth=Auth.USER,
    )
    async def mine(call: Call[Nothing, Nothing, Nothing]) -> list[Organization]:
        return await managing.mine(database, call.user)

    return [create, mine]


def _organization_endpoints(database: Database, holdings: Holdings) -> list[Endpoint]:
    @get(
        PATH + "/{id}",
        summary="One of my organizations",
        tag=TAG,
        answer=Organization,
        path_params=OrganizationPath,
        auth=Auth.USER,
        errors=(OrganizationNotFound,),
    )
    async def read(call: Call[OrganizationPath, Nothing, Nothing]) -> Organization:
        return await managing.read(database, call.user, call.path.id)

    @put(
        PATH + "/{id}",
        summary="Rename an organization",
        tag=TAG,
        answer=Organization,
        path_params=OrganizationPath,
        body=Name,
        auth=Auth.USER,
        errors=MEMBER_ERRORS,
    )
    async def rename(call: Call[OrganizationPath, Nothing, Name]) -> Organization:
        async with database.transaction() as tx:
            named, before = await managing.rename(tx, call.user, call.path.id, call.body.name, holdings)
            await call.audit(
                tx,
                "organization.renamed",
                resource=f"organization:{named.id}",
                organization=named.id,
                diff={"called": [before, named.name]},
            )
        return named

    return [read, rename]


def _wallet_endpoints(database: Database, holdings: Holdings) -> list[Endpoint]:
    @post(
        PATH + "/{id}/wallets",
        summary="Add the wallet that I signed in with",
        tag=TAG,
        answer=Organization,
        path_params=OrganizationPath,
        auth=Auth.USER,
        idempotent=True,
        errors=(*MEMBER_ERRORS, WalletNeeded, WalletTaken, TooManyWallets),
        description="Its events, past and to come, belong to the organization from then on.",
    )
    async def add(call: Call[OrganizationPath, Nothing, Nothing]) -> Organization:
        wallet = address_of(call.user)
        async with database.transaction() as tx:
            await call.once(tx)
            shown = await managing.add_wallet(tx, call.user, call.path.id, wallet, holdings, now=call.now)
            await call.audit(
                tx,
                "organization.wallet_added",
                resource=f"organization:{shown.id}",
                organization=shown.id,
                diff={"wallet": [None, checksum(wallet)]},
            )
        return shown

    @delete(
        PATH + "/{id}/wallets/{address}",
        summary="Take a wallet out of an organization",
        tag=TAG,
        answer=TakenOut,
        path_params=WalletPath,
        auth=Auth.USER,
        errors=(*MEMBER_ERRORS, WalletNotFound),
        description="Owners may, and whoever signed in with that wallet. Its events go with it; drafts stay.",
    )
    async def remove(call: Call[WalletPath, Nothing, Nothing]) -> TakenOut:
        wallet = parse_address(call.path.address)
        async with database.transaction() as tx:
            await managing.remove_wallet(tx, call.user, call.path.id, wallet, holdings)
            await call.audit(
                tx,
                "organization.wallet_removed",
                resource=f"organization:{call.path.id}",
                organization=call.path.id,
                diff={"wallet": [checksum(wallet), None]},
            )
        return TakenOut(checksum(wallet))

    return [add, remove]


def _members_endpoint(database: Database) -> Endpoint:
    @get(
        PATH + "/{id}/members",
        summary="List an organization's members",
        tag=TAG,
        answer=list[Member],
        path_params=OrganizationPath,
        auth=Auth.USER,
        errors=MEMBER_ERRORS,
    )
    async def members(call: Call[OrganizationPath, Nothing, Nothing]) -> list[Member]:
        return await managing.members(database, call.user, call.path.id)

    return members
