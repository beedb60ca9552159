"""Use cases of subscriptions: who hears what and where, with which secret, and what is posted again."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from echain.accounts.types import address_of
from echain.edge.http import Caller
from echain.events import service as events
from echain.events.types import EventNotFound, NotPublished
from echain.infra.crypto import DataKeys
from echain.infra.database import Connection, Database, Tx
from echain.infra.outbound import Rules, TargetRefused, checked_url
from echain.kernel.errors import Invalid, invalid_field
from echain.kernel.evm import Address, checksum
from echain.kernel.ids import uuid7
from echain.kernel.time import to_unix
from echain.organizations import service as organizations
from echain.organizations.types import Permission, PermissionMissing
from echain.webhooks import deliverystore, rules, store
from echain.webhooks.courier import wake
from echain.webhooks.deliverystore import Waiting
from echain.webhooks.types import (
    MAX_CHANNELS,
    Delivery,
    DeliveryBody,
    DeliveryFilter,
    DeliveryNotFound,
    NewSubscription,
    Owner,
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
    tx: Tx, caller: Caller, wanted: NewSubscription, keys: DataKeys, targets: Rules, *, now: datetime
) -> SubscriptionSecret:
    """Keep a new subscription; return it with its secret, which nobody can read again.

    Raises:
        Invalid: the URL, a type or a channel is none that its owner may have.
        OrganizationNotFound, PermissionMissing, WalletNeeded: see `_owner`.
        TooManySubscriptions: the owner has as many as there may be.
    """
    owner = await _owner(tx, caller, wanted)
    url, types, channels = await _checked(tx, caller, owner, wanted, targets)
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
    return await _with_new_key(tx, subscription_id, old_until=now, keys=keys, now=now)


async def _owner(tx: Tx, caller: Caller, wanted: NewSubscription) -> Owner:
    """Return whose a new subscription is: the named organization's, the wallet's, or the caller's own.

    What hears nothing but the caller's private channel is their own, whatever they belong to.

    Raises:
        OrganizationNotFound, PermissionMissing: the caller may not do that there.
        WalletNeeded: no organization is named, and the caller signed in without a wallet.
    """
    if wanted.organization_id is not None:
        await organizations.require_of(tx, caller, wanted.organization_id, Permission.WEBHOOKS)
        return Owner(wanted.organization_id, caller.address)
    wallet = address_of(caller)
    private = wanted.channels and all(name.startswith("user:") for name in wanted.channels)
    standing = None if private else await organizations.standing_to(tx, caller, wallet)
    if standing is None or standing.organization_id is None:
        return Owner(None, wallet)
    organizations.check(standing.role, Permission.WEBHOOKS)
    return Owner(standing.organization_id, wallet)


async def permitted(connection: Database | Connection, subscription_id: UUID, caller: Caller) -> Owner:
    """Return whose a subscription is that the caller may look after.

    Raises:
        SubscriptionNotFound: none, or the caller has nothing to do with it.
        PermissionMissing: the caller's role does not allow it.
    """
    owner = await store.owner_of(connection, subscription_id)
    if owner is None:
        raise SubscriptionNotFound
    if owner.organization_id is not None:
        await organizations.require_of(
            connection, caller, owner.organization_id, Permission.WEBHOOKS, missing=SubscriptionNotFound
        )
    elif owner.wallet is None or owner.wallet != caller.address:
        raise SubscriptionNotFound
    return owner


async def listed(database: Database, caller: Caller, *, now: datetime) -> list[Subscription]:
    """Return the caller's own subscriptions and those of organizations for which they look after them."""
    reach = await organizations.reach(database, caller.id, Permission.WEBHOOKS)
    return await store.all_of(database, reach.organizations, caller.address, now)


async def read(
    connection: Database | Connection, subscription_id: UUID, caller: Caller, *, now: datetime
) -> Subscription:
    """Return a subscription.

    Raises:
        SubscriptionNotFound, PermissionMissing: see `permitted`.
    """
    await permitted(connection, subscription_id, caller)
    return await _read(connection, subscription_id, now)


