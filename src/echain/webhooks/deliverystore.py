"""SQL of deliveries: made from messages, tried in order by one at a time, replayed, forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec

from echain.infra.database import Database, Row, Tx
from echain.kernel.evm import Address
from echain.webhooks.types import Attempt, Delivery, DeliveryBody, DeliveryState, Tried

_SWEPT: Final = 5_000

_STATE: Final = """
    CASE WHEN pending THEN 'pending' WHEN delivered_at IS NULL THEN 'skipped' ELSE 'delivered' END
"""
_DELIVERY: Final = f"""
    position, id, message_id::text, type, channel, {_STATE} AS state, tries, status,
    error, duration_ms, excerpt, tried_at, delivered_at, created_at
"""


class Match(msgspec.Struct, frozen=True):
    """A subscription that is to hear the message at a place of a batch; ``due`` unless it waits or is off."""

    place: int
    subscription_id: UUID
    due: bool


class Waiting(msgspec.Struct, frozen=True):
    """A new delivery."""

    id: UUID
    subscription_id: UUID
    message_id: int | None
    type: str
    channel: str
    body: str


# An organizer's channel tells of sales. Whose it is may have changed since the subscription was made: an
# organization hears its wallets, and somebody by themselves their own, or one of an organization where their
# role is among $5.
_STILL_THEIRS: Final = """
    CASE WHEN sub.organization_id IS NOT NULL THEN EXISTS (
        SELECT FROM organization_wallets AS owned
         WHERE owned.address = decode(substring(heard.channel FROM 13), 'hex')
           AND owned.organization_id = sub.organization_id)
    WHEN EXISTS (
        SELECT FROM organization_wallets AS owned
         WHERE owned.address = decode(substring(heard.channel FROM 13), 'hex')) THEN EXISTS (
        SELECT FROM organization_wallets AS owned
          JOIN members AS member USING (organization_id) JOIN wallets AS own USING (user_id)
         WHERE owned.address = decode(substring(heard.channel FROM 13), 'hex')
           AND own.address = sub.owner AND member.role = ANY ($5))
    ELSE sub.owner = decode(substring(heard.channel FROM 13), 'hex') END
