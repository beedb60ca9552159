"""Use cases of tickets: reading them, and intents to buy, give away, refund and withdraw."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Final
from uuid import UUID

from echain.chain.contracts import contract
from echain.chain.intent import Intent
from echain.events import service as events
from echain.events.intents import Intents, Refusals
from echain.events.types import EventNotFound, Published
from echain.infra.database import Database, Row
from echain.kernel.errors import Invalid, invalid_field
from echain.kernel.evm import ZERO_ADDRESS, Address, checksum, parse_address, to_hex
from echain.kernel.paging import Page, PageInfo, numbered
from echain.tickets import rules, store
from echain.tickets.types import (
    Attendance,
    Attendee,
    Cancelled,
    CursorFilter,
    GiftForbidden,
    GiftsUsedUp,
    GiftToContract,
    HistoryEntry,
    NotCancelled,
    NotEnded,
    NothingToWithdraw,
    Purchase,
    Sale,
    Ticket,
    TicketFilter,
    TicketKey,
    TicketNotFound,
    UnknownTier,
)

_DEFAULT_PER_PAGE: Final = 20
_WORD: Final = 32
_TOKEN_ID: Final = re.compile("[0-9]{1,18}")
_BUY: Final = "purchaseTickets(address,uint256,uint256,bytes32[])"

_TRANSFER_REFUSALS: Final[Refusals] = {
    "EventTicket_GiftForbidden": GiftForbidden,
    "EventTicket_GiftsUsedUp": GiftsUsedUp,
    "EventTicket_GiftToContract": GiftToContract,
    "ERC721IncorrectOwner": TicketNotFound,
    "ERC721InsufficientApproval": TicketNotFound,
}
_REFUND_REFUSALS: Final[Refusals] = {
    "EventTicket_NotCancelled": NotCancelled,
    "EventTicket_NotHolder": TicketNotFound,
    "EventTicket_NoSuchTicket": TicketNotFound,
}
_WITHDRAW_REFUSALS: Final[Refusals] = {
    "EventTicket_Cancelled": Cancelled,
    "EventTicket_NotEnded": NotEnded,
    "EventTicket_AlreadyWithdrawn": NothingToWithdraw,
    "EventTicket_NothingToWithdraw": NothingToWithdraw,
}


async def purchase_intent(
    database: Database, intents: Intents, buyer: Address, order: Purchase, *, now: datetime
) -> Intent:
    """Return the transaction that buys tickets; one statement, and nothing asked of a node.

    Raises:
        EventNotFound, UnknownTier: nothing to buy there.
        Cancelled, SaleClosed, SaleNotOpen, BadQuantity, SoldOut, NotOnAllowList, WalletLimit: see
            `rules.check_purchase`.
        Invalid: the recipient is no address that can hold a ticket.
        ChainUnreachable, ChainNotServed: see `Intents.prepare`.
    """
    recipient = buyer if order.recipient is None else parse_address(order.recipient, path="recipient")
    if recipient == ZERO_ADDRESS:
        raise invalid_field("recipient", "nobody holds the zero address")
    proof = [bytes.fromhex(text[2:]) for text in order.proof]
    row = await store.offer(database, order.event_id, order.tier_id, recipient)
    if row is None:
        raise EventNotFound
    if row["tier_id"] is None:
        raise UnknownTier
    offer = _offer(row)
    rules.check_purchase(offer, quantity=order.quantity, recipient=recipient, proof=proof, now=now)
    tickets = "1 ticket" if order.quantity == 1 else f"{order.quantity} tickets"
    return await intents.prepare(
        row["chain_id"],
        sender=buyer,
        to=Address(row["ticket_contract"]),
        data=purchase_call(recipient, order.tier_id, order.quantity, proof),
        value_wei=offer.price_wei * order.quantity,
        gas=rules.purchase_gas(order.quantity, len(proof)),
        summary=f"Buy {tickets} for “{row['name']}”",
    )


def purchase_call(recipient: Address, tier_id: int, quantity: int, proof: Sequence[bytes]) -> bytes:
    """Return the calldata of ``purchaseTickets``.

    Put together from words by hand, because it is made for every order; a test holds it to the encoder's.
    """
    selector, proof_place = _purchase_frame()
    return b"".join(
        (
            selector,
            recipient.rjust(_WORD, b"\x00"),
            tier_id.to_bytes(_WORD, "big"),
            quantity.to_bytes(_WORD, "big"),
            proof_place,
            len(proof).to_bytes(_WORD, "big"),
            *proof,
        )
    )


@cache
def _purchase_frame() -> tuple[bytes, bytes]:
    """Return what no order changes: the selector, and the word that says where the proof stands."""
    encoded = contract("EventTicket").encode(_BUY, [ZERO_ADDRESS, 0, 0, []])
    return encoded[:4], encoded[4 + 3 * _WORD : 4 + 4 * _WORD]


async def ticket(database: Database, ticket_id: str) -> Ticket:
    """Return a ticket.

    Raises:
        TicketNotFound: none of this id.
    """
    return _ticket(await _row(database, rules.parse_ticket_id(ticket_id)))


async def tickets(database: Database, query: TicketFilter) -> Page[Ticket]:
    """Return a page of somebody's or an event's tickets; one statement.

    Raises:
        Invalid: neither owner nor event, two kinds of pages, or no cursor of this list.
    """
    _check_filter(query)
    owner = None if query.owner is None else parse_address(query.owner, path="owner")
    by_cursor = query.cursor is not None or query.limit is not None
    page = query.page or 1
    size = (query.limit if by_cursor else query.per_page) or _DEFAULT_PER_PAGE
    rows, total = await store.tickets(
        database,
        owner=owner,
        event_id=query.event_id,
        state=query.state,
        after=_key_of_cursor(query.cursor) if query.cursor else None,
        limit=size + by_cursor,
        offset=0 if by_cursor else (page - 1) * size,
        counted=not by_cursor,
    )
    items = [_ticket(row) for row in rows[:size]]
    if by_cursor:
        return Page(items, PageInfo(per_page=size, next_cursor=items[-1].id if len(rows) > size else None))
    return numbered(items, page=page, per_page=size, total=total)


async def history(database: Database, ticket_id: str) -> list[HistoryEntry]:
    """Return what happened to a ticket, first things first; one statement.

    Raises:
        TicketNotFound: none of this id.
    """
    rows = await store.history(database, rules.parse_ticket_id(ticket_id))
    if not rows:
        raise TicketNotFound
    return [
        HistoryEntry(
            kind=row["kind"],
            block_number=row["block_number"],
            log_index=row["log_index"],
            at=row["mined_at"],
            transaction_hash=None if row["tx_hash"] is None else to_hex(row["tx_hash"]),
            from_=None if row["kind"] != "transferred" else checksum(Address(row["from_address"])),
            to=None if row["to_address"] is None else checksum(Address(row["to_address"])),
            amount_wei=row["amount_wei"],
        )
        for row in rows
    ]


async def transfer_intent(
    database: Database, intents: Intents, ticket_id: str, sender: Address, to: str
) -> Intent:
    """Return the transaction by which a holder gives a ticket away.

    Raises:
        TicketNotFound: none of this id that the sender holds.
        Used, Refunded, Locked, GiftForbidden, GiftsUsedUp, GiftToContract: the event's rules.
        Reverted, InsufficientFunds, ChainUnreachable, ChainNotServed: see `Intents.prepare`.
    """
    key = rules.parse_ticket_id(ticket_id)
    receiver = parse_address(to, path="to")
    row = await _row(database, key)
    rules.check_transfer(_holding(row), sender=sender, to=receiver)
    return await intents.prepare(
        key.chain_id,
        sender=sender,
        to=key.ticket_contract,
        data=contract("EventTicket").encode(
            "transferFrom(address,address,uint256)", [sender, receiver, key.token_id]
        ),
        summary=f"Give ticket {key.token_id} of “{row['name']}” to {checksum(receiver)}",
        refusals=_TRANSFER_REFUSALS,
    )


async def refund_intent(database: Database, intents: Intents, ticket_id: str, sender: Address) -> Intent:
    """Return the transaction that pays a cancelled event's ticket back to its holder.

    Raises:
        TicketNotFound: none of this id that the sender holds.
        NotCancelled, Refunded, Locked: there is nothing to pay back.
        Reverted, InsufficientFunds, ChainUnreachable, ChainNotServed: see `Intents.prepare`.
    """
    key = rules.parse_ticket_id(ticket_id)
    row = await _row(database, key)
    rules.check_refund(_holding(row), sender=sender)
    return await intents.prepare(
        key.chain_id,
        sender=sender,
        to=key.ticket_contract,
        data=contract("EventTicket").encode("refund(uint256)", [key.token_id]),
        summary=f"Take back what was paid for ticket {key.token_id} of “{row['name']}”",
        refusals=_REFUND_REFUSALS,
    )


async def withdraw_intent(intents: Intents, event: Published, *, now: datetime) -> Intent:
    """Return the transaction that pays an ended event's proceeds to its organizer.

    Raises:
        Cancelled, NotEnded, NothingToWithdraw: the contract would refuse it.
        Reverted, InsufficientFunds, ChainUnreachable, ChainNotServed: see `Intents.prepare`.
    """
    if event.cancelled:
        raise Cancelled
    if now < event.ends_at:
        raise NotEnded
    return await intents.prepare(
        event.chain_id,
        sender=event.organizer,
        to=event.ticket_contract,
        data=contract("EventTicket").encode("withdraw()", []),
        summary=f"Withdraw the proceeds of “{event.name}”",
        refusals=_WITHDRAW_REFUSALS,
    )


async def attendance(database: Database, event_id: UUID, address: str) -> Attendance:
    """Return whether somebody attended an event.

    Raises:
        EventNotFound: not published.
    """
    holder = parse_address(address)
    event = await events.published(database, event_id)
    used = await store.used_tickets(database, event.chain_id, event.ticket_contract, holder)
    return Attendance(event.public_id, checksum(holder), bool(used), list(used))


async def sales(database: Database, event: Published, query: CursorFilter) -> Page[Sale]:
    """Return an event's purchases, newest first.

    Raises:
        Invalid: no cursor of this list.
    """
    before = None
    if query.cursor:
        if not _TOKEN_ID.fullmatch(query.cursor):
            raise _bad_cursor()
        before = int(query.cursor)
    rows = await store.sales(
        database, event.chain_id, event.ticket_contract, before=before, limit=query.limit + 1
    )
    items = [
        Sale(
            buyer=checksum(Address(row["buyer"])),
            tier_id=row["tier_id"],
            quantity=row["quantity"],
            unit_price_wei=row["unit_price_wei"],
            total_wei=row["total_wei"],
            first_token_id=row["first_token_id"],
            block_number=row["block_number"],
            log_index=row["log_index"],
            at=row["mined_at"],
            transaction_hash=to_hex(row["tx_hash"]),
        )
        for row in rows[: query.limit]
    ]
    more = str(items[-1].first_token_id) if len(rows) > query.limit else None
    return Page(items, PageInfo(per_page=query.limit, next_cursor=more))


async def attendees(database: Database, event: Published, query: CursorFilter) -> Page[Attendee]:
    """Return who holds tickets of an event or registered for it, by address.

    Raises:
        Invalid: no cursor of this list.
    """
    after = parse_address(query.cursor, path="cursor") if query.cursor else None
    rows = await store.attendees(
        database, event.chain_id, event.ticket_contract, after=after, limit=query.limit + 1
    )
    items = [
        Attendee(checksum(Address(row["address"])), row["tickets"], row["checked_in"], row["registered_at"])
        for row in rows[: query.limit]
    ]
    more = items[-1].address if len(rows) > query.limit else None
    return Page(items, PageInfo(per_page=query.limit, next_cursor=more))


async def _row(database: Database, key: TicketKey) -> Row:
    row = await store.ticket(database, key)
    if row is None:
        raise TicketNotFound
    return row


def _check_filter(query: TicketFilter) -> None:
    if query.owner is None and query.event_id is None:
        raise invalid_field("owner", "say owner or eventId, or both")
    if (query.cursor is not None or query.limit is not None) and (query.page or query.per_page):
        reason = "pages by number and by cursor exclude each other"
        raise Invalid(f"page: {reason}", fields=[{"path": "page", "reason": reason}])


def _key_of_cursor(cursor: str) -> TicketKey:
    try:
        return rules.parse_ticket_id(cursor)
    except TicketNotFound:
        raise _bad_cursor() from None


def _bad_cursor() -> Invalid:
    return invalid_field("cursor", "not the nextCursor of this list")


def _offer(row: Row) -> rules.Offer:
    return rules.Offer(
        price_wei=int(row["price_wei"]),
        supply=row["supply"],
        sold=row["sold"],
        max_tickets=row["max_tickets"],
        sold_tickets=row["sold_tickets"],
        cancelled=row["cancelled"],
        opens_at=row["sale_starts_at"],
        closes_at=row["sale_ends_at"],
        event_ends_at=row["ends_at"],
        max_per_purchase=row["max_per_purchase"],
        max_per_wallet=row["max_per_wallet"],
        bought=row["bought"],
        allow_list_root=row["allow_list_root"],
    )


def _holding(row: Row) -> rules.Holding:
    return rules.Holding(
        owner=Address(row["owner"]),
        state=row["state"],
        gifts=row["gifts"],
        gift_policy=row["gift_policy"],
        max_gifts=row["max_gifts"],
        cancelled=row["cancelled"],
    )


def _ticket(row: Row) -> Ticket:
    return Ticket(
        id=rules.ticket_id(row["chain_id"], row["ticket_contract"], row["token_id"]),
        chain_id=row["chain_id"],
        ticket_contract=checksum(Address(row["ticket_contract"])),
        token_id=row["token_id"],
        owner=checksum(Address(row["owner"])),
        state=row["state"],
        checked_in=row["state"] == "used",
        transferable=rules.is_transferable(_holding(row)),
        event_id=row["public_id"],
        blockchain_id=row["blockchain_id"],
        event_title=row["title"] or row["name"],
        tier_id=row["tier_id"],
        tier_name=row["tier_name"] or f"Tier {row['tier_id']}",
        price_paid_wei=row["price_paid_wei"],
        gifts=row["gifts"],
        minted_at=row["minted_at"],
        metadata_uri=row["metadata_uri"],
    )
