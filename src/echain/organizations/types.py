"""What organizations speak of: roles, permissions, members, invitations, and each reason to refuse."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Final
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


class Wallet(msgspec.Struct, frozen=True, rename="camel"):
    """A wallet whose events belong to an organization."""

    address: AddressText
    added_at: datetime


MAX_NAME: Final = 80


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
