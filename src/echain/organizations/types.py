"""What organizations speak of: roles, permissions, members, invitations, and each reason to refuse."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from uuid import UUID

import msgspec

from echain.edge.http.fields import AddressText
from echain.kernel.errors import EchainError, Kind


class Role(StrEnum):
    """What somebody is in an organization."""

    OWNER = "owner"
    MANAGER = "manager"
    FINANCE = "finance"
    GATE = "gate"


class Permission(StrEnum):
    """What a role may allow; `rules.GRANTS` says which role allows what."""

    EVENTS_READ = "events_read"
    """See drafts."""
    EVENTS_WRITE = "events_write"
    """Make, change and delete drafts."""
    EVENTS_PUBLISH = "events_publish"
    """Prepare what creates, changes or cancels an event on its chain."""
    SALES_READ = "sales_read"
    ATTENDEES_READ = "attendees_read"
    MONEY = "money"
    """Prepare withdrawals and see payouts."""
    GATES = "gates"
    """Make and revoke gates."""
    ADMIT = "admit"
    """Admit at the desk, take an admission back, look attendees up."""
    WEBHOOKS = "webhooks"
    GATE_STAFF = "gate_staff"
    """See who is a member; invite people to gates, and remove them."""
    MEMBERS = "members"
    """Decide on the organization itself: its name, its wallets, every member and role."""
    AUDIT_READ = "audit_read"


class Standing(msgspec.Struct, frozen=True):
    """What somebody is to the organizer of an event.

    ``organization_id`` is None for a wallet that belongs to no organization: its user stands as its owner.
    """

    organization_id: UUID | None
    role: Role
    name: str | None = None
    """What the organization is called."""


class Organization(msgspec.Struct, frozen=True, rename="camel"):
    """An organization as a member sees it. ``permissions`` are what the member's role allows."""

    id: UUID
    name: str
    role: Role
    permissions: list[Permission]
    wallets: list[AddressText]
    created_at: datetime


class Member(msgspec.Struct, frozen=True, rename="camel"):
    """Somebody in an organization; ``wallets`` are those that they signed in with, the first first."""

    user_id: UUID
    role: Role
    wallets: list[AddressText]
    joined_at: datetime


class Invitation(msgspec.Struct, frozen=True, rename="camel"):
    """An open invitation as those see it who may invite; where it was mailed is only hinted at."""

    id: UUID
    role: Role
    email_hint: str | None
    created_at: datetime
    expires_at: datetime


class IssuedInvitation(Invitation, frozen=True, rename="camel"):
    """An invitation that was just made; ``token``, which ``link`` holds too, is shown here once."""

    token: str
    link: str


class Offer(msgspec.Struct, frozen=True, rename="camel"):
    """What an invitation offers to whoever holds its token."""

    organization_id: UUID
    organization_name: str
    role: Role
    expires_at: datetime


class Left(msgspec.Struct, frozen=True):
    """Who is no member any more."""

    id: UUID


class TakenOut(msgspec.Struct, frozen=True):
    """A wallet that belongs to the organization no more."""

    address: AddressText


class Gone(msgspec.Struct, frozen=True):
    """What is no more."""

    id: UUID


class OrganizationNotFound(EchainError):
    """There is no such organization, or you are no member of it."""

    kind = Kind.NOT_FOUND
    code = "organizations.not_found"


class PermissionMissing(EchainError):
    """Your role in the organization does not allow this; the details name both. Ask an owner."""

    kind = Kind.FORBIDDEN
    code = "organizations.permission_missing"


class WalletTaken(EchainError):
    """This wallet belongs to an organization already; remove it there first, see the details."""

    kind = Kind.CONFLICT
    code = "organizations.wallet_taken"


class NoWallet(EchainError):
    """The organization has no wallet that could publish; add one by POST /organizations/{id}/wallets."""

    kind = Kind.CONFLICT
    code = "organizations.no_wallet"


class WalletNotFound(EchainError):
    """The organization has no such wallet."""

    kind = Kind.NOT_FOUND
    code = "organizations.wallet_not_found"


class TooManyWallets(EchainError):
    """An organization has 20 wallets at most; remove one first."""

    kind = Kind.CONFLICT
    code = "organizations.too_many_wallets"


class TooManyOrganizations(EchainError):
    """You are a member of 50 organizations; leave one, or delete one, first."""

    kind = Kind.CONFLICT
    code = "organizations.too_many"


class MemberNotFound(EchainError):
    """Nobody with this id is a member of the organization."""

    kind = Kind.NOT_FOUND
    code = "organizations.member_not_found"


class AlreadyMember(EchainError):
    """You are a member of this organization already; an owner can change your role."""

    kind = Kind.CONFLICT
    code = "organizations.already_member"


class TooManyMembers(EchainError):
    """An organization has 200 members at most; remove somebody first."""

    kind = Kind.CONFLICT
    code = "organizations.too_many_members"


class LastOwner(EchainError):
    """An organization keeps an owner: make somebody else one first, or hand it over, or delete it."""

    kind = Kind.CONFLICT
    code = "organizations.last_owner"


class EventsRunning(EchainError):
    """It has events that are not over: wait for their end, cancel them, or remove their wallets from it."""

    kind = Kind.CONFLICT
    code = "organizations.events_running"


class InvitationUnknown(EchainError):
    """There is no such invitation; ask for a new one."""

    kind = Kind.NOT_FOUND
    code = "organizations.invitation_unknown"
    guess = True


class InvitationOver(EchainError):
    """The invitation was used, declined or revoked, or is over seven days old; ask for a new one."""

    kind = Kind.CONFLICT
    code = "organizations.invitation_over"


class InvitationNotFound(EchainError):
    """The organization has no such open invitation."""

    kind = Kind.NOT_FOUND
    code = "organizations.invitation_not_found"


class TooManyInvitations(EchainError):
    """Enough were invited for now; wait until the time in the details, or revoke open invitations."""

    kind = Kind.LIMITED
    code = "organizations.too_many_invitations"


class MailUnavailable(EchainError):
    """This platform sends no e-mail; invite without an address and pass the link on yourself."""

    kind = Kind.CONFLICT
    code = "organizations.mail_unavailable"
