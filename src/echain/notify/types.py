"""What people are told, by which ways, how they choose, and each reason to refuse."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal
from uuid import UUID

import msgspec

from echain.kernel.errors import EchainError, Kind
from echain.kernel.evm import Address


class NoticeKind(StrEnum):
    """What a notification is about; people choose per kind."""

    PURCHASE = "purchase"
    TICKET_RECEIVED = "ticket_received"
    TICKET_SENT = "ticket_sent"
    EVENT_CHANGED = "event_changed"
    EVENT_CANCELLED = "event_cancelled"
    REFUND = "refund"
    ATTENDANCE = "attendance"
    REMINDER = "reminder"
    SECURITY = "security"
    ALARM = "alarm"
    DIGEST = "digest"


Language = Literal["en", "de"]
Rhythm = Literal["off", "daily", "weekly"]


class Notice(msgspec.Struct, frozen=True):
    """One thing to tell one wallet, before it is known whose it is; or one user, with or without a wallet.

    ``occasion`` names the fact, so that it is told once. ``source`` is the message it came from; with
    ``chain_id`` and ``block_number`` the block that said so. ``live``: the wallet's own channel has told it.
    """

    address: Address
    kind: NoticeKind
    occasion: str
    data: dict[str, object]
    event_id: UUID | None = None
    source: int | None = None
    chain_id: int | None = None
    block_number: int | None = None
    live: bool = False
    user_id: UUID | None = None


class Settings(msgspec.Struct, frozen=True):
    """How somebody wants to be told; ``choices`` maps kind and channel to what differs from the defaults."""

    language: str = "en"
    time_zone: str | None = None
    digest: Rhythm = "weekly"
    choices: dict[str, dict[str, bool]] = {}
    next_digest_at: datetime | None = None


# --- what the API shows and takes ---


class Notification(msgspec.Struct, frozen=True, rename="camel"):
    """One notification in the app, in the reader's language.

    ``settled`` says that no reorg can take back what it tells; ``undone_at`` that one did.
    """

    id: UUID
    kind: str
    title: str
    text: str
    event_id: UUID | None
    ticket_ids: list[str]
    created_at: datetime
    read_at: datetime | None
    undone_at: datetime | None
    settled: bool


class Unread(msgspec.Struct, frozen=True):
    """How many notifications nobody has read."""

    unread: int


class NotificationPath(msgspec.Struct, frozen=True):
    id: UUID


class NotificationFilter(msgspec.Struct, frozen=True):
    """A part of the list, newest first: after ``cursor``, at most ``limit``."""

    cursor: UUID | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 20
    unread: bool = False


class ReadAll(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Mark everything read up to a notification that was seen; without it, everything."""

    up_to: UUID | None = None


class Choice(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """By which ways a kind is told."""

    in_app: bool
    email: bool
    push: bool


class Kinds(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The ways of every kind; ``alarm`` concerns administrators alone, and may be left out."""

    purchase: Choice
    ticket_received: Choice
    ticket_sent: Choice
    event_changed: Choice
    event_cancelled: Choice
    refund: Choice
    attendance: Choice
    reminder: Choice
    security: Choice
    alarm: Choice = Choice(in_app=True, email=True, push=True)


class Way(msgspec.Struct, frozen=True):
    """Whether a way works here and for the reader, and if not, why."""

    available: bool
    reason: str | None = None


class Ways(msgspec.Struct, frozen=True, rename="camel"):
    in_app: Way
    email: Way
    push: Way


class Preferences(msgspec.Struct, frozen=True, rename="camel"):
    """How somebody wants to be told. ``time_zone`` null: the event's own."""

    language: Language
    time_zone: str | None
    digest: Rhythm
    next_digest_at: datetime | None
    kinds: Kinds
    ways: Ways


class PreferencesContent(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What somebody chooses; the whole of it."""

    language: Language
    digest: Rhythm
    kinds: Kinds
    time_zone: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None


class EmailContent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The address to send to; a mail asks it for consent first."""

    email: Annotated[str, msgspec.Meta(min_length=3, max_length=254)]


class Email(msgspec.Struct, frozen=True, rename="camel"):
    """The caller's e-mail address.

    ``pending`` is one that has not answered its verification mail; until it does, ``email`` gets the mail.
    ``suspended``: mail came back too often; verify the address again.
    """

    email: str | None
    verified_at: datetime | None
    suspended: bool
    pending: str | None
    pending_until: datetime | None
    resend_after: datetime | None


class VerifyContent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The token of the link in a verification mail."""

    token: Annotated[str, msgspec.Meta(max_length=200)]


class Verified(msgspec.Struct, frozen=True):
    """The address belongs to who asked for it."""

    verified: bool


class TokenQuery(msgspec.Struct, frozen=True):
    """The token in a mail's link."""

    token: Annotated[str, msgspec.Meta(max_length=1000)] = ""


class PushKey(msgspec.Struct, frozen=True, rename="camel"):
    """What `PushManager.subscribe` takes as applicationServerKey: an uncompressed P-256 point, base64url."""

    public_key: str


class PushKeys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The browser's keys, base64url without padding."""

    p256dh: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{86,88}={0,2}$")]
    auth: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{22,24}={0,2}$")]


class PushContent(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What ``PushSubscription.toJSON()`` gives."""

    endpoint: Annotated[str, msgspec.Meta(min_length=9, max_length=1000, pattern=r"^https://[!-~]+$")]
    keys: PushKeys
    expiration_time: float | None = None


class PushSubscription(msgspec.Struct, frozen=True, rename="camel"):
    """A browser that is sent pushes; ``service`` is the host of its push service."""

    id: UUID
    device: str
    service: str
    created_at: datetime
    sent_at: datetime | None


class PushPath(msgspec.Struct, frozen=True):
    id: UUID


class Gone(msgspec.Struct, frozen=True):
    """What was asked to go is gone."""

    deleted: bool


class NotificationNotFound(EchainError):
    """You have no such notification."""

    kind = Kind.NOT_FOUND
    code = "notify.not_found"


class SubscriptionNotFound(EchainError):
    """You have no such push subscription."""

    kind = Kind.NOT_FOUND
    code = "notify.subscription_not_found"


class TooManySubscriptions(EchainError):
    """You have subscribed twenty browsers; remove one first."""

    kind = Kind.CONFLICT
    code = "notify.too_many_subscriptions"


class EmailUnavailable(EchainError):
    """This platform sends no e-mail; its operator has not set a mail server."""

    kind = Kind.CONFLICT
    code = "notify.email_unavailable"


class EmailNotFound(EchainError):
    """No e-mail address of yours waits for this; set one first."""

    kind = Kind.NOT_FOUND
    code = "notify.email_not_found"


class TooManyVerifications(EchainError):
    """Enough verification mails were asked for; wait until the time in the details."""

    kind = Kind.LIMITED
    code = "notify.too_many_verifications"


class VerificationUnknown(EchainError):
    """The link is unknown, was used, or is too old; ask for a new verification mail."""

    kind = Kind.NOT_FOUND
    code = "notify.verification_unknown"


class UnsubscribeUnknown(EchainError):
    """The link is not one of ours; change your preferences after signing in."""

    kind = Kind.NOT_FOUND
    code = "notify.unsubscribe_unknown"
