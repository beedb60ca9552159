"""Where the money went: totals, the movements they are made of, and whether the contract says the same."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec

from echain.edge.http import AddressText, HashText, WeiText
from echain.kernel.paging import PageSize

MovementKind = Literal["sale", "transfer", "refund", "withdrawal", "fee"]

Doubt = Literal["not_indexed", "node_away", "block_unknown", "not_served"]


class Totals(msgspec.Struct, frozen=True, rename="camel"):
    """The money of one or more ticket contracts.

    ``owed`` is what remains for refunds, the organizer and the platform's fee: paid in less refunded,
    withdrawn and fees.
    """

    paid_in: WeiText
    refunded: WeiText
    withdrawn: WeiText
    fees: WeiText
    owed: WeiText


class EventTotals(Totals, frozen=True, rename="camel"):
    """The money of an event's ticket contract.

    ``balance`` is what the contract holds by the node's word, null when no node gave it. Ether that somebody
    forced into the contract makes it larger than ``owed``, and belongs to nobody.
    """

    balance: WeiText | None


class ChainTotals(msgspec.Struct, frozen=True, rename="camel"):
    """The money of all events on one chain, up to ``indexed_block``; null before the first block."""

    chain_id: int
    name: str
    native_symbol: str
    events: int
    indexed_block: int | None
    totals: Totals


class Movement(msgspec.Struct, frozen=True, rename="camel"):
    """One log that moved money or a ticket.

    ``amount`` is "0" for transfers. ``sender`` and ``receiver`` are null where the ticket contract itself
    pays or is paid. ``first_token_id`` and ``quantity`` say which tickets; null for payouts.
    """

    kind: MovementKind
    amount: WeiText
    sender: AddressText | None
    receiver: AddressText | None
    first_token_id: int | None
    quantity: int | None
    tier_id: int | None
    block_number: int
    log_index: int
    at: datetime
    transaction_hash: HashText
    transaction_url: str | None


class Transparency(msgspec.Struct, frozen=True, rename="camel"):
    """Every movement of an event, newest first and in parts, beside totals compared with the contract.

    ``matches_chain`` compares the totals at ``indexed_block`` with the contract's own books and balance at
    that very block; null when that could not be asked, and ``reason`` says why.
    """

    event_id: UUID
    chain_id: int
    native_symbol: str
    ticket_contract: AddressText
    contract_url: str | None
    indexed_block: int | None
    totals: EventTotals
    matches_chain: bool | None
    reason: Doubt | None
    rows: list[Movement]
    next_cursor: str | None


class EventPath(msgspec.Struct, frozen=True):
    """An event."""

    id: UUID


class MovementFilter(msgspec.Struct, frozen=True, rename="camel"):
    """A part of the movements: those after ``cursor``, at most ``limit``."""

    cursor: Annotated[
        str,
        msgspec.Meta(pattern=r"^$|^[0-9]{1,18}-[0-9]{1,9}$", description="nextCursor of the part before"),
    ] = ""
    limit: PageSize = 50


class Books(msgspec.Struct, frozen=True):
    """A ticket contract's money in wei as it sees it."""

    paid_in_wei: int
    refunded_wei: int
    withdrawn_wei: int
    fees_wei: int

    @property
    def owed_wei(self) -> int:
        """What the contract must still hold."""
        return self.paid_in_wei - self.refunded_wei - self.withdrawn_wei - self.fees_wei


class Audit(msgspec.Struct, frozen=True):
    """What the chain says of a contract at a block: its books and balance, or why that is not known."""

    books: Books | None = None
    balance_wei: int | None = None
    doubt: Doubt | None = None
