"""What one room tells the others and the clients, written to the outbox with the change it tells of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal, TypeAlias

import msgspec

SCHEMA: Final = 1
"""Version of the messages. It grows when a field changes its meaning or goes; new ones do not change it."""


class Message(msgspec.Struct, frozen=True):
    """A fact, and the channels on which it is told.

    A channel is ``event:<id>``, ``user:<address>``, ``organizer:<address>``, ``market`` or ``platform``, and
    ``user:<id>``, which is heard inside alone;
    ``data`` holds plain JSON values with decimal strings for amounts, as `TYPES` says of its type.
    ``block_number`` is set when a block said so, so that a reorg can name what no longer holds.
    """

    channels: tuple[str, ...]
    type: str
    data: Mapping[str, object]
    chain_id: int | None = None
    block_number: int | None = None


_UUID: Final = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
EventId: TypeAlias = Annotated[str, msgspec.Meta(pattern=_UUID)]
UserId: TypeAlias = Annotated[str, msgspec.Meta(pattern=_UUID)]
SessionId: TypeAlias = Annotated[str, msgspec.Meta(pattern=_UUID)]
GateId: TypeAlias = Annotated[str, msgspec.Meta(pattern=_UUID)]
TicketId: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[0-9]+-0x[0-9a-f]{40}-[0-9]+$")]
Account: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^0x[0-9a-fA-F]{40}$")]
Hash: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^0x[0-9a-f]{64}$")]
Wei: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,78}$")]
Moment: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{4,6}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,15}Z$")]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]

_SPELLED: Final = frozenset({"blockchain_id", "metadata_uri", "ticket_price", "max_tickets"})
"""Fields that clients of the existing platform know by these names."""


def _spelled(name: str) -> str:
    if name in _SPELLED:
        return name
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


class _Data(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=_spelled):
    """What a message says."""


class EventCreated(_Data, frozen=True, kw_only=True):
    event_id: EventId
    chain_id: int
    blockchain_id: str
    ticket_contract: Account
    organizer: Account
    name: str
    metadata_uri: str
    ticket_price: Wei
    max_tickets: Count
    starts_at: Moment
    ends_at: Moment


class NewTier(_Data, frozen=True, kw_only=True):
    id: Count
    price: Wei
    supply: Count


class EventUpdated(_Data, frozen=True, kw_only=True):
    """Only what changed is there."""

    event_id: EventId
    metadata_uri: str | msgspec.UnsetType = msgspec.UNSET
    metadata_hash: Hash | msgspec.UnsetType = msgspec.UNSET
    starts_at: Moment | msgspec.UnsetType = msgspec.UNSET
    ends_at: Moment | msgspec.UnsetType = msgspec.UNSET
    cancelled: Literal[True] | msgspec.UnsetType = msgspec.UNSET
    tier: NewTier | msgspec.UnsetType = msgspec.UNSET


class PriceUpdate(_Data, frozen=True, kw_only=True):
    event_id: EventId
    tier: Count
    old: Wei
    new: Wei


class TicketSold(_Data, frozen=True, kw_only=True):
    """``buyer`` is null for tickets that the organizer hands out."""

    event_id: EventId
    ticket_ids: list[TicketId]
    buyer: Account | None
    tier: Count
    price: Wei
    remaining: Count


class TicketTransferred(_Data, frozen=True, kw_only=True):
    event_id: EventId
    ticket_id: TicketId
    from_: Account = msgspec.field(name="from")
    to: Account


class TicketRefunded(_Data, frozen=True, kw_only=True):
    event_id: EventId
    ticket_id: TicketId
    holder: Account
    amount: Wei


class Payout(_Data, frozen=True, kw_only=True):
    """``kind``: proceeds go to the organizer, the fee to the platform."""

    event_id: EventId
    kind: Literal["proceeds", "fee"]
    receiver: Account
    amount: Wei


class Admitted(_Data, frozen=True, kw_only=True):
    """``gate`` is null at the organizer's desk. Who it was is not said: the channel is everybody's."""

    event_id: EventId
    gate: GateId | None


class AdmissionUndone(_Data, frozen=True, kw_only=True):
    event_id: EventId
    gate: GateId | None


class CheckinComplete(_Data, frozen=True, kw_only=True):
    """``gate`` is the one that admitted the ticket; null at the desk, and where a door of another kind did.

    ``count`` is how many are checked in on chain, this one included.
    """

    event_id: EventId
    ticket_id: TicketId
    attendee: Account
    gate: GateId | None
    count: Count


class RewardEarned(_Data, frozen=True, kw_only=True):
    """``poap_id`` is the ERC-721 id in the chain's POAP contract."""

    kind: Literal["poap"]
    event_id: EventId
    ticket_id: TicketId
    chain_id: int
    poap_id: str