async def held(tx: Tx, subscription_id: UUID, caller: Caller, *, now: datetime) -> Subscription:
    """Return a subscription that nobody else changes before ``tx`` ends.

    Raises:
        SubscriptionNotFound, PermissionMissing: see `permitted`.
    """
    await _lock(tx, subscription_id, caller)
    return await _read(tx, subscription_id, now)


async def update(
    tx: Tx,
    subscription_id: UUID,
    caller: Caller,
    wanted: SubscriptionUpdate,
    targets: Rules,
    *,
    now: datetime,
) -> Subscription:
    """Replace what may change; what waits is tried at once, from where it stopped.

    Raises:
        SubscriptionNotFound, PermissionMissing: see `permitted`.
        Invalid: as in `create`.
    """
    owner = await _lock(tx, subscription_id, caller)
    url, types, channels = await _checked(tx, caller, owner, wanted, targets)
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
    return await _read(tx, subscription_id, now)


async def remove(tx: Tx, subscription_id: UUID, caller: Caller) -> None:
    """Forget a subscription with all that waits for it.

    Raises:
        SubscriptionNotFound, PermissionMissing: see `permitted`.
    """
    await _lock(tx, subscription_id, caller)
    await store.delete(tx, subscription_id)


async def rotate(
    tx: Tx, subscription_id: UUID, caller: Caller, rotation: Rotation, keys: DataKeys, *, now: datetime
) -> SubscriptionSecret:
    """Let a new key sign; the one before signs beside it for the grace period.

    Raises:
        SubscriptionNotFound, PermissionMissing: see `permitted`.
    """
    await _lock(tx, subscription_id, caller)
    old_until = now + timedelta(seconds=rotation.grace_seconds)
    return await _with_new_key(tx, subscription_id, old_until=old_until, keys=keys, now=now)


async def ping(tx: Tx, subscription_id: UUID, caller: Caller, *, now: datetime) -> UUID:
    """Have a test message delivered, behind all that waits already; return the delivery.

    It comes on the first of the subscription's channels, where nobody else hears it.

    Raises:
        SubscriptionNotFound, PermissionMissing: see `permitted`.
    """
    await _lock(tx, subscription_id, caller)
    delivery_id = uuid7()
    channel = (await _read(tx, subscription_id, now)).channels[0]
    at_ms = to_unix(now) * 1_000 + now.microsecond // 1_000
    data = msgspec.json.encode({"subscriptionId": str(subscription_id)})
    body = rules.body_of(delivery_id, None, rules.PING, channel, at_ms=at_ms, data=data)
    await deliverystore.insert(
        tx, [Waiting(delivery_id, subscription_id, None, rules.PING, channel, body)], now
    )
    await wake(tx, [subscription_id])
    return delivery_id


async def deliveries(
    database: Database, subscription_id: UUID, caller: Caller, wanted: DeliveryFilter
) -> tuple[Sequence[Delivery], str | None]:
    """Return a page of deliveries, newest first, and the cursor of the next one.

    Raises:
        SubscriptionNotFound, PermissionMissing: see `permitted`.
    """
    await permitted(database, subscription_id, caller)
    below = None if wanted.cursor is None else int(wanted.cursor)
    found = await deliverystore.listing(
        database, subscription_id, state=wanted.state, below=below, limit=wanted.limit + 1
    )
    page = found[: wanted.limit]
    following = str(page[-1][0]) if len(found) > wanted.limit else None
    return [delivery for _, delivery in page], following


async def delivery(
    database: Database, subscription_id: UUID, delivery_id: UUID, caller: Caller
) -> DeliveryBody:
    """Return one delivery with what is posted.

    Raises:
        SubscriptionNotFound, PermissionMissing: see `permitted`.
        DeliveryNotFound: this subscription has none of this id.
    """
    await permitted(database, subscription_id, caller)
    found = await deliverystore.one(database, subscription_id, delivery_id)
    if found is None:
        raise DeliveryNotFound
    return found


