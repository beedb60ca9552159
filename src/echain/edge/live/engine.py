"""Socket.IO 5 over Engine.IO 4: sessions that begin by polling or by WebSocket and may move to the latter."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Final, Protocol

from echain.edge.live import packets, verbs
from echain.edge.live import socket as ws
from echain.edge.live.access import Identity, TooFast
from echain.edge.live.desk import Desk
from echain.edge.live.packets import Packet, PacketMalformed
from echain.edge.live.session import Session, nowhere
from echain.edge.live.socket import Socket
from echain.edge.live.verbs import Verbs
from echain.edge.live.wire import RECORD_SEPARATOR, Wire, socketio_event, text_frame, told
from echain.kernel.errors import EchainError

_SID_BYTES: Final = 15
_NO_BINARY: Final = verbs.failure("live.binary_unsupported", "Send JSON; binary events are not taken here.")
_POLL_SHARE: Final = 8
"""A poll's answer may hold this many times what may wait on a WebSocket: it is the whole backlog."""


class Poll(Protocol):
    """A long-polling GET that waits for its answer."""

    def answer(self, payload: bytes) -> None:
        """Answer with Engine.IO packets."""
        ...


class EngineSession(Session):
    """One Socket.IO client, whichever transport it is on.

    ``sid`` is the secret that lets further requests speak for it.
    """

    __slots__ = (
        "_admitted",
        "_candidate",
        "_engines",
        "_flushing",
        "_opened_at",
        "_ping_at",
        "_poll",
        "_pong_by",
        "_probed",
        "_queue",
        "_queued",
        "_skip_binary",
        "_socket",
        "_verbs",
        "address",
        "given",
        "sid",
    )

    def __init__(self, engines: Engines, identity: Identity | None, socket: Socket | None) -> None:
        desk = engines.desk
        if socket is None:
            super().__init__(desk, Wire.SOCKETIO_POLLING, self._enqueue)
        else:
            super().__init__(desk, Wire.SOCKETIO, socket.write)
        self.sid = secrets.token_urlsafe(_SID_BYTES)
        self.given = identity
        self.address = ""
        self._engines = engines
        self._verbs = engines.verbs
        self._socket = socket
        self._candidate: Socket | None = None
        self._probed = False
        self._poll: Poll | None = None
        self._queue: list[bytes] = []
        self._queued = 0
        self._flushing = False
        self._admitted = False
        self._skip_binary = 0
        self._opened_at = desk.monotonic()
        self._ping_at = self._opened_at + desk.timing.ping_interval
        self._pong_by: float | None = None
        desk.wheel.put(self, self._opened_at + min(desk.timing.hello, desk.timing.ping_interval))

    def handshake(self) -> bytes:
        """Return the packet that opens the session."""
        timing = self.desk.timing
        return packets.handshake(
            self.sid,
            upgrades=["websocket"] if self._socket is None else [],
            ping_interval=timing.ping_interval,
            ping_timeout=timing.ping_timeout,
            max_payload=self.desk.limits.message_bytes,
        )

    @property
    def polls(self) -> bool:
        """Return whether the client is on long polling."""
        return self._socket is None

    def due(self, now: float) -> float | None:
        """Ping in time, end what does not answer, and what opened but never said hello."""
        timing = self.desk.timing
        if self.closed:
            return None
        if (self._pong_by is not None and now >= self._pong_by) or (
            not self._admitted and now >= self._opened_at + timing.hello
        ):
            self.abort()
            return None
        if self._pong_by is None and now >= self._ping_at:
            self._pong_by = now + timing.ping_timeout
            self.send(packets.PING)
        next_at = self._ping_at if self._pong_by is None else self._pong_by
        return next_at if self._admitted else min(next_at, self._opened_at + timing.hello)

    # Sending.

    def send(self, packet: bytes) -> None:
        """Send an Engine.IO packet."""
        if self._socket is None:
            self._enqueue(packet)
        else:
            self._socket.write(text_frame(packet))

    def tell(self, kind: str, channel: str | None, position: int | None, data: Mapping[str, object]) -> None:
        if self._admitted and not self.closed:
            self.send(socketio_event(kind, told(kind, channel, position, self.desk.now_ms(), data)))

    def _enqueue(self, packet: bytes) -> None:
        """Keep a packet for the next poll; many in one turn of the loop leave together."""
        self._queue.append(packet)
        self._queued += len(packet)
        if self._poll is not None and not self._flushing:
            self._flushing = True
            self.desk.soon(self._flush)
        elif self._queued > self.desk.limits.backlog_bytes:
            self.pause()
            if self._queued > self.desk.limits.backlog_bytes * _POLL_SHARE:
                self.desk.hub.afterwards(self.abort)

    def _flush(self) -> None:
        self._flushing = False
        if self._poll is not None and self._queue:
            poll, self._poll = self._poll, None
            poll.answer(self._taken())

    def _taken(self) -> bytes:
        payload = RECORD_SEPARATOR.join(self._queue)
        self._queue = []
        self._queued = 0
        self.desk.soon(self.resume)
        return payload

    # Long polling.

    def polled(self, poll: Poll) -> bool:
        """Take a GET; return False, and end, when another one waits already."""
        if self._poll is not None:
            first, self._poll = self._poll, None
            first.answer(packets.CLOSE)
            self.gone()
            return False
        if self._queue:
            poll.answer(self._taken())
        elif self._probed:
            poll.answer(packets.NOOP)
        else:
            self._poll = poll
        return True

    def poll_lost(self, poll: Poll) -> None:
        """Note that a waiting GET's connection ended: the client is gone."""
        if self._poll is poll:
            self._poll = None
            self.gone()

    def posted(self, body: bytes) -> None:
        """Take a POST's packets in order.

        Raises:
            PacketMalformed: the client breaks the protocol; the session has ended.
        """
        try:
            for packet in packets.split_payload(body):
                if packet.startswith(b"b"):
                    self.received_binary()
                else:
                    self.receive(packet)
                if self.closed:
                    return
        except PacketMalformed:
            self.abort()
            raise

    # Receiving.

    def receive(self, packet: bytes) -> None:
        """Take an Engine.IO packet.

        Raises:
            PacketMalformed: it is none that a client may send here.
        """
        kind = packet[:1]
        if kind == packets.MESSAGE:
            self._message(packets.decode(packet[1:]))
        elif packet == packets.PONG:
            self._pong_by = None
            self._ping_at = self.desk.monotonic() + self.desk.timing.ping_interval
        elif packet == packets.CLOSE:
            self.end(ws.NORMAL, "")
        elif packet not in (packets.UPGRADE, packets.NOOP):
            raise PacketMalformed("no packet of a client")

    def received_binary(self) -> None:
        """Skip an attachment of a refused event; anything else binary breaks the protocol.

        Raises:
            PacketMalformed: no attachment is awaited.
        """
        if self._skip_binary == 0:
            raise PacketMalformed("nothing binary is awaited")
        self._skip_binary -= 1

    def _message(self, packet: Packet) -> None:
        if self._skip_binary:
            raise PacketMalformed("attachments are missing")
        if packet.kind == packets.CONNECT:
            self._connect(packet)
        elif not self._admitted or packet.namespace != "/":
            raise PacketMalformed("the client is not in this namespace")
        elif packet.kind == packets.DISCONNECT:
            self.end(ws.NORMAL, "")
        elif packet.kind in (packets.BINARY_EVENT, packets.BINARY_ACK):
            self._skip_binary = packet.attachments
            if packet.ack is not None and packet.kind == packets.BINARY_EVENT:
                self.send(packets.ack(packet.ack, _NO_BINARY))
        elif packet.kind == packets.EVENT:
            self._event(packet)

    def _connect(self, packet: Packet) -> None:
        if packet.namespace != "/":
            self.send(packets.connect_error(packet.namespace, "Invalid namespace", "live.namespace_unknown"))
            return
        if self._admitted:
            raise PacketMalformed("already connected")
        token = (packet.data or {}).get("token")
        self._asked(lambda: self._admit(token))

    async def _admit(self, token: object) -> None:
        """Let the client in: as who its token says, else by its cookie, else as nobody."""
        if self._admitted:
            return
        try:
            if isinstance(token, str) and token:
                await self.authenticate(token)
            elif self.given is not None:
                self.desk.known_as(self, self.given)
        except EchainError as error:
            self.desk.count_refusal(error.code)
            self.send(packets.connect_error("/", error.message, error.code))
            return
        self._admitted = True
        self.send(packets.connected(secrets.token_urlsafe(_SID_BYTES)))

    def _event(self, packet: Packet) -> None:
        def answer(outcome: object) -> None:
            if packet.ack is not None and not self.closed:
                self.send(packets.ack(packet.ack, outcome))

        async def act() -> None:
            try:
                await self._verbs.act(self, packet.name, packet.arguments, answer)
            except EchainError as error:
                self.desk.count_refusal(error.code)
                answer(verbs.failure(error.code, error.message))

        self._asked(act)

    def _asked(self, op: verbs.Act) -> None:
        try:
            self.ask(op)
        except TooFast as error:
            self.end(ws.POLICY, error.code)

    # Changing transport, and ending.

    def probe(self, socket: Socket) -> bool:
        """Take a WebSocket that may take over; return False when there is one or the client has moved."""
        if self.closed or self._socket is not None or self._candidate is not None:
            return False
        self._candidate = socket
        return True

    def probed(self) -> None:
        """Free the waiting GET, and those to come: the client ends polling before it moves."""
        self._probed = True
        if self._poll is not None:
            poll, self._poll = self._poll, None
            poll.answer(self._taken() if self._queue else packets.NOOP)

    def moved(self, socket: Socket) -> None:
        """Speak by the probed WebSocket from now on, first what waits."""
        if self._poll is not None:
            poll, self._poll = self._poll, None
            poll.answer(packets.NOOP)
        hearing = [channel for channel, live in self.channels.items() if live]
        for channel in hearing:
            self.desk.hub.detach(self, channel)
        self._candidate, self._socket = None, socket
        self.wire, self.write = Wire.SOCKETIO, socket.write
        for packet in self._queue:
            for part in packet.split(RECORD_SEPARATOR):
                socket.write(text_frame(part))
        self._queue, self._queued = [], 0
        if self.paused is None:
            for channel in hearing:
                self.desk.hub.attach(self, channel)
        else:
            self.resume()
        self._released()

    def candidate_lost(self, socket: Socket) -> None:
        """Stay with polling: the WebSocket that was to take over failed."""
        if self._candidate is socket:
            self._candidate = None
            self._probed = False

    def end(self, code: int, reason: str) -> None:
        socket, poll = self._socket, self._poll
        self._poll = None
        if poll is not None:
            poll.answer(packets.NOOP if code == ws.NORMAL else packets.CLOSE)
        self.gone()
        if socket is not None:
            socket.end(code, reason)

    def abort(self) -> None:
        socket, poll = self._socket, self._poll
        self._poll = None
        if poll is not None:
            poll.answer(packets.CLOSE)
        self.gone()
        if socket is not None:
            socket.abort()

    def gone(self) -> None:
        if self.closed:
            return
        super().gone()
        self.write = nowhere
        self._engines.forget(self.sid)
        candidate, self._candidate = self._candidate, None
        if candidate is not None:
            candidate.end(ws.GOING_AWAY, "the session has ended")
        self._socket = None
        self._released()

    def _released(self) -> None:
        """Give back the place that a session without a connection of its own takes."""
        address, self.address = self.address, ""
        self.desk.places.give(address)


class Engines:
    """The Socket.IO sessions of a process by their ids."""

    def __init__(self, desk: Desk, verbs: Verbs) -> None:
        self.desk = desk
        self.verbs = verbs
        self._sessions: dict[str, EngineSession] = {}

    def open(self, identity: Identity | None, socket: Socket | None) -> EngineSession:
        """Begin a session, on a WebSocket or by polling."""
        session = EngineSession(self, identity, socket)
        self._sessions[session.sid] = session
        return session

    def find(self, sid: str) -> EngineSession | None:
        return self._sessions.get(sid)

    def forget(self, sid: str) -> None:
        self._sessions.pop(sid, None)
