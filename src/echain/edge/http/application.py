"""The ASGI application: route, authenticate, decode, run, answer. No middleware in between."""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, MutableMapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from datetime import datetime
from time import perf_counter
from typing import Any, TypeAlias
from urllib.parse import quote

import msgspec
from structlog.contextvars import STRUCTLOG_KEY_PREFIX

from echain.edge.http.access_log import AccessLog
from echain.edge.http.body import Body, Disconnected, RawBody, Receive, read_body
from echain.edge.http.call import Auth, Call, Caller, Cookies, Headers, Nothing
from echain.edge.http.crossorigin import CrossOrigin
from echain.edge.http.deprecation import DeprecatedUse
from echain.edge.http.docs import docs_endpoints
from echain.edge.http.endpoint import Charge, Endpoint
from echain.edge.http.errors import (
    AdministratorsOnly,
    Forbidden,
    HeadersTooLarge,
    Internal,
    MethodNotAllowed,
    RouteNotFound,
    ScopeMissing,
    Unauthenticated,
)
from echain.edge.http.idempotency import AnswerLost, Claim, Idempotency, Kept, checked_key, request_hash
from echain.edge.http.limits import Limits
from echain.edge.http.measures import UNROUTED, HttpMetrics, RouteMeasure
from echain.edge.http.openapi import openapi_endpoint
from echain.edge.http.ownpages import SAFE_METHODS, HoldsFor, OwnPages, no_token_holds
from echain.edge.http.parameters import Parameters, PathParameters
from echain.edge.http.refusals import RefusalPage, as_page, opens_a_page
from echain.edge.http.rendering import (
    HTTPS_ONLY,
    NOSNIFF,
    NOT_MODIFIED,
    WHOLE,
    Answer,
    Header,
    Renderer,
    refused,
)
from echain.edge.http.router import Router
from echain.infra.audit import ClientSeals
from echain.infra.metrics import Metrics
from echain.infra.traces import Entry, Span, Traces
from echain.kernel.errors import EchainError, Kind
from echain.kernel.time import Clock

Scope: TypeAlias = MutableMapping[str, Any]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Authenticate: TypeAlias = Callable[[Mapping[str, str], Mapping[str, str]], Awaitable[Caller | None]]
Lifespan: TypeAlias = Callable[[], AbstractAsyncContextManager[None]]

MAX_HEADERS = 100
MAX_HEADER_BYTES = 16_384
MAX_KNOWN_PATHS = 4_096
LONGEST_KNOWN_PATH = 256
"""Bounds of what is remembered of paths that were read before: a megabyte and some."""

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_NOTHING = Nothing()
_LOGGED_REQUEST_ID = ContextVar[str](f"{STRUCTLOG_KEY_PREFIX}request_id")
"""What `structlog.contextvars.bind_contextvars` would bind, at a tenth of its price."""
_NOT_KEPT = frozenset({401, 408, 429})
"""Refusals that say nothing about the request itself; a retry with the same key may fare better."""
_CLIENT_ERROR = 400
_WITHOUT_BODY = frozenset({204, NOT_MODIFIED})
_SERVER_ERROR = 500
_MEASURE = "echain.measure"
"""Where a scope keeps the measure of the route that it led to."""
_STANDING = "echain.standing"
"""Where it keeps the headers that say how much more its caller may do, and how much longer."""
_COUNTED = "echain.counted"
"""Where it keeps its caller, None for an unknown one, if calls of its route are counted."""


def _unheard(_address: str) -> None:
    """Take word of refused credentials where nobody counts them."""


