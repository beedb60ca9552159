"""Routes of tickets, and of events as far as they speak of tickets."""

from __future__ import annotations

from typing import Final

from echain.accounts.types import address_of
from echain.chain.intent import Intent
from echain.chain.rpc import ChainUnreachable
from echain.edge.http import Auth, Call, Endpoint, Nothing, get, post
from echain.events import service as events
from echain.events.intents import Intents
from echain.events.rest import INTENT_ERRORS, EventPath
from echain.events.types import ChainNotServed, EventNotFound, NotPublished
from echain.infra.database import Database
from echain.kernel.paging import Page
from echain.organizations.types import Permission, PermissionMissing
from echain.tickets import service
from echain.tickets.types import (
    Attendance,
    AttendanceQuestion,
    Attendee,
    BadQuantity,
    Cancelled,
    CursorFilter,
    GiftForbidden,
    GiftsUsedUp,
    GiftToContract,
    HistoryEntry,
    Locked,
    NotCancelled,
    NotEnded,
    NothingToWithdraw,
    NotOnAllowList,
    Purchase,
    Refunded,
    Sale,
    SaleClosed,
    SaleNotOpen,
    SoldOut,
    Ticket,
    TicketFilter,
    TicketNotFound,
    TicketPath,
    Transfer,
    UnknownTier,
    Used,
    WalletLimit,
)

TAG: Final = "tickets"

_PURCHASE_ERRORS: Final = (
    EventNotFound,
    UnknownTier,
    Cancelled,
    SaleClosed,
    SaleNotOpen,
    BadQuantity,
    SoldOut,
    NotOnAllowList,
    WalletLimit,
    ChainUnreachable,
    ChainNotServed,
)


def endpoints(database: Database, intents: Intents) -> list[Endpoint]:
    """Return the routes under ``/api/v1/tickets`` and those of events that need tickets."""
    return [
        *_read_endpoints(database),
        _purchase_endpoint(database, intents),
        *_holder_endpoints(database, intents),
        *_organizer_endpoints(database, intents),
        _attendance_endpoint(database),
    ]


def _read_endpoints(database: Database) -> list[Endpoint]:
    @get(
        "/api/v1/tickets",
        summary="List tickets of a holder or an event",
        tag=TAG,
        answer=list[Ticket],
        query=TicketFilter,
    )
    async def tickets(call: Call[Nothing, TicketFilter, Nothing]) -> Page[Ticket]:
        return await service.tickets(database, call.query)

    @get(
        "/api/v1/tickets/{id}",
        summary="One ticket",
        tag=TAG,
        answer=Ticket,
        path_params=TicketPath,
        errors=(TicketNotFound,),
    )
    async def ticket(call: Call[TicketPath, Nothing, Nothing]) -> Ticket:
        return await service.ticket(database, call.path.id)

    @get(
        "/api/v1/tickets/{id}/history",
        summary="What happened to a ticket, with its transactions",
        tag=TAG,
        answer=list[HistoryEntry],
        path_params=TicketPath,
        errors=(TicketNotFound,),
    )
    async def history(call: Call[TicketPath, Nothing, Nothing]) -> list[HistoryEntry]:
        return await service.history(database, call.path.id)

    return [tickets, ticket, history]


def _purchase_endpoint(database: Database, intents: Intents) -> Endpoint:
    @post(
        "/api/v1/tickets/purchase",
        summary="Prepare a purchase",
        tag=TAG,
        answer=Intent,
        body=Purchase,
        auth=Auth.USER,
        idempotent=True,
        errors=_PURCHASE_ERRORS,
        description="Writes nothing and holds nothing: the first purchase that is mined gets the ticket.",
    )
    async def purchase(call: Call[Nothing, Nothing, Purchase]) -> Intent:
        return await service.purchase_intent(
            database, intents, address_of(call.user), call.body, now=call.now
        )

    return purchase


def _holder_endpoints(database: Database, intents: Intents) -> list[Endpoint]:
    @post(
        "/api/v1/tickets/{id}/transfer",
        summary="Prepare to give a ticket away",
        tag=TAG,
        answer=Intent,
        path_params=TicketPath,
        body=Transfer,
        auth=Auth.USER,
        idempotent=True,
        errors=(
            TicketNotFound,
            Used,
            Refunded,
            Locked,
            GiftForbidden,
            GiftsUsedUp,
            GiftToContract,
            *INTENT_ERRORS,
        ),
    )
    async def transfer(call: Call[TicketPath, Nothing, Transfer]) -> Intent:
        return await service.transfer_intent(
            database, intents, call.path.id, address_of(call.user), call.body.to
        )

    @post(
        "/api/v1/tickets/{id}/refund",
        summary="Prepare the refund of a cancelled event's ticket",
        tag=TAG,
        answer=Intent,
        path_params=TicketPath,
        auth=Auth.USER,
        idempotent=True,
        errors=(TicketNotFound, NotCancelled, Refunded, Locked, *INTENT_ERRORS),
    )
    async def refund(call: Call[TicketPath, Nothing, Nothing]) -> Intent:
        return await service.refund_intent(database, intents, call.path.id, address_of(call.user))

    return [transfer, refund]


def _organizer_endpoints(database: Database, intents: Intents) -> list[Endpoint]:
    own = (EventNotFound, NotPublished, PermissionMissing)

    @post(
        "/api/v1/events/{id}/withdraw",
        summary="Prepare the withdrawal of an ended event's proceeds to its organizer",
        tag=TAG,
        answer=Intent,
        path_params=EventPath,
        auth=Auth.USER,
        idempotent=True,
        errors=(*own, Cancelled, NotEnded, NothingToWithdraw, *INTENT_ERRORS),
    )
    async def withdraw(call: Call[EventPath, Nothing, Nothing]) -> Intent:
        event, _ = await events.managed(database, call.path.id, call.user, Permission.MONEY)
        return await service.withdraw_intent(intents, event, now=call.now)

    @get(
        "/api/v1/events/{id}/sales",
        summary="An event's purchases, for members who see sales",
        tag=TAG,
        answer=list[Sale],
        path_params=EventPath,
        query=CursorFilter,
        auth=Auth.USER,
        errors=own,
    )
    async def sales(call: Call[EventPath, CursorFilter, Nothing]) -> Page[Sale]:
        event, _ = await events.managed(database, call.path.id, call.user, Permission.SALES_READ)
        return await service.sales(database, event, call.query)

    @get(
        "/api/v1/events/{id}/attendees",
        summary="Who holds an event's tickets or registered, for members who see attendees",
        tag=TAG,
        answer=list[Attendee],
        path_params=EventPath,
        query=CursorFilter,
        auth=Auth.USER,
        errors=own,
    )
    async def attendees(call: Call[EventPath, CursorFilter, Nothing]) -> Page[Attendee]:
        event, _ = await events.managed(database, call.path.id, call.user, Permission.ATTENDEES_READ)
        return await service.attendees(database, event, call.query)

    return [withdraw, sales, attendees]


def _attendance_endpoint(database: Database) -> Endpoint:
    @post(
        "/api/v1/events/{id}/verify",
        summary="Whether somebody attended",
        tag=TAG,
        answer=Attendance,
        path_params=EventPath,
        body=AttendanceQuestion,
        errors=(EventNotFound,),
        description="As the chain says: a ticket they hold was used at the event.",
    )
    async def verify(call: Call[EventPath, Nothing, AttendanceQuestion]) -> Attendance:
        return await service.attendance(database, call.path.id, call.body.address)

    return verify
