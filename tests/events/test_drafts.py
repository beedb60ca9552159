"""Drafts through the front door: kept whole, changed by one at a time, seen by their organizer alone."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import msgspec
from tests.events.shop import Shop
from tests.kernel.conformity import conforms

from echain.kernel.messages import Message
from echain.kernel.time import rfc3339

EVENTS = "/api/v1/events"


async def test_a_draft_is_answered_as_it_was_sent_with_an_id_and_a_version(shop: Shop) -> None:
    organizer = await shop.person()
    draft = await shop.draft(organizer)
    read = await organizer.client("GET", f"{EVENTS}/{draft['id']}")
    assert read.data == draft
    assert (draft["status"], draft["version"], draft["organizer"]) == ("draft", 1, organizer.text)
    assert draft["ticket_price"] == "10000000000000000"
    assert [tier["remaining"] for tier in draft["tiers"]] == [90, 20]


async def test_what_was_not_said_has_its_default(shop: Shop) -> None:
    organizer = await shop.person()
    content = shop.content(description=None, place=None, category=None, timezone=None, maxTickets=None)
    answer = await organizer.client("POST", EVENTS, json_body=content)
    assert answer.data["max_tickets"] == 110
    assert answer.data["timezone"] == "UTC"
    assert answer.data["rules"]["giftPolicy"] == "free"


async def test_moments_in_any_offset_are_answered_in_utc(shop: Shop) -> None:
    organizer = await shop.person()
    draft = await shop.draft(
        organizer, startTime="2026-06-01T20:00:00+02:00", endTime="2026-06-01T23:00:00-05:00"
    )
    assert (draft["startTime"], draft["endTime"]) == ("2026-06-01T18:00:00Z", "2026-06-02T04:00:00Z")


WRONG: list[tuple[str, object, str, str]] = [
    ("title", "", "title", "length >= 1"),
    ("title", "   ", "title", "blank"),
    ("title", "x" * 129, "title", "length <= 128"),
    ("title", "é" * 65, "title", "128 bytes"),
    ("title", "x" * 40_000, "title", "length <= 128"),
    ("title", "nul \x00 inside", "title", ""),
    ("title", "two\nlines", "title", "regex"),
    ("title", 7, "title", "`str`"),
    ("description", "\x00", "description", ""),
    ("description", "x" * 10_001, "description", "length <= 10000"),
    ("chainId", 1, "chainId", "this platform writes to 84532"),
    ("chainId", "84532", "chainId", "`int`"),
    ("category", "Rock & Roll", "category", "regex"),
    ("image", "javascript:alert(1)", "image", "regex"),
    ("image", "data:image/png;base64,AAAA", "image", "regex"),
    ("image", "https://a b", "image", "regex"),
    ("timezone", "Mars/Olympus", "timezone", "IANA"),
    ("timezone", "../../etc/passwd", "timezone", "regex"),
    ("place", {"name": "x", "latitude": 91, "longitude": 0}, "place.latitude", "<= 90"),
    ("place", {"name": "x", "latitude": 9}, "place", "need each other"),
    ("place", {"name": "x", "room": 9}, "place.room", "unknown field"),
    ("startTime", "2026-01-02T03:04:05Z", "startTime", "not in the future"),
    ("startTime", "2026-06-01T20:00:00", "startTime", "timezone"),
    ("startTime", "tomorrow", "startTime", "RFC3339"),
    ("startTime", "0001-01-01T00:00:00+14:00", "startTime", "not in the future"),
    ("endTime", "2026-01-03T00:00:00Z", "endTime", "not after startTime"),
    ("endTime", "2037-01-01T00:00:00Z", "endTime", "ten years"),
    ("endTime", "9999-12-31T23:59:59-12:00", "endTime", "ten years"),
    ("maxTickets", 0, "maxTickets", ">= 1"),
    ("maxTickets", 2**32 - 1, "maxTickets", "<= 4294967294"),
    ("maxTickets", 10**30, "maxTickets", ""),
    ("tiers", [], "tiers", "length >= 1"),
    ("tiers", "General", "tiers", "`array`"),
    ("rules", {"giftPolicy": "limited"}, "rules.maxGifts", "at least 1"),
    ("rules", {"giftPolicy": "sometimes"}, "rules.giftPolicy", "Invalid enum"),
    ("rules", {"resaleCapBps": 9_999}, "rules.resaleCapBps", "at least 10000"),
    ("rules", {"royaltyBps": 2_001}, "rules.royaltyBps", "<= 2000"),
    ("organizer", "0x" + "11" * 20, "organizer", "unknown field"),
    ("id", str(uuid4()), "id", "unknown field"),
]

WRONG_TIERS: list[tuple[dict[str, object], str, str]] = [
    ({"name": ""}, "tiers[0].name", "length >= 1"),
    ({"name": "vip"}, "tiers[1].name", "another tier"),
    ({"priceWei": "-1"}, "tiers[0].priceWei", "regex"),
    ({"priceWei": "1e18"}, "tiers[0].priceWei", "regex"),
    ({"priceWei": "0.5"}, "tiers[0].priceWei", "regex"),
    ({"priceWei": 5}, "tiers[0].priceWei", "`str`"),
    ({"priceWei": str(2**96)}, "tiers[0].priceWei", "is more than"),
    ({"supply": 0}, "tiers[0].supply", ">= 1"),
    ({"supply": 2**32}, "tiers[0].supply", "<= 4294967295"),
    ({"supply": 1.5}, "tiers[0].supply", "`int`"),
    ({"maxPerPurchase": 51}, "tiers[0].maxPerPurchase", "<= 50"),
    ({"maxPerPurchase": 0}, "tiers[0].maxPerPurchase", ">= 1"),
    ({"maxPerWallet": 256}, "tiers[0].maxPerWallet", "<= 255"),
    ({"saleStart": "2030-01-01T00:00:00Z"}, "tiers[0].saleStart", "not before the event's end"),
    ({"saleStart": "0001-01-01T00:00:00+14:00"}, "tiers[0].saleStart", "before 1970"),
    ({"saleEnd": "2030-01-01T00:00:00Z"}, "tiers[0].saleEnd", "after the event's end"),
    (
        {"saleStart": "2026-01-20T00:00:00Z", "saleEnd": "2026-01-20T00:00:00Z"},
        "tiers[0].saleEnd",
        "not after saleStart",
    ),
    ({"allowListRoot": "0x"}, "tiers[0].allowListRoot", "unknown field"),
]


async def test_wrong_content_is_refused_by_field_and_reason_and_nothing_is_written(shop: Shop) -> None:
    organizer = await shop.person()
    general, vip = shop.content()["tiers"]
    of_tiers = [("tiers", [{**general, **tier}, vip], path, reason) for tier, path, reason in WRONG_TIERS]
    before = await shop.counts()
    for field, value, path, reason in [*WRONG, *of_tiers]:
        answer = await organizer.client("POST", EVENTS, json_body={**shop.content(), field: value})
        assert (answer.status, answer.error["code"]) == (422, "request.invalid"), (field, value, answer.body)
        assert reason in answer.fields.get(path, "another field"), (field, value, answer.fields)
    assert await shop.counts() == before


async def test_every_wrong_field_is_named_at_once(shop: Shop) -> None:
    organizer = await shop.person()
    content = shop.content(
        title=" ",
        startTime="2020-01-01T00:00:00Z",
        timezone="Nowhere",
        rules={"giftPolicy": "limited", "resaleCapBps": 5},
        place={"longitude": 1},
    )
    answer = await organizer.client("POST", EVENTS, json_body=content)
    expected = {"title", "startTime", "timezone", "rules.maxGifts", "rules.resaleCapBps", "place"}
    assert set(answer.fields) == expected


async def test_a_title_of_100_kilobytes_is_refused(shop: Shop) -> None:
    organizer = await shop.person()
    answer = await organizer.client("POST", EVENTS, json_body=shop.content(title="x" * 100_000))
    assert (answer.status, answer.error["code"]) == (413, "request.too_large")
    assert (await shop.counts())["event_drafts"] == 0


HOSTILE = (
    "<script>alert(1)</script>",
    "'; DROP TABLE events; --",
    '{"a":1}',
    "=cmd|' /C calc'!A0",
    "😀\u202e",
)


async def test_hostile_text_stays_text(shop: Shop) -> None:
    organizer = await shop.person()
    for text in HOSTILE:
        event, draft = await shop.published(
            organizer, title=text, description=text, place={"name": text, "address": text}
        )
        read = (await shop.anyone("GET", f"{EVENTS}/{event.id}")).data
        assert (read["title"], read["description"], read["place"]["name"]) == (text, text, text)
        assert read["id"] == draft["id"]


async def test_a_key_sent_twice_makes_one_draft_and_answers_the_same(shop: Shop) -> None:
    organizer = await shop.person()
    key = {"idempotency-key": "once"}
    content = shop.content()
    first = await organizer.client("POST", EVENTS, json_body=content, headers=key)
    second = await organizer.client("POST", EVENTS, json_body=content, headers=key)
    assert (first.status, second.status) == (201, 201)
    assert first.body == second.body
    other = await organizer.client("POST", EVENTS, json_body=shop.content(title="Other"), headers=key)
    assert (other.status, other.error["code"]) == (409, "idempotency.key_reused")
    assert (await shop.counts())["event_drafts"] == 1


async def test_twenty_parallel_requests_with_one_key_make_one_draft(shop: Shop) -> None:
    organizer = await shop.person()
    content = shop.content()
    for round_number in range(5):
        key = {"idempotency-key": f"round {round_number}".replace(" ", "-")}
        answers = await asyncio.gather(
            *(organizer.client("POST", EVENTS, json_body=content, headers=key) for _ in range(20))
        )
        made = {answer.data["id"] for answer in answers if answer.status == 201}
        waiting = {answer.error["code"] for answer in answers if answer.status != 201}
        assert len(made) == 1
        assert waiting <= {"idempotency.in_progress"}
        assert (await shop.counts())["event_drafts"] == round_number + 1


async def test_replacing_a_draft_raises_its_version_and_its_etag_is_what_if_match_takes(shop: Shop) -> None:
    organizer = await shop.person()
    draft = await shop.draft(organizer)
    url = f"{EVENTS}/{draft['id']}"
    read = await organizer.client("GET", url)
    changed = await organizer.client(
        "PUT", url, json_body=shop.content(title="New"), headers={"if-match": read.header("etag") or ""}
    )
    assert (changed.status, changed.data["title"], changed.data["version"]) == (200, "New", 2)
    again = await organizer.client("GET", url)
    assert again.data == changed.data
    assert again.header("etag") == changed.header("etag") != read.header("etag")


async def test_a_stale_version_is_refused_and_changes_nothing(shop: Shop) -> None:
    organizer = await shop.person()
    draft = await shop.draft(organizer)
    url = f"{EVENTS}/{draft['id']}"
    await organizer.client("PUT", url, json_body={**shop.content(title="Mine"), "version": 1})
    for headers, version in (({}, 1), ({"if-match": '"v1"'}, None), ({"if-match": '"v2"'}, 1)):
        body = {**shop.content(title="Late"), **({} if version is None else {"version": version})}
        answer = await organizer.client("PUT", url, json_body=body, headers=headers)
        assert (answer.status, answer.error["code"]) == (412, "events.stale_version")
        assert answer.error["details"]["version"] == 2
    assert (await organizer.client("GET", url)).data["title"] == "Mine"


async def test_a_change_that_names_no_version_is_refused(shop: Shop) -> None:
    organizer = await shop.person()
    draft = await shop.draft(organizer)
    answer = await organizer.client("PUT", f"{EVENTS}/{draft['id']}", json_body=shop.content())
    assert (answer.status, list(answer.fields)) == (422, ["version"])


async def test_of_many_parallel_changes_of_one_version_one_wins(shop: Shop) -> None:
    organizer = await shop.person()
    for _ in range(5):
        draft = await shop.draft(organizer)
        answers = await asyncio.gather(
            *(
                organizer.client(
                    "PUT",
                    f"{EVENTS}/{draft['id']}",
                    json_body={**shop.content(title=f"Title {n}"), "version": 1},
                )
                for n in range(12)
            )
        )
        won = [answer for answer in answers if answer.status == 200]
        assert len(won) == 1
        assert {answer.status for answer in answers} == {200, 412}
        read = await organizer.client("GET", f"{EVENTS}/{draft['id']}")
        assert read.data == won[0].data


async def test_a_deleted_draft_is_gone_for_its_organizer_too_but_its_row_stays(shop: Shop) -> None:
    organizer = await shop.person()
    draft = await shop.draft(organizer)
    url = f"{EVENTS}/{draft['id']}"
    gone = await organizer.client("DELETE", url)
    assert (gone.status, gone.data) == (200, {"id": draft["id"], "deleted": True})
    for method, body in (("GET", None), ("DELETE", None), ("PUT", {**shop.content(), "version": 1})):
        assert (await organizer.client(method, url, json_body=body)).status == 404
    assert (await organizer.client("POST", f"{url}/publish")).status == 404
    assert (await organizer.client("GET", f"{EVENTS}?mine=true")).data == []
    assert (await shop.counts())["event_drafts"] == 1


ROUTES: list[tuple[str, str, Any]] = [
    ("GET", "", None),
    ("PUT", "", "content"),
    ("DELETE", "", None),
    ("POST", "/publish", None),
    ("POST", "/tiers/0/price", {"priceWei": "1"}),
    ("POST", "/withdraw", None),
    ("GET", "/sales", None),
    ("GET", "/attendees", None),
    ("GET", "/availability", None),
    ("POST", "/register", None),
    ("POST", "/verify", {"address": "0x" + "11" * 20}),
]


def bodies(shop: Shop) -> list[tuple[str, str, Any]]:
    change = {**shop.content(title="Stolen"), "version": 1}
    return [(method, path, change if body == "content" else body) for method, path, body in ROUTES]


async def test_a_foreign_draft_is_as_absent_as_one_that_never_was(shop: Shop) -> None:
    owner, other = await shop.person(), await shop.person()
    draft = await shop.draft(owner)
    for method, path, body in bodies(shop):
        foreign = await other.client(method, f"{EVENTS}/{draft['id']}{path}", json_body=body)
        absent = await other.client(method, f"{EVENTS}/{uuid4()}{path}", json_body=body)
        assert (foreign.status, foreign.error) == (absent.status, absent.error), (method, path)
        assert foreign.status == 404, (method, path)
        nobody = await shop.anyone(method, f"{EVENTS}/{draft['id']}{path}", json_body=body)
        assert nobody.status in {401, 404}, (method, path)
    assert (await owner.client("GET", f"{EVENTS}/{draft['id']}")).data == draft


PUBLIC = {("GET", ""), ("GET", "/availability"), ("POST", "/verify")}


async def test_who_may_do_what_with_a_published_event(shop: Shop) -> None:
    owner, other = await shop.person(), await shop.person()
    event, _ = await shop.published(owner)
    for method, path, body in bodies(shop):
        anonymous = await shop.anyone(method, f"{EVENTS}/{event.id}{path}", json_body=body)
        stranger = await other.client(method, f"{EVENTS}/{event.id}{path}", json_body=body)
        if (method, path) in PUBLIC:
            assert (anonymous.status, stranger.status) == (200, 200), (method, path)
            continue
        assert (anonymous.status, anonymous.error["code"]) == (401, "auth.required"), (method, path)
        if path == "/register":
            assert stranger.status == 201
        else:
            assert (stranger.status, stranger.error["code"]) == (404, "events.not_found"), (method, path)


async def test_drafts_of_others_are_in_no_list(shop: Shop) -> None:
    owner, other = await shop.person(), await shop.person()
    await shop.draft(owner)
    for query in ("", "?mine=true", "?status=draft", f"?organizer={owner.text}&mine=true"):
        answer = await other.client("GET", f"{EVENTS}{query}")
        assert (answer.status, answer.data) == (200, []), query
    assert (await shop.anyone("GET", EVENTS)).data == []
    for query in ("?mine=true", "?status=draft"):
        assert (await shop.anyone("GET", f"{EVENTS}{query}")).status == 401
    found = await other.client("GET", f"{EVENTS}/search?q=harbour")
    assert found.data == []


async def test_a_draft_whose_start_has_passed_is_not_published(shop: Shop) -> None:
    organizer = await shop.person()
    soon = shop.clock() + timedelta(hours=1)
    draft = await shop.draft(organizer, startTime=rfc3339(soon))
    shop.clock.pass_by(hours=1)
    organizer = await shop.person(organizer.wallet)
    answer = await organizer.client("POST", f"{EVENTS}/{draft['id']}/publish")
    assert (answer.status, list(answer.fields)) == (422, ["startTime"])
    assert (await shop.counts())["metadata_documents"] == 0


async def test_registering_counts_once_however_often_and_in_parallel_it_is_said(shop: Shop) -> None:
    owner, guest = await shop.person(), await shop.person()
    event, draft = await shop.published(owner)
    url = f"{EVENTS}/{draft['id']}/register"
    answers = await asyncio.gather(*(guest.client("POST", url) for _ in range(12)))
    assert sorted(answer.status for answer in answers) == [200] * 11 + [201]
    assert {answer.data["registeredAt"] for answer in answers} == {"2026-01-02T03:04:05Z"}
    counts = await shop.counts()
    assert (counts["event_registrations"], counts["outbox"]) == (1, 1)
    (row,) = await shop.database.fetch("SELECT channels, type, data FROM outbox")
    message = Message(tuple(row["channels"].split(" ")), row["type"], msgspec.json.decode(row["data"]))
    data = {"eventId": str(event.id), "attendee": guest.text}
    assert message == Message((f"event:{event.id}", f"user:{guest.text}"), "registered", data)
    conforms(message)


async def test_nobody_registers_for_what_is_cancelled_or_over(shop: Shop) -> None:
    owner, guest = await shop.person(), await shop.person()
    event, _ = await shop.published(owner)
    await shop.cancelled(event)
    answer = await guest.client("POST", f"{EVENTS}/{event.id}/register")
    assert (answer.status, answer.error["code"]) == (409, "events.cancelled")
    over, _ = await shop.published(owner)
    shop.clock.pass_by(days=40)
    guest = await shop.person(guest.wallet)
    answer = await guest.client("POST", f"{EVENTS}/{over.id}/register")
    assert (answer.status, answer.error["code"]) == (409, "events.ended")
    assert (await shop.counts())["event_registrations"] == 0