class _Route:
    """An endpoint with its decoders made."""

    __slots__ = (
        "body",
        "charge",
        "endpoint",
        "handler",
        "leaving",
        "measure",
        "optional",
        "path",
        "public",
        "query",
        "raw",
        "renderer",
        "scope",
    )

    def __init__(self, endpoint: Endpoint, measure: RouteMeasure, deprecated: DeprecatedUse) -> None:
        self.endpoint = endpoint
        self.measure = measure
        self.handler = endpoint.handler
        names = tuple(segment[1:-1] for segment in endpoint.segments if segment.startswith("{"))
        self.path = PathParameters(endpoint.path_params, names)
        self.query = Parameters(endpoint.query)
        self.raw = endpoint.body is RawBody
        self.body = Body(endpoint.body) if endpoint.takes_body and not self.raw else None
        self.public = endpoint.auth is Auth.PUBLIC
        self.optional = endpoint.auth is Auth.OPTIONAL
        self.scope = endpoint.scope
        self.charge: Charge = endpoint.charge
        self.renderer = Renderer(endpoint)
        self.leaving = None
        if endpoint.deprecated is not None:
            self.leaving = endpoint.deprecated.headers(), deprecated.of(endpoint.method, endpoint.path)


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
        metrics: Metrics,
        origins: Sequence[str],
        https: bool,
        limits: Limits | None,
        traces: Traces,
        access_log: bool,
        seals: ClientSeals | None,
        csrf: HoldsFor,
        on_refused: Callable[[str], None],
        refusal_page: RefusalPage | None,
    ) -> None:
        measures = HttpMetrics(metrics)
        self._unrouted = measures.route(UNROUTED, UNROUTED)
        deprecated = DeprecatedUse(metrics)
        self._router: Router[_Route] = Router()
        for endpoint in endpoints:
            measure = measures.route(endpoint.method, endpoint.path)
            self._router.add(endpoint.method, endpoint.path, _Route(endpoint, measure, deprecated))
        self._authenticate = authenticate
        self._clock = clock
        self._idempotency = idempotency
        self._lifespan = lifespan
        self._limits = limits
        self._seals = seals
        self._cross_origin = CrossOrigin(origins)
        self._own_pages = OwnPages(origins)
        self._csrf = csrf
        self._on_refused = on_refused
        self._refusal_page = refusal_page
        self._always: list[Header] = [NOSNIFF, HTTPS_ONLY] if https else [NOSNIFF]
        self._id_prefix = secrets.token_hex(8).encode("ascii")
        self._ids = itertools.count(1)
        self._log = AccessLog(every=access_log)
        self._traces = traces
        self._read_paths: dict[bytes, tuple[_Route, msgspec.Struct]] = {}

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
        parent = headers.get(b"traceparent")
        span = self._traces.begin("HTTP", "server", None if parent is None else parent.decode("latin-1"))
        entry = None if span is None else Entry(span)
        status: int | None = None
        try:
            status = await self._respond(scope, receive, send, headers, request_id)
        finally:
            measure = scope.get(_MEASURE, self._unrouted)
            if span is not None and entry is not None:
                entry.leave()
                _told(span, measure, status, request_id)
        if status is None:
            return
        seconds = perf_counter() - started
        measure.answered(status, seconds)
        trace_id = "" if span is None else span.trace_id
        self._log.answered(
            scope["method"], measure, status, seconds, request_id=request_id, trace_id=trace_id
        )

    async def _respond(
        self, scope: Scope, receive: Receive, send: Send, headers: dict[bytes, bytes], request_id: bytes
    ) -> int | None:
        """Answer, whatever happens, and return with what status; None when nobody waits any more."""
        id_text = request_id.decode("ascii")
        _LOGGED_REQUEST_ID.set(id_text)
        now = self._clock()
        try:
            status, answer_headers, body = await self._run(scope, receive, headers, id_text, now)
        except EchainError as error:
            shown = await self._count_refusal(scope, headers, error)
            status, answer_headers, body = self._shown(refused(shown, now, id_text), scope, headers, id_text)
        except Disconnected:
            return None
        except Exception:  # noqa: BLE001 - whatever breaks, the client gets an answer and the log the whole story
            broken = self._broken(scope, now, id_text)
            status, answer_headers, body = self._shown(broken, scope, headers, id_text)
        if status not in _WITHOUT_BODY:
            answer_headers.append((b"content-length", b"%d" % len(body)))
        answer_headers.append((b"x-request-id", request_id))
        answer_headers += self._always
        answer_headers += scope.get(_STANDING, ())
        if b"origin" in headers:
            answer_headers += self._cross_origin.opened(headers[b"origin"])
        whole = scope.get(WHOLE)
        if whole is None or not whole(status, answer_headers, body):
            await send({"type": "http.response.start", "status": status, "headers": answer_headers})
            await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
        return status

    def _shown(self, answer: Answer, scope: Scope, headers: Mapping[bytes, bytes], request_id: str) -> Answer:
        """Return a refusal as its reader can read it."""
        page, raw_path = self._refusal_page, _raw_path(scope)
        if page is None or not opens_a_page(scope["method"], raw_path, headers):
            return answer
        language = headers.get(b"accept-language", b"").decode("latin-1")
        return as_page(answer, page(answer.status, raw_path.decode("latin-1"), request_id, language))

    def _route(self, scope: Scope) -> tuple[_Route, tuple[str, ...]]:
        found = self._router.find(_raw_path(scope))
        if found is None:
            raise RouteNotFound
        resource, values = found
        route = resource.routes.get(scope["method"])
        if route is None:
            raise MethodNotAllowed(resource.allow)
        return route, values

    def _asked_before(self, scope: Scope, headers: dict[bytes, bytes]) -> Answer:
        """Answer a preflight; nothing else here knows OPTIONS."""
        found = self._router.find(_raw_path(scope))
        if found is None:
            raise RouteNotFound
        allow = found[0].allow
        answer = self._cross_origin.preflight(headers, allow)
        if answer is None:
            raise MethodNotAllowed(allow)
        return answer

    def _known(self, scope: Scope) -> tuple[_Route, msgspec.Struct] | None:
        """Return what an earlier GET of the same path led to; a Struct of parameters is frozen."""
        return self._read_paths.get(scope.get("raw_path", b"")) if scope["method"] == "GET" else None

    def _remember(self, scope: Scope, route: _Route, path: msgspec.Struct) -> None:
        raw_path = scope.get("raw_path", b"")
        if scope["method"] == "GET" and raw_path and len(raw_path) <= LONGEST_KNOWN_PATH:
            if len(self._read_paths) >= MAX_KNOWN_PATHS:
                self._read_paths.clear()
            self._read_paths[raw_path] = (route, path)

    async def _run(
        self, scope: Scope, receive: Receive, headers: dict[bytes, bytes], request_id: str, now: datetime
    ) -> Answer:
        if len(scope["headers"]) > MAX_HEADERS or sum(map(len, headers.values())) > MAX_HEADER_BYTES:
            raise HeadersTooLarge
        if scope["method"] == "OPTIONS":
            return self._asked_before(scope, headers)
        known = self._known(scope)
        route, values = (known[0], ()) if known else self._route(scope)
        scope[_MEASURE] = route.measure
        if route.leaving is not None:
            scope[_STANDING], used = route.leaving
            used.inc()
        view = Headers(headers)
        cookies = Cookies(headers.get(b"cookie", b""))
        # Who shows nothing is nobody; most reads are such.
        anyone = route.public or (
            route.optional and b"authorization" not in headers and b"cookie" not in headers
        )
        address = self._address(scope, headers)
        limits = self._limits if route.endpoint.limited else None
        if limits is not None:
            scope[_COUNTED] = None
        caller = None if anyone else await self._admitted(route, view, cookies, limits, address)
        if limits is not None:
            scope[_COUNTED] = caller
            standing = await limits.take(route.charge, caller, address)
            scope[_STANDING] = standing if route.leaving is None else [*standing, *route.leaving[0]]
        path = known[1] if known else route.path.decode(values)
        if known is None:
            self._remember(scope, route, path)
        query = route.query.query(scope["query_string"])
        body, raw_body = _NOTHING, b""
        if route.raw:
            body = RawBody(receive, headers, route.endpoint.max_body_bytes)
        elif route.body is not None:
            raw_body = await read_body(receive, headers, route.endpoint.max_body_bytes)
            body = route.body.decode(raw_body, headers)
        call = Call(path, query, body, caller, request_id, now, view, cookies, address, None, self._seals)
        if route.endpoint.idempotent and b"idempotency-key" in headers:
            return await self._once(route, call, scope, raw_body)
        return route.renderer.answer(
            await route.handler(call), now, request_id, headers.get(b"if-none-match")
        )

    def _address(self, scope: Scope, headers: Mapping[bytes, bytes]) -> str:
        client = scope.get("client")
        peer: str = client[0] if client else ""
        return peer if self._limits is None else self._limits.address(peer, headers, scope["headers"])

    async def _count_refusal(
        self, scope: Scope, headers: Mapping[bytes, bytes], error: EchainError
    ) -> EchainError:
        """Count credentials that do not hold, and return what to answer; to have brought none is no guess."""
        refused = error.kind is Kind.UNAUTHENTICATED and error.code != Unauthenticated.code
        if not (refused if error.guess is None else error.guess):
            return error
        address = self._address(scope, headers)
        limits = self._limits
        shut_out = None if limits is None else await limits.refused(scope.get(_COUNTED), address)
        if shut_out is not None and _COUNTED in scope:
            return shut_out
        self._on_refused(address)
        return error

    async def _admitted(
        self, route: _Route, headers: Headers, cookies: Cookies, limits: Limits | None, address: str
    ) -> Caller | None:
        """Return who calls; a call of somebody whose credentials do not hold is a read of their address."""
        auth = route.endpoint.auth
        try:
            caller = await self._authenticate(headers, cookies)
        except EchainError as error:
            if limits is not None and error.kind is Kind.UNAUTHENTICATED:
                await limits.take("read", None, address)
            raise
        if caller is None:
            if auth is Auth.OPTIONAL:
                return None
            raise Unauthenticated
        if (auth is Auth.USER and caller.kind != "user") or (auth is Auth.GATE and caller.kind != "gate"):
            raise Forbidden
        if auth is Auth.ADMIN and (not caller.admin or caller.key is not None):
            raise AdministratorsOnly
        if caller.scopes is not None and route.scope not in caller.scopes:
            raise ScopeMissing(scope=route.scope)
        if caller.cookie and route.endpoint.method not in SAFE_METHODS:
            self._own_pages.require_meant(headers, caller.session, self._csrf)
        return caller

    async def _once(self, route: _Route, call: Call[Any, Any, Any], scope: Scope, raw_body: bytes) -> Answer:
        """Run a request with an Idempotency-Key, or replay what it was answered with."""
        key = checked_key(call.headers["idempotency-key"])
        owner = f"{call.caller.kind}:{call.caller.id}" if call.caller else f"client:{call.client}"
        unique = request_hash("POST", _raw_path(scope), scope["query_string"], raw_body)
        claim = await self._idempotency.claim(owner, key, unique, call.now)
        if isinstance(claim, Kept):
            return Answer(claim.status, [*claim.headers, (b"idempotency-replayed", b"true")], claim.body)
        try:
            answer = await self._run_claimed(route, msgspec.structs.replace(call, claim=claim), scope)
        except BaseException:
            await self._released(claim)
            raise
        shown_once = route.endpoint.shows_secret and answer.status < _CLIENT_ERROR
        await self._settled(claim, refused(AnswerLost(), call.now, call.request_id) if shown_once else answer)
        return answer

    async def _run_claimed(self, route: _Route, call: Call[Any, Any, Any], scope: Scope) -> Answer:
        try:
            return route.renderer.answer(await route.handler(call), call.now, call.request_id, None)
        except EchainError as error:
            return refused(error, call.now, call.request_id)
        except Exception:  # noqa: BLE001 - as in _serve; here the claim is also given up
            return self._broken(scope, call.now, call.request_id)

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

    def _broken(self, scope: Scope, now: datetime, request_id: str) -> Answer:
        """Answer a bug: logged whole, told with nothing but the request id."""
        self._log.broken(scope, scope.get(_MEASURE, self._unrouted))
        return refused(Internal(), now, request_id)

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


