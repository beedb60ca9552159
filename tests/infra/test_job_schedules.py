"""Jobs by the clock: each tick once over all workers, and one of those that were missed."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from echain.infra.database import Database
from echain.infra.jobs import JobKind, Queue, Run, Schedule, Workers, ledger
from echain.infra.jobs.schedules import keep_schedules, tick
from echain.infra.metrics import Metrics

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Tick(msgspec.Struct, frozen=True):
    """What the clock says."""


KIND = JobKind("test.tick", Queue.SYNC, Tick)


async def begun(database: Database, *schedules: Schedule[Any]) -> dict[str, Schedule[Any]]:
    """Let a worker meet the schedules, and stop it."""
    task = asyncio.create_task(keep_schedules(database, schedules))
    async with asyncio.timeout(5):
        while await database.fetchval("SELECT count(*) FROM jobs.schedules") < len(schedules):
            await asyncio.sleep(0.01)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return {schedule.label: schedule for schedule in schedules}


async def waiting(database: Database) -> int:
    return sum(one.waiting for one in await ledger.count(database))


async def test_of_many_workers_one_enqueues_a_tick(database: Database) -> None:
    known = await begun(database, Schedule(KIND, Tick(), every_seconds=3600))
    for ticks in range(1, 6):
        await database.execute("UPDATE jobs.schedules SET next_at = now() - interval '1 s'")
        await asyncio.gather(*(tick(database, known) for _ in range(8)))
        # Taken at once, so that the key is free for the next.
        await database.execute("UPDATE jobs.queue SET status = 'failed'")
        assert await database.fetchval("SELECT count(*) FROM jobs.queue") == ticks


async def test_a_tick_is_one_even_when_its_job_is_taken_at_once(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then its key is free again before the others ask, and only the schedule's own row holds them off."""
    asked = 0

    async def ask(*_: object, **__: object) -> None:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.05)

    known = await begun(database, Schedule(KIND, Tick(), every_seconds=3600))
    monkeypatch.setattr("echain.infra.jobs.schedules.enqueue", ask)
    await database.execute("UPDATE jobs.schedules SET next_at = now() - interval '1 s'")
    await asyncio.gather(*(tick(database, known) for _ in range(8)))
    assert asked == 1


async def test_ticks_that_were_missed_are_one_and_the_rhythm_stays(database: Database) -> None:
    known = await begun(database, Schedule(KIND, Tick(), every_seconds=600))
    missed = await database.fetchval(
        "UPDATE jobs.schedules SET next_at = now() - interval '65 min' RETURNING next_at"
    )
    await tick(database, known)
    await tick(database, known)
    assert await waiting(database) == 1
    row = await database.fetchrow("SELECT next_at, now() AS now FROM jobs.schedules")
    assert row is not None
    assert timedelta(0) < row["next_at"] - row["now"] <= timedelta(minutes=10)
    assert (row["next_at"] - missed) % timedelta(minutes=10) == timedelta(0)


async def test_a_tick_adds_nothing_while_the_job_of_an_earlier_one_waits(database: Database) -> None:
    known = await begun(database, Schedule(KIND, Tick(), every_seconds=600))
    for _ in range(3):
        await database.execute("UPDATE jobs.schedules SET next_at = now()")
        await tick(database, known)
    assert await waiting(database) == 1


async def test_a_new_rhythm_begins_at_once_and_the_same_one_is_left_alone(database: Database) -> None:
    await begun(database, Schedule(KIND, Tick(), every_seconds=86_400))
    before = await database.fetchval("SELECT next_at FROM jobs.schedules")
    await begun(database, Schedule(KIND, Tick(), every_seconds=86_400))
    assert await database.fetchval("SELECT next_at FROM jobs.schedules") == before
    task = asyncio.create_task(keep_schedules(database, [Schedule(KIND, Tick(), every_seconds=60)]))
    async with asyncio.timeout(5):
        while await database.fetchval("SELECT next_at FROM jobs.schedules") == before:
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait([task])
    assert await database.fetchval("SELECT next_at - now() < interval '61 s' FROM jobs.schedules")


async def test_workers_run_what_the_clock_asks_for(database: Database, database_url: str) -> None:
    ran = asyncio.Semaphore(0)

    async def handle(_: Run[Tick]) -> None:
        ran.release()

    schedules = [
        Schedule(KIND, Tick(), every_seconds=0.1),
        Schedule(KIND, Tick(), every_seconds=0.1, name="test.another"),
    ]
    tasks = [
        asyncio.create_task(
            Workers(database_url, database, {KIND: handle}, Metrics(), schedules=schedules).run()
        )
        for _ in range(2)
    ]
    async with asyncio.timeout(10):
        for _ in range(8):
            await ran.acquire()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    row = await database.fetchrow("""
        SELECT min(created) AS first, max(created) AS last, count(*) AS n
        FROM jobs.log WHERE status = 'queued'
    """)
    assert row is not None
    # Two schedules, ten a second each, from the first tick to the last.
    assert row["n"] <= 2 * ((row["last"] - row["first"]) / timedelta(seconds=0.1) + 1) + 1


@pytest.mark.parametrize(
    ("cron", "after", "expected"),
    [
        ("0 9 * * *", NOON, NOON.replace(day=2, hour=9)),
        ("*/15 * * * *", NOON, NOON.replace(minute=15)),
        ("0 0 1 * *", NOON, datetime(2026, 4, 1, tzinfo=UTC)),
        # A night in which clocks of other zones skip or repeat an hour is as long as any.
        ("30 1 * * *", datetime(2026, 10, 25, 1, 30, tzinfo=UTC), datetime(2026, 10, 26, 1, 30, tzinfo=UTC)),
    ],
)
def test_cron_is_read_in_utc_and_never_gives_the_present_tick_again(
    cron: str, after: datetime, expected: datetime
) -> None:
    found = Schedule(KIND, Tick(), cron=cron).following(after, after)
    assert found == expected
    assert found.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    ("late_seconds", "expected_seconds"), [(0, 60), (1, 60), (59, 60), (60, 120), (3601, 3660)]
)
def test_the_next_tick_lies_after_now_and_in_the_rhythm(late_seconds: int, expected_seconds: int) -> None:
    found = Schedule(KIND, Tick(), every_seconds=60).following(NOON, NOON + timedelta(seconds=late_seconds))
    assert found == NOON + timedelta(seconds=expected_seconds)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({}, "either"),
        ({"every_seconds": 1.0, "cron": "* * * * *"}, "either"),
        ({"every_seconds": 0.0}, "above 0"),
        ({"cron": "every day"}, "no cron"),
    ],
)
def test_a_schedule_that_says_nothing_or_nonsense_is_refused(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Schedule(KIND, Tick(), **wrong)


async def test_two_schedules_of_one_name_are_refused(database: Database, database_url: str) -> None:
    twins = [Schedule(KIND, Tick(), every_seconds=1), Schedule(KIND, Tick(), every_seconds=2)]
    with pytest.raises(ValueError, match="share a name"):
        await Workers(database_url, database, {}, Metrics(), schedules=twins).run()
