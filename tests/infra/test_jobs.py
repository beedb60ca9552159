"""Jobs: asked for in a transaction, run by whoever is free, tried again, their effects once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from echain.infra.database import Database
from echain.infra.jobs import JobKind, Queue, Run, Workers, enqueue
from echain.infra.metrics import Metrics


class Note(msgspec.Struct):
    """What the jobs of these tests carry."""

    number: int


QUICK = JobKind("test.quick", Queue.SYNC, Note, first_retry_seconds=0.02)


@asynccontextmanager
async def working(
    database: Database,
    url: str,
    handlers: dict[JobKind[Any], Callable[[Run[Any]], Awaitable[None]]],
    **more: Any,
) -> AsyncIterator[Workers]:
    workers = Workers(url, database, handlers, Metrics(), **more)
    task = asyncio.create_task(workers.run())
    try:
        yield workers
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_a_job_runs_when_its_transaction_commits(database: Database, database_url: str) -> None:
    seen = asyncio.Queue[int]()

    async def handle(run: Run[Note]) -> None:
        await seen.put(run.payload.number)

    async with working(database, database_url, {QUICK: handle}):
        async with database.transaction() as tx:
            await enqueue(tx, QUICK, [Note(1), Note(2)])
            await asyncio.sleep(0.1)
            assert seen.empty()
        assert sorted([await seen.get(), await seen.get()]) == [1, 2]
