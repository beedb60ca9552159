"""The ASGI application: route, authenticate, decode, run, answer. No middleware in between."""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, MutableMapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from time import perf_counter
from typing import Any, TypeAlias
from urllib.parse import quote

import msgspec
import structlog

from echain.edge.http.access_log import AccessLog
from echain.edge.http.body import Body, Disconnected, Receive, read_body
from echain.edge.http.call import Auth, Call, Caller, Cookies, Headers, Nothing
from echain.edge.http.docs import docs_endpoints
from echain.edge.http.endpoint import Endpoint
from echain.edge.http.envelope import timestamp
from echain.edge.http.errors import (
    Forbidden,
    HeadersTooLarge,
    Internal,
    MethodNotAllowed,
    RouteNotFound,
    Unauthenticated,
)
from echain.edge.http.idempotency import Claim, Idempotency, Kept, checked_key, request_hash
from echain.edge.http.openapi import openapi_endpoint
from echain.edge.http.parameters import Parameters, PathParameters
from echain.edge.http.rendering import NOSNIFF, NOT_MODIFIED, Answer, Renderer, refused
from echain.edge.http.router import Router
from echain.kernel.errors import EchainError
from echain.kernel.time import Clock

Scope: TypeAlias = MutableMapping[str, Any]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Authenticate: TypeAlias = Callable[[Mapping[str, str], Mapping[str, str]], Awaitable[Caller | None]]
Lifespan: TypeAlias = Callable[[], AbstractAsyncContextManager[None]]

MAX_HEADERS = 100
MAX_HEADER_BYTES = 16_384

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_NOTHING = Nothing()
_NOT_KEPT = frozenset({401, 408, 429})
"""Refusals that say nothing about the request itself; a retry with the same key may fare better."""
_SERVER_ERROR = 500


class _Route:
    """An endpoint with its decoders made."""

    __slots__ = ("body", "endpoint", "handler", "path", "public", "query", "renderer")

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.handler = endpoint.handler
        names = tuple(segment[1:-1] for segment in endpoint.segments if segment.startswith("{"))
        self.path = PathParameters(endpoint.path_params, names)
        self.query = Parameters(endpoint.query)
        self.body = Body(endpoint.body) if endpoint.takes_body else None
        self.public = endpoint.auth is Auth.PUBLIC
        self.renderer = Renderer(endpoint)


@dataclass(slots=True)
class _Request:
    """What one request carries from step to step."""

    scope: Scope
    receive: Receive
    headers: dict[bytes, bytes]
    id: bytes
    id_text: str
    now: datetime
    timestamp: bytes


