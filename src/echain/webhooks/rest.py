"""Routes of webhooks: where Coinbase tells us things, and where organizers say what to tell them."""

from __future__ import annotations

import time
from typing import Any, Final
from uuid import UUID

import msgspec

from echain.accounts.types import WalletNeeded
from echain.edge.http import (
    Auth,
    Call,
    Disconnected,
    Endpoint,
    Nothing,
    RawBody,
    Reply,
    delete,
    get,
    post,
    put,
)
from echain.infra import audit
from echain.infra.crypto import DataKeys
from echain.infra.database import Database, Tx
from echain.infra.outbound import Rules
from echain.kernel.errors import EchainError
from echain.kernel.paging import Page, PageInfo
from echain.organizations.types import OrganizationNotFound, PermissionMissing
from echain.webhooks import coinbase, inbox, service
from echain.webhooks.coinbase import Secrets
from echain.webhooks.measures import Measures
from echain.webhooks.types import (
    BodyNotJson,
    BodyWrongShape,
    Delivery,
    DeliveryBody,
    DeliveryFilter,
    DeliveryNotFound,
    NewSubscription,
    NotConfigured,
    Removed,
    Replay,
    Replayed,
    Rotation,
    SignatureAmbiguous,
    SignatureFromFuture,
    SignatureMalformed,
    SignatureMissing,
    SignatureTooOld,
    SignatureWrong,
    Subscription,
    SubscriptionNotFound,
    SubscriptionSecret,
    SubscriptionUpdate,
    Taken,
    TooManySubscriptions,
)

TAG: Final = "webhooks"
MAX_BODY_BYTES: Final = 262_144
"""Charges with their whole timeline have some tens of kilobytes."""

_REFUSALS: Final = (
    *(SignatureMissing, SignatureAmbiguous, SignatureMalformed, SignatureWrong, SignatureTooOld),
    *(SignatureFromFuture, BodyNotJson, BodyWrongShape, NotConfigured),
)
_ROOT: Final = "/api/v1/webhook-subscriptions"


class SubscriptionPath(msgspec.Struct, frozen=True):
    """A subscription."""

    id: UUID


class DeliveryPath(msgspec.Struct, frozen=True):
    """A delivery of a subscription."""

    id: UUID
    delivery: UUID


def incoming(database: Database, secrets: Secrets, measures: Measures) -> list[Endpoint]:
    """Return the route at which others tell us things."""

    async def kept(call: Call[Nothing, Nothing, RawBody]) -> Taken:
        body = await call.body.read()
        signed = coinbase.opened(call.headers, body, secrets, call.now)
        async with database.transaction() as tx:
            return await inbox.take(tx, signed, body, now=call.now)

    @post(
        "/webhooks/coinbase",
        summary="Take a webhook of Coinbase Commerce or the Coinbase Developer Platform",
        tag=TAG,
        answer=Taken,
        body=RawBody,
        max_body_bytes=MAX_BODY_BYTES,
        limited=False,
        errors=_REFUSALS,
        description="Signed in X-CC-Webhook-Signature or X-Hook0-Signature. Kept and answered at "
        "once, worked on later; the same event again answers 200 and changes nothing.",
    )
    async def take(call: Call[Nothing, Nothing, RawBody]) -> Taken:
        began = time.perf_counter()
        outcome = "broken"
        try:
            taken = await kept(call)
            outcome = "duplicate" if taken.duplicate else "taken"
        except EchainError as error:
            outcome = error.code
            raise
        except Disconnected:
            outcome = "disconnected"
            raise
        finally:
            measures.received(_source(call), outcome, time.perf_counter() - began)
        return taken

    return [take]


def _source(call: Call[Nothing, Nothing, RawBody]) -> str:
    if coinbase.COMMERCE_HEADER in call.headers:
        return "coinbase_commerce"
    return "coinbase_cdp" if coinbase.CDP_HEADER in call.headers else "unsigned"


def endpoints(database: Database, keys: DataKeys, targets: Rules) -> list[Endpoint]:
    """Return the routes of subscriptions; ``targets`` says where they may be posted to."""
    return [
        *_making(database, keys, targets),
        *_reading(database),
        *_changing(database, targets),
        *_delivering(database),
    ]


