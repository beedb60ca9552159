"""What webhooks speak of: errors, payment states, subscriptions and their deliveries."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Annotated, Final, Literal
from uuid import UUID

import msgspec

from echain.edge.http import Moment
from echain.kernel.errors import EchainError, Kind, NotFound
from echain.kernel.evm import Address
from echain.kernel.paging import MAX_PER_PAGE

MAX_SUBSCRIPTIONS: Final = 20
MAX_CHANNELS: Final = 20
KEPT_DAYS: Final = 7
"""How long deliveries are kept, and wait for a receiver that is disabled."""


# --- coming in ---


class NotConfigured(EchainError):
    """No secret for this kind of webhook is set; set ECHAIN_COINBASE_…_SECRETS and have it sent again."""

    kind = Kind.UNAVAILABLE
    code = "webhooks.not_configured"


class SignatureMissing(EchainError):
    """A webhook carries a signature: X-CC-Webhook-Signature or X-Hook0-Signature."""

    kind = Kind.FORBIDDEN
    code = "webhooks.signature_missing"


class SignatureAmbiguous(EchainError):
    """A webhook carries one signature, not two of different kinds."""

    kind = Kind.FORBIDDEN
    code = "webhooks.signature_ambiguous"


class SignatureMalformed(EchainError):
    """The signature is not of the form that its header has, or does not cover what it must."""

    kind = Kind.FORBIDDEN
    code = "webhooks.signature_malformed"


class SignatureWrong(EchainError):
    """The signature fits none of the secrets set here."""

    kind = Kind.FORBIDDEN
    code = "webhooks.signature_wrong"


class SignatureTooOld(EchainError):
    """The webhook was signed more than 300 s ago."""

    kind = Kind.FORBIDDEN
    code = "webhooks.signature_too_old"


class SignatureFromFuture(EchainError):
    """The webhook says that it was signed more than 300 s from now; one of the two clocks is off."""

    kind = Kind.FORBIDDEN
    code = "webhooks.signature_from_future"


class BodyNotJson(EchainError):
    """The signature holds, but the body is no JSON."""

    kind = Kind.INVALID
    code = "webhooks.not_json"


class BodyWrongShape(EchainError):
    """The signature holds, but the body is not of the shape that its type has."""

    kind = Kind.INVALID
    code = "webhooks.wrong_shape"


class ChargeStatus(Enum):
    """How far a payment is, in the order of the words; it only ever moves forward."""

    CREATED = "created"
    PENDING = "pending"
    FAILED = "failed"
    EXPIRED = "expired"
    CONFIRMED = "confirmed"
    """Also after a failure: money that came late did come."""


class Charge(msgspec.Struct, frozen=True):
    """A payment as its provider told of it. Amount and currency are to be compared with the own order's."""

    source: str
    charge_id: str
    status: ChargeStatus
    code: str | None
    amount: str | None
    currency: str | None
    metadata: dict[str, object]
    told_at: datetime


class Taken(msgspec.Struct, frozen=True):
    """A webhook is kept; ``duplicate`` says that it was before."""

    duplicate: bool


# --- going out ---


class SubscriptionNotFound(NotFound):
    """You have no webhook subscription with this id."""

    code = "webhooks.subscription_not_found"


class DeliveryNotFound(NotFound):
    """This subscription has no delivery with this id; deliveries are kept for 7 days."""

    code = "webhooks.delivery_not_found"


class TooManySubscriptions(EchainError):
    """You have 20 webhook subscriptions, the most there may be; delete one."""

    kind = Kind.CONFLICT
    code = "webhooks.too_many_subscriptions"


Url = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=2_000,
        description="Where messages are posted to: https, a public host",
        examples=["https://tickets.example/echain-hook"],
    ),
]
TypeName = Annotated[str, msgspec.Meta(min_length=1, max_length=40)]
ChannelName = Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
Types = Annotated[list[TypeName], msgspec.Meta(max_length=40, description="Message types; empty means all")]
Channels = Annotated[
    list[ChannelName],
    msgspec.Meta(
        max_length=MAX_CHANNELS,
        description="`organizer:<address>` of your organization's wallets, `event:<id>` of its events; in a "
        "subscription of your own `user:<your address>`. Empty means all of your organization's events",
    ),
]
Description = Annotated[str, msgspec.Meta(max_length=200)]


class Owner(msgspec.Struct, frozen=True):
    """Whose a subscription is: an organization's, whoever made it, or else its maker's wallet's own.

    ``wallet`` is the maker's; None where that signed in without one, or is no more.
    """

    organization_id: UUID | None
    wallet: Address | None


