"""`/sse/events`: server-sent events, for clients that only listen."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from echain.edge.live import socket as ws
from echain.edge.live.desk import Desk
from echain.edge.live.door import Door
from echain.edge.live.session import Session, Subscribed, nowhere
from echain.edge.live.wire import Wire, chunk, sse_event, told
from echain.kernel.errors import EchainError

HEADERS: Final = (
    ("Content-Type", "text/event-stream"),
    ("Cache-Control", "no-store"),
    # nginx would hold back what it buffers.
    ("X-Accel-Buffering", "no"),
)
_KEEP_ALIVE: Final = chunk(b":\n\n")
_SHORTEST_RETRY_MS: Final = 500
_RETRY_SPREAD_MS: Final = 4_500


class StreamSession(Session):
    """A stream of events over one HTTP answer; `open` begins it."""

    __slots__ = ("_door",)

    def __init__(self, desk: Desk, door: Door) -> None:
        super().__init__(desk, Wire.SSE, nowhere)
        self._door = door

    async def open(
        self,
        asked: Mapping[str, int | None],
        headers: list[tuple[str, str]],
        refuse: Callable[[str, str], None],
    ) -> None:
        """Begin the stream, or call ``refuse`` with code and text when a channel is not to be heard."""

        def begin(done: Subscribed) -> None:
            if done.refused:
                refuse(done.refused[0].code, done.refused[0].message)
                self.gone()
                return
            self._begin(done, headers)

        try:
            await self.subscribe(asked, begin)
        except EchainError as error:
            refuse(error.code, error.message)
            self.gone()

    def _begin(self, done: Subscribed, headers: list[tuple[str, str]]) -> None:
        if self._door.closed:
            self.gone()
            return
        self.write = self._door.stream([*HEADERS, *headers])
        self._door.attend(self)
        answer = msgspec.json.encode(done)
        self.write(
            chunk(b"retry: 2000\nevent: subscribed\nid: %b\ndata: %b\n\n" % (done.id.encode(), answer))
        )
        for channel, live in self.channels.items():
            if live:
                # Attached before there was anything to write to.
                self.desk.hub.detach(self, channel)
                self.hear(channel)
        self.desk.wheel.put(self, self.desk.monotonic() + self.desk.timing.ping_interval)

    def due(self, now: float) -> float | None:
        """Write a comment: it keeps proxies patient, and shows the kernel a peer that is gone."""
        if self.closed:
            return None
        self.write(_KEEP_ALIVE)
        return now + self.desk.timing.ping_interval

    def tell(self, kind: str, channel: str | None, position: int | None, data: Mapping[str, object]) -> None:
        self.write(sse_event(told(kind, channel, position, self.desk.now_ms(), data), event_id=position))

    def lose_identity(self, reason: str) -> None:
        super().lose_identity(reason)
        if not self.channels:
            self.end(ws.POLICY, reason)

    def end(self, code: int, reason: str) -> None:  # noqa: ARG002 - a stream has no words for them
        door = self._door
        self.gone()
        retry = _SHORTEST_RETRY_MS + secrets.randbelow(_RETRY_SPREAD_MS)
        # A browser comes back by itself; the pause keeps all of them from coming at once.
        door.end_stream(b"retry: %d\n\n" % retry)

    def abort(self) -> None:
        door = self._door
        self.gone()
        door.abort()

    def gone(self) -> None:
        super().gone()
        self.write = nowhere
