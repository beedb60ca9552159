"""An event's calendar file for whoever wants it; it makes the same entry as those that come by mail."""

from __future__ import annotations

from typing import Final
from uuid import UUID

import msgspec

from echain.edge.http import Call, Endpoint, Nothing, Raw, get
from echain.events import service as events
from echain.events.types import EventNotFound
from echain.infra.database import Database
from echain.notify.composing import Composer
from echain.notify.heard import facts_of

TAG: Final = "events"
_TYPE: Final = "text/calendar; charset=utf-8"


class EventPath(msgspec.Struct, frozen=True):
    """An event in a path."""

    id: UUID


def calendar_endpoint(database: Database, composer: Composer) -> Endpoint:
    """Return ``/events/{id}/calendar.ics``."""

    @get(
        "/events/{id}/calendar.ics",
        summary="A published event as a calendar file (RFC 5545)",
        tag=TAG,
        answer=Raw,
        media_type=_TYPE,
        path_params=EventPath,
        errors=(EventNotFound,),
    )
    async def calendar(call: Call[EventPath, Nothing, Nothing]) -> Raw:
        which = await events.published(database, call.path.id)
        async with database.connection() as connection:
            event = (await events.described(connection, [which.id]))[which.id]
        method = "CANCEL" if event.cancelled else "PUBLISH"
        data = composer.calendar(facts_of(event), method, language="en", now=call.now)
        saved = ("content-disposition", f'attachment; filename="event-{which.public_id}.ics"')
        return Raw(data, _TYPE, headers=(saved,))

    return calendar
