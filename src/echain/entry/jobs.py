"""Every slice's jobs: who runs which kind, and what the clock asks for."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from echain.edge.http import StoredIdempotency
from echain.entry.connections import Services
from echain.infra.config import Config
from echain.infra.jobs import Handlers, JobKind, Queue, Run, Schedule, ledger
from echain.infra.jobs.run import Handler
from echain.kernel.time import utc_now
from echain.notify import jobs as notify
from echain.webhooks import jobs as webhooks


class Tick(msgspec.Struct, frozen=True):
    """What a job is told that needs nothing but its time."""


SWEEP_IDEMPOTENCY: Final = JobKind("http.sweep_idempotency", Queue.SYNC, Tick)
SWEEP_JOBS: Final = JobKind("jobs.sweep", Queue.SYNC, Tick)


def handlers_of(config: Config, parts: Services) -> Handlers:  # noqa: ARG001 - slices take what they need of it
    """Return the handler of every kind of job that there is."""
    idempotency = StoredIdempotency(parts.database)

    async def sweep_idempotency(_: Run[Tick]) -> None:
        await idempotency.sweep(utc_now())

    async def sweep_jobs(run: Run[Tick]) -> None:
        await ledger.sweep(run.database)

    handlers: dict[JobKind[Any], Handler[Any]] = {
        SWEEP_IDEMPOTENCY: sweep_idempotency,
        SWEEP_JOBS: sweep_jobs,
    }
    return handlers


def schedules_of(config: Config) -> list[Schedule[Any]]:  # noqa: ARG001 - the same
    """Return what is enqueued by the clock."""
    return [
        Schedule(SWEEP_IDEMPOTENCY, Tick(), every_seconds=300),
        Schedule(SWEEP_JOBS, Tick(), every_seconds=3600),
        *webhooks.SCHEDULES,
        *notify.schedules(),
    ]
