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
from echain.events import drafts, resource, store
from echain.events.types import EventNotFound
from echain.infra.cache import Cache, Kept
from echain.infra.database import Database, Row
from echain.organizations import service as organizations
from echain.organizations.types import Permission, Role

_CAPACITY: Final = 10_000


class _Draft(Exception):  # no error: what was found is for some readers and must not be kept
    pass


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
            return await self._past_cache(event_id, caller, now)
        name = self._names.get(event_id)
        try:
            return await self._cached(event_id, name or f"event:{event_id}", now, seen)
        except _Elsewhere as elsewhere:
            self._remember(event_id, elsewhere.name)
        except _Draft:
            return await self._past_cache(event_id, caller, now)
        try:
            return await self._cached(event_id, self._names[event_id], now, seen)
        except (_Elsewhere, _Draft):
            # It moved again between two reads, as in a reorg: this answer is right and kept by nobody.
            return await self._past_cache(event_id, caller, now)

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
            raise _Draft
        if name != (own := f"event:{row['id']}"):
            raise _Elsewhere(own)
        change = resource.next_change(event, now)
        until = math.inf if change is None else change.timestamp()
        data = msgspec.json.encode(event)
        return Kept(data, etag_of(data), until)

    async def _past_cache(self, event_id: UUID, caller: Caller | None, now: datetime) -> Rendered:
        """Return a draft to those whose role shows it now, or an event that nobody keeps."""
        if caller is not None and caller.kind == "user":
            row = await store.draft_for(self._database, event_id, caller.id)
            if row is not None:
                return self._shown(event_id, row)
        row = await store.event(self._database, event_id)
        if row is None:
            self._drafts.pop(event_id, None)
            raise EventNotFound
        event = resource.event_of(row, now)
        if event.version is not None:
            raise EventNotFound
        self._drafts.pop(event_id, None)
        return Rendered(msgspec.json.encode(event))

    def _shown(self, event_id: UUID, row: Row) -> Rendered:
        """Return a draft, which goes past the cache from now on; its row says what the reader is."""
        self._drafts[event_id] = None
        if len(self._drafts) > _CAPACITY:
            self._drafts.popitem(last=False)
        if row["role"] is None:
            raise EventNotFound
        organizations.check(Role(row["role"]), Permission.EVENTS_READ)
        tag = drafts.version_tag(row["version"])
        return Rendered(msgspec.json.encode(resource.draft_of(row)), f'"{tag}"'.encode())

    def _remember(self, event_id: UUID, name: str) -> None:
        self._names[event_id] = name
        self._names.move_to_end(event_id)
        if len(self._names) > _CAPACITY:
            self._names.popitem(last=False)
