"""WebSockets of Socket.IO sessions: those they begin on, and those they move to."""

from __future__ import annotations

from echain.edge.live import packets
from echain.edge.live import socket as ws
from echain.edge.live.access import Identity
from echain.edge.live.engine import Engines, EngineSession
from echain.edge.live.packets import PacketMalformed
from echain.edge.live.socket import Socket
from echain.edge.live.wire import text_frame


class EngineSocket(Socket):
    """A WebSocket at `/socket.io/`: of a new session, or one that is to take over from polling."""

    __slots__ = ("_engines", "_identity", "_owns", "probed", "session")

    def __init__(
        self, engines: Engines, *, identity: Identity | None = None, session: EngineSession | None = None
    ) -> None:
        super().__init__(engines.desk)
        self._engines = engines
        self._identity = identity
        self._owns = session is None
        self.probed = False
        self.session = session

    def opened(self) -> None:
        if self.session is None:
            self.session = self._engines.open(self._identity, self)
            self.write(text_frame(self.session.handshake()))
        elif self.session.probe(self):
            self.desk.wheel.put(self, self.desk.monotonic() + self.desk.timing.upgrade)
        else:
            self.session = None
            self.end(ws.POLICY, "the session has moved or ended")

    def due(self, _now: float) -> float | None:
        """Give up a take-over that the client did not complete."""
        if not self._owns and not self.closed:
            self.end(ws.POLICY, "the upgrade took too long")
        return None

    def received(self, text: bytes) -> None:
        session = self.session
        if session is None:
            return
        try:
            if self._owns:
                session.receive(text)
            elif text == packets.PROBE:
                self.probed = True
                self.write(text_frame(packets.PROBED))
                session.probed()
            elif text == packets.UPGRADE and self.probed:
                self._owns = True
                session.moved(self)
            else:
                self._broke("not a part of an upgrade")
        except PacketMalformed as error:
            self._broke(str(error))

    def _broke(self, what: str) -> None:
        self.desk.count_refusal("live.protocol_error")
        self.end(ws.PROTOCOL_ERROR, what)

    def received_binary(self) -> None:
        try:
            if self.session is not None and self._owns:
                self.session.received_binary()
                return
        except PacketMalformed:
            self.desk.count_refusal("live.protocol_error")
        self.end(ws.UNSUPPORTED, "nothing binary is awaited")

    def lost(self) -> None:
        session, self.session = self.session, None
        if session is None:
            return
        if self._owns:
            session.gone()
        else:
            session.candidate_lost(self)

    def pause_writing(self) -> None:
        if self.session is not None and self._owns:
            self.session.pause()

    def resume_writing(self) -> None:
        if self.session is not None and self._owns:
            self.session.resume()