def _told(span: Span, measure: RouteMeasure, status: int | None, request_id: bytes) -> None:
    """End the span of a request: by its route, as paths hold ids and more."""
    span.rename(f"{measure.method} {measure.route}")
    span.tell(method=measure.method, route=measure.route, request_id=request_id.decode("ascii"))
    if status is None:
        span.end("disconnected")
        return
    span.tell(status=status)
    span.end(str(status) if status >= _SERVER_ERROR else None)


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
    metrics: Metrics | None = None,
    origins: Sequence[str] = (),
    https: bool = False,
    limits: Limits | None = None,
    traces: Traces | None = None,
    access_log: bool = False,
    seals: ClientSeals | None = None,
    csrf: HoldsFor = no_token_holds,
    on_refused: Callable[[str], None] = _unheard,
    refusal_page: RefusalPage | None = None,
) -> Application:
    """Return the ASGI application of these endpoints, with ``/api/v1/openapi.json`` and ``/docs`` beside.

    ``authenticate`` gets headers and cookies and returns who they stand for, or None; for credentials that no
    longer hold it raises an error of kind UNAUTHENTICATED. ``lifespan`` is entered at start-up and left at
    shutdown. Without ``metrics`` the application counts for itself alone. Pages of
    ``origins`` may read answers; with ``https`` browsers are told never to come by plain HTTP. Without
    ``access_log`` writes a line for every request.
    Without ``limits`` nobody calls too often; without ``seals`` the audit log is not told clients' addresses.
    ``csrf`` knows the tokens of sessions that come by cookie; without it these may only read.
    ``on_refused`` is told from which address credentials came that do not hold. ``refusal_page`` draws
    refusals for people; without it they read JSON, too.

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
        metrics=metrics or Metrics(),
        origins=origins,
        https=https,
        limits=limits,
        traces=traces or Traces.off(),
        access_log=access_log,
        seals=seals,
        csrf=csrf,
        on_refused=on_refused,
        refusal_page=refusal_page,
    )
