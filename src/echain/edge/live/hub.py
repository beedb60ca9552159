"""Channels and who hears them: each message is made once and written to all, in the feed's order."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from echain.edge.live.recent import Recent
from echain.edge.live.wire import Entry, Wire
from echain.infra.messagestore import Relayed

_WIRES: Final = len(Wire)

_log = structlog.get_logger(__name__)


class Receiver:
    """A connection: how it is spoken to, and by what. Both stay the same while it is attached."""

    __slots__ = ("wire", "write")

    def __init__(self, wire: Wire, write: Callable[[bytes], object]) -> None:
        self.wire = wire
        self.write = write


class Hub:
    """Holds the channels of one process.

    ``position`` is the sequence of the last message that was given to everybody. ``names`` returns a
    message type followed by its aliases.
    """

    def __init__(self, recent: Recent, names: Callable[[str], Sequence[str]]) -> None:
        self.recent = recent
        self.position = 0
        self.deliveries = 0
        self._names = names
        self._channels: dict[str, tuple[dict[Receiver, Callable[[bytes], object]], ...]] = {}
        self._started = asyncio.Event()
        self._reaching: list[tuple[int, int, asyncio.Future[None]]] = []
        self._tickets = 0
        self._afterwards: list[Callable[[], None]] = []
        self._speaking = False

    @property
    def started(self) -> bool:
        return self._started.is_set()

    @property
    def channels(self) -> int:
        """Return how many channels somebody hears."""
        return len(self._channels)

    def begin(self, position: int) -> None:
        """Take ``position`` as where the feed begins, or begins anew."""
        self.position = position
        self.recent.begin(position)
        self._started.clear()

    def start(self) -> None:
        """Let those in who waited: the feed has come to the present."""
        self._started.set()

    async def until_started(self) -> None:
        await self._started.wait()

    def speak(self, batch: Sequence[Relayed]) -> None:
        """Give a batch, the next of the feed, to all who hear its channels.

        Bytes of several messages for one connection leave in one system call at the end of the loop's turn.
        """
        self._speaking = True
        try:
            for message in batch:
                entry = self.entry(message)
                self.recent.add(entry)
                self._deliver(entry)
                self.position = message.sequence
        finally:
            self._speaking = False
        afterwards, self._afterwards = self._afterwards, []
        for work in afterwards:
            work()
        self._wake()

    def entry(self, message: Relayed) -> Entry:
        """Return a message ready to be written on any wire."""
        return Entry(
            message.sequence,
            message.channel,
            self._names(message.type),
            message.data,
            message.timestamp_ms,
        )

    def _deliver(self, entry: Entry) -> None:
        hearing = self._channels.get(entry.channel)
        if hearing is None:
            return
        for wire in Wire:
            writers = hearing[wire]
            if writers:
                data = entry.on(wire)
                for write in writers.values():
                    try:
                        write(data)
                    except Exception:  # noqa: BLE001 - one broken connection must not take the message from others
                        _log.exception("live.write_failed")
                self.deliveries += len(writers)

    def afterwards(self, work: Callable[[], None]) -> None:
        """Run ``work`` now, or after the batch that is being spoken: who hears must not change meanwhile."""
        if self._speaking:
            self._afterwards.append(work)
        else:
            work()

    def attach(self, receiver: Receiver, channel: str) -> None:
        """Give every message after `position` on a channel to a receiver."""
        hearing = self._channels.get(channel)
        if hearing is None:
            hearing = self._channels[channel] = tuple({} for _ in range(_WIRES))
        hearing[receiver.wire][receiver] = receiver.write

    def detach(self, receiver: Receiver, channel: str) -> None:
        """Give a channel's messages to a receiver no more; nothing happens if it did not hear it."""
        hearing = self._channels.get(channel)
        if hearing is None:
            return
        hearing[receiver.wire].pop(receiver, None)
        if not any(hearing):
            del self._channels[channel]

    def hearers(self, channel: str) -> int:
        """Return how many hear a channel."""
        return sum(len(writers) for writers in self._channels.get(channel, ()))

    async def reached(self, position: int, *, within: float) -> bool:
        """Return True as soon as `position` is at least this, False if it is not ``within`` seconds."""
        if self.position >= position:
            return True
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tickets += 1
        heapq.heappush(self._reaching, (position, self._tickets, future))
        try:
            async with asyncio.timeout(within):
                await future
        except TimeoutError:
            return False
        return True

    def _wake(self) -> None:
        while self._reaching and self._reaching[0][0] <= self.position:
            _, _, future = heapq.heappop(self._reaching)
            if not future.done():
                future.set_result(None)
