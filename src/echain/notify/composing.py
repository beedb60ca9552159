"""Writes the mail of a notification, or says why there is none to write any more."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec

from echain.events import service as events
from echain.infra.crypto import DataKeys, Unopenable
from echain.infra.database import Connection, Row
from echain.kernel.evm import Address, checksum
from echain.notify import addressstore, rules, store
from echain.notify.calendar import Method, calendar_file
from echain.notify.facts import EventFacts, Facts, Sold
from echain.notify.heard import facts_of
from echain.notify.letters import Attachment, Brand, letter
from echain.notify.rendering import Templates, words
from echain.notify.service import short_of
from echain.notify.telling import Coins, digest_sections, listed, values
from echain.notify.types import NoticeKind, Settings, UnsubscribeUnknown
from echain.notify.wording import language_of, moment, short_address
from echain.organizations import service as organizations
from echain.organizations.types import Permission
from echain.tickets import audience

SALES_LAG: Final = timedelta(hours=1)
"""A digest speaks of sales that are older, so that none that settles late falls between two."""

_UNSUBSCRIBE: Final = "unsubscribe"
_MOST_NEWS: Final = 200
_CALENDARS: Final[dict[str, Method]] = {
    NoticeKind.PURCHASE: "PUBLISH",
    NoticeKind.TICKET_RECEIVED: "PUBLISH",
    NoticeKind.EVENT_CHANGED: "PUBLISH",
    NoticeKind.EVENT_CANCELLED: "CANCEL",
}


class Letter(msgspec.Struct, frozen=True):
    """A message and its envelope."""

    data: bytes
    sender: str
    recipient: str


class Composer:
    """Knows the templates, the brand, the coins, and the keys that open addresses."""

    def __init__(self, templates: Templates, keys: DataKeys, brand: Brand, coins: Coins) -> None:
        self.templates = templates
        self.keys = keys
        self.brand = brand
        self._coins = coins

    async def letter(
        self, connection: Connection, delivery: Row, address: Row, *, now: datetime
    ) -> Letter | str:
        """Return the mail of a delivery, or why it is not to be sent: it was undone, or is not wanted now.

        The event is shown as it is now: a mail that waited for a day says where to go today.
        """
        row = await store.notification(connection, delivery["notification_id"])
        if row is None or row["undone_at"] is not None:
            return "undone"
        kind, user_id = NoticeKind(row["kind"]), delivery["user_id"]
        settings = (await store.settings_of(connection, [user_id]))[user_id]
        if not rules.chosen(settings.choices, kind, "email"):
            return "unsubscribed"
        facts = msgspec.convert(row["data"], Facts)
        cancelled = False
        if facts.event is not None:
            current = (await events.described(connection, [facts.event.id])).get(facts.event.id)
            if current is not None:
                facts = msgspec.structs.replace(facts, event=facts_of(current))
                cancelled = current.cancelled
        wallet = checksum(Address(row["address"]))
        given = self._given(kind, facts, settings, user_id, wallet)
        if kind is NoticeKind.DIGEST:
            digest = await self._digest(connection, user_id, facts, settings)
            if digest is None:
                return "nothing happened"
            given |= digest
        page = self.templates.page(kind, settings.language, given)
        recipient = addressstore.ADDRESS.open(self.keys, user_id, address["sealed"]).decode()
        data = letter(
            page,
            self.brand,
            recipient=recipient,
            message_id=delivery["id"],
            now=delivery["created_at"],
            unsubscribe_url=given["unsubscribe"]["url"] if given["unsubscribe"] else None,
            calendar=self._calendar(kind, facts, settings, cancelled=cancelled, now=now),
        )
        return Letter(data, self.brand.sender, recipient)

    def plain(
        self,
        kind: str,
        language: str,
        recipient: str,
        *,
        message_id: UUID,
        now: datetime,
        footer: str,
        action: tuple[str, str] | None = None,
        **more: object,
    ) -> Letter:
        """Return a mail that is not a notification's: one that asks an address, or takes leave of it."""
        word = words(language)
        given = {
            **values(Facts()),
            **more,
            "brand": self.brand.name,
            "facts": [],
            "sections": [],
            "action": None if action is None else {"label": word[action[0]], "url": action[1]},
            "footer": [word[footer]],
            "unsubscribe": None,
        }
        page = self.templates.page(kind, language, given)
        data = letter(page, self.brand, recipient=recipient, message_id=message_id, now=now)
        return Letter(data, self.brand.sender, recipient)

    def _given(
        self, kind: NoticeKind, facts: Facts, settings: Settings, user_id: UUID, wallet: str
    ) -> dict[str, Any]:
        language = language_of(settings.language)
        word = words(language)
        footer = [word["because"].format(wallet=short_address(wallet))]
        unsubscribe = None
        if kind in rules.UNSUBSCRIBABLE:
            label = word["unsubscribe_digest" if kind is NoticeKind.DIGEST else "unsubscribe"]
            unsubscribe = {"label": label, "url": self.unsubscribe_url(user_id, kind)}
        else:
            footer.append(word["security_footer"])
        return {
            **values(facts),
            "brand": self.brand.name,
            "facts": listed(kind, facts, settings, self._coins),
            "sections": [],
            "action": None,
            "footer": footer,
            "unsubscribe": unsubscribe,
        }

    async def _digest(
        self, connection: Connection, user_id: UUID, facts: Facts, settings: Settings
    ) -> dict[str, object] | None:
        """Return what a digest says; None when nothing of it is left to say."""
        assert facts.since is not None, "a digest has a period"
        assert facts.until is not None, "a digest has a period"
        rows = await store.news(connection, user_id, since=facts.since, until=facts.until, limit=_MOST_NEWS)
        items = [
            (short_of(row["kind"], row["data"], settings.language, self.templates), row["created_at"])
            for row in rows
        ]
        sales = await sales_of(connection, user_id, since=facts.since, until=facts.until)
        if not items and not sales:
            return None
        return {
            "items": items,
            "sales": sales,
            "sold": sum(one.count for one in sales),
            "since": moment(facts.since, settings.time_zone, language_of(settings.language)),
            "sections": digest_sections(items, sales, settings, self._coins),
        }

    def _calendar(
        self, kind: NoticeKind, facts: Facts, settings: Settings, *, cancelled: bool, now: datetime
    ) -> Attachment | None:
        """Return the calendar file of a mail; none for a ticket of an event that is cancelled meanwhile."""
        method = _CALENDARS.get(kind)
        if method is None or facts.event is None or (cancelled and method != "CANCEL"):
            return None
        data = self.calendar(facts.event, method, language=settings.language, now=now)
        return Attachment(data, method)

    def calendar(self, event: EventFacts, method: Method, *, language: str, now: datetime) -> bytes:
        """Return an event's calendar file; whichever way it comes, it is one entry in the end."""
        note = words(language_of(language))["calendar_note"].format(brand=self.brand.name)
        return calendar_file(
            event,
            method,
            host=self.brand.host,
            brand=self.brand.name,
            sender=self.brand.sender,
            note=note,
            now=now,
        )

    def unsubscribe_url(self, user_id: UUID, kind: NoticeKind) -> str:
        """Return the link that ends mail of a kind; it needs no row and works while its key is kept."""
        sealed = self.keys.seal(f"{user_id} {kind.value}".encode(), context=_UNSUBSCRIBE)
        return f"{self.brand.public_url}/unsubscribe?token={urlsafe_b64encode(sealed).rstrip(b'=').decode()}"

    def unsubscribed(self, token: str) -> tuple[UUID, NoticeKind]:
        """Return whose mail of which kind a link ends.

        Raises:
            UnsubscribeUnknown: not one of our links.
        """
        try:
            sealed = urlsafe_b64decode(token.encode("ascii") + b"=" * (-len(token) % 4))
            user, _, kind = self.keys.open(sealed, context=_UNSUBSCRIBE).decode().partition(" ")
            return UUID(user), NoticeKind(kind)
        except (NotBase64, UnicodeError, Unopenable, ValueError):
            raise UnsubscribeUnknown from None


async def sales_of(connection: Connection, user_id: UUID, *, since: datetime, until: datetime) -> list[Sold]:
    """Return what events sold whose sales a user may see, an hour late so that all of it is final.

    Those of the organizations whose role shows them sales, and of the user's own wallets that are in none.
    """
    seen = await organizations.reach(connection, user_id, Permission.SALES_READ)
    sold = await audience.sales_between(
        connection, seen.wallets, since=since - SALES_LAG, until=until - SALES_LAG
    )
    return [Sold(one.name, one.chain_id, one.tickets, str(one.paid_wei)) for one in sold]
