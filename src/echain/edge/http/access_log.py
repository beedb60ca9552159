"""One line a request, by its route: paths hold ids, addresses and now and then a secret.

Where logs are JSON a line is put together as bytes, of which all but its figures stood ready before.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import structlog

from echain.edge.http.envelope import timestamp
from echain.edge.http.measures import RouteMeasure
from echain.infra.log import JsonLines, json_lines
from echain.kernel.errors import EchainError
from echain.kernel.time import utc_now

SLOW_SECONDS = 0.5
_SERVER_ERROR = 500


class AccessLog:
    """Writes a line for ``every`` request, else only for slow and failed ones.

    Binds its logger at the first line, when logging has been set up.
    """

    def __init__(self, *, every: bool) -> None:
        self._wanted = every
        self._every = False
        self._bound: Any = None
        self._lines: JsonLines | None = None

    def answered(
        self,
        method: str,
        measure: RouteMeasure,
        status: int,
        seconds: float,
        *,
        request_id: bytes,
        trace_id: str,
    ) -> None:
        """Tell of an answer; ``trace_id`` is empty where no trace tells of the request."""
        if self._bound is None:
            self._bind()
        odd = seconds >= SLOW_SECONDS or status >= _SERVER_ERROR
        if not (odd or self._every):
            return
        lines = self._lines
        if lines is None:
            self._tell(method, measure, status, seconds, trace_id, odd=odd)
            return
        lines.write(
            b'{"event":"http.answered","level":"%b","timestamp":"%b","method":"%b","route":%b,"status":%d,'
            b'"milliseconds":%.2f,"request_id":"%b"%b,"logger":"echain.http","role":%b}\n'
            % (
                b"warning" if odd else b"info",
                timestamp(utc_now()),
                method.encode("ascii", "replace"),
                measure.route_json,
                status,
                seconds * 1000,
                request_id,
                b',"trace_id":"%b"' % trace_id.encode() if trace_id else b"",
                lines.role_json,
            )
        )

    def _tell(
        self, method: str, measure: RouteMeasure, status: int, seconds: float, trace_id: str, *, odd: bool
    ) -> None:
        write = self._bound.warning if odd else self._bound.info
        traced = {"trace_id": trace_id} if trace_id else {}
        milliseconds = round(seconds * 1000, 2)
        write(
            "http.answered",
            method=method,
            route=measure.route,
            status=status,
            milliseconds=milliseconds,
            **traced,
        )

    def broken(self, scope: Mapping[str, Any], measure: RouteMeasure) -> None:
        """Tell of the exception being handled, whole: it is a bug."""
        self._logger().exception("http.broken", method=scope["method"], route=measure.route)

    def lost(self, what: str, error: EchainError) -> None:
        """Tell of something left undone that heals by itself."""
        self._logger().warning(what, code=error.code, reason=error.message)

    def _logger(self) -> Any:
        if self._bound is None:
            self._bind()
        return self._bound

    def _bind(self) -> None:
        self._bound = structlog.get_logger().bind(logger="echain.http")
        self._every = self._wanted and self._bound.is_enabled_for(logging.INFO)
        self._lines = json_lines() if self._bound.is_enabled_for(logging.WARNING) else None
