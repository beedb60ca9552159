"""What the endpoints of a chain did, counted for Prometheus. Endpoints go by their place and host only."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from echain.chain.endpoint import Endpoint, EndpointHealth
from echain.chain.endpoints import Observer
from echain.infra.metrics import Metrics

_LABELS = ("chain", "endpoint")


class RpcMetrics(Observer):
    """Counts the requests of one chain's client, and shows how its endpoints are when asked."""

    def __init__(self, metrics: Metrics, chain_id: int) -> None:
        self._metrics = metrics
        self._chain = str(chain_id)
        self._requests = metrics.counter(
            "echain_rpc_requests_total",
            "Requests to a chain's endpoints: answered, refused, limited, failed, timeout, inconsistent, lie",
            (*_LABELS, "outcome"),
        )
        self._seconds = metrics.histogram(
            "echain_rpc_request_seconds", "Time until a chain's endpoint answered", _LABELS
        )
        self._quarantines = metrics.counter(
            "echain_rpc_quarantines_total", "Times that an endpoint was put aside for what it said", _LABELS
        )
        self._usable = metrics.gauge(
            "echain_rpc_endpoint_usable",
            "1 while an endpoint is asked, 0 while its circuit is open or it is put aside",
            _LABELS,
        )
        self._lag = metrics.gauge(
            "echain_rpc_endpoint_lag_blocks", "Blocks that an endpoint's head is behind the best", _LABELS
        )
        self._head = metrics.gauge("echain_rpc_endpoint_head", "Newest block of an endpoint", _LABELS)

    def asked(self, endpoint: Endpoint, outcome: str, seconds: float) -> None:
        self._requests.labels(self._chain, endpoint.name, outcome).inc()
        if outcome == "answered":
            self._seconds.labels(self._chain, endpoint.name).observe(seconds)

    def put_aside(self, endpoint: Endpoint) -> None:
        self._quarantines.labels(self._chain, endpoint.name).inc()

    def show(self, health: Callable[[], Sequence[EndpointHealth]]) -> None:
        """Have the gauges follow what ``health`` says whenever the metrics are read."""

        async def refresh() -> None:
            for one in health():
                usable = one.status not in ("open", "quarantined")
                self._usable.labels(self._chain, one.name).set(usable)
                self._lag.labels(self._chain, one.name).set(one.lag or 0)
                if one.head is not None:
                    self._head.labels(self._chain, one.name).set(one.head)

        self._metrics.on_scrape(refresh)
