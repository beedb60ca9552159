"""Jobs that come by the clock: once a tick over all workers, and one of several ticks that were missed."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Generic

import asyncpg
import msgspec
import structlog
from croniter import croniter

from echain.infra.database import Database, DatabaseUnavailable, Tx
from echain.infra.jobs.enqueue import enqueue
from echain.infra.jobs.kinds import JobKind, P

_LONGEST_SLEEP_SECONDS: Final = 60.0
_AWAY_SECONDS: Final = 2.0

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("echain.jobs")


class Schedule(msgspec.Struct, Generic[P], frozen=True):
    """A job that is enqueued ``every_seconds``, or when the ``cron`` expression says so in UTC.

    A tick is skipped while the job of an earlier one still waits. ``name`` tells schedules of one kind apart.

    Raises:
        ValueError: neither or both are given, or the expression cannot be read.
    """

    kind: JobKind[P]
    payload: P
    every_seconds: float | None = None
    cron: str | None = None
    name: str = ""

    def __post_init__(self) -> None:
        if (self.every_seconds is None) == (self.cron is None):
            raise ValueError(f"{self.label}: either every_seconds or cron")
        if self.every_seconds is not None and self.every_seconds <= 0:
            raise ValueError(f"{self.label}: every_seconds must be above 0")
        if self.cron is not None and not croniter.is_valid(self.cron):
            raise ValueError(f"{self.label}: {self.cron!r} is no cron expression")

    @property
    def label(self) -> str:
        return self.name or self.kind.name

    @property
    def rhythm(self) -> str:
        return self.cron or f"every {self.every_seconds} s"

    def following(self, last: datetime, now: datetime) -> datetime:
        """Return the first tick after ``now`` in the rhythm that had one at ``last``."""
        if self.cron is not None:
            return croniter(self.cron, now).get_next(datetime)
        assert self.every_seconds is not None, "checked when made"
        steps = max(1, math.floor((now - last).total_seconds() / self.every_seconds) + 1)
        return last + timedelta(seconds=self.every_seconds) * steps


_MEET = """
    INSERT INTO jobs.schedules (name, rhythm, next_at) VALUES ($1, $2, $3)
    ON CONFLICT (name) DO UPDATE SET rhythm = excluded.rhythm, next_at = excluded.next_at
    WHERE schedules.rhythm <> excluded.rhythm
"""
_TICKED = """
    SELECT name, next_at, now() AS now FROM jobs.schedules
    WHERE name = ANY($1) AND next_at <= now() ORDER BY name FOR UPDATE SKIP LOCKED
"""
_NEXT = "UPDATE jobs.schedules SET next_at = $2 WHERE name = $1"
_UNTIL = "SELECT extract(epoch FROM min(next_at) - now())::float8 FROM jobs.schedules WHERE name = ANY($1)"


async def keep_schedules(database: Database, schedules: Sequence[Schedule[Any]]) -> None:
    """Enqueue what the clock, which is the database's, asks for, until cancelled.

    Raises:
        ValueError: two schedules share a name.
    """
    known = {schedule.label: schedule for schedule in schedules}
    if len(known) != len(schedules):
        raise ValueError("two schedules share a name; give one of them a name of its own")
    if not known:
        await asyncio.Event().wait()
    met = False
    while True:
        try:
            if not met:
                await _meet(database, known)
                met = True
            seconds = await tick(database, known)
        except (DatabaseUnavailable, asyncpg.PostgresError) as error:
            _log.warning("jobs.schedules_wait", reason=str(error))
            seconds = _AWAY_SECONDS
        await asyncio.sleep(seconds)


async def _meet(database: Database, known: dict[str, Schedule[Any]]) -> None:
    """Begin the schedules that are new or have another rhythm than before."""
    now: datetime = await database.fetchval("SELECT now()")
    async with database.transaction() as tx:
        for name in sorted(known):
            await tx.execute(_MEET, name, known[name].rhythm, known[name].following(now, now))


async def tick(database: Database, known: dict[str, Schedule[Any]]) -> float:
    """Enqueue what is due, each tick once whoever else does so; return the seconds until the next look."""
    async with database.transaction() as tx:
        for row in await tx.fetch(_TICKED, list(known)):
            await _ticked(tx, known[row["name"]], row["next_at"], row["now"])
        until = await tx.fetchval(_UNTIL, list(known))
    return min(max(until or 0.0, 0.0) + 0.002, _LONGEST_SLEEP_SECONDS)


async def _ticked(tx: Tx, schedule: Schedule[Any], last: datetime, now: datetime) -> None:
    await tx.execute(_NEXT, schedule.label, schedule.following(last, now))
    await enqueue(tx, schedule.kind, [schedule.payload], keys=[f"schedule {schedule.label}"])
