"""What may be bought, given away and refunded: the ticket contract's checks in its order, without IO."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from echain.events.types import GiftPolicy
from echain.kernel.errors import invalid_field
from echain.kernel.evm import ZERO_ADDRESS, Address, keccak, parse_address
from echain.kernel.time import rfc3339
from echain.tickets.types import (
    BadQuantity,
    Cancelled,
    GiftForbidden,
    GiftsUsedUp,
    Locked,
    NotCancelled,
    NotOnAllowList,
    Refunded,
    SaleClosed,
    SaleNotOpen,
    SoldOut,
    TicketKey,
    TicketNotFound,
    TicketState,
    Used,
    WalletLimit,
)

FIRST_TICKET_GAS: Final = 150_000
"""`contracts/test/Gas.t.sol` holds a purchase of one ticket to 120,000; counting for a wallet limit adds
a new storage slot (22,100)."""

MORE_TICKET_GAS: Final = 45_000
"""The same test holds a purchase of ten to 500,000: at most 42,300 for each ticket after the first."""

PROOF_HASH_GAS: Final = 2_000
"""32 bytes of calldata (512), their copy and one hash."""

_ID: Final = re.compile(r"(0|[1-9][0-9]{0,15})-(0x[0-9a-f]{40})-(0|[1-9][0-9]{0,17})")
_WORD: Final = 32
_NO_LIST: Final = bytes(_WORD)


class Offer(msgspec.Struct, frozen=True, gc=False):
    """A tier as it stands. ``bought`` counts what the recipient bought of it, where the tier limits that."""

    price_wei: int
    supply: int
    sold: int
    max_tickets: int
    sold_tickets: int
    cancelled: bool
    opens_at: datetime | None
    closes_at: datetime | None
    event_ends_at: datetime
    max_per_purchase: int
    max_per_wallet: int
    bought: int
    allow_list_root: bytes


class Holding(msgspec.Struct, frozen=True, gc=False):
    """A ticket as far as the rules look at it."""

    owner: Address
    state: TicketState
    gifts: int
    gift_policy: GiftPolicy
    max_gifts: int
    cancelled: bool


def check_purchase(
    offer: Offer, *, quantity: int, recipient: Address, proof: Sequence[bytes], now: datetime
) -> None:
    """Refuse a purchase that the contract would refuse, in the order of `TicketSales._purchase`.

    Raises:
        Cancelled, SaleClosed, SaleNotOpen, BadQuantity, SoldOut, NotOnAllowList, WalletLimit: why.
    """
    if offer.cancelled:
        raise Cancelled
    if now >= offer.event_ends_at:
        raise SaleClosed(None, closedAt=rfc3339(offer.event_ends_at))
    if offer.opens_at is not None and now < offer.opens_at:
        raise SaleNotOpen(None, opensAt=rfc3339(offer.opens_at))
    if offer.closes_at is not None and now >= offer.closes_at:
        raise SaleClosed(None, closedAt=rfc3339(offer.closes_at))
    if quantity > offer.max_per_purchase:
        raise BadQuantity(None, maximum=offer.max_per_purchase)
    left = max(0, min(offer.supply - offer.sold, offer.max_tickets - offer.sold_tickets))
    if quantity > left:
        raise SoldOut(None, remaining=left)
    if offer.allow_list_root != _NO_LIST and not is_listed(recipient, proof, offer.allow_list_root):
        raise NotOnAllowList
    if offer.max_per_wallet and offer.bought + quantity > offer.max_per_wallet:
        raise WalletLimit(None, maximum=offer.max_per_wallet, bought=offer.bought)


def is_listed(recipient: Address, proof: Sequence[bytes], root: bytes) -> bool:
    """Return whether a Merkle proof leads from a recipient to the root, as the ticket contract checks it."""
    node = keccak(keccak(bytes(12) + recipient))
    for sibling in proof:
        node = keccak(min(node, sibling) + max(node, sibling))
    return node == root


def purchase_gas(quantity: int, proof_length: int) -> int:
    """Return a gas limit that a purchase cannot exceed; what is not used is not paid."""
    return FIRST_TICKET_GAS + (quantity - 1) * MORE_TICKET_GAS + proof_length * PROOF_HASH_GAS


def check_transfer(holding: Holding, *, sender: Address, to: Address) -> None:
    """Refuse a gift that the contract would refuse, as `TicketTransfers._countGift` does.

    Raises:
        TicketNotFound, Used, Refunded, Locked, GiftForbidden, GiftsUsedUp: why.
        Invalid: the receiver cannot be one.
    """
    if holding.owner != sender:
        raise TicketNotFound
    if to == ZERO_ADDRESS:
        raise invalid_field("to", "nobody holds the zero address")
    if to == sender:
        raise invalid_field("to", "holds the ticket already")
    _check_valid(holding.state)
    if holding.gift_policy == "forbidden":
        raise GiftForbidden
    if holding.gift_policy == "limited" and holding.gifts >= holding.max_gifts:
        raise GiftsUsedUp(None, maximum=holding.max_gifts)


def is_transferable(holding: Holding) -> bool:
    """Return whether the holder may give the ticket to somebody."""
    if holding.state != "valid" or holding.gift_policy == "forbidden":
        return False
    return holding.gift_policy == "free" or holding.gifts < holding.max_gifts


def check_refund(holding: Holding, *, sender: Address) -> None:
    """Refuse a refund that the contract would refuse; used tickets of a cancelled event are paid back too.

    Raises:
        TicketNotFound, NotCancelled, Refunded, Locked: why.
    """
    if holding.owner != sender:
        raise TicketNotFound
    if not holding.cancelled:
        raise NotCancelled
    if holding.state != "used":
        _check_valid(holding.state)


def _check_valid(state: TicketState) -> None:
    if state == "used":
        raise Used
    if state == "refunded":
        raise Refunded
    if state == "locked":
        raise Locked


def ticket_id(chain_id: int, ticket_contract: bytes, token_id: int) -> str:
    """Return how a ticket is called in addresses."""
    return f"{chain_id}-0x{ticket_contract.hex()}-{token_id}"


def parse_ticket_id(text: str) -> TicketKey:
    """Return the ticket that an id names.

    Raises:
        TicketNotFound: not spelled as ids are.
    """
    parts = _ID.fullmatch(text)
    if parts is None:
        raise TicketNotFound
    return TicketKey(int(parts[1]), parse_address(parts[2]), int(parts[3]))
