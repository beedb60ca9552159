"""SQL of notifications and of how people want them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from echain.infra.database import Connection, Row, Tx
from echain.kernel.ids import uuid7
from echain.notify.types import Notice, Settings

_SHOWN = """
    id, user_id, address, kind, event_id, data, created_at, read_at, undone_at,
    settled_at IS NOT NULL AS settled
"""


async def settings_of(connection: Connection, users: Collection[UUID]) -> dict[UUID, Settings]:
    """Return what these people chose, the defaults for those who chose nothing."""
    rows = await connection.fetch(
        """
        SELECT user_id, language, time_zone, digest, choices, next_digest_at
          FROM notification_settings WHERE user_id = ANY($1)
        """,
        list(users),
    )
    found = dict.fromkeys(users, Settings())
    for row in rows:
        found[row["user_id"]] = Settings(
            row["language"], row["time_zone"], row["digest"], row["choices"], row["next_digest_at"]
        )
    return found


async def keep_settings(
    tx: Tx, user_id: UUID, settings: Settings, *, now: datetime, replace: bool = True
) -> None:
    """Keep what somebody chose; without ``replace`` only where there is nothing yet."""
    change = (
        """
        DO UPDATE SET language = excluded.language, time_zone = excluded.time_zone,
                      digest = excluded.digest, choices = excluded.choices,
                      next_digest_at = excluded.next_digest_at, updated_at = excluded.updated_at
        """
        if replace
        else "DO NOTHING"
    )
    await tx.execute(
        f"""
        INSERT INTO notification_settings
            (user_id, language, time_zone, digest, choices, next_digest_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (user_id) {change}
        """,  # noqa: S608 -- one of two constants
        user_id,
        settings.language,
        settings.time_zone,
        settings.digest,
        settings.choices,
        settings.next_digest_at,
        now,
    )


async def lock_settings(tx: Tx, user_id: UUID) -> Settings | None:
    """Return what somebody chose, locked until the transaction ends."""
    row = await tx.fetchrow(
        """
        SELECT language, time_zone, digest, choices, next_digest_at
          FROM notification_settings WHERE user_id = $1 FOR UPDATE
        """,
        user_id,
    )
    return None if row is None else Settings(*row.values())


async def insert(
    tx: Tx,
    notices: Sequence[tuple[UUID, Notice, bool]],
    *,
    now: datetime,
) -> Mapping[tuple[UUID, str], UUID]:
    """Keep notices of users, each occasion once; return the ids of those that are new by user and occasion.

    Sorted, so that two who keep the same ones wait for each other in one order.
    """
    ordered = sorted(notices, key=lambda one: (one[0], one[1].occasion))
    rows = await tx.fetch(
        """
        INSERT INTO notifications
            (id, user_id, address, kind, occasion, source, event_id, data, visible, created_at)
        SELECT id, user_id, address, kind, occasion, source, event_id, data, visible, $10
          FROM unnest($1::uuid[], $2::uuid[], $3::bytea[], $4::text[], $5::text[], $6::bigint[], $7::uuid[],
                      $8::jsonb[], $9::boolean[])
               AS new (id, user_id, address, kind, occasion, source, event_id, data, visible)
        ON CONFLICT (user_id, occasion) DO NOTHING
        RETURNING id, user_id, occasion
        """,
        [uuid7() for _ in ordered],
        [user_id for user_id, _, _ in ordered],
        [notice.address for _, notice, _ in ordered],
        [notice.kind.value for _, notice, _ in ordered],
        [notice.occasion for _, notice, _ in ordered],
        [notice.source for _, notice, _ in ordered],
        [notice.event_id for _, notice, _ in ordered],
        [notice.data for _, notice, _ in ordered],
        [visible for _, _, visible in ordered],
        now,
    )
    return {(row["user_id"], row["occasion"]): row["id"] for row in rows}


async def settle(tx: Tx, occasions: Collection[tuple[UUID, str]], *, now: datetime) -> Sequence[Row]:
    """Mark notifications as settled; return those that were not, without what a reorg took."""
    ordered = sorted(occasions)
    return await tx.fetch(
        """
        UPDATE notifications AS notification SET settled_at = $3
          FROM unnest($1::uuid[], $2::text[]) AS known (user_id, occasion)
         WHERE (notification.user_id, notification.occasion) = (known.user_id, known.occasion)
           AND settled_at IS NULL AND undone_at IS NULL
        RETURNING notification.id, notification.user_id, kind
        """,
        [user_id for user_id, _ in ordered],
        [occasion for _, occasion in ordered],
        now,
    )


async def undo(tx: Tx, sources: Collection[int], *, now: datetime) -> None:
    """Mark what messages told as undone, whoever was told."""
    await tx.execute(
        "UPDATE notifications SET undone_at = $2 WHERE source = ANY($1) AND undone_at IS NULL",
        list(sources),
        now,
    )


async def page(
    connection: Connection, user_id: UUID, *, before: UUID | None, limit: int, unread: bool
) -> Sequence[Row]:
    """Return a user's notifications, the newest first, those before one."""
    return await connection.fetch(
        f"""
        SELECT {_SHOWN} FROM notifications
         WHERE user_id = $1 AND visible AND ($2::uuid IS NULL OR id < $2)
           AND (NOT $4 OR (read_at IS NULL AND undone_at IS NULL))
         ORDER BY id DESC LIMIT $3
        """,  # noqa: S608 -- a constant
        user_id,
        before,
        limit,
        unread,
    )


async def notification(connection: Connection, notification_id: UUID) -> Row | None:
    """Return one notification, whoever's."""
    return await connection.fetchrow(
        f"SELECT {_SHOWN} FROM notifications WHERE id = $1",  # noqa: S608 -- a constant
        notification_id,
    )


async def unread(connection: Connection, user_id: UUID) -> int:
    """Return how many of a user's notifications nobody has read."""
    count: int | None = await connection.fetchval(
        """
        SELECT count(*) FROM notifications
         WHERE user_id = $1 AND visible AND read_at IS NULL AND undone_at IS NULL
        """,
        user_id,
    )
    return count or 0


async def read(tx: Tx, user_id: UUID, notification_id: UUID, *, now: datetime) -> Row | None:
    """Mark one of a user's notifications as read, keeping the first time; None when there is none."""
    return await tx.fetchrow(
        f"""
        UPDATE notifications SET read_at = coalesce(read_at, $3)
         WHERE id = $2 AND user_id = $1 AND visible RETURNING {_SHOWN}
        """,  # noqa: S608 -- a constant
        user_id,
        notification_id,
        now,
    )


async def read_all(tx: Tx, user_id: UUID, up_to: UUID | None, *, now: datetime) -> None:
    """Mark a user's notifications as read, up to one and that one too."""
    await tx.execute(
        """
        UPDATE notifications SET read_at = $3
         WHERE user_id = $1 AND visible AND read_at IS NULL AND ($2::uuid IS NULL OR id <= $2)
        """,
        user_id,
        up_to,
        now,
    )


async def due_digests(tx: Tx, *, now: datetime, limit: int) -> Sequence[Row]:
    """Return whose digest is due, locked; those whom somebody else is at are skipped."""
    return await tx.fetch(
        """
        SELECT user_id, language, time_zone, digest, choices, next_digest_at
          FROM notification_settings
         WHERE next_digest_at <= $1 ORDER BY next_digest_at LIMIT $2 FOR UPDATE SKIP LOCKED
        """,
        now,
        limit,
    )


async def schedule_digest(tx: Tx, user_id: UUID, at: datetime | None) -> None:
    """Keep when a user's next digest is due."""
    await tx.execute("UPDATE notification_settings SET next_digest_at = $2 WHERE user_id = $1", user_id, at)


async def news(
    connection: Connection, user_id: UUID, *, since: datetime, until: datetime, limit: int
) -> Sequence[Row]:
    """Return what a user was told in the app in a period, settled, and not by a mail of its own."""
    return await connection.fetch(
        f"""
        SELECT {_SHOWN} FROM notifications AS notification
         WHERE user_id = $1 AND visible AND undone_at IS NULL AND settled_at IS NOT NULL
           AND kind <> 'security'
           AND created_at > $2 AND created_at <= $3
           AND NOT EXISTS (SELECT FROM notification_deliveries
                            WHERE notification_id = notification.id AND channel = 'email' AND state = 'sent')
         ORDER BY id LIMIT $4
        """,  # noqa: S608 -- a constant
        user_id,
        since,
        until,
        limit,
    )


async def claim_reminder(
    tx: Tx, event_id: UUID, starts_at: datetime, *, lead_minutes: int, now: datetime
) -> bool:
    """Note that an event's reminder goes out now; False when it has."""
    row = await tx.fetchrow(
        """
        INSERT INTO event_reminders (event_id, starts_at, lead_minutes, sent_at) VALUES ($1, $2, $3, $4)
        ON CONFLICT DO NOTHING RETURNING event_id
        """,
        event_id,
        starts_at,
        lead_minutes,
        now,
    )
    return row is not None


async def sweep(tx: Tx, *, before: datetime, limit: int) -> int:
    """Forget the oldest notifications from before a moment with their deliveries; return how many."""
    tag = await tx.execute(
        """
        DELETE FROM notifications WHERE id IN (
            SELECT id FROM notifications WHERE created_at < $1 ORDER BY created_at LIMIT $2
            FOR UPDATE SKIP LOCKED)
        """,
        before,
        limit,
    )
    await tx.execute("DELETE FROM event_reminders WHERE starts_at < $1", before)
    return int(tag.rpartition(" ")[2])
