"""A worker as a process of its own, to be killed, frozen and stopped; its argument is the database's URL."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys

import msgspec
import structlog

from echain.infra.database import Database
from echain.infra.jobs import JobKind, Queue, Run, Workers
from echain.infra.metrics import Metrics

STALE_SECONDS = 1.0


class Work(msgspec.Struct):
    """What to do: work for ``before`` seconds, have the effect for ``inside``, go on for ``after``."""

    number: int
    before: float = 0.0
    inside: float = 0.0
    after: float = 0.0


WORK = JobKind("test.work", Queue.SYNC, Work, tries=1000, first_retry_seconds=0.01)
FATAL = JobKind("test.fatal", Queue.SYNC, Work)


async def work(run: Run[Work]) -> None:
    await run.database.execute("INSERT INTO runs VALUES ($1, $2)", run.payload.number, os.getpid())
    await asyncio.sleep(run.payload.before)
    async with run.effect() as tx:
        await tx.execute("INSERT INTO effects VALUES ($1, $2)", run.payload.number, os.getpid())
        await asyncio.sleep(run.payload.inside)
    await asyncio.sleep(run.payload.after)


async def die(run: Run[Work]) -> None:
    await run.database.execute("INSERT INTO runs VALUES ($1, $2)", run.payload.number, os.getpid())
    os._exit(1)


async def main(url: str) -> None:
    database = await Database.connect(url, size=4)
    workers = Workers(
        url,
        database,
        {WORK: work, FATAL: die},
        Metrics(),
        places={Queue.SYNC: 4},
        stale_seconds=STALE_SECONDS,
        grace_seconds=2,
    )
    task = asyncio.create_task(workers.run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await asyncio.wait([task])
    await database.close()


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    asyncio.run(main(sys.argv[1]))
