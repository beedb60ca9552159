"""The channels of events, by whichever id a client knows."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Final
from uuid import UUID

from echain.edge.live.access import ChannelUnknown, Grant
from echain.events import store
from echain.infra.database import Database

PREFIX: Final = "event:"
_CAPACITY: Final = 10_000
_REMEMBERED_SECONDS: Final = 60.0
"""A reorg may give a draft's id to another event; seldom, and then soon noticed."""

_DERIVED: Final = 8
"""Version of the UUIDs that projections derive from what the chain says; drafts have version 7."""


class EventChannels:
    """Finds the channel of an event: messages name the projection's id, pages may know the draft's."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: OrderedDict[UUID, tuple[UUID, float]] = OrderedDict()
        self._asking: dict[UUID, asyncio.Task[UUID | None]] = {}

    async def grant(self, name: str) -> Grant:
        """Return the public channel of an event; a projection's own id is taken at its word.

        Raises:
            ChannelUnknown: no id, or that of a draft which is not published yet.
            DatabaseUnavailable: an id of the other kind cannot be looked up now.
        """
        try:
            event_id = UUID(name)
        except ValueError:
            raise ChannelUnknown("An event's channel is event: and its id.") from None
        if event_id.version != _DERIVED:
            event_id = await self._published(event_id)
        return Grant(f"{PREFIX}{event_id}", private=False)

    async def _published(self, public_id: UUID) -> UUID:
        now = asyncio.get_running_loop().time()
        known = self._known.get(public_id)
        if known is not None and now < known[1]:
            return known[0]
        asking = self._asking.get(public_id)
        if asking is None:
            # Thousands come back for the same event at once; one look-up answers all of them.
            asking = asyncio.create_task(self._look_up(public_id))
            self._asking[public_id] = asking
            asking.add_done_callback(lambda _: self._asking.pop(public_id, None))
        found = await asyncio.shield(asking)
        if found is None:
            raise ChannelUnknown("There is no published event with this id.")
        self._known[public_id] = found, now + _REMEMBERED_SECONDS
        self._known.move_to_end(public_id)
        if len(self._known) > _CAPACITY:
            self._known.popitem(last=False)
        return found

    async def _look_up(self, public_id: UUID) -> UUID | None:
        row = await store.published(self._database, public_id)
        return None if row is None else row["id"]