class NewSubscription(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What to tell, and where. ``settledOnly`` waits until no reorg can take a fact back.

    ``organizationId`` is for whom; without it, it is that of the caller's wallet, if that belongs to one.
    """

    url: Url
    types: Types = []
    channels: Channels = []
    settled_only: bool = False
    description: Description = ""
    organization_id: UUID | None = None


class SubscriptionUpdate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The whole of what may change. Enabling it again goes on from where it stopped."""

    url: Url
    types: Types = []
    channels: Channels = []
    description: Description = ""
    enabled: bool = True


class SigningKey(msgspec.Struct, frozen=True, rename="camel"):
    """A key that signs, by its name; ``expiresAt`` is when it stops to, null for the newest."""

    id: str
    created_at: datetime
    expires_at: datetime | None


class Subscription(msgspec.Struct, frozen=True, rename="camel"):
    """A receiver of messages. ``pending`` counts up to 1,000 deliveries that wait for it.

    ``organizationId`` is whose it is; null for a user's own.
    """

    id: UUID
    organization_id: UUID | None
    url: str
    types: list[str]
    channels: list[str]
    settled_only: bool
    description: str
    enabled: bool
    disabled_reason: str | None
    failing_since: datetime | None
    next_try_at: datetime | None
    pending: int
    keys: list[SigningKey]
    created_at: datetime
    updated_at: datetime


class SubscriptionSecret(Subscription, frozen=True, rename="camel"):
    """The same with its newest key's secret, which is shown this once."""

    secret: str


class Rotation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """How long the old key signs beside the new one; 0 when the old one has leaked."""

    grace_seconds: Annotated[int, msgspec.Meta(ge=0, le=7 * 86_400)] = 86_400


class Removed(msgspec.Struct, frozen=True):
    """It is gone, with its deliveries."""

    id: UUID


DeliveryState = Literal["pending", "delivered", "skipped"]


class Delivery(msgspec.Struct, frozen=True, rename="camel"):
    """A message on its way to one receiver, and what came of its last try.

    ``status`` is the answer's, null when there was none and ``error`` says why. ``excerpt`` is the beginning
    of the answer's body.
    """

    id: UUID
    message_id: str | None
    type: str
    channel: str
    state: DeliveryState
    tries: int
    status: int | None
    error: str | None
    duration_ms: int | None
    excerpt: str | None
    tried_at: datetime | None
    delivered_at: datetime | None
    created_at: datetime


class DeliveryBody(Delivery, frozen=True, rename="camel"):
    """The same with the very text that is posted."""

    body: str


class DeliveryFilter(msgspec.Struct, frozen=True, rename="camel"):
    """Newest first; ``cursor`` is the last page's ``nextCursor``."""

    state: DeliveryState | None = None
    cursor: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,18}$")] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_PER_PAGE)] = 20


class Replay(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What to post again, by exactly one of three: a delivery, or all since a delivery or a moment."""

    delivery_id: UUID | None = None
    since_id: UUID | None = None
    since: Moment | None = None


class Replayed(msgspec.Struct, frozen=True):
    """How many deliveries wait again because of this."""

    count: int


# --- jobs ---


class Received(msgspec.Struct, frozen=True):
    """An inbox row to work on."""

    inbox_id: UUID


class Deliver(msgspec.Struct, frozen=True):
    """A subscription with deliveries that wait."""

    subscription_id: UUID


class Sweep(msgspec.Struct, frozen=True):
    """Wake what was left behind, and forget what is old."""


class Attempt(msgspec.Struct, frozen=True):
    """One delivery to try now, with everything that it takes.

    ``updated_at`` is when its subscription was last changed; ``keys`` are name, id and sealed secret of the
    keys that sign, the newest first.
    """

    delivery_id: UUID
    body: str
    url: str
    failures: int
    failing_since: datetime | None
    updated_at: datetime
    keys: list[tuple[str, UUID, bytes]]


class Tried(msgspec.Struct, frozen=True):
    """What came of a try that ended ``at`` a moment; ``status`` is None when there was no answer."""

    at: datetime
    status: int | None
    error: str | None
    retry_after: str | None
    excerpt: str | None
    duration_ms: int

    @property
    def succeeded(self) -> bool:
        return self.status is not None and 200 <= self.status < 300  # noqa: PLR2004 -- HTTP's own
