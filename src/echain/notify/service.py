"""Use cases of notifications: keeping what is to be told, showing it, and how people want it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec

from echain.accounts import service as accounts
from echain.events import service as events
from echain.infra import outbox
from echain.infra.database import Connection, Row, Tx
from echain.infra.jobs import enqueue
from echain.kernel.errors import invalid_field
from echain.kernel.evm import Address, checksum
from echain.kernel.messages import Message
from echain.kernel.paging import Page, PageInfo
from echain.notify import addressstore, deliverystore, pushstore, rules, store
from echain.notify.facts import Facts, Told
from echain.notify.kinds import MAIL, PUSH, Delivery
from echain.notify.rendering import Short, Templates
from echain.notify.telling import values
from echain.notify.types import (
    Choice,
    Kinds,
    Notice,
    NoticeKind,
    Notification,
    NotificationFilter,
    NotificationNotFound,
    Preferences,
    PreferencesContent,
    Settings,
    Ways,
)

SEALED: Final = (addressstore.ADDRESS, addressstore.ASKED, pushstore.SUBSCRIPTION)
"""What here opens with the data keys alone."""

KEPT: Final = timedelta(days=365)
_DAY: Final = timedelta(hours=24)


class Reach(msgspec.Struct, frozen=True):
    """Which ways this installation has besides the app."""

    email: bool
    push: bool


async def tell(
    tx: Tx, notices: Sequence[Notice], templates: Templates, *, now: datetime
) -> list[tuple[UUID, str]]:
    """Keep notices for those of their wallets that ever signed in, each occasion once; show them at once.

    Each is a live message too, where the app is to show it and it was not known yet; but not what was one
    before. Returns user and occasion of all notices that concern somebody, new or not.
    """
    told = await with_users(tx, notices)
    if not told:
        return []
    settings = await store.settings_of(tx, {user_id for user_id, _ in told})
    rows = [
        (user_id, notice, rules.chosen(settings[user_id].choices, notice.kind, "in_app"))
        for user_id, notice in told
    ]
    new = await store.insert(tx, rows, now=now)
    await outbox.publish(
        tx,
        [
            _live(new[user_id, notice.occasion], notice, settings[user_id], templates)
            for user_id, notice, visible in rows
            if visible and not notice.live and (user_id, notice.occasion) in new
        ],
    )
    return [(user_id, notice.occasion) for user_id, notice in told]


async def with_users(connection: Connection, notices: Sequence[Notice]) -> list[tuple[UUID, Notice]]:
    """Return the notices of people we know, each with its user."""
    wallets = {notice.address for notice in notices if notice.user_id is None}
    users = await accounts.users_of(connection, wallets)
    there = await accounts.known(connection, {one.user_id for one in notices if one.user_id is not None})
    whose = [(one.user_id or users.get(one.address), one) for one in notices]
    return [
        (user_id, notice)
        for user_id, notice in whose
        if user_id is not None and (notice.user_id is None or user_id in there)
    ]


async def settle(tx: Tx, known: Collection[tuple[UUID, str]], reach: Reach, *, now: datetime) -> None:
    """Note that no reorg can take back what was told of these users and occasions; mail and push it now.

    A delivery each is planned in the same transaction, and a job to make it.
    """
    settled = await store.settle(tx, known, now=now)
    if not settled:
        return
    settings = await store.settings_of(tx, {row["user_id"] for row in settled})
    wanted = {
        way: [
            (row["id"], row["user_id"], row["kind"])
            for row in settled
            if rules.chosen(settings[row["user_id"]].choices, NoticeKind(row["kind"]), way)
        ]
        for way in ("email", "push")
    }
    if reach.email and wanted["email"]:
        planned = await deliverystore.plan_mail(
            tx, wanted["email"], now=now, most=rules.MAIL_A_DAY, window=_DAY
        )
        await enqueue(tx, MAIL, [Delivery(one) for one in planned])
    if reach.push and wanted["push"]:
        planned = await deliverystore.plan_push(tx, wanted["push"], now=now)
        await enqueue(tx, PUSH, [Delivery(one) for one in planned])


async def wallet_of(connection: Connection, user_id: UUID) -> Address | None:
    """Return the wallet that a user is told at when no fact says which: the first."""
    wallets = await accounts.addresses_of(connection, user_id)
    return wallets[0] if wallets else None


def _live(notification_id: UUID, notice: Notice, settings: Settings, templates: Templates) -> Message:
    short = short_of(notice.kind, notice.data, settings.language, templates)
    data: dict[str, object] = {
        "id": str(notification_id),
        "kind": notice.kind.value,
        "title": short.title,
        "text": short.text,
    }
    if notice.event_id is not None:
        data["eventId"] = str(notice.event_id)
    # With the block that said so, for a reorg to take it back like the message that it came from.
    return Message(
        (f"user:{checksum(notice.address)}",),
        "notification",
        data,
        notice.chain_id if notice.block_number is not None else None,
        notice.block_number,
    )


def short_of(kind: str, data: Mapping[str, Any], language: str, templates: Templates) -> Short:
    """Return a notification's two lines in a language."""
    return templates.short(kind, language, values(msgspec.convert(data, Facts)))


async def warn(
    tx: Tx, wallet: Address, told: Told, templates: Templates, *, now: datetime, occasion: str
) -> None:
    """Tell a user of something about their account, in the app and by push: mail may be what it is about."""
    notice = Notice(
        address=wallet,
        kind=NoticeKind.SECURITY,
        occasion=occasion,
        data=msgspec.to_builtins(Facts(told=told)),
    )
    known = await tell(tx, [notice], templates, now=now)
    await settle(tx, known, Reach(email=False, push=True), now=now)


