"""A relay and a worker of security as a process of its own, to be killed; told the database's URL."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from datetime import timedelta

from echain.accounts.admins import Administrators
from echain.infra import log
from echain.infra.database import Database
from echain.infra.jobs import Queue, Workers
from echain.infra.metrics import Metrics
from echain.infra.relay import Relay
from echain.kernel.evm import Address
from echain.kernel.time import utc_now
from echain.notify.rendering import Templates
from echain.notify.service import Reach
from echain.security import jobs
from echain.security.hearing import NAME, Hearing
from echain.security.service import Watchmen

BOSS = Address(b"\xb0" * 20)


async def no_audit(_database: Database, _span: timedelta) -> Sequence[str]:
    return ()


async def main(url: str) -> None:
    log.configure(json=True, level="warning", role="watchman")
    database = await Database.connect(url, size=6)
    tools = jobs.Tools(
        chains={},
        deployments=dict,
        platform=BOSS,
        watchmen=Watchmen(Administrators([BOSS]), Templates(), Reach(email=True, push=False)),
        audit=no_audit,
        metrics=Metrics(),
        clock=utc_now,
    )
    workers = Workers(
        url, database, jobs.handlers(tools), Metrics(), places={Queue.SYNC: 4}, stale_seconds=1.0
    )
    relay = Relay(database, None, {NAME: Hearing({}, utc_now)})
    await asyncio.gather(relay.run(), workers.run())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
