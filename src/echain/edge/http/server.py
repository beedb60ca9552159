"""uvicorn's HTTP protocol with bounds on what a connection holds and how long, before it is a request."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS = 10.0
"""How long a request's line and headers may take to arrive, and a new connection to say anything."""
MAX_HEAD_BYTES = 65_536


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
