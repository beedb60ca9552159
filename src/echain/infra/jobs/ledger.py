"""What lies in the queues, for people and programs: counts, lists, one job's story, and the dead letters."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final, Literal, TypeAlias

import msgspec

from echain.infra.database import Database, Row, Tx
from echain.infra.jobs.enqueue import Envelope
from echain.infra.jobs.kinds import Queue
from echain.infra.jobs.statements import NOTIFY
from echain.kernel.errors import EchainError, Kind

State: TypeAlias = Literal["waiting", "later", "running", "dead", "done", "dropped"]
"""``waiting`` is due, ``later`` waits for its time; the last two are known for some days."""

KEPT: Final = timedelta(days=7)
"""How long the log of a job that has ended is kept."""

_SWEPT_AT_ONCE: Final = 10_000

_STATE: Final = """
    CASE WHEN status = 'picked' THEN 'running' WHEN status = 'failed' THEN 'dead'
         WHEN execute_after > now() THEN 'later' ELSE 'waiting' END
"""


class NoSuchJob(EchainError):
    """There is no such job, or its log is no longer kept."""

    kind = Kind.NOT_FOUND
    code = "jobs.not_found"


class NotDead(EchainError):
    """Only a dead letter can be retried or dropped; this job waits or runs."""

    kind = Kind.CONFLICT
    code = "jobs.not_dead"


class Counts(msgspec.Struct, frozen=True):
    """How many jobs of a queue are in which state, and for how long the longest waiting one is due."""

    queue: str
    waiting: int
    later: int
    running: int
    dead: int
    oldest_seconds: float


class Listed(msgspec.Struct, frozen=True):
    """A job in a list; ``error`` is the last fault's, ``due_at`` when it may start or has been taken."""

    job_id: int
    queue: str
    kind: str
    state: State
    tries: int
    created_at: datetime
    due_at: datetime
    error: str | None
    done: int | None
    total: int | None


class Step(msgspec.Struct, frozen=True):
    """One entry of a job's story."""

    at: datetime
    what: str
    error: str | None
    traceback: str | None


class Story(msgspec.Struct, frozen=True):
    """All that is known of a job; ``payload`` is the stored text, None when the job has left its queue."""

    job_id: int
    queue: str
    kind: str | None
    state: State
    tries: int
    payload: str | None
    key: str | None
    steps: tuple[Step, ...]
    done: int | None
    total: int | None


_COUNT = """
    SELECT entrypoint AS queue,
           count(*) FILTER (WHERE status = 'queued' AND execute_after <= now()) AS waiting,
           count(*) FILTER (WHERE status = 'queued' AND execute_after > now()) AS later,
           count(*) FILTER (WHERE status = 'picked') AS running,
           count(*) FILTER (WHERE status = 'failed') AS dead,
           greatest(0, coalesce(extract(epoch FROM now() - min(execute_after)
               FILTER (WHERE status = 'queued')), 0))::float8 AS oldest_seconds
    FROM jobs.queue GROUP BY entrypoint
"""


async def count(database: Database) -> list[Counts]:
    """Return the counts of each queue, the known ones first; reads every job that has not ended."""
    found = {row["queue"]: Counts(**dict(row)) for row in await database.fetch(_COUNT)}
    known = [found.pop(queue.value, Counts(queue.value, 0, 0, 0, 0, 0.0)) for queue in Queue]
    return [*known, *found.values()]


_OLDEST = """
    SELECT coalesce(extract(epoch FROM now() - min(first.execute_after)), 0)::float8
    FROM unnest($1::text[]) AS wanted (entrypoint), LATERAL (
        SELECT execute_after FROM jobs.queue
        WHERE queue.entrypoint = wanted.entrypoint AND status = 'queued' AND execute_after <= now()
        ORDER BY execute_after LIMIT 1
    ) AS first
"""


async def oldest_seconds(database: Database) -> float:
    """Return for how long the longest waiting job of all queues is due; a look at an index for each queue."""
    return await database.fetchval(_OLDEST, [queue.value for queue in Queue])


