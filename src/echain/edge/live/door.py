"""Where connections come in: reads HTTP within bounds, answers small things, hands WebSockets on.

httptools (llhttp) parses. Whatever a peer sends, at most a head, a body and a few requests ahead are held,
and each must be complete within its time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from http import HTTPStatus
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl

import httptools
import msgspec

from echain.edge.live.places import Places
from echain.edge.live.socket import Socket, hand_over
from echain.edge.live.wheel import Wheel
from echain.edge.live.wire import chunk

MAX_HEAD_BYTES: Final = 16_384
MAX_HEADERS: Final = 100
MAX_AHEAD: Final = 8
MAX_FIELDS: Final = 300

# Every connection reads into it and copies what it got before it returns.
_BUFFER: Final = memoryview(bytearray(65_536))


class Request(msgspec.Struct, frozen=True):
    """A request, whole. Header names are lower case; ``rest`` is what followed an upgrade request."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    keep_alive: bool
    http11: bool
    upgrade: bool = False
    rest: bytes = b""

    @property
    def fields(self) -> list[tuple[str, str]]:
        """Return the query's fields in order; those beyond the 300th are not looked at."""
        return parse_qsl(self.query, keep_blank_values=True)[:MAX_FIELDS]

    def field(self, name: str) -> str | None:
        """Return the first field of that name."""
        return next((value for known, value in self.fields if known == name), None)


class Rules(msgspec.Struct, frozen=True):
    """Bounds of one door: seconds for a request, between two and to close; bytes of bodies and backlogs."""

    request_seconds: float
    keep_alive_seconds: float
    closing_seconds: float
    body_bytes: int
    backlog_bytes: int


