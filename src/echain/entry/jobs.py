"""Every slice's jobs: who runs which kind, and what the clock asks for."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any, Final

import msgspec

from echain.edge.http import StoredIdempotency
from echain.entry.addressbook import AddressBook
from echain.entry.connections import Services
from echain.entry.notifications import notify_handlers
from echain.entry.security import security_handlers
from echain.entry.webhooks import webhook_handlers
from echain.infra.config import Config
from echain.infra.jobs import Handlers, JobKind, Queue, Run, Schedule, ledger
from echain.infra.jobs.run import Handler
from echain.kernel.time import utc_now
from echain.notify import jobs as notify
from echain.organizations import jobs as organizations
from echain.security import jobs as security
from echain.webhooks import jobs as webhooks


class Tick(msgspec.Struct, frozen=True):
    """What a job is told that needs nothing but its time."""


SWEEP_IDEMPOTENCY: Final = JobKind("http.sweep_idempotency", Queue.SYNC, Tick)
SWEEP_JOBS: Final = JobKind("jobs.sweep", Queue.SYNC, Tick)


def handlers_of(config: Config, parts: Services, book: AddressBook, stack: AsyncExitStack) -> Handlers:
    """Return the handler of every kind of job that there is; ``stack`` closes what they hold."""
    idempotency = StoredIdempotency(parts.database)

    async def sweep_idempotency(_: Run[Tick]) -> None:
        await idempotency.sweep(utc_now())

    async def sweep_jobs(run: Run[Tick]) -> None:
        await ledger.sweep(run.database)

    handlers: dict[JobKind[Any], Handler[Any]] = {
        SWEEP_IDEMPOTENCY: sweep_idempotency,
        SWEEP_JOBS: sweep_jobs,
        **webhook_handlers(config, parts, book, stack),
        **notify_handlers(config, parts, stack),
        **security_handlers(config, parts, book),
        **organizations.handlers(utc_now),
    }
    return handlers


def schedules() -> list[Schedule[Any]]:
    """Return what is enqueued by the clock."""
    return [
        Schedule(SWEEP_IDEMPOTENCY, Tick(), every_seconds=300),
        Schedule(SWEEP_JOBS, Tick(), every_seconds=3600),
        *webhooks.SCHEDULES,
        *notify.schedules(),
        *security.schedules(),
        *organizations.SCHEDULES,
    ]
