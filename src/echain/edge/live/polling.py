"""Engine.IO over HTTP long polling, where stock clients begin."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import msgspec

from echain.edge.live.access import Identity
from echain.edge.live.door import Door, Request
from echain.edge.live.engine import Engines, EngineSession
from echain.edge.live.packets import PacketMalformed

_TEXT: Final = ("Content-Type", "text/plain; charset=UTF-8")
_OK: Final = ("Content-Type", "text/html")
_JSON: Final = ("Content-Type", "application/json")
_NO_STORE: Final = ("Cache-Control", "no-store")


def _error(code: int, message: str) -> bytes:
    return msgspec.json.encode({"code": code, "message": message})


class Polling:
    """Serves polling requests; errors are told as Engine.IO's own server tells them."""

    unknown: Final = _error(1, "Session ID unknown")

    def __init__(self, engines: Engines) -> None:
        self._engines = engines

    def problem(self, request: Request) -> bytes | None:
        """Return what is wrong with the query of a request that is not of a session yet, None for nothing."""
        if request.field("EIO") != "4":
            return _error(5, "Unsupported protocol version")
        if request.field("transport") not in ("polling", "websocket"):
            return _error(0, "Transport unknown")
        return None

    def take(
        self, door: Door, request: Request, identity: Identity | None, cors: list[tuple[str, str]]
    ) -> None:
        """Answer a polling request, now or when there is something to tell."""
        problem = self.problem(request)
        sid = request.field("sid")
        session = None if sid is None else self._engines.find(sid)
        if problem is None and sid is not None and (session is None or not session.polls):
            problem = self.unknown
        if problem is None and request.method not in ("GET", "POST"):
            problem = _error(3, "Bad request")
        if problem is None and session is None and request.method != "GET":
            problem = _error(2, "Bad handshake method")
        if problem is not None:
            door.answer(HTTPStatus.BAD_REQUEST, problem, [*cors, _JSON])
        elif session is None:
            self._open(door, identity, cors)
        elif request.method == "GET":
            self._get(door, session, cors)
        else:
            self._post(door, session, request.body, cors)

    def _open(self, door: Door, identity: Identity | None, cors: list[tuple[str, str]]) -> None:
        # The session outlives the connection that opens it, so it takes a place of its own.
        refusal = self._engines.desk.places.take(door.address)
        if refusal is not None:
            door.answer(refusal, b"", cors)
            return
        session = self._engines.open(identity, None)
        session.address = door.address
        door.answer(HTTPStatus.OK, session.handshake(), [*cors, _TEXT, _NO_STORE])

    def _get(self, door: Door, session: EngineSession, cors: list[tuple[str, str]]) -> None:
        poll = _Waiting(door, cors)
        door.on_gone = lambda: session.poll_lost(poll)
        if not session.polled(poll):
            door.answer(HTTPStatus.BAD_REQUEST, self.unknown, [*cors, _JSON])

    def _post(self, door: Door, session: EngineSession, body: bytes, cors: list[tuple[str, str]]) -> None:
        try:
            session.posted(body)
        except PacketMalformed as error:
            door.answer(HTTPStatus.BAD_REQUEST, _error(3, f"Bad request: {error}"), [*cors, _JSON])
        else:
            door.answer(HTTPStatus.OK, b"ok", [*cors, _OK])


class _Waiting:
    """A GET that waits."""

    __slots__ = ("_cors", "_door")

    def __init__(self, door: Door, cors: list[tuple[str, str]]) -> None:
        self._door = door
        self._cors = cors

    def answer(self, payload: bytes) -> None:
        self._door.answer(HTTPStatus.OK, payload, [*self._cors, _TEXT, _NO_STORE])
