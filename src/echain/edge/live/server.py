"""The listener: tells apart what connections want, and lets in who may come."""

from __future__ import annotations

import asyncio
import base64
import binascii
import socket as net
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final

import msgspec
import structlog

from echain.edge.live import socket as ws
from echain.edge.live.access import Identity, Origins, RequestMalformed
from echain.edge.live.desk import Desk
from echain.edge.live.door import Door, Request, Rules
from echain.edge.live.engine import Engines
from echain.edge.live.enginesocket import EngineSocket
from echain.edge.live.plain import EventsSocket
from echain.edge.live.polling import Polling
from echain.edge.live.session import asked_of
from echain.edge.live.sse import StreamSession
from echain.edge.live.verbs import Verbs
from echain.kernel.errors import EchainError

BACKLOG: Final = 4096
SEND_BUFFER_BYTES: Final = 128 * 1024
"""What the kernel may hold for one connection; its own choice would grow to megabytes for a slow one."""

_STATUS: Final = {
    "live.channel_private": HTTPStatus.FORBIDDEN,
    "live.too_many_channels": HTTPStatus.BAD_REQUEST,
    "live.malformed": HTTPStatus.BAD_REQUEST,
    "live.not_ready": HTTPStatus.SERVICE_UNAVAILABLE,
    "database.unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
    "live.token_invalid": HTTPStatus.UNAUTHORIZED,
}
_KEY_BYTES: Final = 16
_CLOSED_AT_ONCE: Final = 100

_log = structlog.get_logger(__name__)


