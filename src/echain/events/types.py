"""What events are made of: drafts, the event as everyone sees it, each reason to refuse."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal
from uuid import UUID

import msgspec

from echain.edge.http.fields import AddressText, HashText, Moment, WeiText
from echain.kernel.errors import EchainError, Kind
from echain.kernel.evm import Address, Hash32

Status = Literal["draft", "upcoming", "past", "cancelled"]
"""``upcoming`` holds until the event's end, ``past`` from then on."""

GiftPolicy = Literal["free", "limited", "forbidden"]

SaleState = Literal["on_sale", "not_open", "closed", "sold_out", "cancelled"]

CATEGORY_PATTERN: Final = r"^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$"
_LINE: Final = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$"
_PARAGRAPHS: Final = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"

Category = Annotated[
    str,
    msgspec.Meta(pattern=CATEGORY_PATTERN, description="Lower-case words joined by -", examples=["music"]),
]
Count = Annotated[int, msgspec.Meta(ge=0)]

KNOWN_NAMES: Final = frozenset(
    {
        "blockchain_id",
        "token_id",
        "owner",
        "ticket_price",
        "max_tickets",
        "sold_tickets",
        "checked_in",
        "transferable",
        "metadata_uri",
    }
)
"""Clients of the platform that echain follows know these names; they keep their spelling in answers."""


def spelled(name: str) -> str:
    """Return how a field is called in answers: camelCase, but for the names that clients know."""
    if name in KNOWN_NAMES:
        return name
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What people send."""


class Place(_Body, frozen=True):
    """Where an event happens; coordinates in degrees (WGS 84), both or none."""

    name: Annotated[str, msgspec.Meta(max_length=200, pattern=_LINE)] = ""
    address: Annotated[str, msgspec.Meta(max_length=500, pattern=_LINE)] | None = None
    latitude: Annotated[float, msgspec.Meta(ge=-90, le=90)] | None = None
    longitude: Annotated[float, msgspec.Meta(ge=-180, le=180)] | None = None


class TierContent(_Body, frozen=True):
    """What an organizer says of a tier.

    ``sale_start`` None: at once; ``sale_end`` None: the event's end; ``max_per_wallet`` 0: no limit.
    """

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=80, pattern=_LINE)]
    price_wei: WeiText
    supply: Annotated[int, msgspec.Meta(ge=1, le=2**32 - 1)]
    sale_start: Moment | None = None
    sale_end: Moment | None = None
    max_per_purchase: Annotated[int, msgspec.Meta(ge=1, le=50)] = 10
    max_per_wallet: Annotated[int, msgspec.Meta(ge=0, le=255)] = 0


class RulesContent(_Body, frozen=True):
    """How tickets may change hands; the contract keeps these rules and they never change.

    ``max_gifts`` counts under the policy ``limited``. ``resale_cap_bps`` is relative to the price first paid:
    11000 allows 10 % above it, 0 is no cap. ``royalty_bps`` is the organizer's share of a resale.
    """

    gift_policy: GiftPolicy = "free"
    max_gifts: Annotated[int, msgspec.Meta(ge=0, le=255)] = 0
    gifts_to_contracts: bool = True
    resale_cap_bps: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 0
    royalty_bps: Annotated[int, msgspec.Meta(ge=0, le=2_000)] = 0


class DraftContent(_Body, frozen=True):
    """Everything an organizer says of an event. ``max_tickets`` None: what the tiers hold together."""

    chain_id: Annotated[int, msgspec.Meta(ge=1, le=2**53)]
    title: Annotated[str, msgspec.Meta(min_length=1, max_length=128, pattern=_LINE)]
    start_time: Moment
    end_time: Moment
    tiers: Annotated[list[TierContent], msgspec.Meta(min_length=1, max_length=20)]
    description: Annotated[str, msgspec.Meta(max_length=10_000, pattern=_PARAGRAPHS)] = ""
    place: Place = Place()
    category: Category | None = None
    image: (
        Annotated[
            str,
            msgspec.Meta(
                max_length=500,
                pattern=r"^(?:https?|ipfs)://[!-~]+$",
                description="An https, http or ipfs URI",
            ),
        ]
        | None
    ) = None
    timezone: Annotated[
        str, msgspec.Meta(max_length=64, pattern=r"^[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+){0,2}$")
    ] = "UTC"
    max_tickets: Annotated[int, msgspec.Meta(ge=1, le=2**32 - 2)] | None = None
    rules: RulesContent = RulesContent()


class NewDraft(DraftContent, frozen=True):
    """A new draft, and the organization that it is for: that of the caller's wallet unless named."""

    organization_id: UUID | None = None


class DraftUpdate(DraftContent, frozen=True):
    """The whole new content of a draft, and the version that it was made from unless If-Match says so."""

    version: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)] | None = None


class PriceContent(_Body, frozen=True):
    """A tier's new price."""

    price_wei: WeiText


class Tier(msgspec.Struct, frozen=True, rename="camel"):
    """A tier as it stands; ``remaining`` counts what the event's maximum leaves of it."""

    tier_id: int
    name: str
    price_wei: WeiText
    supply: int
    sold: int
    remaining: Count
    sale_start: datetime | None
    sale_end: datetime | None
    max_per_purchase: int
    max_per_wallet: int


