"""From what a handler returned to status, headers and bytes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

from echain.edge.http.answer import Raw, Rendered, Reply
from echain.edge.http.call import Auth
from echain.edge.http.endpoint import Endpoint
from echain.edge.http.envelope import encode, failure, success
from echain.edge.http.errors import MethodNotAllowed, Refusal, status_of
from echain.edge.http.etag import etag_of, matches, rendered_etag
from echain.kernel.errors import EchainError, Kind
from echain.kernel.paging import Page, PageInfo

Header = tuple[bytes, bytes]

_HEADER_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")
_HEADER_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")

JSON = (b"content-type", b"application/json")
NOSNIFF = (b"x-content-type-options", b"nosniff")
HTTPS_ONLY = (b"strict-transport-security", b"max-age=63072000; includeSubDomains")
"""For two years (RFC 6797)."""
INERT = (
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
)
"""JSON that is opened as a page can run, load and frame nothing."""
PAGE: Final = (
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (
        b"permissions-policy",
        b"camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
)
"""What a page is given that does not say otherwise itself."""
NO_STORE = (b"cache-control", b"no-store")
REVALIDATE = (b"cache-control", b"no-cache")
REVALIDATE_PRIVATE = (b"cache-control", b"private, no-cache")
CLOSE = (b"connection", b"close")
CHALLENGE = (b"www-authenticate", b"Bearer")

WHOLE = "echain.whole"
"""Where a scope keeps what takes a whole answer at once, if its server has that: see `server`."""

OK = 200
NOT_MODIFIED = 304


class Answer(NamedTuple):
    """What goes over the wire, but for the headers that every answer carries."""

    status: int
    headers: list[Header]
    body: bytes


class Renderer:
    """Makes answers of what one endpoint's handler returns."""

    __slots__ = ("_caching", "_is_get", "_status", "_tagged")

    def __init__(self, endpoint: Endpoint) -> None:
        self._status = endpoint.status
        self._is_get = endpoint.method == "GET"
        self._tagged = self._is_get and endpoint.status == OK
        if not self._is_get:
            self._caching = NO_STORE
        else:
            self._caching = REVALIDATE if endpoint.auth is Auth.PUBLIC else REVALIDATE_PRIVATE

    def answer(self, result: object, now: datetime, request_id: str, if_none_match: bytes | None) -> Answer:
        """Return the answer of a handler's result.

        A GET that is answered with 200 carries an ETag, and becomes 304 where ``if_none_match`` names it.
        """
        if type(result) is Reply:
            return self._reply(result, now, request_id, if_none_match)
        if type(result) is Raw:
            return self._raw(result, if_none_match)
        data, page, etag = _encoded(result, tagged=self._tagged)
        if not self._tagged:
            return Answer(self._status, [JSON, *INERT, self._caching], success(data, now, request_id, page))
        tag = (b"etag", etag)
        if if_none_match is not None and matches(if_none_match, etag):
            return Answer(NOT_MODIFIED, [tag, self._caching], b"")
        return Answer(OK, [JSON, *INERT, self._caching, tag], success(data, now, request_id, page))

    def _reply(self, reply: Reply, now: datetime, request_id: str, if_none_match: bytes | None) -> Answer:
        inner = self.answer(reply.value, now, request_id, if_none_match)
        own = _lowered(reply.headers)
        headers = [
            header for header in inner.headers if header[0] != b"cache-control" or not _decides_caching(own)
        ]
        headers += own
        headers += [(b"set-cookie", cookie.header()) for cookie in reply.cookies]
        if reply.status is not None and reply.status != self._status:
            if inner.status == NOT_MODIFIED:
                inner = self.answer(reply.value, now, request_id, None)
            headers = [header for header in headers if header[0] != b"etag"]
            return Answer(reply.status, headers, inner.body)
        return Answer(inner.status, headers, inner.body)

    def _raw(self, raw: Raw, if_none_match: bytes | None) -> Answer:
        headers = _lowered(raw.headers)
        said = {name for name, _ in headers}
        headers += [header for header in INERT if INERT[0][0] not in said and header[0] not in said]
        if raw.content_type.startswith("text/html"):
            said = {name for name, _ in headers}
            headers += [header for header in PAGE if header[0] not in said]
        if not _decides_caching(headers):
            headers.append(self._caching)
        if raw.status == OK and self._is_get:
            etag = rendered_etag(raw.body)
            headers.append((b"etag", etag))
            if if_none_match is not None and matches(if_none_match, etag):
                return Answer(NOT_MODIFIED, headers, b"")
        return Answer(raw.status, [(b"content-type", raw.content_type.encode("ascii")), *headers], raw.body)


def _encoded(result: object, *, tagged: bool) -> tuple[bytes, PageInfo | None, bytes]:
    """Return the JSON of ``data``, where its page stands, and its ETag, which is empty unless asked for."""
    if type(result) is Rendered:
        if not tagged:
            return result.data, None, b""
        return result.data, None, rendered_etag(result.data) if result.etag is None else result.etag
    page: PageInfo | None = None
    if type(result) is Page:
        page = result.info
        result = result.items
    data = encode(result)
    if not tagged:
        return data, page, b""
    return data, page, etag_of(data if page is None else data + encode(page))


def _lowered(headers: Sequence[tuple[str, str]]) -> list[Header]:
    """Return a handler's headers as they go out; ValueError where one would begin another."""
    lowered = [(name.lower().encode("ascii"), value.encode("latin-1")) for name, value in headers]
    for name, value in lowered:
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise ValueError("a header's name or value holds characters that end it")
    return lowered


def _decides_caching(headers: Sequence[Header]) -> bool:
    return any(name == b"cache-control" for name, _ in headers)


def refused(error: EchainError, now: datetime, request_id: str) -> Answer:
    """Return the answer of an error; its ``retryAfterSeconds`` detail becomes Retry-After."""
    headers: list[Header] = [JSON, *INERT, NO_STORE]
    if error.kind is Kind.UNAUTHENTICATED:
        headers.append(CHALLENGE)
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", error.allow))
    retry_after = error.details.get("retryAfterSeconds", 1 if error.kind is Kind.UNAVAILABLE else None)
    if isinstance(retry_after, int):
        headers.append((b"retry-after", b"%d" % retry_after))
    if isinstance(error, Refusal) and error.closes:
        headers.append(CLOSE)
    return Answer(status_of(error), headers, failure(error, now, request_id))
