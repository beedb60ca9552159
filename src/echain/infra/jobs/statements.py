"""The statements of the queue: PgQueuer's own where they say what we mean, ours where they must say more."""

from __future__ import annotations

from typing import Final

from pgqueuer.adapters.persistence.qb import DBSettings, QueryQueueBuilder
from pgqueuer.domain.types import Channel

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

TAKE: Final = """
    WITH silent AS (
        SELECT id FROM jobs.queue
        WHERE status = 'picked' AND entrypoint = $1 AND heartbeat < now() - $4::interval
        ORDER BY heartbeat LIMIT $2 FOR UPDATE SKIP LOCKED
    ), due AS (
        SELECT id FROM jobs.queue
        WHERE entrypoint = $1 AND status = 'queued' AND execute_after <= now()
        ORDER BY execute_after, id LIMIT $2 FOR UPDATE SKIP LOCKED
    ), taken AS (
        UPDATE jobs.queue
        SET status = 'picked', updated = now(), heartbeat = now(), queue_manager_id = $3
        WHERE id IN (SELECT id FROM silent UNION ALL SELECT id FROM due LIMIT $2)
        RETURNING id, entrypoint, priority, payload, attempts, execute_after, updated
    ), told AS (
        INSERT INTO jobs.log (job_id, status, entrypoint, priority)
        SELECT id, 'picked', entrypoint, priority FROM taken
    )
    SELECT id, payload, attempts, execute_after, updated FROM taken ORDER BY execute_after, id
"""
"""Ours: claims up to ``$2`` jobs of queue ``$1``, first those of silent workers, then those due longest.

The library's looks for the lowest id and reads past every job whose time has not come: with 300,000 reminders
waiting for theirs, each look took 93 ms."""

NEXT_ETA: Final = """
    SELECT extract(epoch FROM min(next.execute_after) - now())::float8
    FROM unnest($1::text[]) AS wanted (entrypoint), LATERAL (
        SELECT execute_after FROM jobs.queue
        WHERE queue.entrypoint = wanted.entrypoint AND status = 'queued' AND execute_after > now()
        ORDER BY execute_after LIMIT 1
    ) AS next
"""
"""Ours, for the same reason: in how many seconds the next job's time comes."""
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
