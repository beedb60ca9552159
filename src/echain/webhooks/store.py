"""SQL of subscriptions: who hears what, and the keys that sign."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from echain.infra.crypto import SealedColumn
from echain.infra.database import Connection, Database, Row, Tx
from echain.kernel.evm import Address
from echain.webhooks.types import MAX_SUBSCRIPTIONS, Owner, SigningKey, Subscription

SEALED: Final = SealedColumn("webhook_keys")
"""Where the secrets lie, each sealed for its row."""

_COUNTED: Final = 1_000

_SUBSCRIPTION: Final = f"""
    SELECT sub.id, sub.organization_id, url, types, settled_only, description, enabled, disabled_reason,
           failing_since, next_try_at, created_at, updated_at,
           ARRAY(
               SELECT channel FROM webhook_channels WHERE subscription_id = sub.id ORDER BY channel
           ) AS channels,
           (
               SELECT count(*) FROM (
                   SELECT FROM webhook_deliveries WHERE subscription_id = sub.id AND pending LIMIT {_COUNTED}
               ) AS waiting
           ) AS pending,
           ARRAY(
               SELECT ROW(name, created_at, expires_at) FROM webhook_keys
               WHERE subscription_id = sub.id AND (expires_at IS NULL OR expires_at > $1)
               ORDER BY expires_at DESC NULLS FIRST, created_at DESC
           ) AS keys
    FROM webhook_subscriptions AS sub
"""  # noqa: S608 -- a constant of this file


_OWNED: Final = """
    CASE WHEN $1::uuid IS NULL THEN organization_id IS NULL AND owner = $2::bytea
         ELSE organization_id = $1 END
"""


def _values(owner: Owner) -> tuple[UUID | None, Address | None]:
    return owner.organization_id, owner.wallet


def _subscription(row: Row) -> Subscription:
    fields = dict(row)
    keys = [SigningKey(*key) for key in fields.pop("keys")]
    return Subscription(**fields, keys=keys)


async def room_for_another(tx: Tx, owner: Owner) -> bool:
    """Return whether an owner may have one more; whoever asks for the same owner waits until ``tx`` ends."""
    named = owner.wallet.hex() if owner.wallet and not owner.organization_id else str(owner.organization_id)
    await tx.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"webhooks:{named}")
    had = await tx.fetch(f"SELECT FROM webhook_subscriptions WHERE {_OWNED}", *_values(owner))
    return len(had) < MAX_SUBSCRIPTIONS


async def insert(
    tx: Tx,
    subscription_id: UUID,
    owner: Owner,
    *,
    url: str,
    types: Sequence[str],
    settled_only: bool,
    description: str,
    now: datetime,
) -> None:
    """Keep a new subscription, enabled, with no channel and no key yet."""
    await tx.execute(
        """
        INSERT INTO webhook_subscriptions
            (id, organization_id, owner, url, types, settled_only, description, created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)
        """,
        *(subscription_id, owner.organization_id, owner.wallet),
        *(url, list(types), settled_only, description, now),
    )


async def set_channels(tx: Tx, subscription_id: UUID, channels: Sequence[str]) -> None:
    """Let a subscription hear these channels and no others."""
    await tx.execute(
        "DELETE FROM webhook_channels WHERE subscription_id = $1 AND channel <> ALL ($2)",
        *(subscription_id, list(channels)),
    )
    await tx.execute(
        """
        INSERT INTO webhook_channels (channel, subscription_id) SELECT unnest($2::text[]), $1
        ON CONFLICT DO NOTHING
        """,
        *(subscription_id, list(channels)),
    )


async def add_key(
    tx: Tx,
    key_id: UUID,
    subscription_id: UUID,
    *,
    name: str,
    sealed: bytes,
    old_until: datetime,
    now: datetime,
) -> None:
    """Let a new key sign, and the one before only until a moment; keys that are over go."""
    await tx.execute(
        "DELETE FROM webhook_keys WHERE subscription_id = $1 AND expires_at <= $2", subscription_id, now
    )
    await tx.execute(
        """
        UPDATE webhook_keys SET expires_at = least(expires_at, $2) WHERE subscription_id = $1
        """,
        *(subscription_id, old_until),
    )
    await tx.execute(
        """
        INSERT INTO webhook_keys (id, subscription_id, name, sealed, created_at) VALUES ($1, $2, $3, $4, $5)
        """,
        *(key_id, subscription_id, name, sealed, now),
    )


async def owner_of(connection: Database | Connection, subscription_id: UUID) -> Owner | None:
    """Return whose a subscription is; None when there is none."""
    row = await connection.fetchrow(
        "SELECT organization_id, owner FROM webhook_subscriptions WHERE id = $1", subscription_id
    )
    return None if row is None else Owner(*row.values())


async def lock(tx: Tx, subscription_id: UUID) -> bool:
    """Lock a subscription until ``tx`` ends; return whether there is one."""
    found = await tx.fetchval(
        "SELECT TRUE FROM webhook_subscriptions WHERE id = $1 FOR NO KEY UPDATE", subscription_id
    )
    return found is not None


async def one(database: Database | Connection, subscription_id: UUID, now: datetime) -> Subscription | None:
    """Return a subscription."""
    row = await database.fetchrow(f"{_SUBSCRIPTION} WHERE id = $2", now, subscription_id)
    return None if row is None else _subscription(row)


async def all_of(
    database: Database, organizations: Sequence[UUID], wallet: Address | None, now: datetime
) -> list[Subscription]:
    """Return the subscriptions of organizations, and a wallet's own, the oldest first."""
    rows = await database.fetch(
        f"""
        {_SUBSCRIPTION}
        WHERE organization_id = ANY($2) OR (organization_id IS NULL AND owner = $3) ORDER BY id
        """,
        *(now, list(organizations), wallet),
    )
    return [_subscription(row) for row in rows]


