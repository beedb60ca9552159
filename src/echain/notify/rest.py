"""Routes of notifications, preferences, e-mail addresses and push subscriptions."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from echain.accounts.types import address_of
from echain.edge.http import Auth, Call, Endpoint, Nothing, delete, get, post, put
from echain.infra import audit
from echain.infra.database import Database
from echain.infra.outbound import Rules, TargetRefused
from echain.kernel.paging import Page
from echain.notify import addresses, pushes, service, store
from echain.notify.composing import Composer
from echain.notify.types import (
    Email,
    EmailContent,
    EmailNotFound,
    EmailUnavailable,
    Gone,
    Notification,
    NotificationFilter,
    NotificationNotFound,
    NotificationPath,
    Preferences,
    PreferencesContent,
    PushContent,
    PushKey,
    PushPath,
    PushSubscription,
    ReadAll,
    SubscriptionNotFound,
    TooManySubscriptions,
    TooManyVerifications,
    Unread,
    VerificationUnknown,
    Verified,
    VerifyContent,
    Way,
    Ways,
)
from echain.notify.wording import preferred_language

TAG: Final = "notifications"
NO_MAIL: Final = "this platform has no mail server"


class Surface(msgspec.Struct, frozen=True):
    """What the routes work with. ``push_key`` is the public key that browsers subscribe with."""

    database: Database
    composer: Composer
    email: bool
    push_key: str
    push_rules: Rules


def endpoints(surface: Surface) -> list[Endpoint]:
    """Return the routes under ``/api/v1/notifications``, ``/api/v1/me`` and ``/api/v1/push``."""
    return [
        *_list_endpoints(surface),
        *_preference_endpoints(surface),
        *_email_endpoints(surface),
        _verify_endpoint(surface),
        *_push_endpoints(surface),
    ]


def _list_endpoints(surface: Surface) -> list[Endpoint]:
    database, templates = surface.database, surface.composer.templates

    @get(
        "/api/v1/notifications",
        summary="My notifications, newest first",
        tag=TAG,
        answer=list[Notification],
        query=NotificationFilter,
        auth=Auth.USER,
        description="In the language of the preferences. What a reorg took back has `undoneAt`.",
    )
    async def listed(call: Call[Nothing, NotificationFilter, Nothing]) -> Page[Notification]:
        async with database.connection() as connection:
            return await service.notifications(connection, call.user.id, call.query, templates)

    @get(
        "/api/v1/notifications/unread",
        summary="How many of my notifications are unread",
        tag=TAG,
        answer=Unread,
        auth=Auth.USER,
    )
    async def unread(call: Call[Nothing, Nothing, Nothing]) -> Unread:
        async with database.connection() as connection:
            return Unread(await store.unread(connection, call.user.id))

    @post(
        "/api/v1/notifications/{id}/read",
        summary="Mark a notification as read",
        tag=TAG,
        answer=Notification,
        path_params=NotificationPath,
        auth=Auth.USER,
        errors=(NotificationNotFound,),
    )
    async def read(call: Call[NotificationPath, Nothing, Nothing]) -> Notification:
        async with database.transaction() as tx:
            return await service.read(tx, call.user.id, call.path.id, templates, now=call.now)

    @post(
        "/api/v1/notifications/read",
        summary="Mark all my notifications as read",
        tag=TAG,
        answer=Unread,
        body=ReadAll,
        auth=Auth.USER,
        description="With `upTo`, those up to a notification that was seen; later ones stay unread.",
    )
    async def read_all(call: Call[Nothing, Nothing, ReadAll]) -> Unread:
        async with database.transaction() as tx:
            await store.read_all(tx, call.user.id, call.body.up_to, now=call.now)
            return Unread(await store.unread(tx, call.user.id))

    return [listed, unread, read, read_all]


def _preference_endpoints(surface: Surface) -> list[Endpoint]:
    database = surface.database

    @get(
        "/api/v1/me/notification-preferences",
        summary="How I want to be told",
        tag=TAG,
        answer=Preferences,
        auth=Auth.USER,
    )
    async def preferences(call: Call[Nothing, Nothing, Nothing]) -> Preferences:
        ways = await _ways(surface, call.user.id, call.now)
        async with database.connection() as connection:
            return await service.preferences(connection, call.user.id, ways)

    @put(
        "/api/v1/me/notification-preferences",
        summary="Choose how I want to be told",
        tag=TAG,
        answer=Preferences,
        body=PreferencesContent,
        auth=Auth.USER,
        description="Of `security` the app and e-mail stay on, whatever is said.",
    )
    async def choose(call: Call[Nothing, Nothing, PreferencesContent]) -> Preferences:
        ways = await _ways(surface, call.user.id, call.now)
        async with database.transaction() as tx:
            await store.lock_settings(tx, call.user.id)
            before = await service.preferences(tx, call.user.id, ways)
            after = await service.keep_preferences(tx, call.user.id, call.body, ways, now=call.now)
            diff = audit.changed(_chosen(before), _chosen(after))
            await call.audit(tx, "notifications.chosen", resource=f"user:{call.user.id}", diff=diff)
            return after

    return [preferences, choose]


def _chosen(preferences: Preferences) -> dict[str, object]:
    return {
        "language": preferences.language,
        "timeZone": preferences.time_zone,
        "digest": preferences.digest,
        "kinds": preferences.kinds,
    }


async def _ways(surface: Surface, user_id: UUID, now: datetime) -> Ways:
    async with surface.database.connection() as connection:
        email = await addresses.shown(connection, user_id, surface.composer.keys, now=now)
        browsers = await pushes.listed(connection, user_id, surface.composer.keys)
    return Ways(in_app=Way(available=True), email=_email_way(surface, email), push=_push_way(browsers))


def _email_way(surface: Surface, email: Email) -> Way:
    if not surface.email:
        return Way(available=False, reason=NO_MAIL)
    if email.suspended:
        return Way(available=False, reason="mail to your address came back; set it again")
    if email.email is None:
        return Way(available=False, reason="set an e-mail address and confirm it")
    return Way(available=True)


def _push_way(browsers: list[PushSubscription]) -> Way:
    return Way(available=True) if browsers else Way(available=False, reason="no browser is subscribed")


def _email_endpoints(surface: Surface) -> list[Endpoint]:
    database, keys, templates = surface.database, surface.composer.keys, surface.composer.templates

    @get("/api/v1/me/email", summary="My e-mail address", tag=TAG, answer=Email, auth=Auth.USER)
    async def shown(call: Call[Nothing, Nothing, Nothing]) -> Email:
        async with database.connection() as connection:
            return await addresses.shown(connection, call.user.id, keys, now=call.now)

    @put(
        "/api/v1/me/email",
        summary="Set my e-mail address",
        tag=TAG,
        answer=Email,
        body=EmailContent,
        auth=Auth.USER,
        errors=(EmailUnavailable, TooManyVerifications),
        description="A mail asks the address; until its link is followed, the one before stays.",
    )
    async def ask(call: Call[Nothing, Nothing, EmailContent]) -> Email:
        if not surface.email:
            raise EmailUnavailable
        async with database.transaction() as tx:
            shown = await addresses.ask(
                tx,
                call.user.id,
                address_of(call.user),
                call.body.email,
                keys,
                language=preferred_language(call.headers.get("accept-language", "")),
                now=call.now,
            )
            await call.audit(tx, "email.asked", resource=f"user:{call.user.id}")
            return shown

    @post(
        "/api/v1/me/email/resend",
        summary="Send the verification mail again",
        tag=TAG,
        answer=Email,
        auth=Auth.USER,
        errors=(EmailUnavailable, EmailNotFound, TooManyVerifications),
    )
    async def again(call: Call[Nothing, Nothing, Nothing]) -> Email:
        if not surface.email:
            raise EmailUnavailable
        async with database.transaction() as tx:
            shown = await addresses.ask_again(tx, call.user.id, address_of(call.user), keys, now=call.now)
            await call.audit(tx, "email.asked_again", resource=f"user:{call.user.id}")
            return shown

    @delete(
        "/api/v1/me/email",
        summary="Remove my e-mail address",
        tag=TAG,
        answer=Gone,
        auth=Auth.USER,
        errors=(EmailNotFound,),
    )
    async def remove(call: Call[Nothing, Nothing, Nothing]) -> Gone:
        async with database.transaction() as tx:
            await addresses.remove(tx, call.user.id, keys, templates, now=call.now)
            await call.audit(tx, "email.removed", resource=f"user:{call.user.id}")
        return Gone(deleted=True)

    return [shown, ask, again, remove]


def _verify_endpoint(surface: Surface) -> Endpoint:
    @post(
        "/api/v1/email/verify",
        summary="Confirm an e-mail address with the token of its link",
        tag=TAG,
        answer=Verified,
        body=VerifyContent,
        errors=(VerificationUnknown,),
        description="The token is good once, for a day, and needs no sign-in: mail is read on other devices.",
    )
    async def verify(call: Call[Nothing, Nothing, VerifyContent]) -> Verified:
        composer = surface.composer
        async with surface.database.transaction() as tx:
            token = call.body.token
            user_id = await addresses.verify(tx, token, composer.keys, composer.templates, now=call.now)
            await call.audit(tx, "email.verified", resource=f"user:{user_id}")
        return Verified(verified=True)

    return verify


def _push_endpoints(surface: Surface) -> list[Endpoint]:
    database, keys = surface.database, surface.composer.keys

    @get(
        "/api/v1/push/key",
        summary="The key that browsers subscribe to pushes with",
        tag=TAG,
        answer=PushKey,
    )
    async def key(_: Call[Nothing, Nothing, Nothing]) -> PushKey:
        return PushKey(surface.push_key)

    @get(
        "/api/v1/push/subscriptions",
        summary="My browsers that are sent pushes",
        tag=TAG,
        answer=list[PushSubscription],
        auth=Auth.USER,
    )
    async def listed(call: Call[Nothing, Nothing, Nothing]) -> list[PushSubscription]:
        async with database.connection() as connection:
            return await pushes.listed(connection, call.user.id, keys)

    @post(
        "/api/v1/push/subscriptions",
        summary="Send pushes to a browser",
        tag=TAG,
        answer=PushSubscription,
        body=PushContent,
        status=201,
        auth=Auth.USER,
        errors=(TargetRefused, TooManySubscriptions),
        description="Takes what `PushSubscription.toJSON()` gives; the same browser again replaces it.",
    )
    async def subscribe(call: Call[Nothing, Nothing, PushContent]) -> PushSubscription:
        async with database.transaction() as tx:
            made = await pushes.subscribe(
                tx,
                call.user.id,
                call.body,
                keys,
                surface.push_rules,
                user_agent=call.headers.get("user-agent", ""),
                now=call.now,
            )
            await call.audit(tx, "push.subscribed", resource=f"push_subscription:{made.id}")
            return made

    @delete(
        "/api/v1/push/subscriptions/{id}",
        summary="Send no more pushes to a browser",
        tag=TAG,
        answer=Gone,
        path_params=PushPath,
        auth=Auth.USER,
        errors=(SubscriptionNotFound,),
    )
    async def unsubscribe(call: Call[PushPath, Nothing, Nothing]) -> Gone:
        async with database.transaction() as tx:
            await pushes.unsubscribe(tx, call.user.id, call.path.id)
            await call.audit(tx, "push.unsubscribed", resource=f"push_subscription:{call.path.id}")
        return Gone(deleted=True)

    return [key, listed, subscribe, unsubscribe]