class Stream(Protocol):
    """Who writes an endless answer."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def gone(self) -> None: ...


class House(Protocol):
    """Who answers."""

    rules: Rules
    wheel: Wheel
    monotonic: Callable[[], float]

    places: Places

    def route(self, door: Door, request: Request) -> None:
        """Answer a request, now or later."""
        ...


class _State(Enum):
    READING = 0
    ANSWERING = 1
    STREAMING = 2
    CLOSED = 3


class Door(asyncio.BufferedProtocol):
    """One connection, until it ends or becomes a WebSocket."""

    __slots__ = (
        "_ahead",
        "_body",
        "_body_bytes",
        "_deadline",
        "_fault",
        "_headers",
        "_house",
        "_in_body",
        "_parser",
        "_refusal",
        "_request",
        "_request_bytes",
        "_rest",
        "_state",
        "_stream",
        "_transport",
        "_url",
        "address",
        "on_gone",
        "peer",
    )

    def __init__(self, house: House) -> None:
        self._house = house
        self._transport: Any = None
        self._state = _State.READING
        self._ahead: deque[Request] = deque()
        self._request: Request | None = None
        self._rest = b""
        self._refusal: HTTPStatus | None = None
        self._stream: Stream | None = None
        self._deadline = 0.0
        self.peer = ""
        self.address = ""
        self.on_gone: Callable[[], None] | None = None
        self._parser: Any = httptools.HttpRequestParser(self)
        self._request_bytes = 0
        self._clear()

    def _clear(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._in_body = False
        self._fault: HTTPStatus | None = None

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        peer = transport.get_extra_info("peername")
        self.peer = self.address = str(peer[0]) if peer else ""
        self._transport.set_write_buffer_limits(self._house.rules.backlog_bytes)
        self._deadline = self._house.monotonic() + self._house.rules.request_seconds
        self._house.wheel.put(self, self._deadline)
        refusal = self._house.places.take(self.address)
        if refusal is not None:
            self.address = ""
            # Told once it has asked: many clients cannot read an answer that comes before their question.
            if self._house.places.turn_away():
                self._refusal = refusal
            else:
                self._transport.abort()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the loop hands it over
        return _BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        data = bytes(_BUFFER[:nbytes])
        if self._state in (_State.STREAMING, _State.CLOSED):
            return
        if self._parser is None:
            self._rest += data
            if len(self._rest) > self._house.rules.body_bytes:
                self._transport.abort()
            return
        self._feed(data)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the same
        self._state = _State.CLOSED
        # The parser holds methods of ours: without it, what has ended is freed at once.
        self._parser = None
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.gone()
        self._gone()
        self._house.places.give(self.address)
        if self._refusal is not None:
            self._house.places.turned_away()

    def _gone(self) -> None:
        on_gone, self.on_gone = self.on_gone, None
        if on_gone is not None:
            on_gone()

    def pause_writing(self) -> None:
        if self._stream is not None:
            self._stream.pause()

    def resume_writing(self) -> None:
        if self._stream is not None:
            self._stream.resume()

    def due(self, now: float) -> float | None:
        """End a connection that is late with a request, or does not take its answer."""
        if self._state in (_State.CLOSED, _State.STREAMING):
            return None
        step = now + self._house.rules.request_seconds
        if self._state is _State.ANSWERING or now < self._deadline:
            return step if self._state is _State.ANSWERING else min(step, self._deadline)
        if self._transport.get_write_buffer_size():
            self._transport.abort()
        elif self._request_bytes:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)
        else:
            self.close()
        return None

    # What the parser calls.

    def _feed(self, data: bytes) -> None:
        if self._request_bytes == 0:
            self._deadline = self._house.monotonic() + self._house.rules.request_seconds
        self._request_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._rest, self._parser = data[upgrade.args[0] :], None
        except httptools.HttpParserError:
            self._refuse(HTTPStatus.BAD_REQUEST)
            return
        if self._fault is None and self._request_bytes > MAX_HEAD_BYTES:
            if not self._in_body:
                self._fault = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            elif self._request_bytes > MAX_HEAD_BYTES + 2 * self._house.rules.body_bytes:
                # Chunks of a byte each, or trailers without end.
                self._fault = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        if self._fault is not None:
            self._refuse(self._fault)
        elif self._state is _State.READING:
            self._next()

    def on_message_begin(self) -> None:
        self._clear()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        known = name.decode("latin-1").lower()
        text = value.decode("latin-1")
        if known in self._headers:
            # Said twice is another text than either, which no allow-list knows.
            text = f"{self._headers[known]}{'; ' if known == 'cookie' else ', '}{text}"
        self._headers[known] = text
        if len(self._headers) > MAX_HEADERS:
            self._fault = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE

    def on_headers_complete(self) -> None:
        self._in_body = True

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._body_bytes > self._house.rules.body_bytes:
            self._body.clear()
            self._fault = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        if len(self._ahead) >= MAX_AHEAD or self._fault is not None:
            self._fault = self._fault or HTTPStatus.TOO_MANY_REQUESTS
            return
        self._ahead.append(self._whole(upgrade=self._parser.should_upgrade()))
        self._request_bytes = 0

    def _whole(self, *, upgrade: bool) -> Request:
        path, _, query = self._url.decode("latin-1").partition("?")
        return Request(
            self._parser.get_method().decode("latin-1"),
            path,
            query,
            self._headers,
            b"".join(self._body),
            self._parser.should_keep_alive() and not upgrade,
            self._parser.get_http_version() == "1.1",
            upgrade,
        )

    def _next(self) -> None:
        if self._refusal is not None and self._ahead:
            self._refuse(self._refusal)
        elif self._ahead:
            self._request = self._ahead.popleft()
            self._state = _State.ANSWERING
            forwarded = self._request.headers.get("x-forwarded-for")
            if forwarded is None or self._stands_for(self._house.places.origin(self.peer, forwarded)):
                self._house.route(self, self._request)
            else:
                self._refuse(HTTPStatus.TOO_MANY_REQUESTS)

    def _stands_for(self, address: str) -> bool:
        """Count the connection for whom it speaks; a proxy's carries requests of one after another."""
        if address == self.address or self._house.places.move(self.address, address):
            self.address = address
            return True
        return False

    # What whoever answers calls.

    @property
    def closed(self) -> bool:
        return self._state is _State.CLOSED

    def answer(self, status: HTTPStatus, body: bytes = b"", headers: Sequence[tuple[str, str]] = ()) -> None:
        """Answer the request that was routed last; on to the next one, if the connection stays."""
        request = self._request
        if self._state is not _State.ANSWERING or request is None:
            return
        self._request, self.on_gone = None, None
        self._stands_for(self.peer)
        length = [] if status is HTTPStatus.NO_CONTENT else [("Content-Length", str(len(body)))]
        keep = request.keep_alive and self._parser is not None
        connection = [] if keep else [("Connection", "close")]
        head = _head(status, [*headers, *length, *connection])
        self._transport.write(head if request.method == "HEAD" else head + body)
        if not keep:
            self.close()
            return
        self._state = _State.READING
        self._deadline = self._house.monotonic() + self._house.rules.keep_alive_seconds
        if self._ahead:
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        if self._state is _State.READING:
            self._next()

    def stream(self, headers: Sequence[tuple[str, str]]) -> Callable[[bytes], object]:
        """Begin a chunked answer and return what writes ready chunks; `attend` tells who goes on."""
        self._state = _State.STREAMING
        self._parser = None
        self._headers, self._request = {}, None
        self._transport.write(
            _head(HTTPStatus.OK, [*headers, ("Transfer-Encoding", "chunked"), ("Connection", "close")])
        )
        return self._transport.write

    def attend(self, stream: Stream) -> None:
        self._stream = stream

    def end_stream(self, last: bytes = b"") -> None:
        """End a chunked answer after one more chunk's content."""
        if self._state is _State.STREAMING:
            self._stream = None
            self._transport.write((chunk(last) if last else b"") + b"0\r\n\r\n")
            self.close()

    def hand_over(self, socket: Socket, key: bytes) -> None:
        """Let a WebSocket go on with this connection, whose upgrade request was routed last."""
        transport, rest = self._transport, self._rest
        socket.address, self.address = self.address, ""
        self._state = _State.CLOSED
        self._transport = self._parser = self._request = None
        self._headers, self._rest = {}, b""
        hand_over(transport, socket, key, rest)

    def close(self) -> None:
        """End the connection once what was written has gone out; not waiting for ever.

        The peer may still be sending. Closing with that unread would reset the connection, and take from the
        peer what was just written: so it is read and thrown away until the peer has closed its side, too.
        """
        if self._state is _State.CLOSED:
            return
        self._state = _State.CLOSED
        self._transport.write_eof()
        self._house.wheel.put(
            _Abort(self._transport), self._house.monotonic() + self._house.rules.closing_seconds
        )

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _refuse(self, status: HTTPStatus) -> None:
        if self._state is not _State.CLOSED:
            headers = [("Content-Length", "0"), ("Connection", "close"), ("Retry-After", "5")]
            self._transport.write(_head(status, headers))
            self.close()


class _Abort:
    __slots__ = ("_transport",)

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def due(self, _now: float) -> float | None:
        self._transport.abort()
        return None


def _head(status: HTTPStatus, headers: Sequence[tuple[str, str]]) -> bytes:
    lines = [f"HTTP/1.1 {status.value} {status.phrase}", *(f"{name}: {value}" for name, value in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