class Event(msgspec.Struct, frozen=True, rename=spelled):
    """An event or a draft of one.

    ``id`` stays when a draft is published. What only the chain gives is null in a draft; ``version``
    counts the draft's changes and is null once it is published. ``ticket_price`` is the first tier's.
    ``organizer`` is the wallet that made the event or would; the organization that this wallet belongs to is
    null when it belongs to none.
    """

    id: UUID
    status: Status
    chain_id: int
    blockchain_id: str | None
    ticket_contract: AddressText | None
    organizer: AddressText
    organization_id: UUID | None
    organization_name: str | None
    title: str
    description: str
    place: Place
    category: str | None
    image: str | None
    start_time: datetime
    end_time: datetime
    timezone: str
    ticket_price: WeiText
    max_tickets: int
    sold_tickets: int
    remaining: Count
    tiers: list[Tier]
    rules: RulesContent
    fee_bps: int | None
    metadata_uri: str | None
    metadata_hash: HashText | None
    transaction_hash: HashText | None
    created_at: datetime
    updated_at: datetime | None
    version: int | None


PartialEvent = msgspec.defstruct(
    "PartialEvent",
    [
        (field.name, field.type | msgspec.UnsetType, msgspec.field(default=msgspec.UNSET))
        for field in msgspec.structs.fields(Event)
    ],
    frozen=True,
    rename=spelled,
)
"""An event with the fields that were asked for."""


class TierAvailability(msgspec.Struct, frozen=True, rename="camel"):
    """What can be bought of a tier now. ``state`` says whether it can, and if not, why."""

    tier_id: int
    name: str
    price_wei: WeiText
    supply: int
    sold: int
    remaining: Count
    sale_start: datetime | None
    sale_end: datetime
    max_per_purchase: int
    max_per_wallet: int
    state: SaleState


class Availability(msgspec.Struct, frozen=True, rename=spelled):
    """What can be bought now, straight from what the chain last said."""

    event_id: UUID
    status: Status
    max_tickets: int
    sold_tickets: int
    remaining: Count
    tiers: list[TierAvailability]


class Deleted(msgspec.Struct, frozen=True):
    """A draft that is gone."""

    id: UUID
    deleted: bool


class Registration(msgspec.Struct, frozen=True, rename="camel"):
    """Somebody's word that they will come; the first one counts."""

    event_id: UUID
    address: AddressText
    registered_at: datetime


class Published(msgspec.Struct, frozen=True):
    """Which event is meant, for the slices above. ``id`` is the projection's, ``public_id`` the API's."""

    id: UUID
    public_id: UUID
    chain_id: int
    ticket_contract: Address
    blockchain_id: int
    organizer: Address
    name: str
    starts_at: datetime
    ends_at: datetime
    cancelled: bool


class Described(msgspec.Struct, frozen=True):
    """A published event as it is told of, for the slices above.

    ``title``, ``place`` and ``timezone`` are the organizer's words where a document of ours is behind them.
    ``revision`` counts the changes and the cancellation that the chain has of it.
    """

    id: UUID
    public_id: UUID
    chain_id: int
    ticket_contract: Address
    organizer: Address
    title: str
    place: str
    timezone: str | None
    starts_at: datetime
    ends_at: datetime
    cancelled: bool
    revision: int


class Version(msgspec.Struct, frozen=True):
    """What an event said of itself from one block on."""

    title: str
    place: str
    starts_at: datetime
    ends_at: datetime


class Document(msgspec.Struct, frozen=True):
    """A metadata document, and the hash that is written on chain."""

    hash: Hash32
    body: bytes


class EventNotFound(EchainError):
    """There is no such event, or what you want is for the organization whose event it is."""

    kind = Kind.NOT_FOUND
    code = "events.not_found"


class MetadataNotFound(EchainError):
    """No document with this hash is kept here."""

    kind = Kind.NOT_FOUND
    code = "events.metadata_not_found"


class StaleVersion(EchainError):
    """The draft was changed meanwhile; read it again and repeat your change."""

    kind = Kind.PRECONDITION
    code = "events.stale_version"


class AlreadyPublished(EchainError):
    """The event is on the chain; its draft cannot change any more."""

    kind = Kind.CONFLICT
    code = "events.already_published"


class NotPublished(EchainError):
    """The event is still a draft; publish it first."""

    kind = Kind.CONFLICT
    code = "events.not_published"


class EventCancelled(EchainError):
    """The event is cancelled; its tickets can be refunded."""

    kind = Kind.CONFLICT
    code = "events.cancelled"


class EventEnded(EchainError):
    """The event is over."""

    kind = Kind.CONFLICT
    code = "events.ended"


class AlreadyWithdrawn(EchainError):
    """The proceeds were withdrawn; the event can no longer be cancelled."""

    kind = Kind.CONFLICT
    code = "events.already_withdrawn"


class UnknownTier(EchainError):
    """The event has no such tier; its availability lists those it has."""

    kind = Kind.NOT_FOUND
    code = "events.unknown_tier"


class CreationRefused(EchainError):
    """The platform's contracts take no new events now, or none from this wallet; see the details."""

    kind = Kind.CONFLICT
    code = "events.creation_refused"


class ChainNotServed(EchainError):
    """This platform cannot write to that chain; GET /api/v1/chains lists those it serves."""

    kind = Kind.CONFLICT
    code = "events.chain_not_served"
