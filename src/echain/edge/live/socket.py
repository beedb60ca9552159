"""One WebSocket: picows reads frames; here they become texts, within bounds, and its end is kept clean."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Final

import structlog
from picows import WSAutoPingStrategy, WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport
from picows.picows import WSProtocol  # pyright: ignore[reportAttributeAccessIssue] - not in its stub

from echain.edge.live.desk import Desk
from echain.edge.live.session import nowhere

NORMAL: Final = 1000
GOING_AWAY: Final = 1001
PROTOCOL_ERROR: Final = 1002
UNSUPPORTED: Final = 1003
POLICY: Final = 1008
TOO_BIG: Final = 1009
INTERNAL: Final = 1011
RESTARTING: Final = 1012

_READ_BUFFER: Final = 2048
_MOST_FRAGMENTS: Final = 64

_log = structlog.get_logger(__name__)


class Socket(WSListener):
    """A WebSocket whose texts reach `received`.

    ``write`` puts ready frames on the wire. Once `closed`, nothing may be written: a close frame was sent or
    received, or picows found the peer breaking the protocol.
    """

    __slots__ = ("_fragments", "_fragments_size", "_raw", "_transport", "address", "closed", "desk", "write")

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.address = ""
        self.closed = False
        self.write: Callable[[bytes], object] = nowhere
        self._transport: WSTransport | None = None
        self._raw: Any = None
        self._fragments: list[bytes] | None = None
        self._fragments_size = 0

    # What users of this class say.

    @abstractmethod
    def opened(self) -> None:
        """Begin: frames can be written."""

    @abstractmethod
    def received(self, text: bytes) -> None:
        """Take a whole text message; it is UTF-8 unless the peer lies."""

    def received_binary(self) -> None:
        """Take notice of a binary message, whose content nobody wants."""
        self.end(UNSUPPORTED, "texts only")

    @abstractmethod
    def lost(self) -> None:
        """Forget the connection: nothing can be written any more. May be called more than once."""

    @abstractmethod
    def pause_writing(self) -> None: ...

    @abstractmethod
    def resume_writing(self) -> None: ...

    # What picows calls.

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        self._raw = transport.underlying_transport
        self._raw.set_write_buffer_limits(self.desk.limits.backlog_bytes)
        self.write = self._raw.write
        self.opened()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        kind = frame.msg_type
        if kind == WSMsgType.CLOSE:
            self._closing(transport, frame)
        elif self.closed or kind in (WSMsgType.PONG, WSMsgType.PING):
            pass  # picows answers pings; any frame at all shows that the peer is there
        elif frame.rsv1 or frame.rsv2 or frame.rsv3:
            self.end(PROTOCOL_ERROR, "no extension was agreed on")
        elif frame.fin and kind == WSMsgType.TEXT and self._fragments is None:
            self.received(frame.get_payload_as_bytes())
        elif kind == WSMsgType.BINARY:
            self.received_binary()
        else:
            self._fragment(frame, first=kind == WSMsgType.TEXT)

    def _fragment(self, frame: WSFrame, *, first: bool) -> None:
        if first is (self._fragments is not None):
            self.end(PROTOCOL_ERROR, "fragments are out of order")
            return
        if self._fragments is None:
            self._fragments, self._fragments_size = [], 0
        self._fragments_size += frame.payload_size
        if self._fragments_size > self.desk.limits.message_bytes or len(self._fragments) >= _MOST_FRAGMENTS:
            self.end(TOO_BIG, "the message is too big")
            return
        self._fragments.append(frame.get_payload_as_bytes())
        if frame.fin:
            whole, self._fragments = b"".join(self._fragments), None
            self.received(whole)

    def _closing(self, transport: WSTransport, frame: WSFrame) -> None:
        if not self.closed:
            self._stop()
            code = frame.get_close_code()
            transport.send_close(WSCloseCode.OK if code == WSCloseCode.NO_INFO else code)
        transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:  # noqa: ARG002 - picows hands it over
        self._stop()
        self._transport = self._raw = None
        self.desk.places.give(self.address)

    # Ending.

    def end(self, code: int, reason: str) -> None:
        """Send a close frame and wait a little for the peer's; nothing else is written after it."""
        transport = self._transport
        if self.closed or transport is None:
            return
        self._stop()
        transport.send_close(_code(code), reason)
        self.desk.after(self.desk.timing.closing, transport.underlying_transport.abort)

    def abort(self) -> None:
        """End the connection without a word."""
        self._stop()
        if self._raw is not None:
            self._raw.abort()

    def _stop(self) -> None:
        if not self.closed:
            self.closed = True
            self.write = nowhere
            self._fragments = None
            self.lost()

    def broken(self) -> None:
        """Stop writing: picows is about to send a close frame because of what the peer sent."""
        self.desk.count_refusal("live.protocol_error")
        self._stop()


def _code(number: int) -> WSCloseCode:
    return WSCloseCode(number)


class _Notes:
    """What picows has to say of one connection, in place of a logger that it would make for each.

    A peer that breaks the protocol is counted, not logged line by line; what our own code raises is logged.
    """

    __slots__ = ("_socket",)

    def __init__(self, socket: Socket) -> None:
        self._socket = socket

    def isEnabledFor(self, _level: int) -> bool:  # noqa: N802 - as logging spells it
        return False

    def debug(self, *_: object) -> None: ...

    info = warning = log = debug

    def error(self, *_: object) -> None:
        self._socket.broken()

    def exception(self, *_: object) -> None:
        _log.exception("live.failed")
        self._socket.broken()


def hand_over(transport: asyncio.Transport, socket: Socket, key: bytes, rest: bytes) -> None:
    """Let picows speak on a connection whose upgrade request was read and judged here.

    picows reads a request of its own before it answers 101: it is given the least that it needs, for it
    keeps what it read as long as the connection lives, and refuses ``Connection: keep-alive, Upgrade``,
    which browsers send. ``rest`` is what came after the request.
    """
    protocol = WSProtocol(
        None,
        None,
        False,
        lambda _request: socket,  # pyright: ignore[reportUnknownLambdaType]
        _Notes(socket),
        True,
        None,
        False,
        20,
        20,
        WSAutoPingStrategy.PING_WHEN_IDLE,
        True,
        socket.desk.limits.message_bytes,
        None,
        _READ_BUFFER,
    )
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
    request = (
        b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %b\r\n\r\n" % key
    )
    left = memoryview(request + rest)
    while left and not transport.is_closing():
        room = protocol.get_buffer(-1)
        size = min(len(room), len(left))
        room[:size] = left[:size]
        left = left[size:]
        protocol.buffer_updated(size)