class Server:
    """One listener for Socket.IO, plain WebSocket, server-sent events and health.

    ``cookie`` names the cookie that may carry a token; it counts only where the browser says that a page of
    an allowed origin asks.
    """

    def __init__(
        self, desk: Desk, verbs: Verbs, origins: Origins, *, cookie: str, ready: Callable[[], bool]
    ) -> None:
        timing, limits = desk.timing, desk.limits
        self.desk = desk
        self.places = desk.places
        self.wheel = desk.wheel
        self.monotonic = desk.monotonic
        self.rules = Rules(
            timing.request, timing.keep_alive, timing.closing, limits.message_bytes, limits.backlog_bytes
        )
        self._engines = Engines(desk, verbs)
        self._polling = Polling(self._engines)
        self._origins = origins
        self._cookie = cookie
        self._ready = ready
        self._listening: asyncio.Server | None = None
        self._routes: Mapping[
            str, Callable[[Door, Request, Identity | None, list[tuple[str, str]]], None]
        ] = {
            "/socket.io/": self._socketio,
            "/socket.io": self._socketio,
            "/ws/events": self._events,
            "/sse/events": self._stream,
        }

    async def listen(self, listening: net.socket) -> None:
        """Accept connections on a bound socket from now on."""
        listening.setsockopt(net.SOL_SOCKET, net.SO_SNDBUF, SEND_BUFFER_BYTES)
        listening.setsockopt(net.IPPROTO_TCP, net.TCP_NODELAY, 1)
        if hasattr(net, "TCP_USER_TIMEOUT"):
            patience = self.desk.timing.ping_interval + self.desk.timing.ping_timeout
            listening.setsockopt(net.IPPROTO_TCP, net.TCP_USER_TIMEOUT, int(patience * 1000))
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(lambda: Door(self), sock=listening, backlog=BACKLOG)

    async def close(self) -> None:
        """Take in nobody more and ask all to come back later, a few at a time; takes some two seconds."""
        if self._listening is not None:
            self._listening.close()
        leaving = list(self.desk.sessions)
        pause = self.desk.timing.closing / 2 / max(1, len(leaving) / _CLOSED_AT_ONCE)
        for number, session in enumerate(leaving, 1):
            session.end(ws.RESTARTING, "restarting")
            if number % _CLOSED_AT_ONCE == 0:
                await asyncio.sleep(pause)
        # For their close frames, and for answers under way.
        deadline = self.monotonic() + self.desk.timing.closing / 2
        while self.places.taken and self.monotonic() < deadline:
            await asyncio.sleep(0.02)

    # Routing.

    def route(self, door: Door, request: Request) -> None:
        """Answer a request, now or later."""
        if request.path in ("/health/live", "/health/ready"):
            self._health(door, request)
            return
        cors = self._cors(request)
        if cors is None:
            self.desk.count_refusal("live.origin")
            refuse(door, HTTPStatus.FORBIDDEN, "live.origin", "Pages of this origin may not connect.")
            return
        route = self._routes.get(request.path)
        if route is None:
            refuse(door, HTTPStatus.NOT_FOUND, "route.not_found", "There is no such path.")
        elif request.method == "OPTIONS":
            allowed = [("Access-Control-Allow-Methods", "GET, POST"), ("Access-Control-Max-Age", "600")]
            wanted = request.headers.get("access-control-request-headers")
            if wanted is not None:
                allowed.append(("Access-Control-Allow-Headers", "authorization, content-type, last-event-id"))
            door.answer(HTTPStatus.NO_CONTENT, headers=[*cors, *allowed])
        else:
            # A session that polls said who it is when it began; its many requests need not say it again.
            known = route == self._socketio and request.field("sid") is not None
            token = None if known else self._token(request)
            if token is None:
                route(door, request, None, cors)
            else:
                self.desk.spawn(self._identified(door, request, route, token, cors))

    def _health(self, door: Door, request: Request) -> None:
        ready = request.path == "/health/live" or self._ready()
        status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
        door.answer(status, b'{"status":"%b"}' % (b"ok" if ready else b"down"), [JSON])

    def _cors(self, request: Request) -> list[tuple[str, str]] | None:
        """Return the headers that let a page read the answer; None when its origin may not connect."""
        origin = request.headers.get("origin")
        if origin is None:
            return []
        if not self._origins.admits(origin):
            return None
        return [
            ("Access-Control-Allow-Origin", origin),
            ("Access-Control-Allow-Credentials", "true"),
            ("Vary", "Origin"),
        ]

    def _token(self, request: Request) -> tuple[str, bool] | None:
        """Return the token that a request carries, and whether it is certain that the user sent it."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and token:
            return token.strip(), True
        own_page = "origin" in request.headers or request.headers.get("sec-fetch-site") == "same-origin"
        if not own_page:
            # A browser sends cookies along for any page; without a word of whose, they prove nothing.
            return None
        for part in request.headers.get("cookie", "").split(";"):
            name, _, value = part.strip().partition("=")
            if name == self._cookie and value:
                return value, False
        return None

    async def _identified(
        self,
        door: Door,
        request: Request,
        route: Callable[[Door, Request, Identity | None, list[tuple[str, str]]], None],
        token: tuple[str, bool],
        cors: list[tuple[str, str]],
    ) -> None:
        """Route a request once it is known whom its token stands for; a stale cookie stands for nobody."""
        text, meant = token
        try:
            identity = await self.desk.identify(text)
        except EchainError as error:
            refuse(door, HTTPStatus.SERVICE_UNAVAILABLE, error.code, error.message, cors)
            return
        if identity is None and meant:
            refuse(door, HTTPStatus.UNAUTHORIZED, "live.token_invalid", "This token does not hold.", cors)
        elif not door.closed:
            route(door, request, identity, cors)

    # What is at each path.

    def _socketio(
        self, door: Door, request: Request, identity: Identity | None, cors: list[tuple[str, str]]
    ) -> None:
        if request.field("transport") != "websocket":
            self._polling.take(door, request, identity, cors)
            return
        problem = self._polling.problem(request)
        sid = request.field("sid")
        session = None if sid is None else self._engines.find(sid)
        if problem is None and sid is not None and (session is None or not session.polls):
            problem = self._polling.unknown
        if problem is not None:
            door.answer(HTTPStatus.BAD_REQUEST, problem, [*cors, JSON])
        elif (key := _upgrade_key(door, request)) is not None:
            door.hand_over(EngineSocket(self._engines, identity=identity, session=session), key)

    def _events(
        self,
        door: Door,
        request: Request,
        identity: Identity | None,
        cors: list[tuple[str, str]],  # noqa: ARG002 - a page sees nothing of a handshake but whether it held
    ) -> None:
        key = _upgrade_key(door, request)
        if key is not None:
            door.hand_over(EventsSocket(self.desk, identity), key)

    def _stream(
        self, door: Door, request: Request, identity: Identity | None, cors: list[tuple[str, str]]
    ) -> None:
        if request.method != "GET" or not request.http11:
            refuse(door, HTTPStatus.METHOD_NOT_ALLOWED, "request.method_not_allowed", "GET, HTTP/1.1", cors)
            return
        names = [name for key, text in request.fields if key == "channel" for name in text.split(",") if name]
        try:
            asked = asked_of(names, request.headers.get("last-event-id") or request.field("after"))
        except RequestMalformed as error:
            refuse(door, HTTPStatus.BAD_REQUEST, error.code, error.message, cors)
            return
        if not names:
            refuse(door, HTTPStatus.BAD_REQUEST, RequestMalformed.code, "Say at least one ?channel=", cors)
            return
        session = StreamSession(self.desk, door)
        if identity is not None:
            self.desk.known_as(session, identity)
        door.on_gone = session.gone

        def refused(code: str, message: str) -> None:
            refuse(door, _STATUS.get(code, HTTPStatus.NOT_FOUND), code, message, cors)

        self.desk.spawn(session.open(asked, cors, refused))


JSON: Final = ("Content-Type", "application/json")


def refuse(
    door: Door, status: HTTPStatus, code: str, message: str, headers: list[tuple[str, str]] | None = None
) -> None:
    """Answer with an error in the envelope of the REST interface."""
    body = msgspec.json.encode({"success": False, "error": {"code": code, "message": message}})
    door.answer(status, body, [*(headers or ()), JSON])


def _upgrade_key(door: Door, request: Request) -> bytes | None:
    """Return the key of a WebSocket handshake (RFC 6455, 4.2.1); else None, and what is wrong is answered."""
    headers = request.headers
    if not (
        request.upgrade and headers.get("upgrade", "").lower() == "websocket" and request.method == "GET"
    ):
        status, what = HTTPStatus.UPGRADE_REQUIRED, "This is a WebSocket: upgrade."
    elif headers.get("sec-websocket-version") != "13":
        status, what = HTTPStatus.UPGRADE_REQUIRED, "WebSocket version 13 is spoken here."
    else:
        key = headers.get("sec-websocket-key", "")
        try:
            if request.http11 and len(base64.b64decode(key, validate=True)) == _KEY_BYTES:
                return key.encode("latin-1")
        except (binascii.Error, ValueError):
            pass
        status, what = HTTPStatus.BAD_REQUEST, "The handshake is malformed."
    extra = [("Sec-WebSocket-Version", "13"), ("Upgrade", "websocket")]
    refuse(door, status, "live.upgrade", what, extra if status is HTTPStatus.UPGRADE_REQUIRED else None)
    return None
