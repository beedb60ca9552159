"""What a handler may return besides a plain value."""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec

_COOKIE_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_COOKIE_VALUE = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*")


class Cookie(msgspec.Struct, frozen=True):
    """A cookie to set; ``max_age`` in seconds, 0 removes it, None keeps it until the browser closes."""

    name: str
    value: str
    max_age: int | None = None
    path: str = "/"
    http_only: bool = True
    secure: bool = True
    same_site: Literal["strict", "lax", "none"] = "lax"

    def header(self) -> bytes:
        """Return the value of its Set-Cookie header.

        Raises:
            ValueError: name, value or path hold characters that a cookie cannot carry.
        """
        if not _COOKIE_NAME.fullmatch(self.name) or not _COOKIE_VALUE.fullmatch(self.value):
            raise ValueError("a cookie's name or value holds characters that cookies cannot carry")
        if not self.path.startswith("/") or not _COOKIE_VALUE.fullmatch(self.path):
            raise ValueError("a cookie's path starts with / and holds no separator")
        parts = [f"{self.name}={self.value}", f"Path={self.path}", f"SameSite={self.same_site.capitalize()}"]
        if self.max_age is not None:
            parts.append(f"Max-Age={self.max_age}")
        if self.http_only:
            parts.append("HttpOnly")
        if self.secure:
            parts.append("Secure")
        return "; ".join(parts).encode("ascii")


class Reply(msgspec.Struct, frozen=True):
    """A value with more to it: another status, headers, cookies.

    ``status`` None means the endpoint's own; any other is named in the endpoint's ``other_statuses``.
    ``value`` may also be a `Page` or `Rendered`.
    """

    value: Any = None
    status: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    cookies: tuple[Cookie, ...] = ()


class Rendered(msgspec.Struct, frozen=True):
    """Encoded JSON of ``data``, spliced into the envelope as it is.

    ``etag`` is the strong tag in its quotes, computed from ``data`` when None.
    """

    data: bytes
    etag: bytes | None = None


class Raw(msgspec.Struct, frozen=True):
    """An answer without envelope: documents, pages, assets.

    A GET of status 200 carries an ETag and answers 304 as any other.
    """

    body: bytes
    content_type: str = "application/json"
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
