"""The cookies of a session: what a browser of ours carries instead of tokens that scripts could read."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from echain.accounts.types import Grant
from echain.edge.http import Cookie

_TOKEN: Final = "echain_token"  # noqa: S105 -- a cookie's name
_REFRESH: Final = "echain_refresh"
_CSRF: Final = "echain_csrf"


class SessionCookies:
    """Names and writes them.

    Behind https their names start with ``__Host-``, so that no neighbouring host can plant them (RFC 6265bis,
    4.1.3.2). The access token is `Lax`, so that a link from elsewhere finds its user signed in; the refresh
    token and the CSRF token only go where our own pages ask.
    """

    def __init__(self, *, https: bool) -> None:
        prefix = "__Host-" if https else ""
        self._https = https
        self.token = prefix + _TOKEN
        self.refresh = prefix + _REFRESH
        self.csrf = prefix + _CSRF

    def write(self, grant: Grant, *, csrf: str, now: datetime) -> tuple[Cookie, ...]:
        """Return the cookies of a session, each lasting as its token does; scripts may read the last."""
        lasting = int((grant.refresh_expires_at - now).total_seconds())
        return (
            Cookie(
                self.token,
                grant.access_token,
                max_age=int((grant.access_expires_at - now).total_seconds()),
                secure=self._https,
                same_site="lax",
            ),
            Cookie(
                self.refresh,
                grant.refresh_token,
                max_age=lasting,
                secure=self._https,
                same_site="strict",
            ),
            Cookie(
                self.csrf,
                csrf,
                max_age=lasting,
                http_only=False,
                secure=self._https,
                same_site="strict",
            ),
        )

    def clear(self) -> tuple[Cookie, ...]:
        """Return what makes a browser forget them."""
        return tuple(
            Cookie(name, "", max_age=0, secure=self._https) for name in (self.token, self.refresh, self.csrf)
        )
