"""From a job's enqueueing to its start in another process, beside BullMQ in the same run.

Ours is asked for in a transaction of its own, which is on disk before the job may start. The floor is the
same transaction with a bare INSERT, and a listener that does nothing but hear of it. As a program of its own
(``python -m bench.jobs work|listen DATABASE_URL``) it is the worker or that listener.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import asyncpg
import msgspec
import uvloop

from bench import npm, served
from bench.ponder import centile
from bench.rows import Row
from bench.scan import migrated
from echain.infra import log
from echain.infra.database import Database
from echain.infra.embedded.postgres import Postgres
from echain.infra.embedded.redis import Redis
from echain.infra.jobs import JobKind, Queue, Run, Workers, enqueue
from echain.infra.metrics import Metrics

COUNT: Final = 1_000
PER_SECOND: Final = 200.0
PEER: Final = "BullMQ on Redis, here"
_CHANNEL: Final = "bench_floor"
_PATIENCE_SECONDS: Final = 10.0
_READY: Final = 0.0
"""What the other process says first; milliseconds follow."""


class Asked(msgspec.Struct, frozen=True):
    """A job that only says when it was asked for, by the monotonic clock."""

    at: int


class Hello(msgspec.Struct, frozen=True):
    """The worker's first job, by which it says that it works."""


ASKED: Final = JobKind("bench.asked", Queue.WEBHOOK, Asked)
HELLO: Final = JobKind("bench.hello", Queue.WEBHOOK, Hello)


async def measure() -> list[Row]:
    """Return the milliseconds from enqueueing to start, at 200 jobs a second."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Postgres(Path(folder) / "postgres") as postgres,
        Redis(Path(folder) / "redis") as redis,
    ):
        url = postgres.url()
        await migrated(postgres.url("postgres"), url)
        database = await Database.connect(url, size=4, name="bench")
        try:
            await database.execute("CREATE TABLE bench_floor (at bigint NOT NULL)")
            floor = await _started(_program("listen", url), lambda: _paced(lambda: _notify(database)))
            ours = await _started(_program("work", url), lambda: _paced(lambda: _enqueue(database)))
        finally:
            await database.close()
        try:
            peer, missing = await _bullmq(redis), ""
        except (npm.PeerMissing, RuntimeError, OSError, TimeoutError) as error:
            peer, missing = None, str(error) or type(error).__name__
    note = f"{COUNT:,} jobs, {PER_SECOND:.0f} a second, each enqueued by a transaction of its own and on disk"
    return [
        Row(
            f"job_start_ms_p{percent}",
            centile(ours, percent),
            "ms",
            centile(floor, percent),
            {PEER: centile(peer, percent)} if peer else {},
            note,
            {PEER: missing} if missing else {},
        )
        for percent in (50, 99)
    ]


def _program(what: str, url: str) -> list[str]:
    return [sys.executable, "-m", "bench.jobs", what, url]


async def _bullmq(redis: Redis) -> list[float]:
    folder = await asyncio.to_thread(npm.peers)
    program = [npm.node(), str(folder / "jobs.mjs")]

    async def add() -> None:
        arguments = ("add", redis.url, str(COUNT), str(PER_SECOND))
        adding = await asyncio.create_subprocess_exec(*program, *arguments)
        if await adding.wait():
            raise RuntimeError("its producer failed")

    return await _started([*program, "work", redis.url], add)


async def _started(worker: Sequence[str], ask: Callable[[], Awaitable[None]]) -> list[float]:
    """Run a worker and ask for `COUNT` jobs; return the milliseconds that each took to start there."""
    async with _running(worker) as process:
        if await _said(process) != _READY:
            raise RuntimeError("it is not ready")
        asking = asyncio.ensure_future(ask())
        found = [await _said(process) for _ in range(COUNT)]
        await asking
    return found[COUNT // 20 :]


@asynccontextmanager
async def _running(command: Sequence[str]) -> AsyncGenerator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        yield process
    finally:
        await served.ended(process)


async def _said(process: asyncio.subprocess.Process) -> float:
    assert process.stdout is not None
    async with asyncio.timeout(_PATIENCE_SECONDS):
        line = await process.stdout.readline()
    if not line:
        raise RuntimeError("the worker ended")
    return float(line)


async def _paced(ask: Callable[[], Awaitable[None]]) -> None:
    began = time.monotonic()
    for number in range(COUNT):
        await asyncio.sleep(max(0, began + number / PER_SECOND - time.monotonic()))
        await ask()


async def _enqueue(database: Database) -> None:
    asked = Asked(time.monotonic_ns())
    async with database.transaction() as tx:
        await enqueue(tx, ASKED, [asked])


async def _notify(database: Database) -> None:
    at = time.monotonic_ns()
    async with database.transaction() as tx:
        await tx.execute("INSERT INTO bench_floor VALUES ($1)", at)
        await tx.execute("SELECT pg_notify($1, $2)", _CHANNEL, str(at))


# --- the other process ---


def _tell(at: int) -> None:
    print((time.monotonic_ns() - at) / 1e6, flush=True)


async def _work(url: str) -> None:
    async def start(run: Run[Asked]) -> None:
        _tell(run.payload.at)

    async def ready(_run: Run[Hello]) -> None:
        print(_READY, flush=True)

    database = await Database.connect(url, size=4, name="bench worker")
    async with database.transaction() as tx:
        await enqueue(tx, HELLO, [Hello()])
    await Workers(url, database, {ASKED: start, HELLO: ready}, Metrics()).run()


async def _listen(url: str) -> None:
    def heard(_connection: object, _process_id: int, _channel: str, payload: object) -> None:
        _tell(int(str(payload)))

    connection = await asyncpg.connect(url)
    await connection.add_listener(_CHANNEL, heard)
    print(_READY, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    log.configure(json=True, level="error", role="bench", stream=sys.stderr)
    uvloop.run({"work": _work, "listen": _listen}[sys.argv[1]](sys.argv[2]))