def _making(database: Database, keys: DataKeys, targets: Rules) -> list[Endpoint]:
    @post(
        _ROOT,
        summary="Subscribe a receiver to messages",
        tag=TAG,
        answer=SubscriptionSecret,
        body=NewSubscription,
        status=201,
        auth=Auth.USER,
        idempotent=True,
        shows_secret=True,
        errors=(TooManySubscriptions, OrganizationNotFound, PermissionMissing, WalletNeeded),
        description="The secret is shown this once. How to check a signature: docs/webhooks.md.",
    )
    async def create(call: Call[Nothing, Nothing, NewSubscription]) -> Reply:
        async with database.transaction() as tx:
            await call.once(tx)
            made = await service.create(tx, call.user, call.body, keys, targets, now=call.now)
            await _audit(call, tx, "webhook.subscribed", made, audit.changed({}, _told(made)))
        return Reply(made, headers=(("Location", f"{_ROOT}/{made.id}"),))

    @post(
        f"{_ROOT}/{{id}}/rotate",
        summary="Sign with a new secret, and with the old one too for a while",
        tag=TAG,
        answer=SubscriptionSecret,
        path_params=SubscriptionPath,
        body=Rotation,
        auth=Auth.USER,
        idempotent=True,
        shows_secret=True,
        errors=(SubscriptionNotFound, PermissionMissing),
    )
    async def rotate(call: Call[SubscriptionPath, Nothing, Rotation]) -> SubscriptionSecret:
        async with database.transaction() as tx:
            await call.once(tx)
            made = await service.rotate(tx, call.path.id, call.user, call.body, keys, now=call.now)
            diff = {"graceSeconds": [None, call.body.grace_seconds]}
            await _audit(call, tx, "webhook.secret_rotated", made, diff)
            return made

    return [create, rotate]


def _reading(database: Database) -> list[Endpoint]:
    @get(
        _ROOT,
        summary="List your webhook subscriptions",
        tag=TAG,
        answer=list[Subscription],
        auth=Auth.USER,
    )
    async def subscriptions(call: Call[Nothing, Nothing, Nothing]) -> list[Subscription]:
        return await service.listed(database, call.user, now=call.now)

    @get(
        f"{_ROOT}/{{id}}",
        summary="One of your webhook subscriptions",
        tag=TAG,
        answer=Subscription,
        path_params=SubscriptionPath,
        auth=Auth.USER,
        errors=(SubscriptionNotFound, PermissionMissing),
    )
    async def subscription(call: Call[SubscriptionPath, Nothing, Nothing]) -> Subscription:
        return await service.read(database, call.path.id, call.user, now=call.now)

    @get(
        f"{_ROOT}/{{id}}/deliveries",
        summary="What was posted, and what came of it, newest first",
        tag=TAG,
        answer=list[Delivery],
        path_params=SubscriptionPath,
        query=DeliveryFilter,
        auth=Auth.USER,
        errors=(SubscriptionNotFound, PermissionMissing),
    )
    async def deliveries(call: Call[SubscriptionPath, DeliveryFilter, Nothing]) -> Page[Delivery]:
        found, following = await service.deliveries(database, call.path.id, call.user, call.query)
        return Page(found, PageInfo(per_page=call.query.limit, next_cursor=following))

    @get(
        f"{_ROOT}/{{id}}/deliveries/{{delivery}}",
        summary="One delivery with the text that is posted",
        tag=TAG,
        answer=DeliveryBody,
        path_params=DeliveryPath,
        auth=Auth.USER,
        errors=(SubscriptionNotFound, PermissionMissing, DeliveryNotFound),
    )
    async def delivery(call: Call[DeliveryPath, Nothing, Nothing]) -> DeliveryBody:
        return await service.delivery(database, call.path.id, call.path.delivery, call.user)

    return [subscriptions, subscription, deliveries, delivery]


