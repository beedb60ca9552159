"""Jobs a second that do nothing, and such with an effect, beside the library's own loop and BullMQ here.

One worker each, 50 jobs at a time, all enqueued before it starts. The floor of the first is a loop of SKIP
LOCKED in batches of 50, in the same process and language; that of the second as many transactions that delete
a row. Where only taking and ending is measured, nobody waits for the disk: a pick may be lost.
"""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import asyncpg
import msgspec
from pgqueuer import AsyncpgDriver, PgQueuer, Queries
from tests.conftest import psql

from bench import npm
from bench.rows import Row
from bench.scan import migrated
from echain.infra.database import Database
from echain.infra.embedded.postgres import Postgres
from echain.infra.embedded.redis import Redis
from echain.infra.jobs import JobKind, Queue, Run, Workers, enqueue
from echain.infra.metrics import Metrics

JOBS: Final = 20_000
EFFECTS: Final = 5_000
AT_A_TIME: Final = 50
LIBRARY: Final = "PgQueuer's own loop, here"
BULLMQ: Final = "BullMQ on Redis, here"
_AT_ONCE: Final = 1_000


class Nothing(msgspec.Struct, frozen=True):
    """A job that says nothing."""


EMPTY: Final = JobKind("bench.empty", Queue.WEBHOOK, Nothing)


async def measure() -> list[Row]:
    """Return both rows."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Postgres(Path(folder) / "postgres") as postgres,
        Redis(Path(folder) / "redis") as redis,
    ):
        await migrated(postgres.url("postgres"), postgres.url())
        database = await Database.connect(postgres.url(), size=AT_A_TIME, name="bench")
        try:
            floor = await _skip_locked(postgres.url())
            empty = await _ours(database, postgres.url(), JOBS, effect=False)
            effect_floor = await _deletes(database)
            effects = await _ours(database, postgres.url(), EFFECTS, effect=True)
        finally:
            await database.close()
        library = await _library(postgres)
        try:
            peer, missing = await asyncio.to_thread(_bullmq, redis.url), ""
        except (npm.PeerMissing, subprocess.SubprocessError, OSError, ValueError) as error:
            peer, missing = None, str(error) or type(error).__name__
    return [
        Row(
            "jobs_per_s",
            empty,
            "jobs/s",
            floor,
            {LIBRARY: library} | ({BULLMQ: peer} if peer else {}),
            f"one worker, {AT_A_TIME} at a time, each taken, run, logged and deleted",
            {BULLMQ: missing} if missing else {},
        ),
        Row(
            "job_effects_per_s",
            effects,
            "jobs/s",
            effect_floor,
            {},
            f"one worker, {AT_A_TIME} at a time, each with a transaction of its own and on disk",
        ),
    ]


async def _ours(database: Database, url: str, number: int, *, effect: bool) -> float:
    left, done = number, asyncio.Event()

    async def run(job: Run[Nothing]) -> None:
        nonlocal left
        if effect:
            async with job.effect():
                pass
        left -= 1
        if not left:
            done.set()

    for _ in range(number // _AT_ONCE):
        async with database.transaction() as tx:
            await enqueue(tx, EMPTY, [Nothing()] * _AT_ONCE)
    workers = Workers(url, database, {EMPTY: run}, Metrics(), places={Queue.WEBHOOK: AT_A_TIME})
    return await _rate(workers.run, done, number)


async def _rate(work: Callable[[], Awaitable[Any]], done: asyncio.Event, number: int) -> float:
    began = time.perf_counter()
    working = asyncio.ensure_future(work())
    await done.wait()
    rate = number / (time.perf_counter() - began)
    working.cancel()
    with suppress(asyncio.CancelledError):
        await working
    return rate


async def _skip_locked(url: str) -> float:
    connection = await _undurable(url)
    await connection.execute(
        "CREATE TABLE floor (id BIGSERIAL PRIMARY KEY, payload BYTEA, taken BOOL DEFAULT false)"
    )
    await connection.execute("INSERT INTO floor (payload) SELECT '{}' FROM generate_series(1, $1::int)", JOBS)
    began = time.perf_counter()
    while rows := await connection.fetch(
        "UPDATE floor SET taken = true WHERE id IN ("
        "SELECT id FROM floor WHERE NOT taken ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED) RETURNING *",
        AT_A_TIME,
    ):
        await connection.execute("DELETE FROM floor WHERE id = ANY($1)", [row["id"] for row in rows])
    rate = JOBS / (time.perf_counter() - began)
    await connection.close()
    return rate


async def _undurable(url: str) -> asyncpg.Connection:
    return await asyncpg.connect(url, server_settings={"synchronous_commit": "off"})


async def _deletes(database: Database) -> float:
    await database.execute("CREATE TABLE effect_floor (id INT PRIMARY KEY)")
    await database.execute("INSERT INTO effect_floor SELECT generate_series(1, $1::int)", EFFECTS)
    ids = iter(range(1, EFFECTS + 1))

    async def delete() -> None:
        for one in ids:
            async with database.transaction() as tx:
                await tx.execute("DELETE FROM effect_floor WHERE id = $1", one)

    began = time.perf_counter()
    await asyncio.gather(*(delete() for _ in range(AT_A_TIME)))
    return EFFECTS / (time.perf_counter() - began)


async def _library(postgres: Postgres) -> float:
    psql(postgres.url("postgres"), "CREATE DATABASE library")
    connection = await _undurable(postgres.url("library"))
    queries = Queries(AsyncpgDriver(connection))
    await queries.install()
    for _ in range(JOBS // _AT_ONCE):
        await queries.enqueue(["empty"] * _AT_ONCE, [b"{}"] * _AT_ONCE, [0] * _AT_ONCE)
    library = PgQueuer(AsyncpgDriver(connection))
    left, done = JOBS, asyncio.Event()

    @library.entrypoint("empty")
    async def run(_: object) -> None:
        nonlocal left
        left -= 1
        if not left:
            done.set()

    async def work() -> None:
        await library.run(batch_size=AT_A_TIME)

    rate = await _rate(work, done, JOBS)
    await connection.close()
    return rate


def _bullmq(redis_url: str) -> float:
    program = [npm.node(), str(npm.peers() / "jobs.mjs"), "rate", redis_url, str(JOBS), str(AT_A_TIME)]
    done = subprocess.run(program, check=True, capture_output=True, text=True, timeout=120)
    return float(done.stdout)
