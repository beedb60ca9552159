"""The statements of the queue: PgQueuer's own where they say what we mean, ours where they must say more."""

from __future__ import annotations

from datetime import timedelta
from typing import Final
from uuid import UUID

from pgqueuer.adapters.persistence.qb import DBSettings, QueryQueueBuilder
from pgqueuer.domain.types import Channel, QueueEntrypoint, QueueManagerId

from echain.infra.jobs.kinds import Queue

CHANNEL: Final = "jobs"
"""What workers listen on; the notification names the queue."""

SETTINGS: Final = DBSettings(
    prefix="",
    db_schema="jobs",
    queue_table="queue",
    queue_table_log="log",
    queue_status_type="status",
    statistics_table="statistics",
    schedules_table="library_schedules",
    channel=Channel("jobs_library"),
    function="library_changed",
    trigger="library_changed",
)
"""Every name, so that the library's own environment variables have no say."""

_builder: Final = QueryQueueBuilder(SETTINGS)

ENQUEUE: Final = _builder.build_enqueue_query("update_priority")
"""So spelled it locks the waiting job of the same key: until we commit, nobody runs it on older facts."""

DONE: Final = _builder.build_log_job_query()
NEXT_ETA: Final = _builder.build_next_deferred_eta_query()


def take(queue: Queue, most: int, owner: UUID, stale_seconds: float) -> tuple[str, tuple[object, ...]]:
    """Return statement and arguments that claim up to ``most`` jobs: due, or of a silent worker."""
    query = _builder.build_dequeue_query(
        batch_size=most,
        entrypoints=[QueueEntrypoint(queue.value)],
        concurrency_limits=[0],
        queue_manager_id=QueueManagerId(owner),
        global_concurrency_limit=None,
        heartbeat_timeout=timedelta(seconds=stale_seconds),
    )
    return query.sql, query.args


NOTIFY: Final = f"SELECT pg_notify('{CHANNEL}', $1)"

EFFECT: Final = """
    WITH gone AS (
        DELETE FROM jobs.queue WHERE id = $1 RETURNING id, entrypoint, priority
    ), told AS (
        INSERT INTO jobs.log (job_id, status, entrypoint, priority)
        SELECT id, 'successful', entrypoint, priority FROM gone
    )
    SELECT set_config('idle_in_transaction_session_timeout', $2, true) FROM gone
"""
"""Ours: it answers whether the job was still to be done. Who freezes inside loses the transaction."""

BEAT: Final = """
    UPDATE jobs.queue SET heartbeat = now() WHERE id IN (
        SELECT id FROM jobs.queue WHERE id = ANY($1::bigint[]) AND queue_manager_id = $2
        FOR UPDATE SKIP LOCKED
    )
"""
"""Ours: the library's would wait for an effect's transaction, and beat for jobs that others have taken."""

OURS: Final = """
    SELECT id FROM jobs.queue WHERE id = ANY($1::bigint[]) AND queue_manager_id = $2 AND status = 'picked'
"""

AGAIN: Final = """
    WITH waiting AS (
        UPDATE jobs.queue
        SET status = 'queued', execute_after = now() + $3::interval, attempts = attempts + $4::int,
            updated = now(), queue_manager_id = NULL, dedupe_key = $5
        WHERE id = $1 AND queue_manager_id = $2 AND status = 'picked'
        RETURNING id, entrypoint, priority
    ), told AS (
        INSERT INTO jobs.log (job_id, status, entrypoint, priority, traceback)
        SELECT id, 'queued', entrypoint, priority, $6::jsonb FROM waiting
    )
    SELECT pg_notify('jobs', entrypoint) FROM waiting
"""
"""Ours: the library's does not ask whether the job is still this worker's, and wakes nobody."""

SUPERSEDED: Final = """
    WITH gone AS (
        DELETE FROM jobs.queue WHERE id = $1 AND queue_manager_id = $2 AND status = 'picked'
        RETURNING id, entrypoint, priority
    )
    INSERT INTO jobs.log (job_id, status, entrypoint, priority, traceback)
    SELECT id, 'canceled', entrypoint, priority, $3::jsonb FROM gone
"""

DEAD: Final = """
    WITH dead AS (
        UPDATE jobs.queue
        SET status = 'failed', attempts = attempts + $4::int, updated = now(), queue_manager_id = NULL
        WHERE id = $1 AND queue_manager_id = $2 AND status = 'picked'
        RETURNING id, entrypoint, priority
    )
    INSERT INTO jobs.log (job_id, status, entrypoint, priority, traceback)
    SELECT id, 'failed', entrypoint, priority, $3::jsonb FROM dead
"""
