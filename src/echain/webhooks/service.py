"""Use cases of subscriptions: who hears what and where, with which secret, and what is posted again."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from echain.events import service as events
from echain.events.types import EventNotFound, NotOrganizer, NotPublished
from echain.infra.crypto import DataKeys
from echain.infra.database import Database, Tx
from echain.infra.outbound import Rules, TargetRefused, checked_url
from echain.kernel.errors import Invalid, invalid_field
from echain.kernel.evm import Address, checksum
from echain.kernel.ids import uuid7
from echain.kernel.time import to_unix
from echain.webhooks import deliverystore, rules, store
from echain.webhooks.courier import wake
from echain.webhooks.deliverystore import Waiting
from echain.webhooks.types import (
    Delivery,
    DeliveryBody,
    DeliveryFilter,
    DeliveryNotFound,
    NewSubscription,
    Replay,
    Rotation,
    Subscription,
    SubscriptionNotFound,
    SubscriptionSecret,
    SubscriptionUpdate,
    TooManySubscriptions,
)

_SECRET_BYTES = 32


async def create(
    tx: Tx, owner: Address, wanted: NewSubscription, keys: DataKeys, targets: Rules, *, now: datetime
) -> SubscriptionSecret:
    """Keep a new subscription; return it with its secret, which nobody can read again.

    Raises:
        Invalid: the URL, a type or a channel is none that this owner may have.
        TooManySubscriptions: the owner has as many as there may be.
    """
    url, types, channels = await _checked(tx, owner, wanted, targets)
    if not await store.room_for_another(tx, owner):
        raise TooManySubscriptions
    subscription_id = uuid7()
    await store.insert(
        tx,
        subscription_id,
        owner,
        url=url,
        types=types,
        settled_only=wanted.settled_only,
        description=wanted.description,
        now=now,
    )
    await store.set_channels(tx, subscription_id, channels)
    return await _with_new_key(tx, subscription_id, owner, keys, old_until=now, now=now)


async def read(
    database: Database | Tx, subscription_id: UUID, owner: Address, *, now: datetime
) -> Subscription:
    """Return an owner's subscription.

    Raises:
        SubscriptionNotFound: none of this owner's.
    """
    found = await store.one(database, subscription_id, owner, now)
    if found is None:
        raise SubscriptionNotFound
    return found


async def update(
    tx: Tx,
    subscription_id: UUID,
    owner: Address,
    wanted: SubscriptionUpdate,
    targets: Rules,
    *,
    now: datetime,
) -> Subscription:
    """Replace what may change; what waits is tried at once, from where it stopped.

    Raises:
        SubscriptionNotFound: none of this owner's.
        Invalid: as in `create`.
    """
    await _lock(tx, subscription_id, owner)
    url, types, channels = await _checked(tx, owner, wanted, targets)
    await store.update(
        tx,
        subscription_id,
        url=url,
        types=types,
        description=wanted.description,
        enabled=wanted.enabled,
        now=now,
    )
    await store.set_channels(tx, subscription_id, channels)
    if wanted.enabled:
        await wake(tx, [subscription_id])
    return await read(tx, subscription_id, owner, now=now)


async def remove(tx: Tx, subscription_id: UUID, owner: Address) -> None:
    """Forget a subscription with all that waits for it.

    Raises:
        SubscriptionNotFound: none of this owner's.
    """
    await _lock(tx, subscription_id, owner)
    await store.delete(tx, subscription_id)


async def rotate(
    tx: Tx, subscription_id: UUID, owner: Address, rotation: Rotation, keys: DataKeys, *, now: datetime
) -> SubscriptionSecret:
    """Let a new key sign; the one before signs beside it for the grace period.

    Raises:
        SubscriptionNotFound: none of this owner's.
    """
    await _lock(tx, subscription_id, owner)
    old_until = now + timedelta(seconds=rotation.grace_seconds)
    return await _with_new_key(tx, subscription_id, owner, keys, old_until=old_until, now=now)


async def ping(tx: Tx, subscription_id: UUID, owner: Address, *, now: datetime) -> UUID:
    """Have a test message delivered, behind all that waits already; return the delivery.

    Raises:
        SubscriptionNotFound: none of this owner's.
    """
    await _lock(tx, subscription_id, owner)
    delivery_id = uuid7()
    channel = f"user:{checksum(owner)}"
    at_ms = to_unix(now) * 1_000 + now.microsecond // 1_000
    data = msgspec.json.encode({"subscriptionId": str(subscription_id)})
    body = rules.body_of(delivery_id, None, rules.PING, channel, at_ms=at_ms, data=data)
    await deliverystore.insert(
        tx, [Waiting(delivery_id, subscription_id, None, rules.PING, channel, body)], now
    )
    await wake(tx, [subscription_id])
    return delivery_id


async def deliveries(
    database: Database, subscription_id: UUID, owner: Address, wanted: DeliveryFilter, *, now: datetime
) -> tuple[Sequence[Delivery], str | None]:
    """Return a page of deliveries, newest first, and the cursor of the next one.

    Raises:
        SubscriptionNotFound: none of this owner's.
    """
    await read(database, subscription_id, owner, now=now)
    below = None if wanted.cursor is None else int(wanted.cursor)
    found = await deliverystore.listing(
        database, subscription_id, state=wanted.state, below=below, limit=wanted.limit + 1
    )
    page = found[: wanted.limit]
    following = str(page[-1][0]) if len(found) > wanted.limit else None
    return [delivery for _, delivery in page], following


async def delivery(
    database: Database, subscription_id: UUID, delivery_id: UUID, owner: Address, *, now: datetime
) -> DeliveryBody:
    """Return one delivery with what is posted.

    Raises:
        SubscriptionNotFound, DeliveryNotFound: none of this owner's.
    """
    await read(database, subscription_id, owner, now=now)
    found = await deliverystore.one(database, subscription_id, delivery_id)
    if found is None:
        raise DeliveryNotFound
    return found


async def skip(
    tx: Tx, subscription_id: UUID, delivery_id: UUID, owner: Address, *, now: datetime
) -> DeliveryBody:
    """Let a delivery that the receiver cannot take hold those behind it no longer; return it.

    What failed because of it is not held against the receiver. One that arrived stays as it is.

    Raises:
        SubscriptionNotFound, DeliveryNotFound: none of this owner's.
    """
    await _lock(tx, subscription_id, owner)
    if await deliverystore.skip(tx, subscription_id, delivery_id):
        await store.forget_failures(tx, subscription_id)
    found = await deliverystore.one(tx, subscription_id, delivery_id)
    if found is None:
        raise DeliveryNotFound
    await store.try_now(tx, subscription_id, now)
    await wake(tx, [subscription_id])
    return found


async def replay(tx: Tx, subscription_id: UUID, owner: Address, wanted: Replay, *, now: datetime) -> int:
    """Let deliveries wait again, under the same ids and in their old order; return how many.

    Raises:
        SubscriptionNotFound, DeliveryNotFound: none of this owner's.
        Invalid: not exactly one of the three ways to say which.
    """
    await _lock(tx, subscription_id, owner)
    named = wanted.delivery_id or wanted.since_id
    if (wanted.delivery_id, wanted.since_id, wanted.since).count(None) != 2:  # noqa: PLR2004 -- of three
        raise invalid_field("deliveryId", "give exactly one of deliveryId, sinceId and since")
    if named is None:
        assert wanted.since is not None, "one of the three is given"
        count = await deliverystore.replay_since(tx, subscription_id, wanted.since)
    else:
        position = await deliverystore.place_of(tx, subscription_id, named)
        if position is None:
            raise DeliveryNotFound
        again = deliverystore.replay_one if wanted.delivery_id else deliverystore.replay_from
        count = await again(tx, subscription_id, position)
    await store.try_now(tx, subscription_id, now)
    await wake(tx, [subscription_id])
    return count


async def _lock(tx: Tx, subscription_id: UUID, owner: Address) -> None:
    if not await store.lock(tx, subscription_id, owner):
        raise SubscriptionNotFound


async def _with_new_key(
    tx: Tx, subscription_id: UUID, owner: Address, keys: DataKeys, *, old_until: datetime, now: datetime
) -> SubscriptionSecret:
    key_id, secret = uuid7(), rules.secret_text(secrets.token_bytes(_SECRET_BYTES))
    await store.add_key(
        tx,
        key_id,
        subscription_id,
        name=f"key_{secrets.token_hex(4)}",
        sealed=store.SEALED.seal(keys, key_id, secret.encode()),
        old_until=old_until,
        now=now,
    )
    subscription = await read(tx, subscription_id, owner, now=now)
    return SubscriptionSecret(**msgspec.structs.asdict(subscription), secret=secret)


async def _checked(
    tx: Tx, owner: Address, wanted: NewSubscription | SubscriptionUpdate, targets: Rules
) -> tuple[str, list[str], list[str]]:
    """Return URL, types and channels as they are kept."""
    try:
        url = str(checked_url(wanted.url, targets))
    except TargetRefused as refusal:
        raise invalid_field("url", refusal.message) from None
    types = rules.checked_types(wanted.types)
    names = wanted.channels or [f"organizer:{checksum(owner)}"]
    channels = [await _own_channel(tx, owner, name) for name in names]
    return url, types, list(dict.fromkeys(channels))


async def _own_channel(tx: Tx, owner: Address, name: str) -> str:
    channel = rules.own_channel(owner, name)
    if isinstance(channel, str):
        return channel
    try:
        event = await events.owned(tx, channel, owner)
    except (EventNotFound, NotOrganizer, NotPublished):
        # All the same to a stranger: whether the event exists is not told here.
        raise Invalid(
            f"channels: {name} is not a published event of yours",
            fields=[{"path": "channels", "reason": f"{name} is not a published event of yours"}],
        ) from None
    return f"event:{event.id}"
