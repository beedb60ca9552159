"""One event as bytes: rendered once for everybody who reads it; drafts for members of their organization."""

from __future__ import annotations

import math
from collections import OrderedDict
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from echain.edge.http import Caller, Rendered
from echain.edge.http.etag import etag_of
from echain.events import drafts, resource, service, store
from echain.events.types import Event, EventNotFound
from echain.infra.cache import Cache, Kept
from echain.infra.database import Database, Row
from echain.organizations.types import Permission

_CAPACITY: Final = 10_000


class _Draft(Exception):  # no error: what was found is for one reader and must not be kept
    def __init__(self, row: Row, event: Event) -> None:
        super().__init__()
        self.row = row
        self.event = event


class _Elsewhere(Exception):  # no error: the bytes belong under another key
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


class Details:
    """Renders events through the cache, under ``event:<the projection's id>``.

    An id that a draft had finds its event by one look-up in memory, and one that was a draft when it was
    read last goes past the cache, which keeps none; the last 10,000 of each are remembered.
    """

    def __init__(self, database: Database, cache: Cache) -> None:
        self._database = database
        self._cache = cache
        self._names: OrderedDict[UUID, str] = OrderedDict()
        self._drafts: OrderedDict[UUID, None] = OrderedDict()

    def kept(self, event_id: UUID, now: datetime, seen: int) -> Rendered | None:
        """Return what `read` would, if this process keeps it."""
        name = self._names.get(event_id)
        kept = None if name is None else self._cache.kept(name, at=now.timestamp(), seen=seen)
        return None if kept is None else Rendered(kept.data, kept.tag)

    async def read(self, event_id: UUID, caller: Caller | None, now: datetime, seen: int) -> Rendered:
        """Return an event's encoded resource with its tag; a draft's tag is its version.

        ``seen`` is the number of a message that the reader knows; nothing older than that is shown.

        Raises:
            EventNotFound: no such event, or a draft of an organization that the caller is no member of.
            PermissionMissing: a draft, and the caller's role shows none.
        """
        if event_id in self._drafts:
            return await self._uncached(event_id, caller, now)
        name = self._names.get(event_id)
        try:
            return await self._cached(event_id, name or f"event:{event_id}", now, seen)
        except _Elsewhere as elsewhere:
            self._remember(event_id, elsewhere.name)
        except _Draft as draft:
            return await self._shown(event_id, draft.row, draft.event, caller)
        try:
            return await self._cached(event_id, self._names[event_id], now, seen)
        except _Elsewhere:
            # It moved again between two reads, as in a reorg: this answer is right and kept by nobody.
            return await self._uncached(event_id, caller, now)
        except _Draft as draft:
            return await self._shown(event_id, draft.row, draft.event, caller)

    async def _cached(self, event_id: UUID, name: str, now: datetime, seen: int) -> Rendered:
        async def render() -> Kept:
            return await self._render(event_id, name, now)

        kept = await self._cache.get_or_render(name, render, at=now.timestamp(), seen=seen)
        if event_id not in self._names:
            self._remember(event_id, name)
        return Rendered(kept.data, kept.tag)

    async def _render(self, event_id: UUID, name: str, now: datetime) -> Kept:
        row = await store.event(self._database, event_id)
        if row is None:
            raise EventNotFound
        event = resource.event_of(row, now)
        if event.version is not None:
            raise _Draft(row, event)
        if name != (own := f"event:{row['id']}"):
            raise _Elsewhere(own)
        change = resource.next_change(event, now)
        until = math.inf if change is None else change.timestamp()
        data = msgspec.json.encode(event)
        return Kept(data, etag_of(data), until)

    async def _uncached(self, event_id: UUID, caller: Caller | None, now: datetime) -> Rendered:
        row = await store.event(self._database, event_id)
        if row is None:
            raise EventNotFound
        event = resource.event_of(row, now)
        if event.version is not None:
            return await self._shown(event_id, row, event, caller)
        self._drafts.pop(event_id, None)
        return Rendered(msgspec.json.encode(event))

    async def _shown(self, event_id: UUID, row: Row, event: Event, caller: Caller | None) -> Rendered:
        """Return a draft to those who may see it, of whom the database is asked each time."""
        self._drafts[event_id] = None
        if len(self._drafts) > _CAPACITY:
            self._drafts.popitem(last=False)
        if caller is None:
            raise EventNotFound
        await service.standing_to_draft(self._database, caller, row, Permission.EVENTS_READ)
        assert event.version is not None
        tag = drafts.version_tag(event.version)
        return Rendered(msgspec.json.encode(event), f'"{tag}"'.encode())

    def _remember(self, event_id: UUID, name: str) -> None:
        self._names[event_id] = name
        self._names.move_to_end(event_id)
        if len(self._names) > _CAPACITY:
            self._names.popitem(last=False)
