"""What webhooks keep of a person: subscriptions of their own; an organization's stay with it."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from echain.infra.database import Tx
from echain.infra.personal import Holding, Section, Subject

_SUBSCRIPTIONS: Final = """
    SELECT sub.id::text AS key, sub.id, owner, url, types, settled_only AS "settledOnly", description,
           enabled, disabled_reason AS "disabledReason", created_at AS "createdAt",
           updated_at AS "updatedAt",
           ARRAY(SELECT channel FROM webhook_channels WHERE subscription_id = sub.id ORDER BY channel)
               AS channels
      FROM webhook_subscriptions AS sub
     WHERE owner = ANY((SELECT wallets FROM subject)::bytea[])
"""


async def _forget(tx: Tx, subject: Subject, _now: datetime) -> None:
    """Erase their own subscriptions with channels, keys and deliveries."""
    await tx.execute("DELETE FROM webhook_subscriptions WHERE owner = ANY($1)", list(subject.wallets))


HOLDING: Final = Holding(
    (
        Section(
            "webhookSubscriptions", "Webhook subscriptions of yours, without their secrets.", _SUBSCRIPTIONS
        ),
    ),
    _forget,
)
