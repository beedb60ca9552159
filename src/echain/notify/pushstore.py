"""SQL of browsers that are sent pushes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from echain.infra.crypto import SealedColumn
from echain.infra.database import Connection, Row, Tx


class Subscription(msgspec.Struct, frozen=True):
    """What a browser gives: where to post, and its keys; the endpoint tells browsers apart."""

    endpoint: str
    p256dh: str
    auth: str


def _endpoint(sealed: bytes) -> bytes:
    return msgspec.json.decode(sealed, type=Subscription).endpoint.encode()


SUBSCRIPTION: Final = SealedColumn("push_subscriptions", index_column="found_by", normal=_endpoint)


async def lock_user(tx: Tx, user_id: UUID) -> None:
    """Let a user's subscriptions take turns until the transaction ends."""
    await tx.execute("SELECT FROM users WHERE id = $1 FOR NO KEY UPDATE", user_id)


async def drop_endpoint(tx: Tx, found_by: Sequence[bytes]) -> None:
    """Forget a browser, whoever subscribed it: it now speaks for whoever does so last."""
    await tx.execute("DELETE FROM push_subscriptions WHERE found_by = ANY($1)", list(found_by))


async def count(tx: Tx, user_id: UUID) -> int:
    """Return how many browsers a user has subscribed."""
    number: int | None = await tx.fetchval(
        "SELECT count(*) FROM push_subscriptions WHERE user_id = $1", user_id
    )
    return number or 0


async def insert(
    tx: Tx,
    subscription_id: UUID,
    user_id: UUID,
    sealed: bytes,
    found_by: bytes,
    *,
    device: str,
    now: datetime,
) -> None:
    """Keep a browser; of several people who subscribe it at once, the last one's."""
    await tx.execute(
        """
        INSERT INTO push_subscriptions (id, user_id, sealed, found_by, device, created_at)
        VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (found_by) DO UPDATE
           SET id = excluded.id, user_id = excluded.user_id, sealed = excluded.sealed,
               device = excluded.device, created_at = excluded.created_at, sent_at = NULL
        """,
        subscription_id,
        user_id,
        sealed,
        found_by,
        device,
        now,
    )


async def subscriptions(connection: Connection, user_id: UUID) -> Sequence[Row]:
    """Return a user's browsers, the first first."""
    return await connection.fetch(
        """
        SELECT id, sealed, device, created_at, sent_at FROM push_subscriptions
         WHERE user_id = $1 ORDER BY created_at, id
        """,
        user_id,
    )


async def subscription(connection: Connection, subscription_id: UUID) -> bytes | None:
    """Return one browser, sealed."""
    return await connection.fetchval("SELECT sealed FROM push_subscriptions WHERE id = $1", subscription_id)


async def remove(tx: Tx, subscription_id: UUID, *, user_id: UUID | None = None) -> bool:
    """Forget a browser, of one user if given; False when there is none."""
    tag = await tx.execute(
        "DELETE FROM push_subscriptions WHERE id = $1 AND ($2::uuid IS NULL OR user_id = $2)",
        subscription_id,
        user_id,
    )
    return tag != "DELETE 0"


async def reached(tx: Tx, subscription_id: UUID, *, now: datetime) -> None:
    """Note that a push service took a message for a browser."""
    await tx.execute("UPDATE push_subscriptions SET sent_at = $2 WHERE id = $1", subscription_id, now)
