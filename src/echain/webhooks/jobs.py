"""Background work of webhooks: what was received, what is to be delivered, what is old."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from echain.infra.database import Database
from echain.infra.jobs import Handlers, JobKind, Queue, Run, Schedule
from echain.kernel.time import Clock
from echain.webhooks import deliverystore, inboxstore, store
from echain.webhooks.courier import DELIVER, Courier, wake
from echain.webhooks.hints import Network
from echain.webhooks.inbox import RECEIVED, Worker
from echain.webhooks.measures import Measures
from echain.webhooks.types import KEPT_DAYS, Sweep

SWEEP: Final = JobKind("webhooks.sweep", Queue.WEBHOOK, Sweep)
SCHEDULES: Final[tuple[Schedule[Any], ...]] = (Schedule(SWEEP, Sweep(), every_seconds=15.0),)
"""How soon a delivery goes on that a dead worker left: this, and the lease before it."""

BODIES_KEPT: Final = timedelta(days=30)
"""How long the body of a webhook is kept once it was worked on, for whoever must know what was said."""


def handlers(courier: Courier, networks: Mapping[int, Network], clock: Clock, measures: Measures) -> Handlers:
    """Return what runs the jobs of webhooks."""

    async def sweep(run: Run[Sweep]) -> None:
        await sweep_once(run.database, clock)

    return {
        RECEIVED: Worker(networks, clock, measures).run,
        DELIVER: courier.run,
        SWEEP: sweep,
    }


async def sweep_once(database: Database, clock: Clock) -> None:
    """Wake couriers for what was left behind, and forget what is older than it is kept."""
    now = clock()
    async with database.transaction() as tx:
        await store.forget_ownerless(tx)
        left = await deliverystore.left_behind(tx, now)
        if left:
            await wake(tx, left)
    while True:
        async with database.transaction() as tx:
            gone = await deliverystore.forget(tx, now - timedelta(days=KEPT_DAYS))
            gone += await inboxstore.forget_bodies(tx, now - BODIES_KEPT)
        if not gone:
            return


async def measure(database: Database, measures: Measures, clock: Clock) -> None:
    """Set the gauges of what waits."""
    undelivered, failing = await deliverystore.waiting(database)
    unprocessed = await inboxstore.oldest_open(database)
    measures.waiting(unprocessed=unprocessed, undelivered=undelivered, failing=failing, now=clock())
