"""SQL of what is sent: one row a notification, channel and receiver, written before and after."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from echain.infra.database import Connection, Row, Tx
from echain.kernel.ids import uuid7

Wanted = Sequence[tuple[UUID, UUID, str]]
"""Notification, user and kind."""


async def plan_mail(tx: Tx, wanted: Wanted, *, now: datetime, most: int, window: timedelta) -> list[UUID]:
    """Plan a mail for each notification whose user has an address; return the new deliveries.

    Nobody gets more than ``most`` within ``window``, but for alarms and what is about security.
    """
    rows = await tx.fetch(
        """
        INSERT INTO notification_deliveries (id, notification_id, user_id, kind, channel, target, created_at)
        SELECT wanted.id, notification_id, wanted.user_id, kind, 'email', wanted.user_id, $5
          FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[])
               WITH ORDINALITY AS wanted (id, notification_id, user_id, kind, place)
          JOIN email_addresses AS address ON address.user_id = wanted.user_id AND suspended_at IS NULL
         WHERE kind IN ('security', 'alarm')
            OR (SELECT count(*) FROM notification_deliveries AS sent
                 WHERE sent.user_id = wanted.user_id AND channel = 'email' AND sent.created_at > $6)
               + (SELECT count(*) FROM unnest($3::uuid[]) WITH ORDINALITY AS same (user_id, place)
                   WHERE same.user_id = wanted.user_id AND same.place < wanted.place) < $7
        ON CONFLICT (notification_id, channel, target) DO NOTHING
        RETURNING id
        """,
        [uuid7() for _ in wanted],
        [notification_id for notification_id, _, _ in wanted],
        [user_id for _, user_id, _ in wanted],
        [kind for _, _, kind in wanted],
        now,
        now - window,
        most,
    )
    return [row["id"] for row in rows]


async def plan_push(tx: Tx, wanted: Wanted, *, now: datetime) -> list[UUID]:
    """Plan a push to each browser of the users of these notifications; return the new deliveries."""
    rows = await tx.fetch(
        """
        INSERT INTO notification_deliveries (id, notification_id, user_id, kind, channel, target, created_at)
        SELECT gen_random_uuid(), notification_id, wanted.user_id, kind, 'push', subscription.id, $4
          FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS wanted (notification_id, user_id, kind)
          JOIN push_subscriptions AS subscription ON subscription.user_id = wanted.user_id
        ON CONFLICT (notification_id, channel, target) DO NOTHING
        RETURNING id
        """,
        [notification_id for notification_id, _, _ in wanted],
        [user_id for _, user_id, _ in wanted],
        [kind for _, _, kind in wanted],
        now,
    )
    return [row["id"] for row in rows]


async def claim(tx: Tx, delivery_id: UUID, *, now: datetime, until: datetime) -> Row | None:
    """Note that a delivery is being sent, before it is; None when it has ended or somebody else sends it."""
    return await tx.fetchrow(
        """
        UPDATE notification_deliveries SET state = 'sending', tries = tries + 1, held_until = $3
         WHERE id = $1 AND (state = 'waiting' OR (state = 'sending' AND held_until <= $2))
        RETURNING id, notification_id, user_id, kind, target, created_at
        """,
        delivery_id,
        now,
        until,
    )


async def held_until(connection: Connection, delivery_id: UUID) -> datetime | None:
    """Return until when somebody else holds a delivery; None when it has ended or is gone."""
    return await connection.fetchval(
        "SELECT held_until FROM notification_deliveries WHERE id = $1 AND state IN ('waiting', 'sending')",
        delivery_id,
    )


async def postpone(tx: Tx, delivery_id: UUID, reason: str) -> None:
    """Let a delivery wait for its next try."""
    await tx.execute(
        """
        UPDATE notification_deliveries SET state = 'waiting', held_until = NULL, reason = $2
         WHERE id = $1 AND state = 'sending'
        """,
        delivery_id,
        reason[:200],
    )


async def end(tx: Tx, delivery_id: UUID, state: str, *, now: datetime, reason: str | None = None) -> None:
    """Note how a delivery ended: ``sent``, ``failed`` for good, or ``dropped`` because it was not wanted."""
    await tx.execute(
        """
        UPDATE notification_deliveries
           SET state = $2, ended_at = $3, held_until = NULL, reason = left($4, 200)
         WHERE id = $1 AND ended_at IS NULL
        """,
        delivery_id,
        state,
        now,
        reason,
    )
