"""What a process counts and measures, in one registry that is passed on, and its page for Prometheus.

Names are literals at the place of use, so that the list in `docs/operations.md` can be read from the source.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final, TypeVar

import prometheus_client
import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from echain.infra.histogram import Histogram
from echain.kernel.errors import EchainError, Kind

__all__ = ["Counter", "Gauge", "Histogram", "Metrics", "MetricsTaken", "serve_metrics"]

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
"""Bucket bounds of durations; the thresholds of our alerts are among them."""

_REFRESH_SECONDS: Final = 2.0
"""What is asked for a scrape may take this long; then the older value is told."""

_NAME: Final = re.compile(r"echain(_[a-z0-9]+)+")
_UNITS: Final = ("_seconds", "_bytes", "_rows", "_blocks", "_ratio")

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("echain.metrics")

M = TypeVar("M", Counter, Gauge, Histogram)

prometheus_client.disable_created_metrics()
# Else each counter has a second series, which nobody reads.


class MetricsTaken(EchainError):
    """The address for metrics cannot be listened on; set another ECHAIN_METRICS_PORT."""

    kind = Kind.CONFLICT
    code = "metrics.address_taken"


class Metrics:
    """The registry of one process. The same name asked for twice is the same metric."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._known: dict[str, tuple[Counter | Gauge | Histogram, tuple[str, ...]]] = {}
        self._refreshing: list[Callable[[], Awaitable[None]]] = []
        prometheus_client.ProcessCollector(registry=self._registry)
        prometheus_client.GCCollector(registry=self._registry)

    def counter(self, name: str, meaning: str, labels: Sequence[str] = ()) -> Counter:
        """Return what only grows; its name ends in ``_total``.

        Raises:
            ValueError: the name has no unit, or stands for something else.
        """
        if not name.endswith("_total"):
            raise ValueError(f"{name}: a counter ends in _total")
        return self._metric(
            Counter, name, labels, lambda: Counter(name, meaning, labels, registry=self._registry)
        )

    def gauge(self, name: str, meaning: str, labels: Sequence[str] = ()) -> Gauge:
        """Return what goes up and down.

        Raises:
            ValueError: the name stands for something else.
        """
        return self._metric(
            Gauge, name, labels, lambda: Gauge(name, meaning, labels, registry=self._registry)
        )

    def histogram(
        self, name: str, meaning: str, labels: Sequence[str] = (), buckets: Sequence[float] = SECONDS
    ) -> Histogram:
        """Return a distribution; its name ends in its unit, like ``_seconds``.

        Raises:
            ValueError: the name has no unit, or stands for something else.
        """
        if not name.endswith(_UNITS):
            raise ValueError(f"{name}: a histogram ends in its unit, one of {', '.join(_UNITS)}")
        return self._metric(
            Histogram,
            name,
            labels,
            lambda: self._registered(Histogram(name, meaning, labels, buckets)),
        )

    def _registered(self, histogram: Histogram) -> Histogram:
        self._registry.register(histogram)
        return histogram

    def _metric(self, kind: type[M], name: str, labels: Sequence[str], make: Callable[[], M]) -> M:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name}: names start with echain_ and are lower case")
        if name not in self._known:
            self._known[name] = (make(), tuple(labels))
        known, known_labels = self._known[name]
        if not isinstance(known, kind) or known_labels != tuple(labels):
            raise ValueError(f"{name} is known as another kind or with other labels")
        return known

    def on_scrape(self, refresh: Callable[[], Awaitable[None]]) -> None:
        """Have ``refresh`` set gauges whenever the page is asked for; what it raises is logged."""
        self._refreshing.append(refresh)

    async def refresh(self) -> None:
        """Run all that `on_scrape` was given, side by side and within 2 s."""
        await asyncio.gather(*(self._refreshed(one) for one in self._refreshing))

    async def _refreshed(self, refresh: Callable[[], Awaitable[None]]) -> None:
        try:
            async with asyncio.timeout(_REFRESH_SECONDS):
                await refresh()
        except (TimeoutError, EchainError) as error:
            _log.warning("metrics.not_refreshed", reason=str(error) or type(error).__name__)

    def names(self) -> frozenset[str]:
        """Return the name of every metric asked for so far, without those of the process itself."""
        return frozenset(self._known)

    def render(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self._registry)


@asynccontextmanager
async def serve_metrics(metrics: Metrics, *, host: str, port: int) -> AsyncGenerator[int, None]:
    """Serve ``GET /metrics`` while the block lasts and yield the port; port 0 is any free one.

    Raises:
        MetricsTaken: the address is taken or not ours.
    """

    async def page(_: web.Request) -> web.Response:
        await metrics.refresh()
        return web.Response(
            body=metrics.render(), headers={"content-type": prometheus_client.CONTENT_TYPE_PLAIN_0_0_4}
        )

    application = web.Application()
    application.router.add_get("/metrics", page)
    runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise MetricsTaken(
                f"{host}:{port} cannot be listened on ({error.strerror}); set ECHAIN_METRICS_PORT"
            ) from error
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
