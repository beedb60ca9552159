"""uvicorn's HTTP protocol with bounds on what a connection holds before it is a request; whole answers."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

HEAD_SECONDS = 10.0
"""How long a request's line and headers may take to arrive, and a new connection to say anything."""
MAX_HEAD_BYTES = 65_536


class WholeAnswers(RequestResponseCycle):
    """Sends head and body in one write, where the application gives both at once and knows the length.

    The stock cycle writes twice and searches every header's text for control characters; the application's
    own headers hold none (see `rendering`). Whatever differs from that takes the stock way.
    """

    _start: Any = None

    async def send(self, message: Any) -> None:
        """Take one ASGI message."""
        if self._start is None and not self.response_started and message["type"] == "http.response.start":
            self._start = message
            return
        start, self._start = self._start, None
        if start is None:
            await super().send(message)
        elif message.get("more_body") or not self._write_whole(start, message["body"]):
            await super().send(start)
            await super().send(message)

    def _write_whole(self, start: Any, body: bytes) -> bool:
        """Write the answer if nothing stands in its way; return whether it is written."""
        if self.flow.write_paused or self.disconnected or self.access_log:
            return False
        content = [STATUS_LINE[start["status"]]]
        length = -1
        for name, value in (*self.default_headers, *start["headers"]):
            if name == b"connection":
                return False
            if name == b"content-length":
                length = int(value)
            content += (name, b": ", value, b"\r\n")
        if length != len(body):  # an answer to HEAD, a 304
            return False
        if not self.keep_alive:
            content.append(b"connection: close\r\n")
        content += (b"\r\n", body)
        self.response_started = True
        self.waiting_for_100_continue = False
        self.transport.write(b"".join(content))
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
        return True


class BoundedProtocol(HttpToolsProtocol):
    """Closes connections whose request head is too slow or too large; the stock protocol waits and holds all.

    A head that arrives in one piece, as nearly all do, costs no timer. Give it to uvicorn as ``http=``.
    """

    _deadline: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _in_head = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # pyright: ignore[reportArgumentType] - a server's transport is whole
        self._start_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._in_head:
            return
        if self._deadline is None:
            self._start_deadline()
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self.transport.close()

    def on_message_begin(self) -> None:
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._deadline is not None:
            self._stop_deadline()
        super().on_headers_complete()

    def _start_deadline(self) -> None:
        self._head_bytes = 0
        self._deadline = self.loop.call_later(HEAD_SECONDS, self._too_slow)

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if not self.transport.is_closing():
            self.transport.close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        cycle.__class__ = WholeAnswers  # it is made inside a method of eighty lines; its state is the same
        super()._start_asgi_task(cycle, app)