"""


async def matches(
    tx: Tx,
    channels: Sequence[str],
    types: Sequence[str],
    *,
    roles: Sequence[str],
    settled: bool,
    now: datetime,
) -> list[Match]:
    """Return who is to hear which of these messages, in the messages' order; ``roles`` may hear of sales.

    Those that are disabled are among them: they go on later from where they stopped. A subscription cannot be
    deleted until ``tx`` ends.
    """
    rows = await tx.fetch(
        f"""
        SELECT message.place - 1 AS place, sub.id,
               sub.enabled AND coalesce(sub.next_try_at <= $4, TRUE) AS due
        FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS message (channel, type, place)
        JOIN webhook_channels AS heard ON heard.channel = message.channel
        JOIN webhook_subscriptions AS sub ON sub.id = heard.subscription_id
        WHERE sub.settled_only = $3
          AND (heard.channel NOT LIKE 'organizer:%' OR {_STILL_THEIRS})
          AND (sub.types = '{{}}' OR message.type = ANY (sub.types) OR message.type = 'reverted')
        ORDER BY message.place, sub.id
        FOR KEY SHARE OF sub
        """,  # noqa: S608 -- a constant
        *(list(channels), list(types), settled, now, list(roles)),
    )
    return [Match(*row) for row in rows]


async def insert(tx: Tx, waiting: Sequence[Waiting], now: datetime) -> None:
    """Add deliveries in their order; a message becomes one delivery to a subscription, however often told."""
    await tx.execute(
        """
        INSERT INTO webhook_deliveries (id, subscription_id, message_id, type, channel, body, created_at)
        SELECT id, subscription_id, message_id, type, channel, body, $7
        FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::text[], $6::text[])
             WITH ORDINALITY AS made (id, subscription_id, message_id, type, channel, body, place)
        ORDER BY place
        ON CONFLICT (subscription_id, message_id) DO NOTHING
        """,
        [one.id for one in waiting],
        [one.subscription_id for one in waiting],
        [one.message_id for one in waiting],
        [one.type for one in waiting],
        [one.channel for one in waiting],
        [one.body for one in waiting],
        now,
    )


# --- trying ---


async def claim(
    database: Database, subscription_id: UUID, lease: UUID, now: datetime, term: timedelta
) -> bool:
    """Take the right to deliver to a subscription; return False where somebody has it or it is not due."""
    claimed = await database.fetchval(
        """
        UPDATE webhook_subscriptions SET lease = $2, leased_until = $3::timestamptz + $4::interval
        WHERE id = $1 AND enabled AND coalesce(next_try_at <= $3, TRUE) AND coalesce(leased_until <= $3, TRUE)
        RETURNING TRUE
        """,
        *(subscription_id, lease, now, term),
    )
    return claimed is not None


async def next_try(database: Database, subscription_id: UUID, now: datetime) -> datetime | None:
    """Return when the next try was set to be that nobody works on; None where none was, or somebody does."""
    return await database.fetchval(
        """
        SELECT next_try_at FROM webhook_subscriptions
        WHERE id = $1 AND enabled AND coalesce(leased_until <= $2, TRUE)
        """,
        *(subscription_id, now),
    )


async def next_attempt(
    database: Database, subscription_id: UUID, lease: UUID, now: datetime
) -> Attempt | None:
    """Return the oldest delivery that waits, with all that a try takes; None also when the right is lost."""
    row = await database.fetchrow(
        """
        SELECT delivery.id, body, url, failures, failing_since, updated_at,
               ARRAY(
                   SELECT ROW(name, id, sealed) FROM webhook_keys
                   WHERE subscription_id = sub.id AND (expires_at IS NULL OR expires_at > $3)
                   ORDER BY expires_at DESC NULLS FIRST, created_at DESC
               ) AS keys
        FROM webhook_subscriptions AS sub
        CROSS JOIN LATERAL (
            SELECT * FROM webhook_deliveries WHERE subscription_id = sub.id AND pending
            ORDER BY position LIMIT 1
        ) AS delivery
        WHERE sub.id = $1 AND sub.lease = $2 AND sub.enabled
        """,
        *(subscription_id, lease, now),
    )
    if row is None:
        return None
    *fields, keys = row.values()
    return Attempt(*fields, keys=[tuple(key) for key in keys])


async def note_success(
    tx: Tx, subscription_id: UUID, lease: UUID, attempt: Attempt, tried: Tried, *, until: datetime
) -> bool:
    """Write down that a delivery arrived and keep the right until later; return whether it was still held."""
    held = await tx.fetchval(
        """
        UPDATE webhook_subscriptions
        SET failures = 0, failing_since = NULL, next_try_at = NULL, leased_until = $3
        WHERE id = $1 AND lease = $2 RETURNING TRUE
        """,
        *(subscription_id, lease, until),
    )
    await _note(tx, attempt.delivery_id, tried)
    return held is not None


async def note_failure(
    tx: Tx,
    subscription_id: UUID,
    lease: UUID,
    attempt: Attempt,
    tried: Tried,
    *,
    next_try_at: datetime,
    disabled_reason: str | None,
    now: datetime,
) -> bool:
    """Write down a failed try and give the right back; return whether it was held, of the same subscription.

    One that was changed during the try is not judged by it. ``disabled_reason`` disables the subscription.
    """
    held = await tx.fetchval(
        """
        UPDATE webhook_subscriptions
        SET failures = failures + 1, failing_since = coalesce(failing_since, $3::timestamptz),
            next_try_at = $4, enabled = enabled AND $5::text IS NULL,
            disabled_reason = coalesce($5, disabled_reason), lease = NULL, leased_until = NULL
        WHERE id = $1 AND lease = $2 AND updated_at = $6 RETURNING TRUE
        """,
        *(subscription_id, lease, now, next_try_at, disabled_reason, attempt.updated_at),
    )
    await _note(tx, attempt.delivery_id, tried)
    return held is not None


async def _note(tx: Tx, delivery_id: UUID, tried: Tried) -> None:
    """Write down a try. A delivery that arrived stays so, whatever a try that was overtaken says later."""
    await tx.execute(
        """
        UPDATE webhook_deliveries
        SET pending = NOT $7::bool, delivered_at = CASE WHEN $7 THEN $6::timestamptz END,
            tries = tries + 1, status = $2, error = $3, duration_ms = $4, excerpt = $5, tried_at = $6
        WHERE id = $1 AND (pending OR $7)
        """,
        *(
            delivery_id,
            tried.status,
            tried.error,
            tried.duration_ms,
            tried.excerpt,
            tried.at,
            tried.succeeded,
        ),
    )


async def give_back(tx: Tx, subscription_id: UUID, lease: UUID) -> bool:
    """Give the right back; return whether it was still held."""
    given = await tx.fetchval(
        """
        UPDATE webhook_subscriptions SET lease = NULL, leased_until = NULL WHERE id = $1 AND lease = $2
        RETURNING TRUE
        """,
        *(subscription_id, lease),
    )
    return given is not None


async def give_back_if_done(tx: Tx, subscription_id: UUID, lease: UUID) -> bool:
    """Give the right back unless a delivery waits by now; return whether it is not held any more.

    A receiver for which nothing waits fails at nothing: how long it did is forgotten with the last delivery.
    The row is locked before the look: whoever adds a delivery and finds the right taken has added it before
    the look, and whoever comes after the look finds the right free.
    """
    enabled = await tx.fetchval(
        "SELECT enabled FROM webhook_subscriptions WHERE id = $1 AND lease = $2 FOR NO KEY UPDATE",
        *(subscription_id, lease),
    )
    if enabled is None:
        return True
    if enabled and await tx.fetchval(
        "SELECT EXISTS (SELECT FROM webhook_deliveries WHERE subscription_id = $1 AND pending)",
        subscription_id,
    ):
        return False
    if enabled:
        await tx.execute(
            """
            UPDATE webhook_subscriptions SET failures = 0, failing_since = NULL, next_try_at = NULL
            WHERE id = $1 AND failures > 0
            """,
            subscription_id,
        )
    return await give_back(tx, subscription_id, lease)


async def left_behind(tx: Tx, now: datetime) -> list[UUID]:
    """Return subscriptions that could be delivered to and that nobody works on."""
    rows = await tx.fetch(
        """
        SELECT id FROM webhook_subscriptions AS sub
        WHERE enabled AND coalesce(next_try_at <= $1, TRUE) AND coalesce(leased_until <= $1, TRUE)
          AND EXISTS (SELECT FROM webhook_deliveries WHERE subscription_id = sub.id AND pending)
        ORDER BY id
        """,
        now,
    )
    return [row["id"] for row in rows]


# --- reading, replaying, forgetting ---


async def listing(
    database: Database, subscription_id: UUID, *, state: DeliveryState | None, below: int | None, limit: int
) -> list[tuple[int, Delivery]]:
    """Return deliveries newest first, each with its place in the order."""
    rows = await database.fetch(
        f"""
        SELECT {_DELIVERY} FROM webhook_deliveries
        WHERE subscription_id = $1 AND ($2::text IS NULL OR {_STATE} = $2)
          AND ($3::bigint IS NULL OR position < $3)
        ORDER BY position DESC LIMIT $4
        """,  # noqa: S608 -- a constant of this file
        *(subscription_id, state, below, limit),
    )
    return [(row["position"], Delivery(**_fields(row))) for row in rows]


async def one(database: Database | Tx, subscription_id: UUID, delivery_id: UUID) -> DeliveryBody | None:
    """Return a delivery with what is posted."""
    row = await database.fetchrow(
        f"SELECT {_DELIVERY}, body FROM webhook_deliveries WHERE subscription_id = $1 AND id = $2",  # noqa: S608
        *(subscription_id, delivery_id),
    )
    return None if row is None else DeliveryBody(**_fields(row))


def _fields(row: Row) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "position"}


async def place_of(tx: Tx, subscription_id: UUID, delivery_id: UUID) -> int | None:
    """Return where a delivery stands in the order."""
    return await tx.fetchval(
        "SELECT position FROM webhook_deliveries WHERE subscription_id = $1 AND id = $2",
        *(subscription_id, delivery_id),
    )


_AGAIN: Final = "UPDATE webhook_deliveries SET pending = TRUE, delivered_at = NULL WHERE subscription_id = $1"
_ARRIVED: Final = "AND NOT pending AND delivered_at IS NOT NULL"


async def replay_one(tx: Tx, subscription_id: UUID, position: int) -> int:
    """Let a delivery wait again; return how many do because of it."""
    return _count(await tx.execute(f"{_AGAIN} AND NOT pending AND position = $2", subscription_id, position))


async def replay_from(tx: Tx, subscription_id: UUID, position: int) -> int:
    """The same for a delivery and all after it, but for those that were skipped."""
    return _count(await tx.execute(f"{_AGAIN} {_ARRIVED} AND position >= $2", subscription_id, position))


async def replay_since(tx: Tx, subscription_id: UUID, moment: datetime) -> int:
    """The same for all made from a moment on."""
    return _count(await tx.execute(f"{_AGAIN} {_ARRIVED} AND created_at >= $2", subscription_id, moment))


async def skip(tx: Tx, subscription_id: UUID, delivery_id: UUID) -> bool:
    """Let a delivery wait no more; return whether it did. It may be replayed like one that arrived."""
    tag = await tx.execute(
        "UPDATE webhook_deliveries SET pending = FALSE WHERE subscription_id = $1 AND id = $2 AND pending",
        *(subscription_id, delivery_id),
    )
    return _count(tag) == 1


async def forget(tx: Tx, before: datetime) -> int:
    """Delete deliveries made before a moment, some thousand at a time; return how many."""
    tag = await tx.execute(
        """
        DELETE FROM webhook_deliveries WHERE id IN (
            SELECT id FROM webhook_deliveries WHERE created_at < $1 ORDER BY created_at LIMIT $2
            FOR UPDATE SKIP LOCKED
        )
        """,
        *(before, _SWEPT),
    )
    return _count(tag)


async def waiting(database: Database) -> tuple[datetime | None, int]:
    """Return when the oldest delivery that an enabled subscription waits for was made, and how many fail."""
    row = await database.fetchrow(
        """
        SELECT min(oldest.created_at) AS oldest, count(*) FILTER (WHERE failures > 0) AS failing
        FROM webhook_subscriptions AS sub
        LEFT JOIN LATERAL (
            SELECT created_at FROM webhook_deliveries WHERE subscription_id = sub.id AND pending
            ORDER BY position LIMIT 1
        ) AS oldest ON TRUE
        WHERE enabled
        """
    )
    assert row is not None, "an aggregate has a row"
    return row["oldest"], row["failing"]


def _count(tag: str) -> int:
    return int(tag.rpartition(" ")[2])


async def concerned(tx: Tx, subscription_id: UUID, roles: Sequence[str]) -> list[Address]:
    """Return the wallets of those who look after a subscription, one a person: its owner, or such members."""
    rows = await tx.fetch(
        """
        SELECT owner AS address FROM webhook_subscriptions
         WHERE id = $1 AND organization_id IS NULL AND owner IS NOT NULL
        UNION ALL
        (SELECT DISTINCT ON (user_id) own.address
          FROM webhook_subscriptions AS sub
          JOIN members AS member USING (organization_id) JOIN wallets AS own USING (user_id)
         WHERE sub.id = $1 AND member.role = ANY ($2)
         ORDER BY user_id, own.created_at, own.address)
        """,
        subscription_id,
        list(roles),
    )
    return [Address(row["address"]) for row in rows]
