"""Takes jobs off the queues and runs them until told to stop, whatever happens to the database meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final
from uuid import uuid4

import asyncpg
import structlog
from structlog.contextvars import bind_contextvars

from echain.infra.database import Database, DatabaseUnavailable, Row
from echain.infra.jobs.kinds import Queue
from echain.infra.jobs.line import Line, open_line
from echain.infra.jobs.measures import JobMetrics
from echain.infra.jobs.outcomes import Again, Dead, Outcome, outcome_of, settle
from echain.infra.jobs.reading import opened
from echain.infra.jobs.run import Handlers, Run
from echain.infra.jobs.schedules import Schedule, keep_schedules
from echain.infra.jobs.statements import BEAT, NEXT_ETA, OURS, TAKE
from echain.infra.metrics import Metrics
from echain.infra.traces import Traces

PLACES: Final[Mapping[Queue, int]] = {
    Queue.SYNC: 16,
    Queue.WEBHOOK: 32,
    Queue.NOTIFICATION: 16,
    Queue.MEDIA: 2,
    Queue.CHAIN: 8,
}
"""How many jobs of a queue one worker runs at a time."""

STALE_SECONDS: Final = 30.0
"""A job whose worker has been silent so long is given to another."""

GRACE_SECONDS: Final = 5.0
"""So long may running jobs take to end when the worker is stopped; then they are given back."""

_POLL_SECONDS: Final = 5.0
"""All queues are looked at so often: for jobs of silent workers, and should a notification ever be missed."""

_AWAY_SECONDS: Final = 0.5
_SETTLE_SECONDS: Final = 1.0

_BROKEN: Final = (DatabaseUnavailable, asyncpg.PostgresError, asyncpg.InterfaceError, OSError)

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("echain.jobs")


class _Held:
    """A job that this worker has taken and not yet settled; ``run`` is None when there was nothing to run."""

    __slots__ = ("run", "task")

    def __init__(self, run: Run[Any] | None, task: asyncio.Task[None]) -> None:
        self.run = run
        self.task = task


class Workers:
    """Runs the jobs of all kinds that it has handlers for; any number of processes may do so at once.

    ``database_url`` is for its own connection, on which it listens, takes and settles; handlers work in
    ``database``. ``places`` says how many jobs of each queue run here at a time.

    Raises:
        ValueError: two kinds share a name.
    """

    def __init__(
        self,
        database_url: str,
        database: Database,
        handlers: Handlers,
        metrics: Metrics,
        *,
        schedules: Sequence[Schedule[Any]] = (),
        places: Mapping[Queue, int] = PLACES,
        stale_seconds: float = STALE_SECONDS,
        grace_seconds: float = GRACE_SECONDS,
        traces: Traces | None = None,
    ) -> None:
        self._url = database_url
        self._database = database
        self._known = {kind.name: (kind, handler) for kind, handler in handlers.items()}
        if len(self._known) != len(handlers):
            raise ValueError("two kinds of jobs share a name")
        self._schedules = schedules
        self._stale_seconds = stale_seconds
        self._silence = timedelta(seconds=stale_seconds)
        self._poll_seconds = min(_POLL_SECONDS, stale_seconds)
        self._grace_seconds = grace_seconds
        self._metrics = JobMetrics(metrics)
        self._traces = traces or Traces.off()
        self._owner = uuid4()
        self._held: dict[int, _Held] = {}
        self._free = dict(places)
        self._due = set(places)
        self._ended: list[Outcome] = []
        self._wake = asyncio.Event()
        self._settling = asyncio.Event()
        self._stopping = asyncio.Event()
        self._beat_at = 0.0

    async def run(self) -> None:
        """Work until cancelled; then let running jobs end, and give back at once those that do not in time.

        Raises:
            ValueError: two schedules share a name.
        """
        serving = asyncio.create_task(self._serve())
        schedules = asyncio.create_task(keep_schedules(self._database, self._schedules))
        try:
            done, _ = await asyncio.wait((serving, schedules), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            schedules.cancel()
            await self._drain()
            serving.cancel()
            await asyncio.gather(serving, schedules, return_exceptions=True)

    async def _serve(self) -> None:
        while True:
            try:
                async with open_line(self._url, self._heard) as line:
                    await self._serve_on(line)
            except _BROKEN as error:
                _log.warning("jobs.database_away", reason=str(error) or type(error).__name__)
                await asyncio.sleep(_AWAY_SECONDS)

    async def _serve_on(self, line: Line) -> None:
        """Work on one connection until it fails; the jobs that run go on without it."""
        self._beat_at = 0.0
        self._due.update(self._free)
        # First of all: what ended while the database was away must not be taken for another worker's silence.
        await self._settle(line)
        parts = (self._take_all(line), self._settle_all(line), self._beat_always(line), line.lost.wait())
        tasks = [asyncio.create_task(part) for part in parts]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            raise DatabaseUnavailable
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _heard(self, queue: str) -> None:
        if queue in self._free:
            self._due.add(Queue(queue))
            self._wake.set()

    async def _take_all(self, line: Line) -> None:
        """Take what is due until stopped: when told, when a job's time comes, when a place comes free."""
        look_at = 0.0
        while not self._stopping.is_set():
            self._wake.clear()
            now = time.monotonic()
            if now >= look_at:
                self._due.update(self._free)
                look_at = now + self._poll_seconds
            if await self._take_due(line):
                continue
            eta = await line.fetchval(NEXT_ETA, list(self._free))
            now = time.monotonic()
            if eta is not None:
                look_at = min(look_at, now + eta)
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, look_at - now)):
                    await self._wake.wait()
        await line.lost.wait()

    async def _take_due(self, line: Line) -> bool:
        """Start what is due as far as there are places; return whether there may be more to start now."""
        for queue in [queue for queue in self._due if self._free[queue] > 0]:
            if time.monotonic() - self._beat_at > self._stale_seconds / 2:
                # Whoever was frozen must not take its own jobs for those of a dead worker.
                await self._beat(line)
            most = self._free[queue]
            self._due.discard(queue)
            rows = await line.fetch(TAKE, queue.value, most, self._owner, self._silence)
            for row in rows:
                self._start(queue, row)
            if len(rows) == most:
                self._due.add(queue)
        return any(self._free[queue] > 0 for queue in self._due)

    def _start(self, queue: Queue, row: Row) -> None:
        if row["id"] in self._held:
            return
        self._free[queue] -= 1
        self._metrics.taken(queue, (row["updated"] - row["execute_after"]).total_seconds())
        found = opened(row, self._known, self._database)
        run = found if isinstance(found, Run) else None
        self._held[row["id"]] = _Held(run, asyncio.create_task(self._work(queue, found)))

    async def _work(self, queue: Queue, found: Run[Any] | Again | Dead) -> None:
        began = time.perf_counter()
        kind = "unknown"
        outcome: Outcome
        if isinstance(found, Run):
            kind = found.kind.name
            bind_contextvars(job=found.job_id, kind=kind)
            with self._traces.told(
                f"job {kind}", "consumer", parent=found.trace, job=found.job_id, attempt=found.attempt
            ) as span:
                outcome = await outcome_of(found, self._known[kind][1], stopping=self._stopping)
                if span is not None:
                    span.tell(kind=kind, outcome=outcome.name)
        else:
            outcome = found
            _log.error("jobs.not_run", job=found.job_id, reason=found.fault.exception_message)
        self._metrics.ended(queue, kind, outcome.name, time.perf_counter() - began)
        self._ended.append(outcome)
        self._settling.set()
        self._free[queue] += 1
        if queue in self._due:
            self._wake.set()

    async def _settle_all(self, line: Line) -> None:
        """Write down how runs ended, as many at once as have ended since the last time."""
        while True:
            await self._settle(line)
            await self._settling.wait()

    async def _settle(self, line: Line) -> None:
        self._settling.clear()
        while ended := list(self._ended):
            for outcome in ended:
                # Before it is written: from then on the job may come again, and is another run.
                self._held.pop(outcome.job_id, None)
            await settle(line, self._owner, ended)
            del self._ended[: len(ended)]

    async def _beat_always(self, line: Line) -> None:
        while True:
            await self._beat(line)
            await asyncio.sleep(self._stale_seconds / 3)

    async def _beat(self, line: Line) -> None:
        """Say that the jobs held here are alive, and stop those that were given to another worker meanwhile.

        A job in its effect needs no beat: its row is locked, and whoever takes jobs passes it over.
        """
        self._beat_at = time.monotonic()
        quiet = [job_id for job_id, held in self._held.items() if held.run is None or not held.run.in_effect]
        if not quiet:
            return
        await line.execute(BEAT, quiet, self._owner)
        ours = {row["id"] for row in await line.fetch(OURS, quiet, self._owner)}
        for job_id in quiet:
            held = self._held.get(job_id)
            if job_id in ours or held is None or held.run is None or held.task.done():
                continue
            if not (held.run.in_effect or held.run.effective):
                _log.warning("jobs.taken_over", job=job_id)
                held.task.cancel()

    async def _drain(self) -> None:
        """Take nothing more, wait for what runs, give back what still does, and settle all of it."""
        self._stopping.set()
        self._wake.set()
        running = [held.task for held in self._held.values() if not held.task.done()]
        if running:
            _, late = await asyncio.wait(running, timeout=self._grace_seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(_SETTLE_SECONDS):
                while self._ended:
                    await asyncio.sleep(0.005)
