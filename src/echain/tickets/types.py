"""What tickets are made of in answers, and each reason to refuse what somebody wants to do with one."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal
from uuid import UUID

import msgspec

from echain.edge.http.fields import AddressText, HashText, WeiText
from echain.events.types import spelled
from echain.kernel.errors import EchainError, Kind
from echain.kernel.evm import Address
from echain.kernel.paging import PageNumber, PageSize

MAX_PER_PURCHASE: Final = 50
"""What no tier of any contract exceeds."""

MAX_PROOF: Final = 40
"""Hashes of an allow-list proof; lists of up to 2^40 wallets need no more."""

TicketState = Literal["valid", "used", "refunded", "locked"]

TicketId = Annotated[
    str,
    msgspec.Meta(
        max_length=128,
        description="chainId-contract-tokenId, the contract in lower case",
        examples=["84532-0x5fbdb2315678afecb367f032d93f642f64180aa3-1"],
    ),
]


class TicketKey(msgspec.Struct, frozen=True):
    """Which ticket of which contract on which chain."""

    chain_id: int
    ticket_contract: Address
    token_id: int


class Ticket(msgspec.Struct, frozen=True, rename=spelled):
    """A ticket as the chain has it. ``transferable`` says whether its holder may give it away now."""

    id: str
    chain_id: int
    ticket_contract: AddressText
    token_id: int
    owner: AddressText
    state: TicketState
    checked_in: bool
    transferable: bool
    event_id: UUID
    blockchain_id: str
    event_title: str
    tier_id: int
    tier_name: str
    price_paid_wei: WeiText
    gifts: int
    minted_at: datetime
    metadata_uri: str


HistoryKind = Literal["minted", "transferred", "used", "locked", "unlocked", "refunded"]


class HistoryEntry(msgspec.Struct, frozen=True, rename="camel"):
    """Something that happened to a ticket, with its transaction where that is known.

    ``amount_wei`` is what was paid for a new ticket, or paid back.
    """

    kind: HistoryKind
    block_number: int
    log_index: int
    at: datetime | None
    transaction_hash: HashText | None
    from_: AddressText | None = msgspec.field(name="from")
    to: AddressText | None
    amount_wei: WeiText | None


class Purchase(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What somebody wants to buy. ``recipient`` None: the caller; ``proof`` for a tier with an allow list."""

    event_id: UUID
    tier_id: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] = 0
    quantity: Annotated[int, msgspec.Meta(ge=1, le=MAX_PER_PURCHASE)] = 1
    recipient: AddressText | None = None
    proof: Annotated[list[HashText], msgspec.Meta(max_length=MAX_PROOF)] = []


class Transfer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Whom a ticket is given to."""

    to: AddressText


class AttendanceQuestion(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Whose attendance is asked for."""

    address: AddressText


class Attendance(msgspec.Struct, frozen=True, rename="camel"):
    """Whether somebody attended: one of their tickets was used at the event, as the chain says."""

    event_id: UUID
    address: AddressText
    attended: bool
    tickets: list[int]


class Sale(msgspec.Struct, frozen=True, rename="camel"):
    """One purchase. Its tickets are ``quantity`` consecutive ones from ``first_token_id`` on."""

    buyer: AddressText
    tier_id: int
    quantity: int
    unit_price_wei: WeiText
    total_wei: WeiText
    first_token_id: int
    block_number: int
    log_index: int
    at: datetime
    transaction_hash: HashText


class Attendee(msgspec.Struct, frozen=True, rename="camel"):
    """Somebody who holds tickets of an event, refunded ones left out, or registered for it."""

    address: AddressText
    tickets: int
    checked_in: int
    registered_at: datetime | None


class TicketFilter(msgspec.Struct, frozen=True, rename="camel"):
    """Whose tickets, of which event; at least one of both.

    Pages come by ``page`` with totals, or by ``cursor`` (empty for the first) and ``limit`` without.
    """

    owner: AddressText | None = None
    event_id: UUID | None = None
    state: TicketState | None = None
    page: PageNumber | None = None
    per_page: PageSize | None = None
    cursor: Annotated[str, msgspec.Meta(max_length=200)] | None = None
    limit: PageSize | None = None


class CursorFilter(msgspec.Struct, frozen=True, rename="camel"):
    """A part of a long list: after ``cursor``, at most ``limit`` items."""

    cursor: Annotated[str, msgspec.Meta(max_length=200)] = ""
    limit: PageSize = 20


class TicketPath(msgspec.Struct, frozen=True):
    """A ticket."""

    id: TicketId


class TicketNotFound(EchainError):
    """There is no such ticket, its sale is not on the chain yet, or it is not yours to use."""

    kind = Kind.NOT_FOUND
    code = "tickets.not_found"


class UnknownTier(EchainError):
    """The event has no such tier; its availability lists those it has."""

    kind = Kind.NOT_FOUND
    code = "tickets.unknown_tier"


class SoldOut(EchainError):
    """Fewer tickets are left than you asked for; see the details."""

    kind = Kind.CONFLICT
    code = "tickets.sold_out"


class SaleNotOpen(EchainError):
    """The sale has not begun; the details say when it does."""

    kind = Kind.CONFLICT
    code = "tickets.sale_not_open"


class SaleClosed(EchainError):
    """The sale is over."""

    kind = Kind.CONFLICT
    code = "tickets.sale_closed"


class BadQuantity(EchainError):
    """One purchase takes fewer tickets of this tier; the details say how many."""

    kind = Kind.CONFLICT
    code = "tickets.quantity"


class WalletLimit(EchainError):
    """This wallet has bought, or would have, more tickets of this tier than one wallet may."""

    kind = Kind.CONFLICT
    code = "tickets.wallet_limit"


class Cancelled(EchainError):
    """The event is cancelled; nothing is sold any more, and its tickets can be refunded."""

    kind = Kind.CONFLICT
    code = "tickets.cancelled"


class NotOnAllowList(EchainError):
    """This tier is sold to wallets on its list only; send the proof that the organizer gave you."""

    kind = Kind.CONFLICT
    code = "tickets.not_on_allow_list"


class Used(EchainError):
    """The ticket was used at the door; it stays with who used it."""

    kind = Kind.CONFLICT
    code = "tickets.used"


class Refunded(EchainError):
    """The ticket was refunded."""

    kind = Kind.CONFLICT
    code = "tickets.refunded"


class Locked(EchainError):
    """The ticket is held by the market or another module; take it back from there first."""

    kind = Kind.CONFLICT
    code = "tickets.locked"


class GiftForbidden(EchainError):
    """The event does not allow tickets to be given away."""

    kind = Kind.CONFLICT
    code = "tickets.gift_forbidden"


class GiftsUsedUp(EchainError):
    """The ticket was given away as often as the event allows."""

    kind = Kind.CONFLICT
    code = "tickets.gifts_used_up"


class GiftToContract(EchainError):
    """The event does not allow tickets to go to contracts."""

    kind = Kind.CONFLICT
    code = "tickets.gift_to_contract"


class NotCancelled(EchainError):
    """Tickets are refunded when their event is cancelled, and it is not."""

    kind = Kind.CONFLICT
    code = "tickets.not_cancelled"


class NotEnded(EchainError):
    """Proceeds may be withdrawn after the event's end."""

    kind = Kind.CONFLICT
    code = "tickets.not_ended"


class NothingToWithdraw(EchainError):
    """Nothing was paid in, or it was withdrawn already."""

    kind = Kind.CONFLICT
    code = "tickets.nothing_to_withdraw"
