"""One line a request: bugs as errors, slow answers as warnings, the others where debug lines are wanted."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import structlog

from echain.kernel.errors import EchainError

SLOW_SECONDS = 0.5


class AccessLog:
    """Writes through structlog; binds its logger at the first line, when logging has been set up."""

    def __init__(self) -> None:
        self._bound: Any = None
        self._verbose = False

    def answered(self, scope: Mapping[str, Any], status: int, seconds: float) -> None:
        """Tell of an answer, if it was slow or debug lines are wanted."""
        logger = self._logger()
        if seconds >= SLOW_SECONDS or self._verbose:
            write = logger.warning if seconds >= SLOW_SECONDS else logger.debug
            milliseconds = round(seconds * 1000, 2)
            write(
                "http.answered",
                method=scope["method"],
                path=scope["path"],
                status=status,
                milliseconds=milliseconds,
            )

    def broken(self, scope: Mapping[str, Any]) -> None:
        """Tell of the exception being handled, whole: it is a bug."""
        self._logger().exception("http.broken", method=scope["method"], path=scope["path"])

    def lost(self, what: str, error: EchainError) -> None:
        """Tell of something left undone that heals by itself."""
        self._logger().warning(what, code=error.code, reason=error.message)

    def _logger(self) -> Any:
        if self._bound is None:
            self._bound = structlog.get_logger().bind(logger="echain.http")
            self._verbose = self._bound.is_enabled_for(logging.DEBUG)
        return self._bound