def _changing(database: Database, targets: Rules) -> list[Endpoint]:
    @put(
        f"{_ROOT}/{{id}}",
        summary="Change a webhook subscription, or enable it again",
        tag=TAG,
        answer=Subscription,
        path_params=SubscriptionPath,
        body=SubscriptionUpdate,
        auth=Auth.USER,
        errors=(SubscriptionNotFound, PermissionMissing),
    )
    async def update(call: Call[SubscriptionPath, Nothing, SubscriptionUpdate]) -> Subscription:
        async with database.transaction() as tx:
            before = await service.held(tx, call.path.id, call.user, now=call.now)
            after = await service.update(tx, call.path.id, call.user, call.body, targets, now=call.now)
            diff = audit.changed(_told(before), _told(after))
            await _audit(call, tx, "webhook.changed", after, diff)
            return after

    @delete(
        f"{_ROOT}/{{id}}",
        summary="Delete a webhook subscription with all that waits for it",
        tag=TAG,
        answer=Removed,
        path_params=SubscriptionPath,
        auth=Auth.USER,
        errors=(SubscriptionNotFound, PermissionMissing),
    )
    async def remove(call: Call[SubscriptionPath, Nothing, Nothing]) -> Removed:
        async with database.transaction() as tx:
            before = await service.held(tx, call.path.id, call.user, now=call.now)
            await service.remove(tx, call.path.id, call.user)
            await _audit(call, tx, "webhook.removed", before, audit.changed(_told(before), {}))
        return Removed(call.path.id)

    return [update, remove]


def _delivering(database: Database) -> list[Endpoint]:
    @post(
        f"{_ROOT}/{{id}}/ping",
        summary="Have a test message posted",
        tag=TAG,
        answer=DeliveryBody,
        path_params=SubscriptionPath,
        status=202,
        auth=Auth.USER,
        idempotent=True,
        errors=(SubscriptionNotFound, PermissionMissing, DeliveryNotFound),
        description="It waits behind what waits already; its delivery tells what came of it.",
    )
    async def ping(call: Call[SubscriptionPath, Nothing, Nothing]) -> DeliveryBody:
        async with database.transaction() as tx:
            await call.once(tx)
            subscription = await service.held(tx, call.path.id, call.user, now=call.now)
            delivery_id = await service.ping(tx, call.path.id, call.user, now=call.now)
            await _audit(call, tx, "webhook.pinged", subscription, {"delivery": [None, delivery_id]})
        return await service.delivery(database, call.path.id, delivery_id, call.user)

    @post(
        f"{_ROOT}/{{id}}/replay",
        summary="Have deliveries posted again, under the same ids",
        tag=TAG,
        answer=Replayed,
        path_params=SubscriptionPath,
        body=Replay,
        status=202,
        auth=Auth.USER,
        idempotent=True,
        errors=(SubscriptionNotFound, PermissionMissing, DeliveryNotFound),
    )
    async def replay(call: Call[SubscriptionPath, Nothing, Replay]) -> Replayed:
        async with database.transaction() as tx:
            await call.once(tx)
            subscription = await service.held(tx, call.path.id, call.user, now=call.now)
            count = await service.replay(tx, call.path.id, call.user, call.body, now=call.now)
            await _audit(call, tx, "webhook.replayed", subscription, {"count": [None, count]})
            return Replayed(count)

    @post(
        f"{_ROOT}/{{id}}/deliveries/{{delivery}}/skip",
        summary="Let a delivery that your receiver cannot take hold up the others no longer",
        tag=TAG,
        answer=DeliveryBody,
        path_params=DeliveryPath,
        auth=Auth.USER,
        errors=(SubscriptionNotFound, PermissionMissing, DeliveryNotFound),
        description="Doing it again, or to one that arrived, changes nothing.",
    )
    async def skip(call: Call[DeliveryPath, Nothing, Nothing]) -> DeliveryBody:
        async with database.transaction() as tx:
            subscription = await service.held(tx, call.path.id, call.user, now=call.now)
            delivery = await service.skip(tx, call.path.id, call.path.delivery, call.user, now=call.now)
            diff = {"delivery": [None, call.path.delivery], "state": [None, delivery.state]}
            await _audit(call, tx, "webhook.delivery_skipped", subscription, diff)
            return delivery

    return [ping, replay, skip]


def _told(subscription: Subscription) -> dict[str, object]:
    """Return what the audit log is told.

    Where it is posted to may be a secret and, as what its maker notes about it, may name people: of both the
    log says that they changed, for it keeps what it is told for ever.
    """
    return {
        "url": subscription.url,
        "types": subscription.types,
        "channels": subscription.channels,
        "settledOnly": subscription.settled_only,
        "note": subscription.description,
        "enabled": subscription.enabled,
    }


async def _audit(
    call: Call[Any, Any, Any], tx: Tx, action: str, subscription: Subscription, diff: audit.Diff
) -> None:
    resource = f"webhook_subscription:{subscription.id}"
    await call.audit(tx, action, resource=resource, organization=subscription.organization_id, diff=diff)
