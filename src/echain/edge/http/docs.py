"""The documentation page: own files, no outside asset, no inline script or style."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

from echain.edge.http.answer import Raw
from echain.edge.http.call import Call, Nothing
from echain.edge.http.endpoint import Endpoint, get

PAGE_HEADERS = (
    (
        "content-security-policy",
        (
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
    ),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
)

_FILES = (
    ("/docs", "docs.html", "text/html; charset=utf-8"),
    ("/docs/docs.css", "docs.css", "text/css; charset=utf-8"),
    ("/docs/docs.js", "docs.js", "text/javascript; charset=utf-8"),
    ("/docs/icon.svg", "icon.svg", "image/svg+xml"),
)


def docs_endpoints() -> Sequence[Endpoint]:
    """Return the endpoints of ``/docs`` and its assets, read once."""
    return [_asset(path, name, content_type) for path, name, content_type in _FILES]


def _asset(path: str, name: str, content_type: str) -> Endpoint:
    answer = Raw(
        (files("echain.edge.http") / "assets" / name).read_bytes(),
        content_type=content_type,
        headers=PAGE_HEADERS,
    )

    @get(
        path,
        summary=f"Documentation: {name}",
        tag="system",
        answer=Raw,
        media_type=content_type,
        listed=False,
        limited=False,
    )
    async def asset(_call: Call[Nothing, Nothing, Nothing]) -> Raw:
        return answer

    return asset
