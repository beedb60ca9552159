"""Routes of invitations: of those who invite, and of those who hold a token."""

from __future__ import annotations

from typing import Annotated, Final
from uuid import UUID

import msgspec

from echain.accounts import confirmations
from echain.accounts.admintypes import UserSuspended
from echain.edge.http import Auth, Call, Endpoint, Nothing, Reply, delete, get, post
from echain.infra.crypto import DataKeys
from echain.infra.database import Database
from echain.organizations import inviting, managing, service
from echain.organizations.inviting import Wanted
from echain.organizations.ownerrest import CONFIRMATION_ERRORS, Signatures
from echain.organizations.rest import MEMBER_ERRORS, PATH, TAG, OrganizationPath
from echain.organizations.types import (
    AlreadyMember,
    Gone,
    Invitation,
    InvitationNotFound,
    InvitationOver,
    InvitationUnknown,
    IssuedInvitation,
    MailUnavailable,
    Offer,
    Organization,
    Permission,
    Role,
    TooManyInvitations,
    TooManyMembers,
    TooManyOrganizations,
)

_NO_STORE: Final = (("Cache-Control", "no-store"),)


class Surface(msgspec.Struct, frozen=True):
    """What invitations work with; without ``email`` none are mailed."""

    database: Database
    keys: DataKeys
    signatures: Signatures
    public_url: str
    email: bool


class NewInvitation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom to invite to what. With ``email`` the invitation is mailed there, in ``language``."""

    role: Role
    email: Annotated[str, msgspec.Meta(min_length=3, max_length=320)] | None = None
    language: Annotated[str, msgspec.Meta(pattern=r"^[a-z]{2}(?:-[A-Z]{2})?$")] = "en"


class Token(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The token of an invitation."""

    token: Annotated[str, msgspec.Meta(max_length=100)]


class InvitationPath(msgspec.Struct, frozen=True):
    """An invitation of an organization."""

    id: UUID
    invitation: UUID


def endpoints(surface: Surface) -> list[Endpoint]:
    """Return the routes of invitations."""
    return [*_inviting_endpoints(surface), *_invited_endpoints(surface.database)]


def _inviting_endpoints(surface: Surface) -> list[Endpoint]:
    database, keys = surface.database, surface.keys

    @post(
        PATH + "/{id}/invitations",
        summary="Invite somebody",
        tag=TAG,
        answer=IssuedInvitation,
        path_params=OrganizationPath,
        body=NewInvitation,
        status=201,
        auth=Auth.USER,
        idempotent=True,
        shows_secret=True,
        errors=(*MEMBER_ERRORS, TooManyInvitations, MailUnavailable, UserSuspended, *CONFIRMATION_ERRORS),
        description="One person may accept it within seven days. Owners invite to any role, managers to "
        "gates. To invite an owner asks for a confirmation of `organization.invite_owner` with the "
        "organization's id as target.",
    )
    async def invite(call: Call[OrganizationPath, Nothing, NewInvitation]) -> Reply:
        organization_id, body = call.path.id, call.body
        if body.email is not None and not surface.email:
            await service.require_of(database, call.user, organization_id, Permission.GATE_STAFF)
            raise MailUnavailable
        proof = None
        if body.role is Role.OWNER:
            await managing.check_owner(database, call.user, organization_id)
            proof = await surface.signatures.of(call, "organization.invite_owner", str(organization_id))
        wanted = Wanted(body.role, body.email, body.language)
        async with database.transaction() as tx:
            await call.once(tx)
            made = await inviting.invite(
                tx, call.user, organization_id, wanted, keys, public_url=surface.public_url, now=call.now
            )
            if proof is not None:
                await confirmations.consume(tx, proof)
            await call.audit(
                tx,
                "invitation.made",
                resource=f"invitation:{made.id}",
                organization=organization_id,
                diff={"role": [None, made.role]},
            )
        return Reply(made, headers=_NO_STORE)

    @get(
        PATH + "/{id}/invitations",
        summary="List open invitations",
        tag=TAG,
        answer=list[Invitation],
        path_params=OrganizationPath,
        auth=Auth.USER,
        errors=MEMBER_ERRORS,
    )
    async def listed(call: Call[OrganizationPath, Nothing, Nothing]) -> list[Invitation]:
        return await inviting.open_invitations(database, call.user, call.path.id, keys, now=call.now)

    @delete(
        PATH + "/{id}/invitations/{invitation}",
        summary="Revoke an invitation",
        tag=TAG,
        answer=Gone,
        path_params=InvitationPath,
        auth=Auth.USER,
        errors=(*MEMBER_ERRORS, InvitationNotFound),
    )
    async def revoke(call: Call[InvitationPath, Nothing, Nothing]) -> Gone:
        invitation = call.path.invitation
        async with database.transaction() as tx:
            role = await inviting.revoke(tx, call.user, call.path.id, invitation, now=call.now)
            await call.audit(
                tx,
                "invitation.revoked",
                resource=f"invitation:{invitation}",
                organization=call.path.id,
                diff={"role": [role, None]},
            )
        return Gone(invitation)

    return [invite, listed, revoke]


def _invited_endpoints(database: Database) -> list[Endpoint]:
    @post(
        PATH + "/invitations/offer",
        summary="See what an invitation offers",
        tag=TAG,
        answer=Offer,
        body=Token,
        auth=Auth.USER,
        errors=(InvitationUnknown, InvitationOver),
    )
    async def offer(call: Call[Nothing, Nothing, Token]) -> Offer:
        return await inviting.offer(database, call.body.token, now=call.now)

    @post(
        PATH + "/invitations/accept",
        summary="Accept an invitation",
        tag=TAG,
        answer=Organization,
        body=Token,
        auth=Auth.USER,
        errors=(
            InvitationUnknown,
            InvitationOver,
            AlreadyMember,
            TooManyMembers,
            TooManyOrganizations,
            UserSuspended,
        ),
        description="You are a member in the role that it names, which nothing in the request can change.",
    )
    async def accept(call: Call[Nothing, Nothing, Token]) -> Organization:
        async with database.transaction() as tx:
            joined, invitation = await inviting.accept(tx, call.user, call.body.token, now=call.now)
            await call.audit(
                tx,
                "invitation.accepted",
                resource=f"invitation:{invitation}",
                organization=joined.id,
                diff={"role": [None, joined.role]},
            )
        return joined

    @post(
        PATH + "/invitations/decline",
        summary="Decline an invitation, without an account",
        tag=TAG,
        answer=Gone,
        body=Token,
        errors=(InvitationUnknown, InvitationOver),
    )
    async def decline(call: Call[Nothing, Nothing, Token]) -> Gone:
        async with database.transaction() as tx:
            invitation, organization = await inviting.decline(tx, call.body.token, now=call.now)
            await call.audit(
                tx, "invitation.declined", resource=f"invitation:{invitation}", organization=organization
            )
        return Gone(invitation)

    return [offer, accept, decline]
