"""What notifications keep of a person, and how it goes."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec

from echain.infra.crypto import DataKeys, SealedColumn
from echain.infra.database import Tx
from echain.infra.jobs import withdraw
from echain.infra.personal import Forget, Holding, Opened, Section, Subject
from echain.notify import addressstore
from echain.notify.addressstore import ADDRESS, ASKED
from echain.notify.kinds import FAREWELL, VERIFY
from echain.notify.pushstore import SUBSCRIPTION
from echain.organizations.personal import forget_invited

_SETTINGS: Final = """
    SELECT user_id::text AS key, language, time_zone AS "timeZone", digest, choices,
           next_digest_at AS "nextDigestAt", updated_at AS "updatedAt"
      FROM notification_settings JOIN subject USING (user_id)
"""
_ADDRESS: Final = """
    SELECT user_id::text AS key, user_id AS id, sealed, verified_at AS "verifiedAt", bounces,
           suspended_at AS "suspendedAt"
      FROM email_addresses JOIN subject USING (user_id)
"""
_ASKED: Final = """
    SELECT id::text AS key, id, sealed, created_at AS "createdAt", expires_at AS "expiresAt",
           used_at AS "usedAt", void_at AS "voidAt"
      FROM email_verifications JOIN subject USING (user_id)
"""
_BROWSERS: Final = """
    SELECT id::text AS key, id, sealed, device, created_at AS "createdAt", sent_at AS "sentAt"
      FROM push_subscriptions JOIN subject USING (user_id)
"""
_NOTIFICATIONS: Final = """
    SELECT id::text AS key, id, address, kind, event_id AS "eventId", data, visible,
           created_at AS "createdAt", read_at AS "readAt", undone_at AS "undoneAt"
      FROM notifications JOIN subject USING (user_id)
"""
_DELIVERIES: Final = """
    SELECT delivery.id::text AS key, delivery.id, notification_id AS "notificationId", delivery.kind, channel,
           state, tries, reason, delivery.created_at AS "createdAt", ended_at AS "endedAt"
      FROM subject JOIN notifications AS told USING (user_id)
      JOIN notification_deliveries AS delivery ON delivery.notification_id = told.id
"""

_TABLES: Final = (
    # With its deliveries, by the key that refers to it: they are not listed by user.
    "notifications",
    "push_subscriptions",
    "email_verifications",
    "email_addresses",
    "notification_settings",
)


def holding(keys: DataKeys) -> Holding:
    """Return what is held; ``keys`` open what is sealed, for its owner."""
    return Holding(
        (
            Section("preferences", "How you want to be told of what.", _SETTINGS),
            Section(
                "emailAddress", "Your verified e-mail address.", _ADDRESS, _text(keys, ADDRESS, "address")
            ),
            Section(
                "emailVerifications",
                "Addresses that were asked for consent within the last two days.",
                _ASKED,
                _text(keys, ASKED, "address"),
            ),
            Section(
                "pushSubscriptions",
                "Browsers that are sent pushes, with the endpoint that the browser gave.",
                _BROWSERS,
                _browser(keys),
            ),
            Section("notifications", "What you were told within the last year.", _NOTIFICATIONS),
            Section("deliveries", "Mails and pushes that carried it.", _DELIVERIES),
        ),
        _forgetting(keys),
    )


def _text(keys: DataKeys, column: SealedColumn, name: str) -> Opened:
    def opened(row: dict[str, Any]) -> dict[str, Any]:
        sealed = row.pop("sealed")
        return {name: column.open(keys, row.pop("id"), sealed).decode(), **row}

    return opened


def _browser(keys: DataKeys) -> Opened:
    """Show where pushes go; the keys that seal them are of use to the browser alone."""

    def opened(row: dict[str, Any]) -> dict[str, Any]:
        plain = SUBSCRIPTION.open(keys, row["id"], row.pop("sealed"))
        return {**row, "endpoint": msgspec.json.decode(plain)["endpoint"]}

    return opened


def _forgetting(keys: DataKeys) -> Forget:
    async def forget(tx: Tx, subject: Subject, now: datetime) -> None:
        """Erase all of it, and invitations to their address, which organizations keep."""
        known = await addressstore.address(tx, subject.user_id)
        if known is not None:
            plain = ADDRESS.open(keys, subject.user_id, known["sealed"])
            await forget_invited(tx, keys, plain, now)
        await _forget(tx, subject)

    return forget


async def _forget(tx: Tx, subject: Subject) -> None:
    """Erase all. Mails and pushes that wait find no delivery; two kinds of job carry more and go, too."""
    asked = await tx.fetch("SELECT id FROM email_verifications WHERE user_id = $1", subject.user_id)
    await withdraw(tx, VERIFY, "verification_id", [str(row["id"]) for row in asked])
    await withdraw(tx, FAREWELL, "user_id", [str(subject.user_id)])
    for table in _TABLES:
        await tx.execute(f"DELETE FROM {table} WHERE user_id = $1", subject.user_id)  # noqa: S608 -- constants
