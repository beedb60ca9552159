"""All SQL of alarms."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from echain.infra.database import Connection, Database, Row, Tx
from echain.security.types import Cause, Severity

_COLUMNS: Final = """
    id, kind, severity, subject, facts, count, first_at, last_at, acknowledged_at,
    acknowledged_by
"""


async def lock_subject(tx: Tx, kind: str, subject: str) -> None:
    """Make others who raise an alarm of this kind and subject wait until ``tx`` ends."""
    await tx.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 20))", f"{kind} {subject}")


async def known(tx: Tx, causes: Sequence[str]) -> set[str]:
    """Return which of these causes have been counted."""
    rows = await tx.fetch("SELECT cause FROM alarm_causes WHERE cause = ANY($1)", list(causes))
    return {row["cause"] for row in rows}


async def is_known(tx: Tx, cause: str) -> bool:
    """Return whether a cause has been counted."""
    return await tx.fetchrow("SELECT FROM alarm_causes WHERE cause = $1", cause) is not None


async def join(tx: Tx, cause: Cause, severity: Severity) -> Row | None:
    """Count a cause with the alarm that its like still join; None when there is none.

    Returns the alarm's ``id`` and ``count``, and what its severity ``was``.
    """
    return await tx.fetchrow(
        """
        WITH open AS (
            SELECT id, severity AS was FROM alarms
            WHERE kind = $1 AND subject = $2 AND joins_until > $3
              -- Jobs overtake each other: one that comes late belongs to it as well.
              AND first_at - (joins_until - first_at) <= $3
            ORDER BY joins_until DESC LIMIT 1
        )
        UPDATE alarms SET count = count + 1, last_at = greatest(last_at, $3), facts = $4,
                          severity = greatest(severity, $5)
        FROM open WHERE alarms.id = open.id
        RETURNING alarms.id, count, was
        """,
        cause.kind,
        cause.subject,
        cause.at,
        dict(cause.facts),
        severity,
    )


async def count_since(tx: Tx, kind: str, since: datetime, *, but: str) -> int:
    """Return how many alarms of a kind began after a moment, those of one subject left out."""
    row = await tx.fetchrow(
        "SELECT count(*) FROM alarms WHERE kind = $1 AND first_at > $2 AND subject <> $3", kind, since, but
    )
    assert row is not None, "an aggregate has a row"
    return row["count"]


async def insert(tx: Tx, alarm_id: UUID, cause: Cause, severity: Severity, *, joins_until: datetime) -> None:
    """Write a new alarm."""
    await tx.execute(
        """
        INSERT INTO alarms (id, kind, severity, subject, facts, count, first_at, last_at, joins_until)
        VALUES ($1, $2, $3, $4, $5, 1, $6, $6, $7)
        """,
        alarm_id,
        cause.kind,
        severity,
        cause.subject,
        dict(cause.facts),
        cause.at,
        joins_until,
    )


async def insert_cause(tx: Tx, alarm_id: UUID, cause: Cause) -> None:
    """Keep a cause of an alarm."""
    await tx.execute(
        "INSERT INTO alarm_causes (cause, alarm_id, at, facts) VALUES ($1, $2, $3, $4)",
        cause.name,
        alarm_id,
        cause.at,
        dict(cause.facts),
    )


async def alarms(
    connection: Connection | Database,
    *,
    kind: str | None,
    severity: Severity | None,
    unacknowledged: bool | None,
    before: UUID | None,
    limit: int,
) -> Sequence[Row]:
    """Return the newest alarms before one."""
    return await connection.fetch(
        f"""
        SELECT {_COLUMNS} FROM alarms
        WHERE ($1::text IS NULL OR kind = $1) AND ($2::smallint IS NULL OR severity = $2)
          AND ($3::boolean IS NULL OR (acknowledged_at IS NULL) = $3) AND ($4::uuid IS NULL OR id < $4)
        ORDER BY id DESC LIMIT $5
        """,  # noqa: S608 -- a constant
        kind,
        severity,
        unacknowledged,
        before,
        limit,
    )


async def alarm(connection: Connection | Database, alarm_id: UUID) -> Row | None:
    """Return one alarm."""
    return await connection.fetchrow(
        f"SELECT {_COLUMNS} FROM alarms WHERE id = $1",  # noqa: S608 -- a constant
        alarm_id,
    )


async def causes(connection: Connection | Database, alarm_id: UUID, *, limit: int) -> Sequence[Row]:
    """Return the last causes of an alarm, the newest first."""
    return await connection.fetch(
        """
        SELECT at, facts FROM alarm_causes WHERE alarm_id = $1
        ORDER BY at DESC, cause DESC LIMIT $2
        """,
        alarm_id,
        limit,
    )


async def acknowledge(tx: Tx, alarm_id: UUID, by: UUID, *, now: datetime) -> Row | None:
    """Note who has seen an open alarm and return it; None when it is not open or not there."""
    return await tx.fetchrow(
        f"""
        UPDATE alarms SET acknowledged_at = $3, acknowledged_by = $2
        WHERE id = $1 AND acknowledged_at IS NULL RETURNING {_COLUMNS}
        """,  # noqa: S608 -- a constant
        alarm_id,
        by,
        now,
    )


async def sweep(tx: Tx, *, before: datetime, limit: int) -> int:
    """Forget alarms whose last cause is older than a moment, with their causes; return how many."""
    rows = await tx.fetch(
        """
        DELETE FROM alarms WHERE id IN (SELECT id FROM alarms WHERE last_at < $1 ORDER BY last_at LIMIT $2)
        RETURNING id
        """,
        before,
        limit,
    )
    return len(rows)
