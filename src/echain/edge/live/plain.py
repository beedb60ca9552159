"""`/ws/events`: JSON messages over a plain WebSocket."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec

from echain.edge.live import socket as ws
from echain.edge.live.access import Identity, RequestMalformed, TooFast
from echain.edge.live.desk import Desk
from echain.edge.live.session import Session, Subscribed, asked_of, nowhere
from echain.edge.live.socket import Socket
from echain.edge.live.verbs import identity_shown
from echain.edge.live.wire import Wire, text_frame, told
from echain.kernel.errors import EchainError

Ref = str | int | None
Names = Annotated[list[str], msgspec.Meta(min_length=1, max_length=200)]


class _Op(msgspec.Struct, frozen=True, tag_field="op", forbid_unknown_fields=True, kw_only=True):
    """What a client asks; ``ref`` comes back in the answer."""

    ref: Ref = None


class _Subscribe(_Op, frozen=True, tag="subscribe"):
    channels: Names
    after: str | int | dict[str, str | int] | None = None


class _Unsubscribe(_Op, frozen=True, tag="unsubscribe"):
    channels: Names


class _Auth(_Op, frozen=True, tag="auth"):
    token: str


class _Ping(_Op, frozen=True, tag="ping"):
    pass


_DECODER: Final = msgspec.json.Decoder(_Subscribe | _Unsubscribe | _Auth | _Ping)
_PING_FRAME: Final = b"\x89\x00"


class EventsSocket(Socket):
    """A WebSocket at `/ws/events` and its session."""

    __slots__ = ("_heard", "_identity", "_ping_sent", "session")

    def __init__(self, desk: Desk, identity: Identity | None) -> None:
        super().__init__(desk)
        self._identity = identity
        self._heard = True
        self.session: EventsSession | None = None

    def opened(self) -> None:
        self.session = EventsSession(self)
        if self._identity is not None:
            self.desk.known_as(self.session, self._identity)
        self.desk.wheel.put(self, self.desk.monotonic() + self.desk.timing.ping_interval)

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        self._heard = True
        super().on_ws_frame(transport, frame)

    def received(self, text: bytes) -> None:
        if self.session is not None:
            self.session.received(text)

    def lost(self) -> None:
        if self.session is not None:
            self.session.gone()
            self.session = None

    def pause_writing(self) -> None:
        if self.session is not None:
            self.session.pause()

    def resume_writing(self) -> None:
        if self.session is not None:
            self.session.resume()

    def due(self, now: float) -> float | None:
        """Ping; end the connection when not a frame came since the last one."""
        if self.closed:
            return None
        if not self._heard:
            self.abort()
            return None
        self._heard = False
        self.write(_PING_FRAME)
        return now + self.desk.timing.ping_interval


class EventsSession(Session):
    """What a client at `/ws/events` asked for."""

    __slots__ = ("_socket",)

    def __init__(self, socket: EventsSocket) -> None:
        super().__init__(socket.desk, Wire.WEBSOCKET, socket.write)
        self._socket = socket

    def received(self, text: bytes) -> None:
        """Answer a text message, in its turn."""
        try:
            op = _DECODER.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self._refuse(None, RequestMalformed(f"This is no operation: {error}"))
            return
        try:
            self.ask(lambda: self._do(op))
        except TooFast as error:
            self._refuse(op.ref, error)
            self._socket.end(ws.POLICY, error.code)

    async def _do(self, op: _Subscribe | _Unsubscribe | _Auth | _Ping) -> None:
        try:
            match op:
                case _Subscribe():
                    asked = asked_of(op.channels, op.after)
                    await self.subscribe(asked, lambda done: self._subscribed(op.ref, done))
                case _Unsubscribe():
                    self._answer("unsubscribed", op.ref, {"channels": await self.unsubscribe(op.channels)})
                case _Auth():
                    identity = await self.authenticate(op.token)
                    self._answer("authenticated", op.ref, identity_shown(identity))
                case _Ping():
                    self._answer("pong", op.ref, {})
        except EchainError as error:
            self._refuse(op.ref, error)

    def _subscribed(self, ref: Ref, done: Subscribed) -> None:
        self._answer("subscribed", ref, msgspec.to_builtins(done))

    def _refuse(self, ref: Ref, error: EchainError) -> None:
        self.desk.count_refusal(error.code)
        self._answer("error", ref, {"code": error.code, "message": error.message})

    def _answer(self, kind: str, ref: Ref, data: Mapping[str, object]) -> None:
        fields: dict[str, object] = {"type": kind}
        if ref is not None:
            fields["ref"] = ref
        fields |= {"timestamp": self.desk.now_ms(), "data": data}
        self.write(text_frame(msgspec.json.encode(fields)))

    def tell(self, kind: str, channel: str | None, position: int | None, data: Mapping[str, object]) -> None:
        self.write(text_frame(told(kind, channel, position, self.desk.now_ms(), data)))

    def end(self, code: int, reason: str) -> None:
        self._socket.end(code, reason)

    def abort(self) -> None:
        self._socket.abort()

    def gone(self) -> None:
        super().gone()
        self.write = nowhere
