"""Workers that are killed, frozen, stopped, or lose their database: every effect once, none lost."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from itertools import islice
from pathlib import Path

import pytest
from tests.infra.jobworker import FATAL, STALE_SECONDS, WORK, Work

from echain.infra.database import Database, DatabaseUnavailable
from echain.infra.embedded.postgres import Postgres
from echain.infra.jobs import AlreadyDone, GiveUp, Queue, Retry, Run, Workers, enqueue, ledger
from echain.infra.jobs.run import Handler
from echain.infra.metrics import Metrics

PROGRAM = Path(__file__).parent / "jobworker.py"


@contextmanager
def process(url: str) -> Generator[subprocess.Popen[bytes], None, None]:
    worker = spawn(url)
    try:
        yield worker
    finally:
        end(worker)


def spawn(url: str) -> subprocess.Popen[bytes]:
    root = PROGRAM.parent.parent.parent
    return subprocess.Popen(
        [sys.executable, PROGRAM, url], cwd=root, env={"PYTHONPATH": f"{root}:{root / 'src'}"}
    )


def end(worker: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        worker.send_signal(signal.SIGCONT)
    worker.kill()
    worker.wait()


async def prepared(database: Database) -> None:
    await database.execute("CREATE TABLE runs (number INT, pid INT)")
    await database.execute("CREATE TABLE effects (number INT, pid INT)")


async def add(database: Database, *works: Work) -> list[int]:
    async with database.transaction() as tx:
        return await enqueue(tx, WORK, works)


async def rows(database: Database, table: str) -> list[tuple[int, int]]:
    return [
        (row["number"], row["pid"]) for row in await database.fetch(f"SELECT * FROM {table} ORDER BY number")
    ]


async def until(condition: Callable[[], Awaitable[bool]], *, seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.01)


async def emptied(database: Database) -> bool:
    return not await database.fetchval("SELECT count(*) FROM jobs.queue")


async def runs_are(database: Database, number: int) -> bool:
    return len(await rows(database, "runs")) >= number


@asynccontextmanager
async def working(
    database: Database, url: str, handler: Handler[Work], *, stale_seconds: float = STALE_SECONDS
) -> AsyncGenerator[None, None]:
    workers = Workers(
        url, database, {WORK: handler}, Metrics(), places={Queue.SYNC: 4}, stale_seconds=stale_seconds
    )
    task = asyncio.create_task(workers.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def kill_at_random(database: Database, url: str, *, kills: int, jobs: int, seed: int) -> None:
    chance = random.Random(seed)
    await prepared(database)
    workers = [spawn(url) for _ in range(3)]
    numbers = iter(range(jobs))
    try:
        for _ in range(kills):
            batch = islice(numbers, jobs // kills)
            await add(database, *(Work(one, *(chance.uniform(0, 0.05) for _ in range(3))) for one in batch))
            victim = chance.randrange(len(workers))
            # Not before it works, and not while there is nothing to lose.
            await until(partial(busy, database, workers[victim].pid))
            await asyncio.sleep(chance.uniform(0, 0.05))
            workers[victim].kill()
            workers[victim].wait()
            workers[victim] = spawn(url)
        await add(database, *(Work(number) for number in numbers))
        await until(lambda: emptied(database), seconds=60)
    finally:
        for worker in workers:
            end(worker)


async def busy(database: Database, pid: int) -> bool:
    """Add work until the process has begun some: it must die in the middle of it."""
    before = await database.fetchval("SELECT count(*) FROM runs WHERE pid = $1", pid)
    await add(database, Work(-1, 0.01, 0.01, 0.01))
    await asyncio.sleep(0.02)
    return await database.fetchval("SELECT count(*) FROM runs WHERE pid = $1", pid) > before


async def test_killed_workers_lose_no_effect_and_repeat_none(database: Database, database_url: str) -> None:
    await kill_at_random(database, database_url, kills=8, jobs=160, seed=1)
    await effects_are_whole(database, 160)


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_many_killed_workers_lose_no_effect_and_repeat_none(
    database: Database, database_url: str
) -> None:
    await kill_at_random(database, database_url, kills=60, jobs=1200, seed=time.time_ns())
    await effects_are_whole(database, 1200)
    assert await database.fetchval("SELECT count(*) FROM jobs.log WHERE status = 'failed'") == 0


async def effects_are_whole(database: Database, jobs: int) -> None:
    effects = [number for number, _ in await rows(database, "effects") if number >= 0]
    assert effects == list(range(jobs))
    picked = "SELECT count(*) FROM jobs.log WHERE status = 'picked'"
    queued = "SELECT count(DISTINCT job_id) FROM jobs.log"
    done = "SELECT count(*) FROM jobs.log WHERE status = 'successful'"
    assert await database.fetchval(done) == await database.fetchval(queued)
    # Else nobody was killed in the middle of a job, and this test would prove nothing.
    assert await database.fetchval(picked) > await database.fetchval(queued)


async def test_a_frozen_workers_job_is_done_by_another_and_not_again_when_it_thaws(
    database: Database, database_url: str
) -> None:
    await prepared(database)
    with process(database_url) as frozen:
        await add(database, Work(1, before=0.5))
        await until(lambda: runs_are(database, 1))
        frozen.send_signal(signal.SIGSTOP)
        with process(database_url) as other:
            await until(lambda: emptied(database))
            assert await rows(database, "effects") == [(1, other.pid)]
        frozen.send_signal(signal.SIGCONT)
        await add(database, Work(2))
        await until(lambda: emptied(database))
    assert await rows(database, "effects") == [(1, other.pid), (2, frozen.pid)]


async def test_a_worker_frozen_in_its_effect_keeps_the_job_to_itself(
    database: Database, database_url: str
) -> None:
    await prepared(database)
    with process(database_url) as frozen:
        await add(database, Work(1, inside=0.5))
        await until(lambda: in_transaction(database))
        frozen.send_signal(signal.SIGSTOP)
        with process(database_url) as other:
            await add(database, Work(2))
            await asyncio.sleep(STALE_SECONDS * 2)
            assert await rows(database, "effects") == [(2, other.pid)]
            frozen.send_signal(signal.SIGCONT)
            await until(lambda: emptied(database))
    assert await rows(database, "effects") == [(1, frozen.pid), (2, other.pid)]
    assert len(await rows(database, "runs")) == 2


async def in_transaction(database: Database) -> bool:
    statement = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE $1"
    return (
        await database.fetchval(statement + " AND state = 'idle in transaction'", "INSERT INTO effects%") > 0
    )


async def test_a_stopped_worker_ends_what_it_can_and_gives_the_rest_to_others_at_once(
    database: Database, database_url: str
) -> None:
    await prepared(database)
    with process(database_url) as stopped:
        short, long = await add(database, Work(1, before=0.6), Work(2, before=30))
        await until(lambda: runs_are(database, 2))
        stopped.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(stopped.wait, 10) == 0
    assert (await ledger.story(database, short)).state == "done"
    story = await ledger.story(database, long)
    assert (story.state, story.tries) == ("waiting", 0)
    assert await rows(database, "effects") == [(1, stopped.pid)]


async def test_a_job_that_kills_its_workers_is_dead_after_its_tries_and_others_go_on(
    database: Database, database_url: str
) -> None:
    await prepared(database)
    async with database.transaction() as tx:
        (fatal,) = await enqueue(tx, FATAL, [Work(0)])
    deaths = 0
    async with asyncio.timeout(25):
        while (await ledger.story(database, fatal)).state != "dead":
            with process(database_url) as worker:
                while worker.poll() is None and (await ledger.story(database, fatal)).state != "dead":
                    await asyncio.sleep(0.02)
                deaths += worker.poll() == 1
    assert deaths == 3
    assert len(await rows(database, "runs")) == 3
    error = (await ledger.listing(database))[0].error
    assert error == "WorkerDied: 3 workers died or froze while they ran it"


async def test_a_long_job_is_not_taken_twice(database: Database, database_url: str) -> None:
    runs: list[int] = []

    async def long(run: Run[Work]) -> None:
        runs.append(run.payload.number)
        await asyncio.sleep(1.5 if run.payload.number else 0)

    async with (
        working(database, database_url, long, stale_seconds=0.4),
        working(database, database_url, long, stale_seconds=0.4),
    ):
        await add(database, Work(1), Work(2), Work(3))
        while await database.fetchval("SELECT count(*) FROM jobs.queue WHERE status = 'picked'") or not runs:
            # Both look for jobs again and again.
            await add(database, Work(0))
            await asyncio.sleep(0.05)
        await until(lambda: emptied(database))
    assert sorted(number for number in runs if number) == [1, 2, 3]


async def test_who_hears_that_its_job_was_given_away_stops_it(database: Database, database_url: str) -> None:
    began, stopped = asyncio.Event(), asyncio.Event()

    async def endless(_: Run[Work]) -> None:
        began.set()
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()

    async with working(database, database_url, endless, stale_seconds=0.5):
        (job,) = await add(database, Work(1))
        await began.wait()
        await database.execute(
            "UPDATE jobs.queue SET queue_manager_id = gen_random_uuid(), heartbeat = now() + '1 h'"
        )
        async with asyncio.timeout(5):
            await stopped.wait()
    assert (await ledger.story(database, job)).state == "running"


@pytest.mark.parametrize("error", [ValueError("a bug"), GiveUp("no use"), Retry("later"), None])
async def test_how_a_run_ended_is_not_written_over_that_of_whoever_has_the_job_now(
    database: Database, database_url: str, error: Exception | None
) -> None:
    """A worker that was frozen wakes, and its run ends before it hears that the job is another's."""
    began, go, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow(run: Run[Work]) -> None:
        if run.payload.number == 2:
            return
        began.set()
        await go.wait()
        ended.set()
        if error is not None:
            raise error
        raise AlreadyDone

    async with working(database, database_url, slow, stale_seconds=60):
        (job,) = await add(database, Work(1))
        await began.wait()
        await database.execute("UPDATE jobs.queue SET queue_manager_id = gen_random_uuid()")
        go.set()
        await ended.wait()
        # What is settled after it, is settled after it.
        (second,) = await add(database, Work(2))
        await until(lambda: is_done(database, second))
        story = await ledger.story(database, job)
    assert (story.state, len(story.steps)) == ("running", 2)


