"""SQL of what was seen of things that should not change by themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from echain.infra.database import Connection, Database, Tx


class Turn(msgspec.Struct, frozen=True):
    """A field that just turned away from the accepted value, at its ``changes``-th change."""

    field: str
    accepted: str
    now: str
    changes: int


_SEE = """
    WITH seen AS (
        SELECT * FROM unnest($2::text[], $3::text[]) AS seen (field, value)
    ), before AS (
        SELECT field, accepted, last, changes FROM security_sights
        WHERE thing = $1 AND field = ANY($2) ORDER BY field FOR UPDATE
    ), put AS (
        INSERT INTO security_sights AS sight (thing, field, accepted, last, seen_at)
        SELECT $1, field, value, value, $4 FROM seen ORDER BY field
        ON CONFLICT (thing, field) DO UPDATE SET
            last = excluded.last, seen_at = excluded.seen_at,
            changes = sight.changes + (sight.last <> excluded.last)::int
    )
    SELECT field, accepted, value, changes + 1 FROM seen JOIN before USING (field)
    WHERE value <> last AND value <> accepted ORDER BY field
"""


async def see(tx: Tx, thing: str, seen: Mapping[str, str], *, now: datetime) -> list[Turn]:
    """Remember what a thing's fields say now; return those that turned away from what was accepted.

    What is seen for the first time is accepted.
    """
    rows = await tx.fetch(_SEE, thing, list(seen), list(seen.values()), now)
    return [Turn(*row.values()) for row in rows]


async def note(tx: Tx, thing: str, field: str, value: str, *, now: datetime) -> None:
    """Remember a value that may change as it likes."""
    await tx.execute(
        """
        INSERT INTO security_sights (thing, field, accepted, last, seen_at) VALUES ($1, $2, $3, $3, $4)
        ON CONFLICT (thing, field) DO UPDATE SET accepted = $3, last = $3, seen_at = $4
        """,
        thing,
        field,
        value,
        now,
    )


async def accept(tx: Tx, alarm_id: UUID, thing: str) -> None:
    """Take for what is expected from now on what an alarm told of a thing's fields, where it is still so."""
    await tx.execute(
        """
        UPDATE security_sights SET accepted = last
        WHERE thing = $2 AND (field, last) IN (
            SELECT facts ->> 'field', facts ->> 'now' FROM alarm_causes WHERE alarm_id = $1
        )
        """,
        alarm_id,
        thing,
    )


async def last(connection: Connection | Database, thing: str, field: str) -> str | None:
    """Return what was seen last; None when it never was."""
    return await connection.fetchval(
        "SELECT last FROM security_sights WHERE thing = $1 AND field = $2", thing, field
    )


async def all_of(connection: Connection | Database, things: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return what was seen last of things, a mapping of fields a thing."""
    rows = await connection.fetch(
        "SELECT thing, field, last FROM security_sights WHERE thing = ANY($1) ORDER BY thing, field",
        list(things),
    )
    found: dict[str, dict[str, str]] = {}
    for row in rows:
        found.setdefault(row["thing"], {})[row["field"]] = row["last"]
    return found
