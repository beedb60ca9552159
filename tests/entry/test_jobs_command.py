"""`echain jobs`: what an operator sees of the jobs and does about the dead; their part of the health."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Callable
from typing import get_args

import pytest
from tests.entry.conftest import Installation
from tests.infra.jobworker import WORK, Work

from echain.entry import cli
from echain.entry.health import examine
from echain.infra.database import Database
from echain.infra.jobs import Queue, enqueue, ledger

FAULT = {
    "exception_type": "Boom",
    "exception_message": "receiver said \x1b[31mno",
    "traceback": "Traceback: in deliver",
}


@pytest.fixture
def desk(install: Callable[..., Installation], database_url: str) -> Callable[..., str]:
    """Run `echain jobs` with more words and return what it prints."""
    one = install(ECHAIN_DATABASE_URL=database_url)

    def ask(*words: str, fails_with: int = 0) -> str:
        done = subprocess.run(
            [*one.command[:-1], "jobs", *words],
            env=one.environment,
            cwd=one.home,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == fails_with, done.stderr
        assert "Traceback (most" not in done.stderr
        return done.stdout + done.stderr

    return ask


async def add(database: Database, *numbers: int) -> list[int]:
    async with database.transaction() as tx:
        return await enqueue(
            tx, WORK, [Work(number) for number in numbers], keys=[f"k{one}" for one in numbers]
        )


async def bury(database: Database, *ids: int) -> None:
    await database.execute("UPDATE jobs.queue SET status = 'failed', attempts = 3 WHERE id = ANY($1)", ids)
    await database.execute(
        "INSERT INTO jobs.log (job_id, status, priority, entrypoint, traceback)"
        " SELECT unnest($1::bigint[]), 'failed', 0, 'sync', $2::jsonb",
        ids,
        FAULT,
    )


async def test_counts_lists_and_stories(database: Database, desk: Callable[..., str]) -> None:
    waiting, dead = await add(database, 1, 2)
    await bury(database, dead)
    counts = desk()
    assert [line.split()[:5] for line in counts.splitlines()[1:3]] == [
        ["sync", "1", "0", "0", "1"], ["webhook", "0", "0", "0", "0"],
    ]  # fmt: skip
    assert "1 dead" in counts
    listed = desk("list")
    assert [line.split()[:4] for line in listed.splitlines()[1:]] == [
        [str(dead), "test.work", "sync", "dead"], [str(waiting), "test.work", "sync", "waiting"],
    ]  # fmt: skip
    assert desk("list", "--state", "dead", "--queue", "sync").count("test.work") == 1
    assert "no such jobs" in desk("list", "--queue", "media")
    story = desk("show", str(dead))
    assert f"job {dead} is dead" in story
    assert '"number": 2' in story
    assert "test.work:k2" in story
    assert "Traceback: in deliver" in story
    # What a stranger's server answered must not reach the terminal as a command.
    assert "Boom: receiver said \N{REPLACEMENT CHARACTER}[31mno" in story
    assert "\x1b" not in story + listed


async def test_dead_letters_are_retried_and_dropped(database: Database, desk: Callable[..., str]) -> None:
    first, second, third = await add(database, 1, 2, 3)
    await bury(database, first, second, third)
    assert desk("retry", str(first)) == "1 job waits again\n"
    assert desk("drop", str(second)) == f"job {second} is gone\n"
    assert desk("retry", "--all", "--queue", "media") == "0 jobs wait again\n"
    assert desk("retry", "--all", "--queue", "sync") == "1 job waits again\n"
    assert [one.state for one in await ledger.listing(database)] == ["waiting", "waiting"]
    assert "is waiting" in desk("drop", str(first), fails_with=73)
    assert f"there is no job {second}" in desk("retry", str(second), fails_with=1)
    assert "--all" in desk("retry", fails_with=2)
    assert "--all" in desk("retry", str(first), "--queue", "sync", fails_with=2)
    assert "is dropped" in desk("show", str(second))
    audited = await database.fetch(
        "SELECT actor_kind, actor_id, action, resource FROM audit_entries ORDER BY position"
    )
    assert {(row["actor_kind"], row["actor_id"]) for row in audited} == {
        ("operator", pwd.getpwuid(os.getuid()).pw_name)
    }
    assert [(row["action"], row["resource"]) for row in audited] == [
        ("job.retried", f"job:{first}"),
        ("job.dropped", f"job:{second}"),
        ("job.retried", "job:all"),
    ]


def test_without_a_database_it_says_what_is_missing(install: Callable[..., Installation]) -> None:
    one = install()
    done = subprocess.run(
        [*one.command[:-1], "jobs"],
        env=one.environment,
        cwd=one.home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "ECHAIN_DATABASE_URL" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_words_of_the_command_line_are_those_of_the_jobs() -> None:
    assert tuple(queue.value for queue in Queue) == cli.QUEUES
    assert set(cli.JOB_STATES) < set(get_args(ledger.State))


async def test_health_is_degraded_when_a_job_has_been_due_for_a_minute(database: Database) -> None:
    assert (await examine(database, None, {})).jobs.status == "ok"
    (job,) = await add(database, 1)
    for seconds, status in ((50, "ok"), (70, "degraded")):
        await database.execute(
            "UPDATE jobs.queue SET execute_after = now() - $2 * interval '1 s' WHERE id = $1", job, seconds
        )
        health = await examine(database, None, {})
        assert health.jobs.status == status
        assert seconds <= (health.jobs.oldest_seconds or 0) < seconds + 9
    assert health.status == "degraded"
    assert "is a worker running" in (health.jobs.reason or "")
