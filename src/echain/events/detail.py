"""One event as bytes: rendered once for everybody who reads it, drafts for their organizer alone."""

from __future__ import annotations

from collections import OrderedDict
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec

from echain.events import resource, service, store
from echain.events.types import Event, EventNotFound
from echain.infra.cache import Cache
from echain.infra.database import Database
from echain.kernel.evm import Address, checksum
from echain.kernel.time import to_unix

_CAPACITY: Final = 10_000
_STAMP: Final = 12
"""Digits in front of the kept bytes: the Unix second at which time alone makes them untrue."""

_NEVER: Final = 10**_STAMP - 1


class _Draft(Exception):  # no error: what was found is for one reader and must not be kept
    def __init__(self, event: Event) -> None:
        super().__init__()
        self.event = event


class _Elsewhere(Exception):  # no error: the bytes belong under another key
    def __init__(self, key: UUID) -> None:
        super().__init__()
        self.key = key


class Details:
    """Renders events through the cache, under ``event:<the projection's id>``.

    An id that a draft had finds its event by one look-up in memory; the last 10,000 are remembered.
    """

    def __init__(self, database: Database, cache: Cache) -> None:
        self._database = database
        self._cache = cache
        self._keys: OrderedDict[UUID, UUID] = OrderedDict()

    async def read(self, event_id: UUID, caller: Address | None, now: datetime) -> tuple[bytes, str | None]:
        """Return an event's encoded resource, and its tag when it is a draft.

        Raises:
            EventNotFound: no such event, or a draft that is not the caller's.
        """
        key = self._keys.get(event_id, event_id)
        try:
            return await self._kept(event_id, key, now), None
        except _Elsewhere as elsewhere:
            self._remember(event_id, elsewhere.key)
        except _Draft as draft:
            return _shown(draft.event, caller)
        try:
            return await self._kept(event_id, self._keys[event_id], now), None
        except _Elsewhere:
            # It moved again between two reads, as in a reorg: this answer is right and kept by nobody.
            return await self._render_uncached(event_id, caller, now)
        except _Draft as draft:
            return _shown(draft.event, caller)

    async def _kept(self, event_id: UUID, key: UUID, now: datetime) -> bytes:
        async def render() -> bytes:
            return await self._render(event_id, key, now)

        name = f"event:{key}"
        data = await self._cache.get_or_render(name, render)
        if int(data[:_STAMP]) <= to_unix(now):
            self._cache.forget(name)
            data = await self._cache.get_or_render(name, render)
        return data[_STAMP:]

    async def _render(self, event_id: UUID, key: UUID, now: datetime) -> bytes:
        row = await store.event(self._database, event_id)
        if row is None:
            raise EventNotFound
        event = resource.event_of(row, now)
        if event.version is not None:
            raise _Draft(event)
        if row["id"] != key:
            raise _Elsewhere(row["id"])
        until = resource.next_change(event, now)
        stamp = _NEVER if until is None else to_unix(until.astimezone(UTC) + timedelta(microseconds=999_999))
        return b"%0*d" % (_STAMP, stamp) + msgspec.json.encode(event)

    async def _render_uncached(
        self, event_id: UUID, caller: Address | None, now: datetime
    ) -> tuple[bytes, str | None]:
        row = await store.event(self._database, event_id)
        if row is None:
            raise EventNotFound
        event = resource.event_of(row, now)
        return (msgspec.json.encode(event), None) if event.version is None else _shown(event, caller)

    def _remember(self, event_id: UUID, key: UUID) -> None:
        self._keys[event_id] = key
        self._keys.move_to_end(event_id)
        if len(self._keys) > _CAPACITY:
            self._keys.popitem(last=False)


def _shown(event: Event, caller: Address | None) -> tuple[bytes, str]:
    if caller is None or event.organizer != checksum(caller):
        raise EventNotFound
    assert event.version is not None
    return msgspec.json.encode(event), service.version_tag(event.version)