async def is_done(database: Database, job: int) -> bool:
    return (await ledger.story(database, job)).state == "done"


async def test_jobs_outlive_a_restart_of_the_database(own_postgres: Postgres) -> None:
    database = await Database.connect(own_postgres.url(), size=4)
    await prepared(database)
    began, go, refused = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def handle(run: Run[Work]) -> None:
        if run.payload.number == 1:
            began.set()
            await go.wait()
        try:
            async with run.effect() as tx:
                await tx.execute("INSERT INTO effects VALUES ($1, 0)", run.payload.number)
        except DatabaseUnavailable:
            refused.set()
            raise

    async with working(database, own_postgres.url(), handle, stale_seconds=30):
        await add(database, Work(1))
        await began.wait()
        own_postgres.stop()
        go.set()
        # The effect is refused while the server is away; that is no try, and nothing is forgotten.
        async with asyncio.timeout(20):
            await refused.wait()
        own_postgres.start()
        await until(lambda: added(database, Work(2)))
        await until(lambda: emptied(database))
    assert [number for number, _ in await rows(database, "effects")] == [1, 2]
    await database.close()


async def added(database: Database, work: Work) -> bool:
    try:
        await add(database, work)
    except DatabaseUnavailable:
        return False
    return True


async def test_a_silent_end_of_the_connection_is_noticed_and_another_opened(
    database: Database, database_url: str
) -> None:
    ran = asyncio.Event()

    async def handle(_: Run[Work]) -> None:
        ran.set()

    async with working(database, database_url, handle):
        await until(lambda: listening(database))
        await database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'echain jobs' AND datname = current_database()"
        )
        await add(database, Work(1))
        async with asyncio.timeout(4):
            await ran.wait()


async def listening(database: Database) -> bool:
    statement = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'echain jobs'"
    return await database.fetchval(statement + " AND datname = current_database()") > 0