async def update(
    tx: Tx,
    subscription_id: UUID,
    *,
    url: str,
    types: Sequence[str],
    description: str,
    enabled: bool,
    now: datetime,
) -> None:
    """Write what may change of a locked subscription; its next try is now, and its failures are forgotten."""
    await tx.execute(
        """
        UPDATE webhook_subscriptions
        SET url = $2, types = $3, description = $4, enabled = $5,
            disabled_reason = CASE WHEN $5 THEN NULL ELSE coalesce(disabled_reason, 'by its owner') END,
            failures = 0, failing_since = NULL, next_try_at = NULL, updated_at = $6
        WHERE id = $1
        """,
        *(subscription_id, url, list(types), description, enabled, now),
    )


async def try_now(tx: Tx, subscription_id: UUID, now: datetime) -> None:
    """Let a locked subscription's next try be now, whatever comes of one under way.

    How long it fails already is not forgotten.
    """
    await tx.execute(
        "UPDATE webhook_subscriptions SET next_try_at = NULL, updated_at = $2 WHERE id = $1",
        *(subscription_id, now),
    )


async def forget_failures(tx: Tx, subscription_id: UUID) -> None:
    """Let a locked subscription's receiver begin anew: what it failed at waits no more."""
    await tx.execute(
        "UPDATE webhook_subscriptions SET failures = 0, failing_since = NULL WHERE id = $1", subscription_id
    )


async def delete(tx: Tx, subscription_id: UUID) -> None:
    """Forget a locked subscription with its keys, channels and deliveries."""
    await tx.execute("DELETE FROM webhook_subscriptions WHERE id = $1", subscription_id)


async def forget_ownerless(tx: Tx) -> None:
    """Forget the subscriptions of organizations that are no more."""
    await tx.execute(
        """
        DELETE FROM webhook_subscriptions USING organizations AS organization
         WHERE organization.id = organization_id AND deleted_at IS NOT NULL
        """
    )