_LIST = f"""
    WITH found AS (
        SELECT id, entrypoint, payload, attempts, created, execute_after, {_STATE} AS state
        FROM jobs.queue WHERE $1::text IS NULL OR entrypoint = $1
    )
    SELECT found.*, fault.traceback, progress.done, progress.total
    FROM (SELECT * FROM found WHERE $2::text IS NULL OR state = $2 ORDER BY id DESC LIMIT $3) AS found
    LEFT JOIN jobs.progress ON progress.job_id = found.id
    LEFT JOIN LATERAL (
        SELECT traceback FROM jobs.log WHERE job_id = found.id AND traceback IS NOT NULL
        ORDER BY created DESC, id DESC LIMIT 1
    ) AS fault ON true
    ORDER BY found.id DESC
"""  # noqa: S608 - a constant


async def listing(
    database: Database, *, queue: str | None = None, state: str | None = None, limit: int = 50
) -> list[Listed]:
    """Return the newest jobs that have not ended, of one queue or state if given."""
    return [
        Listed(
            job_id=row["id"],
            queue=row["entrypoint"],
            kind=_envelope(row["payload"]).kind,
            state=row["state"],
            tries=row["attempts"],
            created_at=row["created"],
            due_at=row["execute_after"],
            error=_said(row["traceback"]),
            done=row["done"],
            total=row["total"],
        )
        for row in await database.fetch(_LIST, queue, state, limit)
    ]


_QUEUED = f"""
    SELECT entrypoint, payload, attempts, created, {_STATE} AS state FROM jobs.queue WHERE id = $1
"""  # noqa: S608 - a constant
_LOG = "SELECT created, status, entrypoint, traceback FROM jobs.log WHERE job_id = $1 ORDER BY created, id"
_HOW_FAR = "SELECT done, total FROM jobs.progress WHERE job_id = $1"

_STEPS: Final = {
    "queued": "enqueued",
    "picked": "taken",
    "successful": "done",
    "failed": "dead",
    "canceled": "dropped",
    "deleted": "dropped",
}


async def story(database: Database, job_id: int) -> Story:
    """Return what is known of a job, also for some days after its end.

    Raises:
        NoSuchJob: nothing is.
    """
    async with database.transaction() as tx:
        row = await tx.fetchrow(_QUEUED, job_id)
        log = await tx.fetch(_LOG, job_id)
        how_far = await tx.fetchrow(_HOW_FAR, job_id)
    if row is None and not log:
        raise NoSuchJob(f"there is no job {job_id}, or it ended more than {KEPT.days} days ago")
    envelope = None if row is None else _envelope(row["payload"])
    return Story(
        job_id=job_id,
        queue=log[0]["entrypoint"] if row is None else row["entrypoint"],
        kind=None if envelope is None else envelope.kind,
        state=("done" if log[-1]["status"] == "successful" else "dropped") if row is None else row["state"],
        tries=sum(entry["status"] == "picked" for entry in log) if row is None else row["attempts"],
        payload=None if envelope is None else bytes(envelope.data).decode(errors="replace"),
        key=None if envelope is None else envelope.key,
        steps=tuple(_step(entry, first=place == 0) for place, entry in enumerate(log)),
        done=None if how_far is None else how_far["done"],
        total=None if how_far is None else how_far["total"],
    )


_REVIVE = """
    WITH chosen AS (
        SELECT id FROM jobs.queue
        WHERE status = 'failed' AND ($1::bigint IS NULL OR id = $1) AND ($2::text IS NULL OR entrypoint = $2)
        ORDER BY id FOR UPDATE
    ), revived AS (
        UPDATE jobs.queue SET status = 'queued', execute_after = now(), updated = now(), attempts = 0
        WHERE id IN (SELECT id FROM chosen)
        RETURNING id, entrypoint, priority
    ), told AS (
        INSERT INTO jobs.log (job_id, status, entrypoint, priority)
        SELECT id, 'queued', entrypoint, priority FROM revived
    )
    SELECT id, entrypoint FROM revived
"""
"""As the library's own, but of a whole queue at once; the key stays away, another may hold it."""


