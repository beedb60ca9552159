"""Use cases of invitations: made, mailed, looked at, accepted, declined, revoked."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final
from uuid import UUID

import msgspec

from echain.edge.http import Caller
from echain.infra.crypto import DataKeys
from echain.infra.database import Connection, Database, Row, Tx
from echain.infra.jobs import enqueue
from echain.kernel.ids import uuid7
from echain.kernel.mailbox import parse_email
from echain.kernel.time import rfc3339
from echain.organizations import invitationstore, managing, rules, service, store
from echain.organizations.invitationstore import EMAIL
from echain.organizations.kinds import INVITE, InvitationMail
from echain.organizations.types import (
    AlreadyMember,
    Invitation,
    InvitationNotFound,
    InvitationOver,
    InvitationUnknown,
    IssuedInvitation,
    Offer,
    Organization,
    Permission,
    Role,
    TooManyInvitations,
    TooManyMembers,
)

SEALED: Final = EMAIL
"""The sealed column here."""
PREFIX: Final = "eci_"
_TOKEN: Final = re.compile(r"eci_[A-Za-z0-9_-]{43}")
_DAY: Final = timedelta(days=1)
_KEPT: Final = timedelta(days=30)


class Wanted(msgspec.Struct, frozen=True):
    """Whom to invite to what; with ``email`` the invitation is mailed there, in ``language``."""

    role: Role
    email: str | None
    language: str


class Mail(msgspec.Struct, frozen=True):
    """What the letter of an invitation says, and to whom."""

    id: UUID
    organization: str
    role: Role
    email: str
    link: str


def link_of(public_url: str, token: str) -> str:
    """Return the page that an invitation's link opens."""
    return f"{public_url.rstrip('/')}/invitation?token={token}"


async def invite(
    tx: Tx,
    caller: Caller,
    organization_id: UUID,
    wanted: Wanted,
    keys: DataKeys,
    *,
    public_url: str,
    now: datetime,
) -> IssuedInvitation:
    """Return an invitation that one person may accept within seven days; its token is told here only.

    Raises:
        OrganizationNotFound: there is none, or the caller is no member.
        PermissionMissing: the caller's role may not invite, or not to that role.
        Invalid: no e-mail address.
        TooManyInvitations: 50 are open; or of a day 100 of the caller's or the organization's, 20 mails of
            either, or three mails to this address.
    """
    email = None if wanted.email is None else parse_email(wanted.email).encode()
    await store.lock_user(tx, caller.id)
    standing = await managing.locked(tx, caller, organization_id, Permission.GATE_STAFF)
    if not rules.may_staff(standing.role, wanted.role):
        service.check(standing.role, Permission.MEMBERS)
    await _check_pace(tx, organization_id, caller.id, now)
    invitation_id, token = uuid7(), PREFIX + secrets.token_urlsafe(32)
    indexes = () if email is None else EMAIL.indexes(keys, email)
    if email is not None:
        await _check_mails(tx, organization_id, caller.id, indexes, now)
    made = invitationstore.NewInvitation(
        id=invitation_id,
        organization_id=organization_id,
        role=wanted.role,
        token_hash=_hashed(token),
        sealed=None if email is None else EMAIL.seal(keys, invitation_id, email),
        email_index=indexes[0] if indexes else None,
        invited_by=caller.id,
        created_at=now,
        expires_at=now + rules.INVITATION_LIFE,
    )
    await invitationstore.insert(tx, made)
    if email is not None:
        sealed = keys.seal(token.encode(), context=_context(invitation_id))
        await enqueue(tx, INVITE, [InvitationMail(invitation_id, sealed, wanted.language)])
    return IssuedInvitation(
        id=invitation_id,
        role=wanted.role,
        email_hint=None if email is None else rules.hint_of(email.decode()),
        created_at=now,
        expires_at=made.expires_at,
        token=token,
        link=link_of(public_url, token),
    )


async def leave(tx: Tx, user_id: UUID, now: datetime) -> None:
    """Revoke all invitations of a user who is let in no more."""
    await invitationstore.revoke_offers(tx, user_id, now=now)


async def open_invitations(
    connection: Connection | Database, caller: Caller, organization_id: UUID, keys: DataKeys, *, now: datetime
) -> list[Invitation]:
    """Return an organization's open invitations, at most 50, the newest first; two statements.

    Raises:
        OrganizationNotFound, PermissionMissing: see `service.require_of`.
    """
    await service.require_of(connection, caller, organization_id, Permission.GATE_STAFF)
    return [
        Invitation(row["id"], Role(row["role"]), _hint(row, keys), row["created_at"], row["expires_at"])
        for row in await invitationstore.open_of(connection, organization_id, now=now)
    ]


async def revoke(
    tx: Tx, caller: Caller, organization_id: UUID, invitation_id: UUID, *, now: datetime
) -> Role:
    """End an open invitation, which nobody can accept any more; return the role that it was for.

    Raises:
        OrganizationNotFound: there is none, or the caller is no member.
        PermissionMissing: the caller could not have made it.
        InvitationNotFound: the organization has no such open invitation.
    """
    standing = await managing.locked(tx, caller, organization_id, Permission.GATE_STAFF)
    text = await invitationstore.role_of(tx, organization_id, invitation_id, now=now)
    if text is None:
        raise InvitationNotFound
    if not rules.may_staff(standing.role, Role(text)):
        service.check(standing.role, Permission.MEMBERS)
    if not await invitationstore.end(tx, invitation_id, "revoked", caller.id, now=now):
        raise InvitationNotFound
    return Role(text)


