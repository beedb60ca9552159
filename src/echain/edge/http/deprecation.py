"""Routes on their way out: what answers say of it (RFC 9745, RFC 8594), and how often they are called."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final

from echain.infra.metrics import Counter, Metrics

GUIDE: Final = "/docs"
"""Where people read what to do instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deprecation:
    """Since when a route is better not used, when it may be gone, and the path of what takes its place.

    ``successor`` is a path as it stands in the document, with its parameters in braces if it has any.
    """

    since: datetime
    sunset: datetime | None = None
    successor: str = ""

    def __post_init__(self) -> None:
        """Refuse moments without an offset, and an end before the warning (RFC 9745, section 4).

        Raises:
            ValueError: these.
        """
        moments = [self.since, *([self.sunset] if self.sunset else [])]
        if any(moment.tzinfo is None for moment in moments):
            raise ValueError("a deprecation's moments have an offset")
        if moments != sorted(moments):
            raise ValueError("a route is not gone before it is deprecated")

    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """Return ``Deprecation``, ``Sunset`` where an end is set, and ``Link`` as every answer carries them.

        A successor whose path has parameters is not linked: a link leads to one thing, and only the
        caller knows which.
        """
        links = [f'<{GUIDE}>; rel="deprecation"; type="text/html"']
        if self.successor and "{" not in self.successor:
            links.append(f'<{self.successor}>; rel="successor-version"')
        said = [(b"deprecation", f"@{int(self.since.timestamp())}".encode())]
        if self.sunset is not None:
            said.append((b"sunset", http_date(self.sunset).encode()))
        return (*said, (b"link", ", ".join(links).encode()))


def http_date(moment: datetime) -> str:
    """Return a moment as HTTP spells it (RFC 9110, 5.6.7)."""
    return format_datetime(moment.astimezone(UTC), usegmt=True)


class DeprecatedUse:
    """Counts the calls of deprecated routes, so that their end can be chosen by who is left."""

    def __init__(self, metrics: Metrics) -> None:
        self._counter = metrics.counter(
            "echain_http_deprecated_total", "Calls of routes that are deprecated.", ("method", "route")
        )

    def of(self, method: str, path: str) -> Counter:
        """Return the counter of one route."""
        return self._counter.labels(method, path)
