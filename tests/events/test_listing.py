"""Lists and search: every filter, every order, pages that neither skip nor repeat."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

from tests.events.shop import OnChain, Person, Shop

from echain.events.listing import Mark, decode_mark, encode_mark
from echain.kernel.time import rfc3339

EVENTS = "/api/v1/events"


async def events_over_days(shop: Shop, organizer: Person, count: int, **changes: Any) -> list[OnChain]:
    """Publish events that start a day apart, titled by their number, created an hour apart."""
    made = []
    for number in range(count):
        starts = shop.clock() + timedelta(days=10 + number)
        event, _ = await shop.published(
            organizer,
            title=f"Event {number}",
            startTime=rfc3339(starts),
            endTime=rfc3339(starts + timedelta(hours=2)),
            **changes,
        )
        made.append(event)
    return made


async def titles(shop: Shop, query: str, client: Any = None) -> list[str]:
    answer = await (client or shop.anyone)("GET", f"{EVENTS}{query}")
    assert answer.status == 200, answer.body
    return [item["title"] for item in answer.data]


async def test_filters_narrow_by_what_they_say(shop: Shop) -> None:
    ada, bo = await shop.person(), await shop.person()
    events = await events_over_days(shop, ada, 3)
    await shop.published(bo, title="Elsewhere", category="sport")
    await shop.cancelled(events[1])
    assert await titles(shop, f"?organizer={bo.text}") == ["Elsewhere"]
    assert await titles(shop, f"?organizer={bo.text.lower()}") == ["Elsewhere"]
    assert await titles(shop, "?category=sport") == ["Elsewhere"]
    assert await titles(shop, "?status=cancelled") == ["Event 1"]
    assert await titles(shop, "?status=upcoming") == ["Event 0", "Event 2", "Elsewhere"]
    assert await titles(shop, "?status=past") == []
    assert await titles(shop, "?chainId=84532&category=music") == ["Event 0", "Event 1", "Event 2"]
    assert await titles(shop, "?chainId=1") == []
    start = (await shop.anyone("GET", f"{EVENTS}/{events[1].id}")).data["startTime"]
    assert await titles(shop, f"?from={start}&category=music") == ["Event 1", "Event 2"]
    assert await titles(shop, f"?to={start}") == ["Event 0"]
    shop.clock.pass_by(days=12, hours=1)
    assert await titles(shop, "?status=past") == ["Event 0"]


async def test_sorts_go_both_ways(shop: Shop) -> None:
    organizer = await shop.person()
    for days in (30, 10, 20):
        starts = shop.clock() + timedelta(days=days)
        ends = rfc3339(starts + timedelta(hours=1))
        await shop.published(organizer, title=f"In {days}", startTime=rfc3339(starts), endTime=ends)
        shop.clock.pass_by(minutes=1)
    by_start = ["In 10", "In 20", "In 30"]
    assert await titles(shop, "") == await titles(shop, "?sort=startTime") == by_start
    assert await titles(shop, "?sort=-startTime") == by_start[::-1]
    assert await titles(shop, "?sort=createdAt") == ["In 30", "In 10", "In 20"]
    assert await titles(shop, "?sort=-createdAt") == ["In 20", "In 10", "In 30"]
    wrong = await shop.anyone("GET", f"{EVENTS}?sort=price")
    assert (wrong.status, list(wrong.fields)) == (422, ["sort"])


async def test_numbered_pages_have_totals_also_past_the_end(shop: Shop) -> None:
    organizer = await shop.person()
    await events_over_days(shop, organizer, 5)
    pages = []
    for page in (1, 2, 3, 4):
        answer = await shop.anyone("GET", f"{EVENTS}?perPage=2&page={page}")
        assert answer.json["meta"]["page"] == {"perPage": 2, "page": page, "total": 5, "pages": 3}
        pages.append([item["title"] for item in answer.data])
    assert pages == [["Event 0", "Event 1"], ["Event 2", "Event 3"], ["Event 4"], []]
    for query, field in (
        ("page=0", "page"),
        ("perPage=101", "perPage"),
        ("page=x", "page"),
        ("size=1", "size"),
    ):
        wrong = await shop.anyone("GET", f"{EVENTS}?{query}")
        assert (wrong.status, list(wrong.fields)) == (422, [field])


async def walk(shop: Shop, client: Any, query: str) -> list[str]:
    """Follow cursors to the end, adding an event in front and behind after each page."""
    seen: list[str] = []
    cursor = ""
    organizer = await shop.person()
    while True:
        answer = await client("GET", f"{EVENTS}?{query}&limit=3&cursor={cursor}")
        assert answer.status == 200, answer.body
        assert len(answer.data) <= 3
        seen += [item["title"] for item in answer.data]
        page = answer.json["meta"]["page"]
        assert "total" not in page
        if "nextCursor" not in page:
            return seen
        cursor = page["nextCursor"]
        for days in (1, 400):
            starts = shop.clock() + timedelta(days=days)
            ends = rfc3339(starts + timedelta(hours=1))
            await shop.published(organizer, title="New", startTime=rfc3339(starts), endTime=ends)


async def test_a_walk_by_cursor_neither_skips_nor_repeats_while_events_are_added(shop: Shop) -> None:
    organizer = await shop.person()
    await events_over_days(shop, organizer, 8)
    # Equal starts: the id decides.
    for _ in range(4):
        await shop.published(
            organizer, title="Same", startTime="2026-03-01T00:00:00Z", endTime="2026-03-02T00:00:00Z"
        )
    expected = [f"Event {number}" for number in range(8)]
    forward = await walk(shop, shop.anyone, "sort=startTime")
    assert [title for title in forward if title.startswith("Event")] == expected
    assert forward.count("Same") == 4
    backward = await walk(shop, shop.anyone, "sort=-startTime")
    assert [title for title in backward if title.startswith("Event")] == expected[::-1]
    assert backward.count("Same") == 4


async def test_a_walk_over_ones_own_has_drafts_and_events_in_one_order(shop: Shop) -> None:
    organizer = await shop.person()
    await events_over_days(shop, organizer, 3)
    for number in range(4):
        starts = shop.clock() + timedelta(days=10 + number, hours=1)
        ends = rfc3339(starts + timedelta(hours=1))
        await shop.draft(organizer, title=f"Draft {number}", startTime=rfc3339(starts), endTime=ends)
    expected = ["Event 0", "Draft 0", "Event 1", "Draft 1", "Event 2", "Draft 2", "Draft 3"]
    assert await titles(shop, "?mine=true", organizer.client) == expected
    assert await walk(shop, organizer.client, "mine=true") == expected
    assert await titles(shop, "?status=draft", organizer.client) == [f"Draft {number}" for number in range(4)]
    assert await titles(shop, "?mine=true&status=upcoming", organizer.client) == expected[::2][:3]
    answer = await organizer.client("GET", f"{EVENTS}?mine=true&perPage=3&page=2")
    assert answer.json["meta"]["page"]["total"] == 7
    assert [item["title"] for item in answer.data] == expected[3:6]


async def test_a_cursor_that_is_none_is_refused(shop: Shop) -> None:
    organizer = await shop.person()
    await events_over_days(shop, organizer, 2)
    good = (await shop.anyone("GET", f"{EVENTS}?limit=1")).json["meta"]["page"]["nextCursor"]
    for query in ("cursor=zzz", "cursor=%F0%9F%8E%89", f"cursor={good}x1", f"cursor={good}&sort=-startTime"):
        wrong = await shop.anyone("GET", f"{EVENTS}?{query}")
        assert (wrong.status, list(wrong.fields)) == (422, ["cursor"]), query
    both = await shop.anyone("GET", f"{EVENTS}?cursor={good}&page=2")
    assert (both.status, list(both.fields)) == (422, ["cursor"])


async def test_the_first_and_the_last_hours_of_time_are_refused(shop: Shop) -> None:
    organizer = await shop.person()
    ends = (("from", "0001-01-01T00:00:00%2B14:00"), ("to", "9999-12-31T23:59:59-12:00"))
    for field, moment in ends:
        for query in (f"?{field}={moment}", f"/search?q=a&{field}={moment}", f"?mine=true&{field}={moment}"):
            wrong = await organizer.client("GET", f"{EVENTS}{query}")
            assert (wrong.status, list(wrong.fields)) == (422, [field])
    first = decode_mark(
        encode_mark(Mark("startTime", datetime.max.replace(tzinfo=UTC), UUID(int=0))), "startTime"
    )
    forged = encode_mark(Mark("startTime", first.at.replace(tzinfo=timezone(timedelta(hours=-1))), first.id))
    wrong = await shop.anyone("GET", f"{EVENTS}?cursor={forged}")
    assert (wrong.status, list(wrong.fields)) == (422, ["cursor"])


async def test_sparse_fields_are_those_that_were_asked_for(shop: Shop) -> None:
    organizer = await shop.person()
    await events_over_days(shop, organizer, 1)
    answer = await shop.anyone("GET", f"{EVENTS}?fields=title,sold_tickets,startTime")
    assert [set(item) for item in answer.data] == [{"title", "sold_tickets", "startTime"}]
    found = await shop.anyone("GET", f"{EVENTS}/search?q=event&fields=id")
    assert [set(item) for item in found.data] == [{"id"}]
    wrong = await shop.anyone("GET", f"{EVENTS}?fields=title,secret")
    assert (wrong.status, list(wrong.fields)) == (422, ["fields"])


async def test_search_finds_words_in_title_place_category_and_description(shop: Shop) -> None:
    organizer = await shop.person()
    await shop.published(organizer, title="Jazz at the pier", description="Saxophones", category="concert")
    place = {"name": "Stadium", "address": "Elm Street 5"}
    told = "Jazz plays at the finish"
    await shop.published(organizer, title="Marathon", description=told, category="sport", place=place)
    assert await titles(shop, "/search?q=jazz") == ["Jazz at the pier", "Marathon"]
    assert await titles(shop, "/search?q=jazz+-finish") == ["Jazz at the pier"]
    assert await titles(shop, "/search?q=saxo") == ["Jazz at the pier"]
    assert await titles(shop, "/search?q=elm") == ["Marathon"]
    assert await titles(shop, "/search?q=sport+finish") == ["Marathon"]
    assert await titles(shop, "/search?q=%22the+pier%22") == ["Jazz at the pier"]
    assert await titles(shop, "/search?q=JAZZ&category=sport") == ["Marathon"]
    assert await titles(shop, "/search?q=jazz&maxPriceWei=9") == []
    assert await titles(shop, "/search?q=opera") == []
    page = await shop.anyone("GET", f"{EVENTS}/search?q=jazz&perPage=1&page=2")
    assert page.json["meta"]["page"] == {"perPage": 1, "page": 2, "total": 2, "pages": 2}
    assert [item["title"] for item in page.data] == ["Marathon"]


async def test_search_takes_any_text_as_words(shop: Shop) -> None:
    organizer = await shop.person()
    await shop.published(organizer)
    for words in (
        "'",
        "%22",
        "a:*",
        "!!",
        "%26%7C",
        "(",
        "-",
        "%5C",
        "'%3B--",
        "or",
        "-%22a+b%22",
        "%00x"[3:],
    ):
        answer = await shop.anyone("GET", f"{EVENTS}/search?q={words}")
        assert answer.status == 200, (words, answer.body)
    for words in ("", "x" * 201, "%00"):
        assert (await shop.anyone("GET", f"{EVENTS}/search?q={words}")).status == 422


async def test_search_finds_events_made_elsewhere_by_the_chains_name(shop: Shop) -> None:
    organizer = await shop.person()
    draft = await shop.draft(organizer, title="Distant drums")
    await shop.mined(organizer, draft, metadata_hash="0x" + "55" * 32)
    assert await titles(shop, "/search?q=drums") == ["Distant drums"]
