"""From what a handler returned to status, headers and bytes."""

from __future__ import annotations

from typing import NamedTuple

from echain.edge.http.answer import Raw, Rendered, Reply
from echain.edge.http.call import Auth
from echain.edge.http.endpoint import Endpoint
from echain.edge.http.envelope import encode, failure, success
from echain.edge.http.errors import MethodNotAllowed, Refusal, status_of
from echain.edge.http.etag import etag_of, matches, rendered_etag
from echain.kernel.errors import EchainError, Kind
from echain.kernel.paging import Page

Header = tuple[bytes, bytes]

JSON = (b"content-type", b"application/json")
NOSNIFF = (b"x-content-type-options", b"nosniff")
NO_STORE = (b"cache-control", b"no-store")
REVALIDATE = (b"cache-control", b"no-cache")
REVALIDATE_PRIVATE = (b"cache-control", b"private, no-cache")
CLOSE = (b"connection", b"close")
CHALLENGE = (b"www-authenticate", b"Bearer")

OK = 200
NOT_MODIFIED = 304


class Answer(NamedTuple):
    """What goes over the wire, but for the headers that every answer carries."""

    status: int
    headers: list[Header]
    body: bytes


def rendered(
    endpoint: Endpoint, result: object, timestamp: bytes, request_id: bytes, if_none_match: bytes | None
) -> Answer:
    """Return the answer of a handler's result.

    A GET that is answered with 200 carries an ETag, and becomes 304 where ``if_none_match`` names it.
    """
    status, headers = endpoint.status, [JSON, _caching(endpoint)]
    if type(result) is Reply:
        status = result.status or status
        own = [(name.lower().encode("ascii"), value.encode("latin-1")) for name, value in result.headers]
        if any(name == b"cache-control" for name, _ in own):
            headers.pop()
        headers += own
        headers += [(b"set-cookie", cookie.header()) for cookie in result.cookies]
        result = result.value
    if type(result) is Raw:
        return _raw(endpoint, result, if_none_match)
    page = None
    etag = b""
    tagged = status == OK and endpoint.method == "GET"
    if type(result) is Rendered:
        data = result.data
        if tagged:
            etag = rendered_etag(data) if result.etag is None else b'"%b"' % result.etag.encode("ascii")
    else:
        if type(result) is Page:
            page = result.info
            result = result.items
        data = encode(result)
        if tagged:
            etag = etag_of(data if page is None else data + encode(page))
    if tagged:
        if if_none_match is not None and matches(if_none_match, etag):
            return Answer(NOT_MODIFIED, [(b"etag", etag), *headers[1:]], b"")
        headers.append((b"etag", etag))
    return Answer(status, headers, success(data, timestamp, request_id, page))


def _caching(endpoint: Endpoint) -> Header:
    if endpoint.method != "GET":
        return NO_STORE
    return REVALIDATE if endpoint.auth is Auth.PUBLIC else REVALIDATE_PRIVATE


def _raw(endpoint: Endpoint, raw: Raw, if_none_match: bytes | None) -> Answer:
    headers = [(b"content-type", raw.content_type.encode("ascii"))]
    headers += [(name.lower().encode("ascii"), value.encode("latin-1")) for name, value in raw.headers]
    if all(name != b"cache-control" for name, _ in headers):
        headers.append(_caching(endpoint))
    if raw.status == OK and endpoint.method == "GET":
        etag = rendered_etag(raw.body)
        headers.append((b"etag", etag))
        if if_none_match is not None and matches(if_none_match, etag):
            return Answer(NOT_MODIFIED, headers[1:], b"")
    return Answer(raw.status, headers, raw.body)


def refused(error: EchainError, timestamp: bytes, request_id: bytes) -> Answer:
    """Return the answer of an error; its ``retryAfterSeconds`` detail becomes Retry-After."""
    headers: list[Header] = [JSON, NO_STORE]
    if error.kind is Kind.UNAUTHENTICATED:
        headers.append(CHALLENGE)
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", error.allow))
    retry_after = error.details.get("retryAfterSeconds", 1 if error.kind is Kind.UNAVAILABLE else None)
    if isinstance(retry_after, int):
        headers.append((b"retry-after", b"%d" % retry_after))
    if isinstance(error, Refusal) and error.closes:
        headers.append(CLOSE)
    return Answer(status_of(error), headers, failure(error, timestamp, request_id))
