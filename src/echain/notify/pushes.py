"""Use cases of browsers that are sent pushes: subscribed, listed, removed."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey

from echain.accounts.rules import device_name
from echain.infra.crypto import DataKeys
from echain.infra.database import Connection, Tx
from echain.infra.outbound import Rules, checked_url
from echain.kernel.errors import invalid_field
from echain.kernel.ids import uuid7
from echain.notify import pushstore, rules
from echain.notify.pushstore import SUBSCRIPTION, Subscription
from echain.notify.types import (
    PushContent,
    PushSubscription,
    SubscriptionNotFound,
    TooManySubscriptions,
)

_AUTH_BYTES: Final = 16


async def subscribe(
    tx: Tx,
    user_id: UUID,
    content: PushContent,
    keys: DataKeys,
    targets: Rules,
    *,
    user_agent: str,
    now: datetime,
) -> PushSubscription:
    """Send pushes to a browser from now on, and to nobody else who subscribed it before.

    Raises:
        TargetRefused: its endpoint is not https, or not in public.
        Invalid: its keys are none.
        TooManySubscriptions: the user has twenty others.
    """
    checked_url(content.endpoint, targets)
    _check_keys(content)
    subscription = Subscription(content.endpoint, content.keys.p256dh, content.keys.auth)
    plain, subscription_id = msgspec.json.encode(subscription), uuid7()
    found_by = SUBSCRIPTION.indexes(keys, plain)
    device = device_name(user_agent)
    await pushstore.lock_user(tx, user_id)
    await pushstore.drop_endpoint(tx, found_by)
    if await pushstore.count(tx, user_id) >= rules.MAX_SUBSCRIPTIONS:
        raise TooManySubscriptions
    await pushstore.insert(
        tx,
        subscription_id,
        user_id,
        SUBSCRIPTION.seal(keys, subscription_id, plain),
        found_by[0],
        device=device,
        now=now,
    )
    return PushSubscription(subscription_id, device, _service(content.endpoint), now, None)


async def listed(connection: Connection, user_id: UUID, keys: DataKeys) -> list[PushSubscription]:
    """Return a user's browsers, the first first."""
    return [
        PushSubscription(
            row["id"],
            row["device"],
            _service(
                msgspec.json.decode(
                    SUBSCRIPTION.open(keys, row["id"], row["sealed"]), type=Subscription
                ).endpoint
            ),
            row["created_at"],
            row["sent_at"],
        )
        for row in await pushstore.subscriptions(connection, user_id)
    ]


async def unsubscribe(tx: Tx, user_id: UUID, subscription_id: UUID) -> None:
    """Send no more pushes to one of a user's browsers.

    Raises:
        SubscriptionNotFound: the user has none of this id.
    """
    if not await pushstore.remove(tx, subscription_id, user_id=user_id):
        raise SubscriptionNotFound


def _service(endpoint: str) -> str:
    return urlsplit(endpoint).hostname or ""


def _check_keys(content: PushContent) -> None:
    try:
        EllipticCurvePublicKey.from_encoded_point(SECP256R1(), _decoded(content.keys.p256dh))
    except ValueError:
        raise invalid_field("keys.p256dh", "is not an uncompressed P-256 point in base64url") from None
    try:
        secret = _decoded(content.keys.auth)
    except ValueError:
        secret = b""
    if len(secret) != _AUTH_BYTES:
        raise invalid_field("keys.auth", "is not 16 bytes in base64url")


def _decoded(text: str) -> bytes:
    bare = text.rstrip("=")
    return urlsafe_b64decode(bare + "=" * (-len(bare) % 4))