async def revive(database: Database, job_id: int | None = None, *, queue: str | None = None) -> int:
    """Let dead letters wait again with all their tries: one, those of a queue, or all; return how many.

    Raises:
        NoSuchJob: ``job_id`` is given and there is none.
        NotDead: it waits or runs.
    """
    async with database.transaction() as tx:
        return await revive_in(tx, job_id, queue=queue)


async def revive_in(tx: Tx, job_id: int | None = None, *, queue: str | None = None) -> int:
    """Do in a transaction what `revive` does in one of its own.

    Raises:
        NoSuchJob, NotDead: as `revive` says.
    """
    rows = await tx.fetch(_REVIVE, job_id, queue)
    if job_id is not None and not rows:
        raise await _why_not(tx, job_id)
    for one in sorted({row["entrypoint"] for row in rows}):
        await tx.execute(NOTIFY, one)
    return len(rows)


_DROP = """
    WITH gone AS (
        DELETE FROM jobs.queue WHERE id = $1 AND status = 'failed' RETURNING id, entrypoint, priority
    )
    INSERT INTO jobs.log (job_id, status, entrypoint, priority)
    SELECT id, 'deleted', entrypoint, priority FROM gone RETURNING job_id
"""


async def drop(database: Database, job_id: int) -> None:
    """Take a dead letter away for good.

    Raises:
        NoSuchJob: there is none.
        NotDead: it waits or runs.
    """
    async with database.transaction() as tx:
        await drop_in(tx, job_id)


async def drop_in(tx: Tx, job_id: int) -> None:
    """Do in a transaction what `drop` does in one of its own.

    Raises:
        NoSuchJob, NotDead: as `drop` says.
    """
    if await tx.fetchval(_DROP, job_id) is None:
        raise await _why_not(tx, job_id)


async def _why_not(tx: Tx, job_id: int) -> EchainError:
    row = await tx.fetchrow(_QUEUED, job_id)
    return (
        NoSuchJob(f"there is no job {job_id}") if row is None else NotDead(f"job {job_id} is {row['state']}")
    )


_SWEEP_LOG = """
    DELETE FROM jobs.log WHERE id IN (
        SELECT id FROM jobs.log WHERE created < now() - $1::interval
        AND NOT EXISTS (SELECT FROM jobs.queue WHERE queue.id = log.job_id)
        ORDER BY created LIMIT $2
    )
"""
_SWEEP_PROGRESS = """
    DELETE FROM jobs.progress WHERE updated_at < now() - $1::interval
    AND NOT EXISTS (SELECT FROM jobs.queue WHERE queue.id = progress.job_id)
"""


async def sweep(database: Database, *, kept: timedelta = KEPT) -> int:
    """Forget the log and progress of jobs that ended longer than ``kept`` ago; return how many log rows."""
    gone = 0
    while True:
        tag = await database.execute(_SWEEP_LOG, kept, _SWEPT_AT_ONCE)
        count_ = int(tag.rpartition(" ")[2])
        gone += count_
        if count_ < _SWEPT_AT_ONCE:
            break
    await database.execute(_SWEEP_PROGRESS, kept)
    return gone


def _envelope(payload: bytes | None) -> Envelope:
    try:
        return msgspec.json.decode(payload or b"", type=Envelope)
    except Exception:  # noqa: BLE001 - it is shown as it is; that it cannot be read is why it lies here
        return Envelope("?", msgspec.Raw(payload or b""))


def _said(fault: Any) -> str | None:
    return None if fault is None else f"{fault['exception_type']}: {fault['exception_message']}"


def _step(entry: Row, *, first: bool) -> Step:
    what: str = _STEPS.get(entry["status"]) or entry["status"]
    if what == "enqueued" and not first:
        what = "waits again"
    fault = entry["traceback"]
    return Step(
        entry["created"], what, _said(fault), None if fault is None else fault.get("traceback") or None
    )
