"""Web Push over a real push service: only the browser reads it, only we can have sent it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.events.shop import OnChain, Person
from tests.infra.postoffice import certificate
from tests.infra.relaying import until
from tests.notify.pushservice import Browser, PushService, push_service
from tests.notify.town import VAPID, Town, founded

from echain.infra.jobs import JobKind, Queue
from echain.infra.outbound import Outbound, Rules
from echain.kernel.ids import uuid7
from echain.kernel.time import to_unix, utc_now
from echain.notify.kinds import REMIND, Delivery
from echain.notify.pushing import PushDeferred, Pusher, PushRefused, public_key
from echain.notify.pushstore import Subscription

ON = {"purchase": {"push": True, "email": False}}


@pytest.fixture
def tls(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    server, authority = certificate(tmp_path)
    return server, ssl.create_default_context(cafile=authority)


@pytest.fixture
async def town(
    database_url: str, monkeypatch: pytest.MonkeyPatch, tls: tuple[ssl.SSLContext, ssl.SSLContext]
) -> AsyncIterator[Town]:
    quick = JobKind("notify.push", Queue.NOTIFICATION, Delivery, tries=5, first_retry_seconds=0.05)
    for module in ("echain.notify.kinds", "echain.notify.jobs", "echain.notify.service"):
        monkeypatch.setattr(f"{module}.PUSH", quick)
    async with founded(database_url, trusts=tls[1]) as town:
        yield town


@pytest.fixture
async def service(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> AsyncIterator[PushService]:
    async with push_service(public_key(VAPID), tls[0]) as service:
        yield service


async def subscribed(town: Town, service: PushService, name: str = "one") -> tuple[Person, Browser]:
    ada = await town.resident()
    await town.choose(ada, kinds=ON)
    return ada, await browser_of(town, ada, service, name)


async def browser_of(town: Town, person: Person, service: PushService, name: str) -> Browser:
    browser = Browser(f"{service.url}/{name}")
    await town.ask(person, "POST", "/push/subscriptions", browser.subscription)
    return browser


async def buys(town: Town, person: Person, block: int = 1) -> OnChain:
    organizer = await town.resident()
    event, _ = await town.shop.published(organizer)
    await town.buys(person, event, block=block)
    return event


async def test_a_push_is_read_by_its_browser_and_sent_when_final(town: Town, service: PushService) -> None:
    key = (await town.anyone("GET", "/api/v1/push/key")).data["publicKey"]
    assert key == service.key
    ada, browser = await subscribed(town, service)
    await buys(town, ada)
    await town.quiet()
    assert service.arrived == []
    await town.final(1)
    await town.quiet()
    (message,) = service.arrived
    told = browser.read(message.body)
    assert (told["kind"], told["title"]) == ("purchase", "You have your ticket")
    assert told["id"] == (await town.inbox(ada))[0]["id"]
    assert b"Harbour" not in message.body
    assert (message.headers["ttl"], message.headers["urgency"]) == ("86400", "normal")
    assert 0 < message.claims["exp"] - to_unix(town.clock()) <= 24 * 3600
    assert message.claims["sub"] == "mailto:tickets@harbour.example"
    other = Browser(browser.endpoint)
    with pytest.raises(Exception):  # noqa: B017 -- http_ece raises what its cipher does
        other.read(message.body)


async def test_every_browser_of_a_user_gets_it_once(town: Town, service: PushService) -> None:
    ada, first = await subscribed(town, service)
    second = await browser_of(town, ada, service, "two")
    await buys(town, ada)
    await town.final(1)
    await town.quiet()
    by_path = {message.path: message.body for message in service.arrived}
    assert len(service.arrived) == 2
    assert first.read(by_path["/one"])["id"] == second.read(by_path["/two"])["id"]
    shown = await town.ask(ada, "GET", "/push/subscriptions")
    assert all(one["sentAt"] is not None for one in shown)


@pytest.mark.parametrize("status", [404, 410])
async def test_a_browser_that_is_gone_is_forgotten(town: Town, service: PushService, status: int) -> None:
    ada, _ = await subscribed(town, service)
    service.answers = [(status, {})]
    await buys(town, ada)
    await town.final(1)
    await town.quiet()
    assert await town.ask(ada, "GET", "/push/subscriptions") == []
    assert await town.deliveries() == [("purchase", "push", "failed")]


async def test_a_busy_service_is_tried_again_with_the_same_topic(town: Town, service: PushService) -> None:
    ada, browser = await subscribed(town, service)
    service.answers = [(503, {}), (429, {"Retry-After": "0"}), (500, {})]
    await buys(town, ada)
    await town.final(1)
    await until(lambda: len(service.arrived) == 1)
    assert browser.read(service.arrived[0].body)["kind"] == "purchase"
    # 32 characters of base64url at most (RFC 8030 5.4).
    assert 0 < len(service.arrived[0].headers["topic"]) <= 32


async def test_a_refusal_is_final_and_keeps_the_browser(town: Town, service: PushService) -> None:
    ada, _ = await subscribed(town, service)
    service.answers = [(413, {})]
    await buys(town, ada)
    await town.final(1)
    await town.quiet()
    assert await town.deliveries() == [("purchase", "push", "failed")]
    assert len(await town.ask(ada, "GET", "/push/subscriptions")) == 1


async def test_a_browser_speaks_for_whoever_subscribed_it_last(town: Town, service: PushService) -> None:
    ada, browser = await subscribed(town, service)
    bo = await town.resident()
    await town.ask(bo, "POST", "/push/subscriptions", browser.subscription)
    assert await town.ask(ada, "GET", "/push/subscriptions") == []
    await buys(town, ada)
    await town.final(1)
    await town.quiet()
    assert service.arrived == []


async def test_many_who_subscribe_one_browser_at_once_leave_it_to_one(
    town: Town, service: PushService
) -> None:
    browser = Browser(f"{service.url}/one")
    people = [await town.resident() for _ in range(6)]
    for _ in range(4):
        answers = await asyncio.gather(
            *(town.answer(one, "POST", "/push/subscriptions", browser.subscription) for one in people * 2)
        )
        assert {answer.status for answer in answers} == {201}
        assert await town.database.fetchval("SELECT count(*) FROM push_subscriptions") == 1
    counts = [len(await town.ask(one, "GET", "/push/subscriptions")) for one in people]
    assert sorted(counts) == [0] * 5 + [1]


async def test_subscriptions_are_sealed_bounded_and_their_owner_s(town: Town, service: PushService) -> None:
    ada, browser = await subscribed(town, service)
    row = await town.database.fetchrow("SELECT id, sealed FROM push_subscriptions")
    assert row is not None
    assert browser.endpoint.encode() not in row["sealed"]
    eve = await town.resident()
    answer = await town.answer(eve, "DELETE", f"/push/subscriptions/{row['id']}")
    assert (answer.status, answer.error["code"]) == (404, "notify.subscription_not_found")
    for number in range(19):
        await browser_of(town, ada, service, f"more{number}")
    full = await town.answer(ada, "POST", "/push/subscriptions", Browser(f"{service.url}/x").subscription)
    assert (full.status, full.error["code"]) == (409, "notify.too_many_subscriptions")
    # The same browser again is no other.
    await town.ask(ada, "POST", "/push/subscriptions", browser.subscription)
    shown = await town.ask(ada, "GET", "/push/subscriptions")
    assert (len(shown), shown[0]["service"]) == (20, "127.0.0.1")
    await town.ask(ada, "DELETE", f"/push/subscriptions/{shown[0]['id']}")
    assert len(await town.ask(ada, "GET", "/push/subscriptions")) == 19


@pytest.mark.parametrize(
    "change",
    [
        {"endpoint": "http://push.example/x"},
        {"endpoint": "https://"},
        {"endpoint": "https://user:pass@push.example/x"},
        {"endpoint": "https://push.example/\r\nx"},
        {"endpoint": "ftp://push.example/x"},
        {"keys": {"p256dh": "A" * 87, "auth": "A" * 22}},
        {"keys": {"p256dh": "short", "auth": "A" * 22}},
        {"keys": {"p256dh": "B" * 87, "auth": "A" * 24}},
        {"more": 1},
    ],
)
async def test_what_is_no_subscription_is_refused(silent_town: Town, change: dict[str, Any]) -> None:
    ada = await silent_town.shop.person()
    body = Browser("https://push.example/x").subscription | change
    assert (await silent_town.answer(ada, "POST", "/push/subscriptions", body)).status == 422
    assert await silent_town.database.fetchval("SELECT count(*) FROM push_subscriptions") == 0


async def test_a_service_inside_is_neither_subscribed_nor_connected_to(service: PushService) -> None:
    """As this program runs elsewhere than in tests; a name may stand for another address by now."""
    async with Outbound(Rules(), user_agent="test") as outbound:
        pusher = Pusher(VAPID, outbound, contact="mailto:t@x.example")
        for endpoint in (f"{service.url}/x", "https://localhost/x", "https://169.254.169.254/x"):
            given = Browser(endpoint).subscription
            to = Subscription(endpoint, given["keys"]["p256dh"], given["keys"]["auth"])
            with pytest.raises((PushRefused, PushDeferred)):
                await pusher.push(to, b"{}", topic=uuid7(), life=timedelta(hours=1), now=utc_now())
    assert service.arrived == []


async def test_a_reminder_waits_for_no_browser_beyond_the_event(town: Town, service: PushService) -> None:
    ada = await town.resident()
    await browser_of(town, ada, service, "one")
    organizer = await town.resident()
    event, _ = await town.shop.published(organizer)
    await town.shop.sold(event, ada)
    await town.final(10**9)
    await town.later(days=29, hours=22, minutes=30)
    await town.tick(REMIND)
    (message,) = service.arrived
    assert int(message.headers["ttl"]) == 90 * 60