class Application:
    """Serves endpoints over ASGI; build it with `application`."""

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        *,
        authenticate: Authenticate,
        clock: Clock,
        idempotency: Idempotency,
        lifespan: Lifespan | None,
    ) -> None:
        self._router: Router[_Route] = Router()
        for endpoint in endpoints:
            self._router.add(endpoint.method, endpoint.path, _Route(endpoint))
        self._authenticate = authenticate
        self._clock = clock
        self._idempotency = idempotency
        self._lifespan = lifespan
        self._id_prefix = secrets.token_hex(8).encode("ascii")
        self._ids = itertools.count(1)
        self._log = AccessLog()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = perf_counter()
        headers = dict[bytes, bytes](scope["headers"])
        request_id = headers.get(b"x-request-id")
        if request_id is None or not _REQUEST_ID.fullmatch(request_id):
            request_id = b"%b-%x" % (self._id_prefix, next(self._ids))
        now = self._clock()
        request = _Request(
            scope, receive, headers, request_id, request_id.decode("ascii"), now, timestamp(now)
        )
        structlog.contextvars.bind_contextvars(request_id=request.id_text)
        try:
            status, answer_headers, body = await self._run(request)
        except EchainError as error:
            status, answer_headers, body = refused(error, request.timestamp, request_id)
        except Disconnected:
            return
        except Exception:  # noqa: BLE001 - whatever breaks, the client gets an answer and the log the whole story
            status, answer_headers, body = self._broken(request)
        if status != NOT_MODIFIED:
            answer_headers.append((b"content-length", b"%d" % len(body)))
        answer_headers.append((b"x-request-id", request_id))
        answer_headers.append(NOSNIFF)
        await send({"type": "http.response.start", "status": status, "headers": answer_headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
        self._log.answered(scope, status, perf_counter() - started)

    def _route(self, scope: Scope) -> tuple[_Route, tuple[str, ...]]:
        found = self._router.find(_raw_path(scope))
        if found is None:
            raise RouteNotFound
        resource, values = found
        route = resource.routes.get(scope["method"])
        if route is None:
            raise MethodNotAllowed(resource.allow)
        return route, values

    async def _run(self, request: _Request) -> Answer:
        scope, headers = request.scope, request.headers
        _check_headers(scope["headers"], headers)
        route, values = self._route(scope)
        view, cookies = Headers(headers), Cookies(headers.get(b"cookie", b""))
        caller = None if route.public else await self._admitted(route.endpoint.auth, view, cookies)
        path = route.path.decode(values) if values else _NOTHING
        query = route.query.query(scope["query_string"])
        body, raw_body = _NOTHING, b""
        if route.body is not None:
            raw_body = await read_body(request.receive, headers, route.endpoint.max_body_bytes)
            body = route.body.decode(raw_body, headers)
        client = scope.get("client")
        call = Call(
            path,
            query,
            body,
            caller,
            request.id_text,
            request.now,
            view,
            cookies,
            client[0] if client else "",
        )
        if route.endpoint.idempotent and b"idempotency-key" in headers:
            return await self._once(route, call, request, raw_body)
        result = await route.handler(call)
        return route.renderer.answer(result, request.timestamp, request.id, headers.get(b"if-none-match"))

    async def _admitted(self, auth: Auth, headers: Headers, cookies: Cookies) -> Caller | None:
        caller = await self._authenticate(headers, cookies)
        if caller is None:
            if auth is Auth.OPTIONAL:
                return None
            raise Unauthenticated
        if (auth is Auth.USER and caller.kind != "user") or (auth is Auth.GATE and caller.kind != "gate"):
            raise Forbidden
        return caller

    async def _once(
        self, route: _Route, call: Call[Any, Any, Any], request: _Request, raw_body: bytes
    ) -> Answer:
        """Run a request with an Idempotency-Key, or replay what it was answered with."""
        key = checked_key(request.headers[b"idempotency-key"])
        owner = f"{call.caller.kind}:{call.caller.id}" if call.caller else f"client:{call.client}"
        unique = request_hash("POST", _raw_path(request.scope), request.scope["query_string"], raw_body)
        claim = await self._idempotency.claim(owner, key, unique, request.now)
        if isinstance(claim, Kept):
            return Answer(claim.status, [*claim.headers, (b"idempotency-replayed", b"true")], claim.body)
        try:
            answer = await self._run_claimed(route, msgspec.structs.replace(call, claim=claim), request)
        except BaseException:
            await self._released(claim)
            raise
        await self._settled(claim, answer)
        return answer

    async def _run_claimed(self, route: _Route, call: Call[Any, Any, Any], request: _Request) -> Answer:
        try:
            result = await route.handler(call)
            return route.renderer.answer(result, request.timestamp, request.id, None)
        except EchainError as error:
            return refused(error, request.timestamp, request.id)
        except Exception:  # noqa: BLE001 - as in _serve; here the claim is also given up
            return self._broken(request)

    async def _settled(self, claim: Claim, answer: Answer) -> None:
        """Keep the answer, or free the key where a retry may fare better."""
        if answer.status >= _SERVER_ERROR or answer.status in _NOT_KEPT:
            await self._released(claim)
            return
        headers = tuple(header for header in answer.headers if header[0] != b"set-cookie")
        try:
            await claim.complete(Kept(answer.status, headers, answer.body))
        except EchainError as error:  # the effect stands and is answered; only a retry would miss the answer
            self._log.lost("http.answer_not_kept", error)

    async def _released(self, claim: Claim) -> None:
        try:
            await claim.abandon()
        except EchainError as error:  # the claim opens by itself after a minute
            self._log.lost("http.claim_not_released", error)

    def _broken(self, request: _Request) -> Answer:
        """Answer a bug: logged whole, told with nothing but the request id."""
        self._log.broken(request.scope)
        return refused(Internal(), request.timestamp, request.id)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        phase = "startup"
        try:
            async with self._lifespan() if self._lifespan else _nothing_to_start():
                await send({"type": "lifespan.startup.complete"})
                phase = "shutdown"
                await receive()
        except BaseException as error:
            await send({"type": f"lifespan.{phase}.failed", "message": str(error)})
            raise
        await send({"type": "lifespan.shutdown.complete"})


def _check_headers(pairs: Sequence[tuple[bytes, bytes]], headers: Mapping[bytes, bytes]) -> None:
    if len(pairs) > MAX_HEADERS:
        raise HeadersTooLarge(f"The request carries more than {MAX_HEADERS} headers.")
    if sum(map(len, headers.values())) > MAX_HEADER_BYTES:
        raise HeadersTooLarge(f"The request's headers are larger than {MAX_HEADER_BYTES} bytes.")


def _raw_path(scope: Scope) -> bytes:
    """Return the path as it came over the wire; a server that does not pass it on gets it escaped again."""
    raw: bytes | None = scope.get("raw_path")
    return quote(scope["path"]).encode("ascii") if raw is None else raw


@asynccontextmanager
async def _nothing_to_start() -> AsyncGenerator[None, None]:
    yield


def application(
    endpoints: Sequence[Endpoint],
    *,
    authenticate: Authenticate,
    clock: Clock,
    idempotency: Idempotency,
    title: str,
    version: str,
    description: str = "",
    lifespan: Lifespan | None = None,
) -> Application:
    """Return the ASGI application of these endpoints, with ``/api/v1/openapi.json`` and ``/docs`` beside.

    ``authenticate`` gets headers and cookies and returns who they stand for, or None; for credentials that no
    longer hold it raises an error of kind UNAUTHENTICATED. ``lifespan`` is entered at start-up and left at
    shutdown.

    Raises:
        ValueError: two endpoints at one place, or one that contradicts itself.
    """
    document = openapi_endpoint(endpoints, title=title, version=version, description=description)
    return Application(
        [*endpoints, document, *docs_endpoints()],
        authenticate=authenticate,
        clock=clock,
        idempotency=idempotency,
        lifespan=lifespan,
    )
