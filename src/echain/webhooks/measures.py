"""What webhooks count: in by source and outcome, out by what became of each try."""

from __future__ import annotations

from datetime import datetime

from echain.infra.metrics import Metrics


class Measures:
    """The metrics of webhooks, in and out."""

    def __init__(self, metrics: Metrics) -> None:
        self._received = metrics.counter(
            "echain_webhooks_received_total",
            "webhooks by what they were answered with",
            ("source", "outcome"),
        )
        self._ack = metrics.histogram(
            "echain_webhook_ack_seconds", "from a webhook's headers to its answer", ("source",)
        )
        self._processed = metrics.counter(
            "echain_webhooks_processed_total", "webhooks by what came of them", ("source", "outcome")
        )
        self._done = metrics.histogram(
            "echain_webhook_done_seconds", "from a webhook to its outcome", ("source",)
        )
        self._deliveries = metrics.counter(
            "echain_webhook_deliveries_total", "tries to deliver, by what came of them", ("outcome",)
        )
        self._delivery = metrics.histogram(
            "echain_webhook_delivery_seconds", "how long receivers take to answer"
        )
        self._oldest = metrics.gauge(
            "echain_webhook_oldest_pending_seconds", "age of the oldest delivery to an enabled subscription"
        )
        self._unprocessed = metrics.gauge(
            "echain_webhook_oldest_unprocessed_seconds", "age of the oldest webhook that has no outcome yet"
        )
        self._failing = metrics.gauge(
            "echain_webhook_failing_subscriptions", "subscriptions whose last try failed"
        )

    def received(self, source: str, outcome: str, seconds: float) -> None:
        """Count a webhook; ``outcome`` is `taken`, `duplicate` or the code of its refusal."""
        self._received.labels(source, outcome).inc()
        self._ack.labels(source).observe(seconds)

    def processed(self, source: str, outcome: str, seconds: float) -> None:
        """Count what came of a webhook."""
        self._processed.labels(source, outcome).inc()
        self._done.labels(source).observe(seconds)

    def tried(self, outcome: str, seconds: float) -> None:
        """Count a try: `delivered`, `refused` by its status, `unreachable` or `forbidden` by our rules."""
        self._deliveries.labels(outcome).inc()
        self._delivery.observe(seconds)

    def waiting(
        self, *, unprocessed: datetime | None, undelivered: datetime | None, failing: int, now: datetime
    ) -> None:
        """Tell since when the oldest webhook and the oldest delivery wait, and how many receivers fail."""
        self._unprocessed.set(_age(unprocessed, now))
        self._oldest.set(_age(undelivered, now))
        self._failing.set(failing)


def _age(since: datetime | None, now: datetime) -> float:
    return 0.0 if since is None else max(0.0, (now - since).total_seconds())
