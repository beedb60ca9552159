"""How long each route takes to answer, by method and class of status; counts are the histogram's own."""

from __future__ import annotations

from typing import Final

import msgspec

from echain.infra.histogram import Distribution
from echain.infra.metrics import Histogram, Metrics

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)

UNROUTED: Final = "none"
"""The route of requests that led nowhere; strangers write their paths, which would fill the registry."""


class RouteMeasure:
    """The answers of one route."""

    __slots__ = ("_histogram", "_of_class", "method", "route", "route_json")

    def __init__(self, histogram: Histogram, method: str, route: str) -> None:
        self._histogram = histogram
        self.method = method
        self.route = route
        self.route_json = msgspec.json.encode(route)
        self._of_class: list[Distribution | None] = [None] * 10

    def answered(self, status: int, seconds: float) -> None:
        """Count an answer; the label is looked up at the first of its class only."""
        observed = self._of_class[status // 100]
        if observed is None:
            observed = self._of_class[status // 100] = self._histogram.labels(
                self.method, self.route, f"{status // 100}xx"
            )
        observed.observe(seconds)


class HttpMetrics:
    """Makes the measure of each route when the application is built."""

    def __init__(self, metrics: Metrics) -> None:
        self._histogram = metrics.histogram(
            "echain_http_request_seconds",
            "From a request's headers to its answer.",
            ["method", "route", "status"],
            _SECONDS,
        )

    def route(self, method: str, path: str) -> RouteMeasure:
        return RouteMeasure(self._histogram, method, path)
