"""What webhooks keep of a person: subscriptions of their own; an organization's stay with it."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from echain.infra.database import Tx
from echain.infra.personal import Holding, Section, Subject
from echain.organizations.personal import alone_in

_SUBSCRIPTIONS: Final = """
    SELECT sub.id::text AS key, sub.id, organization_id AS "organizationId", owner, url, types,
           settled_only AS "settledOnly", description,
           enabled, disabled_reason AS "disabledReason", created_at AS "createdAt",
           updated_at AS "updatedAt",
           ARRAY(SELECT channel FROM webhook_channels WHERE subscription_id = sub.id ORDER BY channel)
               AS channels
      FROM webhook_subscriptions AS sub
     WHERE owner = ANY((SELECT wallets FROM subject)::bytea[])
"""


async def _forget(tx: Tx, subject: Subject, _now: datetime) -> None:
    """Erase their own subscriptions with channels, keys and deliveries; keep others without their maker."""
    wallets, alone = list(subject.wallets), await alone_in(tx, subject.user_id)
    await tx.execute(
        """
        DELETE FROM webhook_subscriptions
         WHERE organization_id = ANY($2) OR (organization_id IS NULL AND owner = ANY($1))
        """,
        wallets,
        alone,
    )
    await tx.execute("UPDATE webhook_subscriptions SET owner = NULL WHERE owner = ANY($1)", wallets)


HOLDING: Final = Holding(
    (
        Section(
            "webhookSubscriptions",
            "Webhook subscriptions that you made, without their secrets.",
            _SUBSCRIPTIONS,
        ),
    ),
    _forget,
)
