"""The page of somebody's tickets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Final

import msgspec

from echain.edge.html import LANGUAGES, Locale, Site, locale_of
from echain.edge.http import Call, Caller, Endpoint, Nothing, Raw, get
from echain.events import service as events
from echain.events.types import Event
from echain.infra.database import Database
from echain.kernel.errors import EchainError, Kind
from echain.kernel.evm import checksum
from echain.tickets import service
from echain.tickets.types import Ticket, TicketFilter

TAG: Final = "pages"
HTML: Final = "text/html; charset=utf-8"
MOST_SHOWN: Final = 100

Authenticate = Callable[[Mapping[str, str], Mapping[str, str]], Awaitable[Caller | None]]


class Held(msgspec.Struct, frozen=True):
    """A ticket and the event that it is for."""

    ticket: Ticket
    event: Event


def endpoints(database: Database, site: Site, authenticate: Authenticate) -> list[Endpoint]:
    """Return the page in every language; ``authenticate`` tells whose it is."""
    return [_page(locale_of(code), database, site, authenticate) for code in LANGUAGES]


def _page(locale: Locale, database: Database, site: Site, authenticate: Authenticate) -> Endpoint:
    # Public to the edge: whoever comes with a session that ended is shown how to sign in, not an error.
    @get(
        f"{locale.prefix}/tickets",
        summary=f"Page of my tickets, in {locale.name}",
        tag=TAG,
        answer=Raw,
        media_type=HTML,
        listed=False,
    )
    async def mine(call: Call[Nothing, Nothing, Nothing]) -> Raw:
        caller = await _known(authenticate, call)
        held = [] if caller is None else await _held(database, caller, call.now)
        coming = sorted((one for one in held if one.event.status == "upcoming"), key=_start)
        return site.page(
            "tickets.html.j2",
            locale,
            "/tickets",
            private=True,
            signed_in=caller is not None,
            coming=coming,
            over=sorted((one for one in held if one.event.status != "upcoming"), key=_start, reverse=True),
            more=len(held) >= MOST_SHOWN,
        )

    return mine


async def _known(authenticate: Authenticate, call: Call[Nothing, Nothing, Nothing]) -> Caller | None:
    try:
        caller = await authenticate(call.headers, call.cookies)
    except EchainError as error:
        if error.kind is not Kind.UNAUTHENTICATED:
            raise
        return None
    return caller if caller is not None and caller.kind == "user" else None


async def _held(database: Database, caller: Caller, now: datetime) -> list[Held]:
    """Return a user's tickets, the newest hundred; none for who signed in without a wallet."""
    if caller.address is None:
        return []
    query = TicketFilter(owner=checksum(caller.address), per_page=MOST_SHOWN)
    tickets = (await service.tickets(database, query)).items
    found = await events.shown(database, {ticket.event_id for ticket in tickets}, now=now)
    return [Held(ticket, found[ticket.event_id]) for ticket in tickets if ticket.event_id in found]


def _start(held: Held) -> datetime:
    return held.event.start_time
