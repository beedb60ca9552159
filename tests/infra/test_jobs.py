"""Jobs: asked for in a transaction, run by whoever is free, tried again, their effects once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from echain.infra.database import Database
from echain.infra.jobs import GiveUp, JobKind, Queue, QueueMetrics, Retry, Run, Workers, enqueue, ledger
from echain.infra.metrics import Metrics
from echain.kernel.time import utc_now


class Note(msgspec.Struct):
    """What the jobs of these tests carry."""

    number: int


QUICK = JobKind("test.quick", Queue.SYNC, Note, first_retry_seconds=0.02)
OTHER = JobKind("test.other", Queue.WEBHOOK, Note, first_retry_seconds=0.02)

Handlers = Mapping[JobKind[Any], Callable[[Run[Any]], Awaitable[None]]]


@pytest.fixture
async def effects(database: Database) -> Callable[[], Awaitable[list[int]]]:
    """Read the numbers of all effects so far, in their order."""
    await database.execute("CREATE TABLE effects (place BIGSERIAL, number BIGINT)")

    async def read() -> list[int]:
        return [row["number"] for row in await database.fetch("SELECT number FROM effects ORDER BY place")]

    return read


@asynccontextmanager
async def working(
    database: Database, url: str, handlers: Handlers, **more: Any
) -> AsyncGenerator[Metrics, None]:
    metrics = Metrics()
    task = asyncio.create_task(Workers(url, database, handlers, metrics, **more).run())
    try:
        yield metrics
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def add(database: Database, kind: JobKind[Note], *numbers: int, **more: Any) -> list[int]:
    async with database.transaction() as tx:
        return await enqueue(tx, kind, [Note(number) for number in numbers], **more)


async def state(database: Database, job_id: int) -> str:
    return (await ledger.story(database, job_id)).state


async def until(condition: Callable[[], Awaitable[bool]], *, seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.005)


async def note(run: Run[Note]) -> None:
    async with run.effect() as tx:
        await tx.execute("INSERT INTO effects (number) VALUES ($1)", run.payload.number)


async def test_a_job_runs_when_its_transaction_commits_and_not_before(
    database: Database, database_url: str, effects: Callable[[], Awaitable[list[int]]]
) -> None:
    async with working(database, database_url, {QUICK: note}):
        async with database.transaction() as tx:
            ids = await enqueue(tx, QUICK, [Note(1), Note(2)])
            await asyncio.sleep(0.1)
            assert await effects() == []
        await until(lambda: numbers_are(effects, [1, 2]))
        assert [await state(database, one) for one in ids] == ["done", "done"]


async def numbers_are(effects: Callable[[], Awaitable[list[int]]], expected: list[int]) -> bool:
    return sorted(await effects()) == expected


async def test_a_job_of_a_transaction_that_fails_never_was(database: Database) -> None:
    with suppress(RuntimeError):
        async with database.transaction() as tx:
            await enqueue(tx, QUICK, [Note(1)])
            raise RuntimeError
    assert await ledger.listing(database) == []


async def test_it_starts_within_milliseconds_by_a_notification_not_by_looking(
    database: Database, database_url: str
) -> None:
    started = asyncio.Queue[float]()

    async def handle(_: Run[Note]) -> None:
        started.put_nowait(time.perf_counter())

    async with working(database, database_url, {QUICK: handle}):
        await add(database, QUICK, 0)
        await started.get()
        waited: list[float] = []
        for number in range(20):
            await asyncio.sleep(0.02)
            began = time.perf_counter()
            await add(database, QUICK, number)
            waited.append(await started.get() - began)
    # The next look without a notification is up to 5 s away.
    assert sorted(waited)[10] < 1


async def test_three_tries_each_later_than_the_last_then_a_dead_letter_with_its_story(
    database: Database, database_url: str
) -> None:
    kind = msgspec.structs.replace(QUICK, first_retry_seconds=0.1)
    tried: list[float] = []
    attempts: list[int] = []

    async def fail(run: Run[Note]) -> None:
        tried.append(time.monotonic())
        attempts.append(run.attempt)
        raise ValueError(f"no {run.payload.number}\0")

    async with working(database, database_url, {kind: fail}):
        (job,) = await add(database, kind, 7)
        await until(lambda: is_state(database, job, "dead"))
    assert attempts == [1, 2, 3]
    pauses = [later - earlier for earlier, later in pairwise(tried)]
    assert pauses[0] >= 0.1
    assert pauses[1] >= 0.2
    story = await ledger.story(database, job)
    assert story.tries == 3
    assert story.payload == '{"number":7}'
    assert [step.what for step in story.steps] == [
        "enqueued", "taken", "waits again", "taken", "waits again", "taken", "dead",
    ]  # fmt: skip
    assert story.steps[-1].error == "ValueError: no 7"
    assert "in fail" in (story.steps[-1].traceback or "")
    (listed,) = await ledger.listing(database, state="dead")
    assert (listed.kind, listed.tries, listed.error) == ("test.quick", 3, "ValueError: no 7")


async def is_state(database: Database, job: int, expected: str) -> bool:
    return await state(database, job) == expected


def test_pauses_grow_by_two_from_two_seconds_with_bounded_jitter() -> None:
    kind = JobKind("test.pauses", Queue.SYNC, Note)
    for attempt, least in ((1, 2.0), (2, 4.0), (3, 8.0), (20, 3600.0), (10_000, 3600.0)):
        pauses = [kind.pause(attempt).total_seconds() for _ in range(200)]
        assert min(pauses) >= least
        assert max(pauses) <= least * 1.25
        assert len(set(pauses)) > 100


async def test_retry_waits_as_long_as_it_asks_and_gives_up_after_its_tries(
    database: Database, database_url: str
) -> None:
    tried: list[float] = []

    async def later(_: Run[Note]) -> None:
        tried.append(time.monotonic())
        raise Retry("not yet", after_seconds=0.3 if len(tried) == 1 else 0)

    async with working(database, database_url, {QUICK: later}):
        (job,) = await add(database, QUICK, 1)
        await until(lambda: is_state(database, job, "dead"))
    assert len(tried) == 3
    assert tried[1] - tried[0] >= 0.3
    assert (await ledger.story(database, job)).steps[-1].error == "Retry: not yet"


async def test_jobs_that_ask_for_another_try_at_once_get_it_at_once(
    database: Database, database_url: str
) -> None:
    """Also when many end together: one may be taken again while the ends of the others are being written."""

    async def once_more(run: Run[Note]) -> None:
        if run.attempt < 3:
            raise Retry("at once", after_seconds=0)

    async with working(database, database_url, {QUICK: once_more}):
        await add(database, QUICK, *range(200))
        await until(lambda: emptied(database), seconds=8)


class Unspeakable(Exception):
    """Fails again when it is asked what it is."""

    def __str__(self) -> str:
        raise ValueError("no")


@pytest.mark.parametrize(
    "fail",
    [
        Unspeakable,
        lambda: ValueError("\ud800 \0 \x1b"),
        lambda: Retry("for ever", after_seconds=float("inf")),
        lambda: Retry("back in time", after_seconds=-1),
        lambda: Retry("not a number", after_seconds=float("nan")),
        lambda: ExceptionGroup("two", [Retry("one"), GiveUp("two")]),
    ],
)
async def test_whatever_a_handler_raises_its_job_ends_and_others_go_on(
    database: Database, database_url: str, fail: Callable[[], Exception]
) -> None:
    async def handle(run: Run[Note]) -> None:
        if run.payload.number == 1:
            raise fail()

    async with working(database, database_url, {QUICK: handle}, places={Queue.SYNC: 1}):
        bad, good = await add(database, QUICK, 1, 2)
        await until(lambda: is_state(database, bad, "dead"))
        await until(lambda: is_state(database, good, "done"))
    assert (await ledger.story(database, bad)).tries == 3


async def test_giving_up_is_a_dead_letter_at_once(database: Database, database_url: str) -> None:
    async def refuse(_: Run[Note]) -> None:
        raise GiveUp("the address does not exist")

    async with working(database, database_url, {QUICK: refuse}):
        (job,) = await add(database, QUICK, 1)
        await until(lambda: is_state(database, job, "dead"))
    story = await ledger.story(database, job)
    assert story.tries == 1
    assert story.steps[-1].error == "GiveUp: the address does not exist"


async def test_dead_letters_come_back_one_by_one_or_by_queue_and_can_be_dropped(
    database: Database, database_url: str, effects: Callable[[], Awaitable[list[int]]]
) -> None:
    broken = asyncio.Event()
    broken.set()

    async def handle(run: Run[Note]) -> None:
        if broken.is_set():
            raise GiveUp("broken")
        await note(run)

    async with working(database, database_url, {QUICK: handle, OTHER: handle}):
        first, second, third = await add(database, QUICK, 1, 2, 3)
        (other,) = await add(database, OTHER, 9)
        for job in (first, second, third, other):
            await until(lambda job=job: is_state(database, job, "dead"))
        broken.clear()
        assert await ledger.revive(database, first) == 1
        await until(lambda: numbers_are(effects, [1]))
        with pytest.raises(ledger.NoSuchJob):
            await ledger.revive(database, first)
        await ledger.drop(database, second)
        assert await state(database, second) == "dropped"
        assert await ledger.revive(database, queue="sync") == 1
        await until(lambda: numbers_are(effects, [1, 3]))
        assert await state(database, other) == "dead"
        assert await ledger.revive(database) == 1
        await until(lambda: numbers_are(effects, [1, 3, 9]))
        assert [one.dead for one in await ledger.count(database)] == [0] * 5


async def test_only_the_dead_are_revived_or_dropped(database: Database) -> None:
    (job,) = await add(database, QUICK, 1)
    with pytest.raises(ledger.NotDead):
        await ledger.revive(database, job)
    with pytest.raises(ledger.NotDead):
        await ledger.drop(database, job)
    with pytest.raises(ledger.NoSuchJob):
        await ledger.drop(database, job + 1)


async def test_a_job_waits_for_its_time(database: Database, database_url: str) -> None:
    ran = asyncio.Queue[float]()

    async def handle(_: Run[Note]) -> None:
        ran.put_nowait(time.monotonic())

    async with working(database, database_url, {QUICK: handle}):
        await asyncio.sleep(0.1)
        began = time.monotonic()
        (job,) = await add(database, QUICK, 1, run_at=utc_now() + timedelta(seconds=0.4))
        assert await state(database, job) == "later"
        waited = await ran.get() - began
    # The next look of its own would be 5 s away.
    assert 0.39 <= waited < 3


async def test_a_job_whose_time_comes_is_not_forgotten_in_a_busy_worker(
    database: Database, database_url: str
) -> None:
    ran = asyncio.Event()

    async def busy(_: Run[Note]) -> None:
        await asyncio.sleep(0.001)

    async def handle(_: Run[Note]) -> None:
        ran.set()

    async with working(database, database_url, {QUICK: busy, OTHER: handle}):
        await add(database, OTHER, 1, run_at=utc_now() + timedelta(seconds=0.2))
        began = time.monotonic()
        while not ran.is_set() and time.monotonic() - began < 4:
            await add(database, QUICK, *range(50))
        assert ran.is_set()


async def test_of_a_key_one_job_waits(database: Database) -> None:
    first = await add(database, QUICK, 1, 2, 3, keys=["a", "b", "a"])
    assert first[0] == first[2] != first[1]
    again = await add(database, QUICK, 4, 5, keys=["c", "a"])
    assert again[1] == first[0]
    # A key is its kind's: another kind's "a" is another.
    assert await add(database, OTHER, 6, keys=["a"]) != [first[0]]
    assert [(one.kind, one.job_id) for one in reversed(await ledger.listing(database))][:2] == [
        ("test.quick", first[0]), ("test.quick", first[1]),
    ]  # fmt: skip
    assert [one.waiting for one in await ledger.count(database)] == [3, 1, 0, 0, 0]


async def test_what_is_reported_while_a_job_of_its_key_runs_gets_another_run(
    database: Database, database_url: str
) -> None:
    began, go, runs = asyncio.Event(), asyncio.Event(), list[int]()

    async def slow(run: Run[Note]) -> None:
        runs.append(run.payload.number)
        began.set()
        await go.wait()

    async with working(database, database_url, {QUICK: slow}):
        (first,) = await add(database, QUICK, 1, keys=["k"])
        await began.wait()
        (second,) = await add(database, QUICK, 2, keys=["k"])
        assert second != first
        go.set()
        await until(lambda: is_state(database, second, "done"))
    assert runs == [1, 2]


async def test_a_waiting_job_does_not_run_before_those_who_count_on_it_have_committed(
    database: Database, database_url: str
) -> None:
    """Both write, then ask for the same job: whatever it reads when it runs, it reads both."""
    await database.execute("CREATE TABLE facts (number INT)")
    sums: list[int] = []

    async def add_up(run: Run[Note]) -> None:
        sums.append(await run.database.fetchval("SELECT count(*) FROM facts"))

    (waiting,) = await add(database, QUICK, 0, keys=["sum"])
    async with database.transaction() as tx:
        await tx.execute("INSERT INTO facts VALUES (1)")
        assert await enqueue(tx, QUICK, [Note(0)], keys=["sum"]) == [waiting]
        async with working(database, database_url, {QUICK: add_up}):
            await asyncio.sleep(0.2)
            assert sums == []
            await tx.execute("COMMIT; BEGIN")
            await until(lambda: is_state(database, waiting, "done"))
    assert sums == [1]


async def test_two_who_lock_the_same_keys_do_not_deadlock(database: Database) -> None:
    keys = [f"k{number}" for number in range(30)]

    async def once(order: list[str]) -> None:
        await add(database, QUICK, *range(len(order)), keys=order)

    for _ in range(10):
        await asyncio.gather(*(once(order) for order in (keys, keys[::-1]) * 4))
    assert sum(one.waiting for one in await ledger.count(database)) == 30


async def test_a_retry_gives_way_to_the_job_of_its_key_that_came_meanwhile(
    database: Database, database_url: str
) -> None:
    began, go, runs = asyncio.Event(), asyncio.Event(), list[int]()

    async def handle(run: Run[Note]) -> None:
        runs.append(run.payload.number)
        if run.payload.number == 1:
            began.set()
            await go.wait()
            raise Retry("later")

    async with working(database, database_url, {QUICK: handle}):
        (first,) = await add(database, QUICK, 1, keys=["k"])
        await began.wait()
        (second,) = await add(database, QUICK, 2, keys=["k"], run_at=utc_now() + timedelta(seconds=1))
        go.set()
        await until(lambda: is_state(database, first, "dropped"))
        await until(lambda: is_state(database, second, "done"))
    assert runs == [1, 2]


async def test_a_queue_that_is_full_holds_up_no_other(database: Database, database_url: str) -> None:
    running, most, go = 0, 0, asyncio.Event()
    other = asyncio.Event()

    async def slow(_: Run[Note]) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await go.wait()
        running -= 1

    async def handle(_: Run[Note]) -> None:
        other.set()

    places = {Queue.SYNC: 2, Queue.WEBHOOK: 2}
    async with working(database, database_url, {QUICK: slow, OTHER: handle}, places=places):
        jobs = await add(database, QUICK, *range(5))
        await until(lambda: counted(lambda: running == 2))
        await add(database, OTHER, 1)
        async with asyncio.timeout(3):
            await other.wait()
        go.set()
        for job in jobs:
            await until(lambda job=job: is_state(database, job, "done"))
    assert most == 2


async def counted(condition: Callable[[], bool]) -> bool:
    return condition()


async def test_what_cannot_be_read_is_a_dead_letter_and_the_queue_goes_on(
    database: Database, database_url: str, effects: Callable[[], Awaitable[list[int]]]
) -> None:
    poison = [
        None,
        b"",
        b"\xff\x00{",
        b"[1,2]",
        b'{"kind":"test.quick","data":{"number":"many"}}',
        b'{"kind":"test.quick","data":' + b"[" * 100_000 + b"}",
    ]
    for payload in poison:
        await database.execute(
            "INSERT INTO jobs.queue (priority, status, entrypoint, payload) VALUES (0, 'queued', 'sync', $1)",
            payload,
        )
    async with working(database, database_url, {QUICK: note}, places={Queue.SYNC: 1}):
        await add(database, QUICK, 1)
        await until(lambda: numbers_are(effects, [1]))
    dead = await ledger.listing(database, state="dead")
    assert len(dead) == len(poison)
    assert all((one.error or "").startswith("Unreadable: ") for one in dead)


async def test_a_kind_that_nobody_knows_is_passed_on_some_times_and_then_dead(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("echain.infra.jobs.reading._STRANGER_PAUSE", timedelta(0))
    (job,) = await add(database, JobKind("test.of_a_later_release", Queue.SYNC, Note), 1)
    async with working(database, database_url, {QUICK: note}):
        await until(lambda: is_state(database, job, "dead"))
    story = await ledger.story(database, job)
    assert story.tries == 5
    assert story.steps[-1].error == "UnknownKind: no worker knows test.of_a_later_release"


async def test_a_job_has_one_effect(
    database: Database, database_url: str, effects: Callable[[], Awaitable[list[int]]]
) -> None:
    async def twice(run: Run[Note]) -> None:
        await note(run)
        await note(run)

    async with working(database, database_url, {QUICK: twice}):
        (job,) = await add(database, QUICK, 5)
        await until(lambda: is_state(database, job, "done"))
        # The error after the effect is logged; it is no reason to run the job again.
        await asyncio.sleep(0.1)
    assert await effects() == [5]


async def test_an_effect_that_fails_leaves_nothing_and_is_tried_again(
    database: Database, database_url: str, effects: Callable[[], Awaitable[list[int]]]
) -> None:
    async def fail_twice(run: Run[Note]) -> None:
        async with run.effect() as tx:
            await tx.execute("INSERT INTO effects (number) VALUES ($1)", run.attempt)
            if run.attempt < 3:
                raise ValueError("not yet")

    async with working(database, database_url, {QUICK: fail_twice}):
        (job,) = await add(database, QUICK, 1)
        await until(lambda: is_state(database, job, "done"))
    assert await effects() == [3]


async def test_an_effect_that_stands_still_is_ended_by_the_server_and_is_a_try(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("echain.infra.jobs.run.FROZEN_SECONDS", 0.2)

    async def stand_still(run: Run[Note]) -> None:
        async with run.effect() as tx:
            await asyncio.sleep(0.4)
            await tx.fetchval("SELECT 1")

    async with working(database, database_url, {QUICK: stand_still}):
        (job,) = await add(database, QUICK, 1)
        await until(lambda: is_state(database, job, "dead"))
    assert (await ledger.story(database, job)).tries == 3


async def test_progress_is_told_by_id(database: Database, database_url: str) -> None:
    half, go = asyncio.Event(), asyncio.Event()

    async def handle(run: Run[Note]) -> None:
        for done in range(1, 201):
            await run.progress(done, 400)
        half.set()
        await go.wait()
        await run.progress(400, 400)

    async with working(database, database_url, {QUICK: handle}):
        (job,) = await add(database, QUICK, 1)
        await half.wait()
        story = await ledger.story(database, job)
        assert story.state == "running"
        assert story.total == 400
        assert 0 < (story.done or 0) <= 200
        assert (await ledger.listing(database))[0].total == 400
        go.set()
        await until(lambda: is_state(database, job, "done"))
    story = await ledger.story(database, job)
    assert (story.done, story.total) == (400, 400)


async def test_the_log_of_what_has_ended_is_swept_and_of_what_has_not_is_kept(
    database: Database, database_url: str
) -> None:
    async def handle(run: Run[Note]) -> None:
        await run.progress(1, 1)
        if run.payload.number == 2:
            raise GiveUp("dead")

    async with working(database, database_url, {QUICK: handle}):
        done, dead = await add(database, QUICK, 1, 2)
        await until(lambda: is_state(database, done, "done"))
        await until(lambda: is_state(database, dead, "dead"))
    assert await ledger.sweep(database, kept=timedelta(hours=1)) == 0
    assert await ledger.sweep(database, kept=timedelta(0)) == 3
    with pytest.raises(ledger.NoSuchJob):
        await ledger.story(database, done)
    story = await ledger.story(database, dead)
    assert story.steps[-1].error == "GiveUp: dead"
    assert (story.done, story.total) == (1, 1)


async def test_what_runs_when_the_worker_stops_ends_or_is_given_back_without_a_try(
    database: Database, database_url: str
) -> None:
    began = asyncio.Queue[int]()

    async def handle(run: Run[Note]) -> None:
        began.put_nowait(run.payload.number)
        await asyncio.sleep(0.3 if run.payload.number == 1 else 60)

    async with working(database, database_url, {QUICK: handle}, grace_seconds=1):
        soon, late = await add(database, QUICK, 1, 2)
        await began.get()
        await began.get()
    assert await state(database, soon) == "done"
    assert await state(database, late) == "waiting"
    assert (await ledger.story(database, late)).tries == 0


async def test_several_workers_share_a_queue_and_run_each_job_once(
    database: Database, database_url: str
) -> None:
    runs: list[int] = []

    async def handle(run: Run[Note]) -> None:
        runs.append(run.payload.number)
        await asyncio.sleep(0)

    async with (
        working(database, database_url, {QUICK: handle}, places={Queue.SYNC: 3}),
        working(database, database_url, {QUICK: handle}, places={Queue.SYNC: 3}),
        working(database, database_url, {QUICK: handle}, places={Queue.SYNC: 3}),
    ):
        await add(database, QUICK, *range(500))
        await until(lambda: emptied(database))
    assert sorted(runs) == list(range(500))


async def emptied(database: Database) -> bool:
    return not await database.fetchval("SELECT count(*) FROM jobs.queue")


async def test_metrics_tell_what_ran_and_what_lies_there(database: Database, database_url: str) -> None:
    async def handle(run: Run[Note]) -> None:
        if run.payload.number:
            raise GiveUp("dead")

    async with working(database, database_url, {QUICK: handle}, places={Queue.SYNC: 4}) as metrics:
        await add(database, QUICK, 0, 1)
        await add(database, OTHER, 1)
        await until(lambda: is_empty_but(database, 2))
        QueueMetrics(metrics, database)
        await metrics.refresh()
        page = metrics.render().decode()
    for line in (
        'echain_job_runs_total{kind="test.quick",outcome="done"} 1.0',
        'echain_job_runs_total{kind="test.quick",outcome="dead"} 1.0',
        'echain_job_run_seconds_count{kind="test.quick"} 2.0',
        'echain_job_start_seconds_count{queue="sync"} 2.0',
        'echain_jobs_running{queue="sync"} 0.0',
        'echain_jobs_dead{queue="sync"} 1.0',
        'echain_jobs_waiting{queue="webhook"} 1.0',
    ):
        assert line in page


async def is_empty_but(database: Database, number: int) -> bool:
    rows = await database.fetch("SELECT status FROM jobs.queue")
    return len(rows) == number and all(row["status"] != "picked" for row in rows)


async def test_the_age_is_that_of_the_job_that_is_due_longest(database: Database) -> None:
    assert await ledger.oldest_seconds(database) == 0
    await add(database, QUICK, 1, run_at=utc_now() + timedelta(hours=1))
    assert await ledger.oldest_seconds(database) == 0
    (job,) = await add(database, OTHER, 1)
    await add(database, QUICK, 2)
    await database.execute("UPDATE jobs.queue SET execute_after = now() - interval '90 s' WHERE id = $1", job)
    assert 90 <= await ledger.oldest_seconds(database) < 100
    counts = {one.queue: one for one in await ledger.count(database)}
    assert 90 <= counts["webhook"].oldest_seconds < 100
    assert (counts["sync"].waiting, counts["sync"].later) == (1, 1)


async def test_two_kinds_of_one_name_are_refused(database: Database, database_url: str) -> None:
    twin = msgspec.structs.replace(QUICK, tries=9)
    with pytest.raises(ValueError, match="share a name"):
        Workers(database_url, database, {QUICK: note, twin: note}, Metrics())
