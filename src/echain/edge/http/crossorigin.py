"""Which pages of other origins may read answers: the CORS protocol of the Fetch standard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from echain.edge.http.rendering import NO_STORE, Answer, Header

VARY: Final = (b"vary", b"Origin")
_CREDENTIALS: Final = (b"access-control-allow-credentials", b"true")
_EXPOSED: Final = (
    b"access-control-expose-headers",
    (
        b"Deprecation, ETag, Idempotency-Replayed, Link, RateLimit, RateLimit-Policy, Retry-After, Sunset, "
        b"X-Request-Id"
    ),
)
_ACCEPTED: Final = (
    b"access-control-allow-headers",
    (
        b"Authorization, Content-Type, Echain-Confirmation, Echain-Seen, Idempotency-Key, If-Match, "
        b"If-None-Match, Traceparent, X-CSRF-Token, X-Request-Id"
    ),
)
_MAX_AGE: Final = (b"access-control-max-age", b"7200")
"""Seconds; no browser remembers a preflight for longer."""


class CrossOrigin:
    """Lets pages of the listed origins read, with cookies and tokens; to others answers stay closed.

    Every answer to a request that names its origin varies by it, so that no cache gives one page what was
    opened for another.
    """

    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(origin.encode("ascii") for origin in origins)

    def opened(self, origin: bytes) -> list[Header]:
        """Return the headers that let a page of ``origin`` read an answer."""
        if origin not in self._origins:
            return [VARY]
        return [VARY, (b"access-control-allow-origin", origin), _CREDENTIALS, _EXPOSED]

    def preflight(self, headers: Mapping[bytes, bytes], allow: bytes) -> Answer | None:
        """Return the answer to a browser that asks before it sends; None for whoever else says OPTIONS.

        ``allow`` lists the path's methods.
        """
        origin = headers.get(b"origin")
        if origin not in self._origins or b"access-control-request-method" not in headers:
            return None
        return Answer(204, [NO_STORE, (b"access-control-allow-methods", allow), _ACCEPTED, _MAX_AGE], b"")