async def alert(
    tx: Tx,
    wallets: Sequence[Address],
    told: Told,
    templates: Templates,
    reach: Reach,
    *,
    now: datetime,
    occasion: str,
) -> None:
    """Tell administrators of an alarm, as they chose, by no other ways than ``reach``; the occasion once."""
    data = msgspec.to_builtins(Facts(told=told))
    notices = [
        Notice(address=wallet, kind=NoticeKind.ALARM, occasion=occasion, data=data) for wallet in wallets
    ]
    known = await tell(tx, notices, templates, now=now)
    await settle(tx, known, reach, now=now)


# --- what the API shows ---


async def notifications(
    connection: Connection, user_id: UUID, query: NotificationFilter, templates: Templates
) -> Page[Notification]:
    """Return a page of a user's notifications, the newest first."""
    rows = await store.page(
        connection, user_id, before=query.cursor, limit=query.limit + 1, unread=query.unread
    )
    settings = (await store.settings_of(connection, [user_id]))[user_id]
    items = [shown(row, settings, templates) for row in rows[: query.limit]]
    following = str(items[-1].id) if len(rows) > query.limit else None
    return Page(items, PageInfo(per_page=query.limit, next_cursor=following))


def shown(row: Row, settings: Settings, templates: Templates) -> Notification:
    """Return a notification as its reader sees it."""
    facts = msgspec.convert(row["data"], Facts)
    short = templates.short(row["kind"], settings.language, values(facts))
    return Notification(
        id=row["id"],
        kind=row["kind"],
        title=short.title,
        text=short.text,
        event_id=facts.event.public_id if facts.event else None,
        ticket_ids=facts.tickets,
        created_at=row["created_at"],
        read_at=row["read_at"],
        undone_at=row["undone_at"],
        settled=row["settled"],
    )


async def read(
    tx: Tx, user_id: UUID, notification_id: UUID, templates: Templates, *, now: datetime
) -> Notification:
    """Mark a notification as read and return it; again changes nothing.

    Raises:
        NotificationNotFound: the user has none of this id.
    """
    row = await store.read(tx, user_id, notification_id, now=now)
    if row is None:
        raise NotificationNotFound
    settings = (await store.settings_of(tx, [user_id]))[user_id]
    return shown(row, settings, templates)


# --- how people want it ---


async def preferences(connection: Connection, user_id: UUID, ways: Ways) -> Preferences:
    """Return how a user wants to be told, defaults included."""
    return _preferences((await store.settings_of(connection, [user_id]))[user_id], ways)


async def keep_preferences(
    tx: Tx, user_id: UUID, content: PreferencesContent, ways: Ways, *, now: datetime
) -> Preferences:
    """Keep what a user chose, the whole of it. What nobody can switch stays as it is, whatever is said.

    Raises:
        Invalid: no such time zone.
    """
    if content.time_zone is not None and content.time_zone not in events.time_zones():
        raise invalid_field("timeZone", "is not a time zone like Europe/Berlin")
    before = await store.lock_settings(tx, user_id)
    same = before is not None and (before.digest, before.time_zone) == (content.digest, content.time_zone)
    settings = Settings(
        language=content.language,
        time_zone=content.time_zone,
        digest=content.digest,
        choices=rules.differing(_wanted(content.kinds)),
        next_digest_at=before.next_digest_at
        if same and before is not None
        else rules.next_digest(content.digest, content.time_zone, after=now),
    )
    await store.keep_settings(tx, user_id, settings, now=now)
    return _preferences(settings, ways)


async def begin(tx: Tx, user_id: UUID, language: str, *, now: datetime) -> None:
    """Give a user settings of their own where there are none, so that digests come."""
    first = Settings(language=language)
    due = rules.next_digest(first.digest, first.time_zone, after=now)
    await store.keep_settings(
        tx, user_id, msgspec.structs.replace(first, next_digest_at=due), now=now, replace=False
    )


async def mute(tx: Tx, user_id: UUID, kind: NoticeKind, *, now: datetime) -> None:
    """Send no more mail of a kind to a user; of digests, no more digests. Again changes nothing."""
    settings = await store.lock_settings(tx, user_id) or Settings(
        next_digest_at=rules.next_digest("weekly", None, after=now)
    )
    if kind is NoticeKind.DIGEST:
        settings = msgspec.structs.replace(settings, digest="off", next_digest_at=None)
    elif kind in rules.UNSUBSCRIBABLE:
        choices = {**settings.choices, kind.value: {**settings.choices.get(kind, {}), "email": False}}
        settings = msgspec.structs.replace(settings, choices=choices)
    await store.keep_settings(tx, user_id, settings, now=now)


def _wanted(kinds: Kinds) -> dict[NoticeKind, dict[rules.Way, bool]]:
    chosen: dict[NoticeKind, dict[rules.Way, bool]] = {}
    for kind in rules.CHOSEN:
        choice: Choice = getattr(kinds, kind.value)
        chosen[kind] = {"in_app": choice.in_app, "email": choice.email, "push": choice.push}
    return chosen


def _preferences(settings: Settings, ways: Ways) -> Preferences:
    kinds = {
        kind.value: Choice(*(rules.chosen(settings.choices, kind, way) for way in rules.WAYS))
        for kind in rules.CHOSEN
    }
    return Preferences(
        language="de" if settings.language == "de" else "en",
        time_zone=settings.time_zone,
        digest=settings.digest,
        next_digest_at=settings.next_digest_at,
        kinds=Kinds(**kinds),
        ways=ways,
    )