class Registered(_Data, frozen=True, kw_only=True):
    event_id: EventId
    attendee: Account


class Notification(_Data, frozen=True, kw_only=True):
    """``id`` is the notification's in the API; without one, ``about`` names what another part tells.

    ``user`` is whom it concerns, who is told once however many wallets' channels it comes on; ``session`` is
    the one that it is about.
    """

    title: str
    text: str
    kind: str
    id: Annotated[str, msgspec.Meta(pattern=_UUID)] | msgspec.UnsetType = msgspec.UNSET
    event_id: EventId | msgspec.UnsetType = msgspec.UNSET
    about: str | msgspec.UnsetType = msgspec.UNSET
    device: str | msgspec.UnsetType = msgspec.UNSET
    user: UserId | msgspec.UnsetType = msgspec.UNSET
    session: SessionId | msgspec.UnsetType = msgspec.UNSET


class AdminChanged(_Data, frozen=True, kw_only=True):
    address: Account
    granted: bool
    by: Account


class AlarmRaised(_Data, frozen=True, kw_only=True):
    """``count`` is how many causes it has; ``facts`` are those of the last, by name."""

    id: Annotated[str, msgspec.Meta(pattern=_UUID)]
    kind: str
    severity: Literal["notice", "warning", "severe"]
    subject: str
    facts: dict[str, str]
    count: Count


class Reverted(_Data, frozen=True, kw_only=True):
    ids: list[Annotated[str, msgspec.Meta(pattern=r"^[0-9]+$")]]


class MessageType(msgspec.Struct, frozen=True):
    """A type of message: what it tells, on which kinds of channels, with which data.

    ``aliases`` are the names by which clients of the existing platform hear it.
    """

    tells: str
    channels: tuple[str, ...]
    data: type[msgspec.Struct]
    aliases: tuple[str, ...] = ()


TYPES: Final[Mapping[str, MessageType]] = {
    "event_created": MessageType(
        "an event was created on chain",
        ("event", "organizer", "platform"),
        EventCreated,
        ("event-updated", "event-update"),
    ),
    "event_updated": MessageType(
        "an event's metadata, schedule or tiers changed, or it was cancelled",
        ("event", "organizer", "platform"),
        EventUpdated,
        ("event-updated", "event-update"),
    ),
    "price_update": MessageType(
        "a tier has a new price for purchases from now on", ("event", "market"), PriceUpdate
    ),
    "ticket_sold": MessageType(
        "tickets were bought or handed out", ("event", "organizer"), TicketSold, ("ticket-purchased",)
    ),
    "ticket_transferred": MessageType(
        "a ticket has a new holder",
        ("event", "user"),
        TicketTransferred,
        ("ticket-transferred", "nft:transferred"),
    ),
    "ticket_refunded": MessageType(
        "a ticket was given back for what was paid", ("event", "user", "organizer"), TicketRefunded
    ),
    "payout": MessageType(
        "a ticket contract paid proceeds to its organizer, or a fee", ("event", "organizer"), Payout
    ),
    "admitted": MessageType("a gate or the organizer's desk let a ticket in", ("event",), Admitted),
    "admission_undone": MessageType(
        "an admission was taken back; the ticket may be admitted again", ("event",), AdmissionUndone
    ),
    "checkin_complete": MessageType(
        "a ticket was used on chain and its POAP minted",
        ("event", "user", "organizer"),
        CheckinComplete,
        ("event:attended",),
    ),
    "reward_earned": MessageType(
        "a proof of attendance was minted to its holder", ("user",), RewardEarned, ("nft:minted",)
    ),
    "registered": MessageType(
        "somebody said that they will come", ("event", "user"), Registered, ("event:registered",)
    ),
    "notification": MessageType(
        "a user should know this: a title, a text and a kind", ("user",), Notification
    ),
    "admin_changed": MessageType(
        "a wallet became an administrator of the platform, or is one no more", ("platform",), AdminChanged
    ),
    "alarm": MessageType(
        "the security monitor raised an alarm, or one got worse", ("platform",), AlarmRaised
    ),
    "reverted": MessageType(
        "a reorg undid the messages with these ids on this channel",
        ("event", "user", "organizer", "market", "platform"),
        Reverted,
    ),
}
"""Every type of message; clients skip types that they do not know."""