async def offer(connection: Connection | Database, token: str, *, now: datetime) -> Offer:
    """Return what an open invitation offers to whoever holds its token; one statement.

    Raises:
        InvitationUnknown: no such token.
        InvitationOver: it was used, declined or revoked, or is over seven days old.
    """
    row = await _by_token(connection, token)
    if row["ended_at"] is not None or row["expires_at"] <= now:
        raise InvitationOver
    return Offer(row["organization_id"], row["name"], Role(row["role"]), row["expires_at"])


async def accept(tx: Tx, caller: Caller, token: str, *, now: datetime) -> tuple[Organization, UUID]:
    """Make the caller a member in the invitation's role; return the organization, and the invitation.

    Of several who accept at once one does; an invitation that its own organization's member opens stays open.

    Raises:
        InvitationUnknown, InvitationOver: see `offer`.
        AlreadyMember: the caller is a member, in whichever role.
        TooManyMembers: the organization has 200.
        TooManyOrganizations: the caller is in 50.
    """
    row = await _by_token(tx, token)
    await managing.check_room(tx, caller.id)
    organization_id: UUID = row["organization_id"]
    if await store.lock(tx, organization_id) is None:
        raise InvitationOver
    roles = await store.roles_of(tx, organization_id)
    if caller.id in roles:
        raise AlreadyMember
    if not await invitationstore.end(tx, row["id"], "accepted", caller.id, now=now):
        raise InvitationOver
    if len(roles) >= rules.MOST_MEMBERS:
        raise TooManyMembers
    await store.insert_member(tx, organization_id, caller.id, row["role"], now=now)
    await service.tell_standing(tx, [caller.id])
    return await managing.read(tx, caller, organization_id), row["id"]


async def decline(tx: Tx, token: str, *, now: datetime) -> tuple[UUID, UUID]:
    """End an invitation for whoever holds its token; return it and its organization.

    Raises:
        InvitationUnknown, InvitationOver: see `offer`.
    """
    row = await _by_token(tx, token)
    if not await invitationstore.end(tx, row["id"], "declined", None, now=now):
        raise InvitationOver
    return row["id"], row["organization_id"]


async def mail_of(
    connection: Connection, job: InvitationMail, keys: DataKeys, *, public_url: str, now: datetime
) -> Mail | None:
    """Return what to mail; None when the invitation has ended meanwhile."""
    row = await invitationstore.to_mail(connection, job.invitation_id, now=now)
    if row is None:
        return None
    token = keys.open(job.token, context=_context(job.invitation_id)).decode()
    email = EMAIL.open(keys, row["id"], row["sealed"]).decode()
    return Mail(row["id"], row["name"], Role(row["role"]), email, link_of(public_url, token))


async def sweep(database: Database, *, now: datetime) -> None:
    """Forget to whom invitations were mailed that are over for a day, and what is over for a month."""
    await invitationstore.sweep(database, now=now, mailed_before=now - _DAY, forget_before=now - _KEPT)


async def _by_token(connection: Connection | Database, token: str) -> Row:
    row = None
    if _TOKEN.fullmatch(token):
        row = await invitationstore.by_token(connection, _hashed(token))
    if row is None:
        raise InvitationUnknown
    return row


async def _check_pace(tx: Tx, organization_id: UUID, user_id: UUID, now: datetime) -> None:
    counts = await invitationstore.counts(tx, organization_id, user_id, since=now - _DAY, now=now)
    if max(counts["of_organization"], counts["of_user"]) >= rules.INVITATIONS_A_DAY:
        raise _until(counts["oldest"] + _DAY, now)
    if counts["open"] >= rules.MOST_OPEN:
        raise TooManyInvitations(None, open=counts["open"])


async def _check_mails(
    tx: Tx, organization_id: UUID, user_id: UUID, indexes: tuple[bytes, ...], now: datetime
) -> None:
    since = now - _DAY
    await invitationstore.lock_email(tx, indexes)
    to_one = await invitationstore.mails_to(tx, indexes, since)
    for mails in await invitationstore.mailed_since(tx, organization_id, user_id, since):
        _check_count(mails, rules.MAILS_A_DAY, now)
    _check_count(to_one, rules.MAILS_TO_ONE_A_DAY, now)


def _check_count(mails: Sequence[datetime], most: int, now: datetime) -> None:
    if len(mails) >= most:
        raise _until(mails[-most] + _DAY, now)


def _until(again: datetime, now: datetime) -> TooManyInvitations:
    seconds = int((again - now).total_seconds()) + 1
    return TooManyInvitations(None, retryAfterSeconds=seconds, again=rfc3339(again))


def _hint(row: Row, keys: DataKeys) -> str | None:
    sealed = row["sealed"]
    return None if sealed is None else rules.hint_of(EMAIL.open(keys, row["id"], sealed).decode())


def _context(invitation_id: UUID) -> str:
    """Return the context under which an invitation's token is sealed in its job."""
    return f"organizations.invite:{invitation_id}"


def _hashed(token: str) -> bytes:
    return sha256(token.encode()).digest()
