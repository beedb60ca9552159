"""A good request of each route: what goes beside its path. Whatever is wrong with it must be who sends it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from tests.notify.pushservice import Browser as PushBrowser
from tests.policy.world import Thing, draft

from echain.kernel.time import utc_now

SOMEBODY: Final = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
NOTHING: Final = Thing({})

Content = Callable[[Thing], Any]


def _always(body: object) -> Content:
    return lambda _: body


def _draft(_: Thing) -> Any:
    return draft(utc_now() + timedelta(days=30))


def _for_organization(thing: Thing) -> dict[str, str]:
    """Return the organization that something new is for, where the request names one."""
    return {"organizationId": thing["id"]} if "id" in thing.parts else {}


EVERY_WAY: Final = {"inApp": True, "email": True, "push": True}
KINDS: Final = [
    *("purchase", "ticketReceived", "ticketSent", "eventChanged", "eventCancelled", "refund", "attendance"),
    *("reminder", "security"),
]


RAW: Final[dict[str, bytes]] = {"POST /api/v1/media": b"no picture"}
"""Bodies that are no JSON."""

BODIES: Final[dict[str, Content]] = {
    "POST /api/v1/auth/verify": _always({"message": "no", "signature": "0x"}),
    "POST /api/v1/auth/login": _always({"message": "no", "signature": "0x"}),
    "POST /api/v1/auth/refresh": _always({"refreshToken": "no"}),
    "PUT /api/v1/auth/sessions/{id}": _always({"name": "Till"}),
    "POST /api/v1/auth/confirmations": _always({"action": "account.erase", "target": "me"}),
    "POST /api/v1/auth/oauth/{provider}/link": _always({}),
    "POST /api/v1/auth/wallets": _always({"message": "no", "signature": "0x"}),
    "POST /api/v1/admin/admins": _always({"address": SOMEBODY}),
    "POST /api/v1/organizations": _always({"name": "Another"}),
    "PUT /api/v1/organizations/{id}": _always({"name": "Renamed"}),
    "POST /api/v1/organizations/{id}/owner": _always({"userId": str(UUID(int=1))}),
    "PUT /api/v1/organizations/{id}/members/{user}": _always({"role": "manager"}),
    "POST /api/v1/organizations/{id}/invitations": _always({"role": "gate"}),
    "POST /api/v1/organizations/invitations/offer": _always({"token": "no"}),
    "POST /api/v1/organizations/invitations/accept": _always({"token": "no"}),
    "POST /api/v1/organizations/invitations/decline": _always({"token": "no"}),
    "POST /api/v1/api-keys": _always({"name": "program", "scopes": ["events:read"]}),
    "PUT /api/v1/api-keys/{id}": _always({"name": "program"}),
    "POST /api/v1/events": lambda thing: _draft(thing) | _for_organization(thing),
    "PUT /api/v1/events/{id}": lambda thing: _draft(thing) | {"version": 1},
    "POST /api/v1/events/{id}/tiers/{tier}/price": _always({"priceWei": "20000000000000000"}),
    "POST /api/v1/events/{id}/verify": _always({"address": SOMEBODY}),
    "POST /api/v1/tickets/purchase": lambda thing: {"eventId": thing["id"]},
    "POST /api/v1/tickets/{id}/transfer": _always({"to": SOMEBODY}),
    "POST /api/v1/tickets/{id}/checkin": _always({}),
    "POST /api/v1/gates": lambda thing: {"eventId": thing["id"], "name": "Side door"},
    "POST /api/v1/gates/{id}/scan": _always({"code": "no code"}),
    "POST /api/v1/gates/{id}/undo": lambda thing: {"admissionId": thing["admission"]},
    "POST /api/v1/transactions": _always({"hash": "0x" + "cd" * 32}),
    "POST /api/v1/webhook-subscriptions": lambda thing: {
        "url": "https://hooks.example.com/y",
        **_for_organization(thing),
    },
    "PUT /api/v1/webhook-subscriptions/{id}": _always({"url": "https://hooks.example.com/z"}),
    "POST /api/v1/webhook-subscriptions/{id}/replay": _always({"since": "2026-01-01T00:00:00Z"}),
    "POST /api/v1/webhook-subscriptions/{id}/rotate": _always({}),
    "PUT /api/v1/me/notification-preferences": _always(
        {"language": "en", "digest": "off", "kinds": dict.fromkeys(KINDS, EVERY_WAY)}
    ),
    "PUT /api/v1/me/email": _always({"email": "somebody@example.com"}),
    "POST /api/v1/email/verify": _always({"token": "no"}),
    "POST /api/v1/notifications/read": _always({}),
    "POST /api/v1/push/subscriptions": _always(PushBrowser("https://push.example.com/z").subscription),
}
"""Bodies by route; those that are missing here have none."""

QUERIES: Final[dict[str, Content]] = {
    "GET /api/v1/events/search": _always({"q": "harbour"}),
    "GET /api/v1/auth/export/{section}": _always({"after": str(UUID(int=1))}),
    "GET /api/v1/auth/oauth/{provider}/callback": _always({"state": "no"}),
    "GET /invitation": _always({"token": "no"}),
    "POST /invitation": _always({"token": "no"}),
    "GET /api/v1/events": _always({"mine": "false"}),
    "GET /api/v1/gates": lambda thing: {"eventId": thing["id"]},
    "GET /api/v1/gates/{id}/tickets": _always({"tokenId": "1"}),
    "GET /api/v1/tickets": _always({"owner": SOMEBODY}),
    "GET /api/v1/poaps": _always({"attendee": SOMEBODY}),
    "GET /email/verify": _always({"token": "no"}),
    "POST /email/verify": _always({"token": "no"}),
    "GET /unsubscribe": _always({"token": "no"}),
    "POST /unsubscribe": _always({"token": "no"}),
}

PARTS: Final[Mapping[str, str]] = {
    "address": SOMEBODY,
    "provider": "none",
    "section": "sessions",
    "version": "1",
    "folder": "none",
    "name": "none",
    "id": str(UUID(int=1)),
}
"""Of paths that name nothing which belongs to anybody."""

REFUSES_ALL: Final[dict[str, str]] = {
    "POST /api/v1/media": "media.unreadable",
    "POST /webhooks/coinbase": "webhooks.signature_missing",
    "POST /api/v1/auth/refresh": "auth.refresh_unknown",
    "POST /api/v1/auth/verify": "auth.message_malformed",
    "POST /api/v1/auth/login": "auth.message_malformed",
    "POST /api/v1/auth/wallets": "auth.message_malformed",
}
"""Routes that judge something else than who sends: without it everybody hears the same."""


def path_of(name: str, thing: Thing | None) -> str:
    """Return path and query of a request."""
    thing = thing or NOTHING
    path = name.partition(" ")[2].format(**{**PARTS, **thing.parts})
    query = QUERIES.get(name)
    return path if query is None else f"{path}?{urlencode(query(thing))}"


def body_of(name: str, thing: Thing | None) -> Any:
    """Return the JSON of a request, None for one without a body."""
    content = BODIES.get(name)
    return None if content is None else content(thing or NOTHING)
