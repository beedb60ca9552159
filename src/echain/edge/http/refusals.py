"""Refusals for people: who opens an address in a browser gets a page instead of JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from echain.edge.http.answer import Raw
from echain.edge.http.rendering import Answer, Header

RefusalPage = Callable[[int, str, str, str], Raw]
"""Returns the page for a status at a path, with the request's id, in the language of ``Accept-Language``."""

_API: Final = b"/api/"
_REPLACED: Final = frozenset({b"content-type", b"content-security-policy", b"referrer-policy"})


def opens_a_page(method: str, raw_path: bytes, headers: Mapping[bytes, bytes]) -> bool:
    """Return whether a browser asks for something to show, as it does for a link but not for a script."""
    return (
        method in {"GET", "HEAD"}
        and b"text/html" in headers.get(b"accept", b"")
        and not raw_path.startswith(_API)
    )


def as_page(answer: Answer, page: Raw) -> Answer:
    """Return a refusal with a page's body; what else its headers say stays."""
    headers: list[Header] = [header for header in answer.headers if header[0] not in _REPLACED]
    headers.append((b"content-type", page.content_type.encode("ascii")))
    said = {name for name, _ in headers}
    own: list[tuple[str, Any]] = [pair for pair in page.headers if pair[0].encode("ascii") not in said]
    headers += [(name.encode("ascii"), value.encode("latin-1")) for name, value in own]
    return Answer(answer.status, headers, page.body)
