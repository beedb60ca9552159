"""What a client missed: from memory, else from the database, then live; no gap and no double."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from echain.edge.live.hub import Hub, Receiver
from echain.edge.live.recent import joined
from echain.edge.live.wire import Entry
from echain.infra.messagestore import Relayed
from echain.kernel.errors import EchainError

PAGE: Final = 100
"""How many messages are written before looking whether the client still takes them."""

_QUERY_ROWS: Final = 500
_KEPT_PAGES: Final = 128
_QUERIES_AT_ONCE: Final = 4
_AHEAD_SECONDS: Final = 3.0
"""How long a client that knows more than this process waits for it; another process was quicker."""
_OLDEST_SECONDS: Final = 1.0
_TRIES: Final = 20
_PAUSE_SECONDS: Final = 0.25


class Source(Protocol):
    """Where older messages are read, as `infra.feed.Feed` does."""

    async def history(self, channels: Sequence[str], after: int, limit: int) -> list[Relayed]:
        """Return the next messages after a sequence on any of these channels, in order."""
        ...

    async def oldest(self) -> int:
        """Return the sequence of the oldest message that is kept."""
        ...


class Follower(Receiver):
    """A connection that catches up."""

    __slots__ = ()

    @abstractmethod
    def wants(self, channel: str) -> bool:
        """Return whether it is still there and still wants, and may have, this channel."""

    @abstractmethod
    async def drained(self) -> None:
        """Return when it takes more, or is gone."""

    @abstractmethod
    def hear(self, channel: str) -> None:
        """Hear a channel live from the hub's position on."""

    @abstractmethod
    def resync(self, channel: str, reason: str) -> None:
        """Tell it that messages of a channel are lost to it, and that it hears on from the position."""


class _Page(NamedTuple):
    """Messages in order, the sequence up to which nothing is missing, and whether there are more.

    ``oldest`` was still kept once they had been read: nothing from there on was swept before.
    """

    entries: list[Entry]
    reached: int
    full: bool
    oldest: int


class Past:
    """Brings connections from where they were to the present."""

    def __init__(self, hub: Hub, source: Source) -> None:
        self._hub = hub
        self._source = source
        self._pages: OrderedDict[tuple[tuple[str, ...], int], _Page] = OrderedDict()
        self._asking: dict[tuple[tuple[str, ...], int], asyncio.Future[_Page]] = {}
        self._slots = asyncio.Semaphore(_QUERIES_AT_ONCE)
        self._oldest = (0, -1e9)
        self.queries = 0

    def forget(self) -> None:
        """Answer nobody from what was read so far: the messages' numbers may have begun anew."""
        self._pages.clear()
        self._asking.clear()
        self._oldest = (0, -1e9)

    async def follow(self, follower: Follower, channels: Sequence[str], after: int) -> None:
        """Write what these channels told after a sequence, in order, then have them heard live.

        The step from written to live has no await in it, so nothing falls between. What is older than
        anything kept, or cannot be read, becomes `resync`.
        """
        hub = self._hub
        if after > hub.position and not await hub.reached(after, within=_AHEAD_SECONDS):
            # No feed ever said this: the messages' numbers have begun anew, or it is made up.
            _give_up(follower, channels, "unknown_id")
            return
        while True:
            await follower.drained()
            wanted = tuple(channel for channel in channels if follower.wants(channel))
            if not wanted:
                return
            if after >= hub.recent.floor:
                page = hub.recent.since(wanted, after, PAGE)
                if page:
                    follower.write(hub.recent.joined(wanted, page, follower.wire))
                if len(page) < PAGE:
                    for channel in wanted:
                        follower.hear(channel)
                    return
                after = page[-1].sequence
                continue
            reached = await self._write_older(follower, wanted, after)
            if reached is None:
                _give_up(follower, wanted, "not_kept")
                return
            after = reached

    async def _write_older(self, follower: Follower, channels: tuple[str, ...], after: int) -> int | None:
        """Write the next messages from the database; return how far that reaches, None if they are gone."""
        for _ in range(_TRIES):
            try:
                if after + 1 < await self._oldest_kept():
                    return None
                page = await self._page(channels, after)
                if after + 1 < page.oldest:
                    return None
            except EchainError:
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            for start in range(0, len(page.entries), PAGE):
                await follower.drained()
                if not any(follower.wants(channel) for channel in channels):
                    break
                follower.write(joined(page.entries[start : start + PAGE], follower.wire))
            return page.reached
        return None

    async def _oldest_kept(self) -> int:
        now = asyncio.get_running_loop().time()
        number, asked_at = self._oldest
        if now - asked_at > _OLDEST_SECONDS:
            number = await self._ask_oldest()
        return number

    async def _ask_oldest(self) -> int:
        number = await self._source.oldest()
        self._oldest = number, asyncio.get_running_loop().time()
        return number

    async def _page(self, channels: tuple[str, ...], after: int) -> _Page:
        """Return a page of history; those who ask for the same are answered by one query.

        A full page never changes, so it is kept; one that is not full ends where it was asked.
        """
        key = channels, after
        kept = self._pages.get(key)
        if kept is not None:
            return kept
        asking = self._asking.get(key)
        if asking is None:
            asking = asyncio.ensure_future(self._query(channels, after))
            self._asking[key] = asking
            asking.add_done_callback(lambda done: self._answered(key, done))
        return await asyncio.shield(asking)

    async def _query(self, channels: tuple[str, ...], after: int) -> _Page:
        async with self._slots:
            self.queries += 1
            # Taken before the query: whatever the hub has spoken is committed, so the query sees it.
            known = self._hub.position
            rows = await self._source.history(channels, after, _QUERY_ROWS)
            # Not before the query, where a sweep between the two would go unseen.
            oldest = await self._ask_oldest()
        # What was relayed but not yet heard here comes live.
        entries = [self._hub.entry(row) for row in rows if row.sequence <= known]
        full = len(entries) == _QUERY_ROWS
        return _Page(entries, entries[-1].sequence if full else known, full, oldest)

    def _answered(self, key: tuple[tuple[str, ...], int], done: asyncio.Future[_Page]) -> None:
        if self._asking.get(key) is not done:
            return
        del self._asking[key]
        if done.cancelled() or done.exception() is not None:
            return
        page = done.result()
        if page.full:
            self._pages[key] = page
            if len(self._pages) > _KEPT_PAGES:
                self._pages.popitem(last=False)


def _give_up(follower: Follower, channels: Sequence[str], reason: str) -> None:
    for channel in channels:
        if follower.wants(channel):
            follower.resync(channel, reason)
            follower.hear(channel)
