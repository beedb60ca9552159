"""Whether a request that browsers sign with a cookie was meant by a page of ours (CSRF).

A browser sends cookies along whoever's page asks it to. Two things prove a page: what the browser itself says
of where the request comes from (`Origin`, Fetch Metadata), and a token that only our pages can read.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Mapping
from typing import Final
from uuid import UUID

from echain.edge.http.errors import NotOurPage

CSRF_HEADER: Final = "x-csrf-token"
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""They change nothing (RFC 9110, 9.2.1), and answers are closed to foreign pages."""

HoldsFor = Callable[[str, UUID], bool]
"""Returns whether a CSRF token is that of a session."""


def no_token_holds(_token: str, _session: UUID) -> bool:
    """Return False: where nobody knows tokens, none holds."""
    return False


class OwnPages:
    """Tells requests of pages of ``origins`` from all others; they are compared exactly."""

    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(origins)

    def require(self, headers: Mapping[str, str]) -> None:
        """Check that a page of ours sent a request.

        Raises:
            NotOurPage: another page did, or the browser says of none.
        """
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if origin is None:
            ours = site == "same-origin"
        else:
            ours = origin in self._origins and site in (None, "same-origin", "same-site")
        if not ours:
            raise NotOurPage(
                "This came by cookie and from no page of ours; send it from one, or with a bearer token."
            )

    def require_copy(self, headers: Mapping[str, str], cookie: str) -> None:
        """Check that a page of ours sent a request and could read the cookie with its CSRF token.

        Raises:
            NotOurPage: one of the two is not so.
        """
        self.require(headers)
        shown = headers.get(CSRF_HEADER, "").encode()
        if not shown or not hmac.compare_digest(shown, cookie.encode()):
            raise NotOurPage

    def require_meant(self, headers: Mapping[str, str], session: UUID | None, holds: HoldsFor) -> None:
        """Check that a page of ours sent a request and showed the CSRF token of its session.

        Raises:
            NotOurPage: one of the two is missing.
        """
        self.require(headers)
        if session is None or not holds(headers.get(CSRF_HEADER, ""), session):
            raise NotOurPage
