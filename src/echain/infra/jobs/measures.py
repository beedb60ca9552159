"""What is measured of jobs: what happens here as it happens, what lies in the queues when it is asked for."""

from __future__ import annotations

from typing import Final

from echain.infra.database import Database
from echain.infra.jobs.kinds import Queue
from echain.infra.jobs.ledger import count
from echain.infra.metrics import SECONDS, Metrics

_RUN_SECONDS: Final = (*SECONDS, 60, 300, 1800)
_TRIES: Final = (1, 2, 3, 5, 10, 20, 50)


class JobMetrics:
    """The metrics of one worker."""

    def __init__(self, metrics: Metrics) -> None:
        self._started = metrics.histogram(
            "echain_job_start_seconds", "From when a job is due to when a worker takes it.", ["queue"]
        )
        self._ran = metrics.histogram(
            "echain_job_run_seconds", "How long a run of a job takes.", ["kind"], _RUN_SECONDS
        )
        self._ended = metrics.counter(
            "echain_job_runs_total", "Runs by how they ended: done, again, dead, passed.", ["kind", "outcome"]
        )
        self._running = metrics.gauge("echain_jobs_running", "Jobs that run in this process.", ["queue"])
        self._by_queue = {
            queue: (self._started.labels(queue.value), self._running.labels(queue.value)) for queue in Queue
        }

    def taken(self, queue: Queue, seconds: float) -> None:
        started, running = self._by_queue[queue]
        started.observe(max(seconds, 0.0))
        running.inc()

    def ended(self, queue: Queue, kind: str, outcome: str, seconds: float) -> None:
        self._by_queue[queue][1].dec()
        self._ran.labels(kind).observe(seconds)
        self._ended.labels(kind, outcome).inc()


class QueueMetrics:
    """The metrics of the queues that all share, read on each scrape.

    Not only workers tell them: that jobs wait is to be heard of above all when no worker is left.
    """

    def __init__(self, metrics: Metrics, database: Database) -> None:
        self._database = database
        self._waiting = metrics.gauge("echain_jobs_waiting", "Jobs that are due and not taken.", ["queue"])
        self._later = metrics.gauge("echain_jobs_later", "Jobs that wait for their time.", ["queue"])
        self._dead = metrics.gauge("echain_jobs_dead", "Dead letters.", ["queue"])
        self._oldest = metrics.gauge(
            "echain_jobs_oldest_seconds", "How long the longest waiting job is due.", ["queue"]
        )
        metrics.on_scrape(self._read)

    async def _read(self) -> None:
        for one in await count(self._database):
            self._waiting.labels(one.queue).set(one.waiting)
            self._later.labels(one.queue).set(one.later)
            self._dead.labels(one.queue).set(one.dead)
            self._oldest.labels(one.queue).set(one.oldest_seconds)