async def skip(
    tx: Tx, subscription_id: UUID, delivery_id: UUID, caller: Caller, *, now: datetime
) -> DeliveryBody:
    """Let a delivery that the receiver cannot take hold those behind it no longer; return it.

    What failed because of it is not held against the receiver. One that arrived stays as it is.

    Raises:
        SubscriptionNotFound, PermissionMissing: see `permitted`.
        DeliveryNotFound: this subscription has none of this id.
    """
    await _lock(tx, subscription_id, caller)
    if await deliverystore.skip(tx, subscription_id, delivery_id):
        await store.forget_failures(tx, subscription_id)
    found = await deliverystore.one(tx, subscription_id, delivery_id)
    if found is None:
        raise DeliveryNotFound
    await store.try_now(tx, subscription_id, now)
    await wake(tx, [subscription_id])
    return found


async def replay(tx: Tx, subscription_id: UUID, caller: Caller, wanted: Replay, *, now: datetime) -> int:
    """Let deliveries wait again, under the same ids and in their old order; return how many.

    Raises:
        SubscriptionNotFound, PermissionMissing: see `permitted`.
        DeliveryNotFound: this subscription has none of this id.
        Invalid: not exactly one of the three ways to say which.
    """
    await _lock(tx, subscription_id, caller)
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


async def _lock(tx: Tx, subscription_id: UUID, caller: Caller) -> Owner:
    owner = await permitted(tx, subscription_id, caller)
    if not await store.lock(tx, subscription_id):
        raise SubscriptionNotFound
    return owner


async def _read(connection: Database | Connection, subscription_id: UUID, now: datetime) -> Subscription:
    found = await store.one(connection, subscription_id, now)
    if found is None:
        raise SubscriptionNotFound
    return found


async def _with_new_key(
    tx: Tx, subscription_id: UUID, *, old_until: datetime, keys: DataKeys, now: datetime
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
    subscription = await _read(tx, subscription_id, now)
    return SubscriptionSecret(**msgspec.structs.asdict(subscription), secret=secret)


async def _checked(
    tx: Tx, caller: Caller, owner: Owner, wanted: NewSubscription | SubscriptionUpdate, targets: Rules
) -> tuple[str, list[str], list[str]]:
    """Return URL, types and channels as they are kept."""
    try:
        url = str(checked_url(wanted.url, targets))
    except TargetRefused as refusal:
        raise invalid_field("url", refusal.message) from None
    types = rules.checked_types(wanted.types)
    organizers = await _organizers(tx, caller, owner)
    user = owner.wallet if owner.organization_id is None else None
    names = wanted.channels or [f"organizer:{checksum(one)}" for one in organizers[:MAX_CHANNELS]]
    channels = [
        one if isinstance(one, str) else await _own_event(tx, caller, owner, one)
        for one in (rules.own_channel(organizers, user, name) for name in names)
    ]
    if not channels:
        raise invalid_field(
            "channels", "name what to hear; there is no organizer's channel here to begin with"
        )
    return url, types, list(dict.fromkeys(channels))


async def _organizers(tx: Tx, caller: Caller, owner: Owner) -> Sequence[Address]:
    """Return the wallets whose organizer channels an owner may hear."""
    if owner.organization_id is not None:
        return await organizations.wallets_of(tx, owner.organization_id)
    assert owner.wallet is not None, "what is nobody's organization's is a wallet's"
    standing = await organizations.standing_to(tx, caller, owner.wallet)
    own = standing is not None and organizations.allows(standing, Permission.WEBHOOKS)
    return [owner.wallet] if own else []


async def _own_event(tx: Tx, caller: Caller, owner: Owner, event_id: UUID) -> str:
    try:
        event, standing = await events.managed(tx, event_id, caller, Permission.WEBHOOKS)
    except (EventNotFound, PermissionMissing, NotPublished):
        # All the same to a stranger: whether the event exists is not told here.
        raise _not_yours(event_id) from None
    if owner.organization_id is not None and standing.organization_id != owner.organization_id:
        raise _not_yours(event_id)
    return f"event:{event.id}"


def _not_yours(event_id: UUID) -> Invalid:
    reason = f"event:{event_id} is not a published event of yours"
    return Invalid(f"channels: {reason}", fields=[{"path": "channels", "reason": reason}])
