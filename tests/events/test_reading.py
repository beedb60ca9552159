"""Reading events: kept bytes follow the facts and the clock; availability is what the chain last said."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from typing import Any

import pytest
from tests.events.shop import Shop

from echain.kernel.time import rfc3339

EVENTS = "/api/v1/events"


async def test_an_unchanged_event_is_not_sent_again(shop: Shop) -> None:
    organizer = await shop.person()
    event, _ = await shop.published(organizer)
    first = await shop.anyone("GET", f"{EVENTS}/{event.id}")
    tag = {"if-none-match": first.header("etag") or ""}
    same = await shop.anyone("GET", f"{EVENTS}/{event.id}", headers=tag)
    assert (same.status, same.body, same.header("etag")) == (304, b"", first.header("etag"))
    await shop.sold(event, organizer)
    changed = await until_sold(shop, event.id, 1)
    assert changed.header("etag") != first.header("etag")


async def until_sold(shop: Shop, event_id: object, sold: int) -> Any:
    """Read an event until the notification of a sale has arrived; it may take some milliseconds."""
    async with asyncio.timeout(5):
        while True:
            answer = await shop.anyone("GET", f"{EVENTS}/{event_id}")
            if answer.data["sold_tickets"] == sold:
                return answer
            await asyncio.sleep(0.002)


async def test_a_second_read_asks_the_database_nothing(shop: Shop) -> None:
    organizer = await shop.person()
    event, draft = await shop.published(organizer)
    bodies = [await shop.anyone("GET", f"{EVENTS}/{name}") for name in (event.id, draft["id"])]
    await shop.database.close()
    for name, before in zip((event.id, draft["id"]), bodies, strict=True):
        answer = await shop.anyone("GET", f"{EVENTS}/{name}")
        assert answer.data == before.data
    assert (await shop.anyone("GET", f"{EVENTS}/{event.id}/availability")).status == 503


async def test_the_moment_an_event_ends_it_is_past_though_nothing_was_written(shop: Shop) -> None:
    organizer = await shop.person()
    starts = shop.clock() + timedelta(hours=1)
    event, draft = await shop.published(
        organizer, startTime=rfc3339(starts), endTime=rfc3339(starts + timedelta(hours=1))
    )
    seen = []
    for _ in range(4):
        seen += [
            (await shop.anyone("GET", f"{EVENTS}/{name}")).data["status"] for name in (event.id, draft["id"])
        ]
        shop.clock.pass_by(minutes=59, seconds=59.5)
    assert seen == ["upcoming"] * 6 + ["past"] * 2
    shop.clock.now = starts + timedelta(hours=1)
    assert (await shop.anyone("GET", f"{EVENTS}/{event.id}")).data["status"] == "past"


async def test_a_cancelled_event_says_so_and_sells_nothing(shop: Shop) -> None:
    organizer = await shop.person()
    event, _ = await shop.published(organizer)
    await shop.cancelled(event)
    shop.cache.forget(f"event:{event.id}")
    assert (await shop.anyone("GET", f"{EVENTS}/{event.id}")).data["status"] == "cancelled"
    available = (await shop.anyone("GET", f"{EVENTS}/{event.id}/availability")).data
    assert {tier["state"] for tier in available["tiers"]} == {"cancelled"}


async def test_availability_counts_what_the_events_maximum_leaves(shop: Shop) -> None:
    organizer = await shop.person()
    event, _ = await shop.published(organizer, maxTickets=12)
    await shop.sold(event, organizer, tier=0, quantity=5)
    available = (await shop.anyone("GET", f"{EVENTS}/{event.id}/availability")).data
    assert (available["max_tickets"], available["sold_tickets"], available["remaining"]) == (12, 5, 7)
    assert [(tier["sold"], tier["remaining"], tier["state"]) for tier in available["tiers"]] == [
        (5, 7, "on_sale"),
        (0, 7, "on_sale"),
    ]
    await shop.sold(event, organizer, tier=1, quantity=7)
    available = (await shop.anyone("GET", f"{EVENTS}/{event.id}/availability")).data
    assert {tier["state"] for tier in available["tiers"]} == {"sold_out"}


async def test_availability_follows_the_tiers_windows(shop: Shop) -> None:
    organizer = await shop.person()
    opens = shop.clock() + timedelta(days=1)
    tiers = [
        {"name": "Early", "priceWei": "0", "supply": 5, "saleEnd": rfc3339(opens)},
        {"name": "Late", "priceWei": "0", "supply": 5, "saleStart": rfc3339(opens)},
    ]
    event, draft = await shop.published(organizer, tiers=tiers, maxTickets=10)

    async def states() -> list[str]:
        answer = await shop.anyone("GET", f"{EVENTS}/{event.id}/availability")
        return [tier["state"] for tier in answer.data["tiers"]]

    assert await states() == ["on_sale", "not_open"]
    shop.clock.now = opens
    assert await states() == ["closed", "on_sale"]
    answer = await shop.anyone("GET", f"{EVENTS}/{event.id}/availability")
    assert answer.data["tiers"][1]["saleEnd"] == draft["endTime"]


async def test_what_a_lying_chain_says_is_shown_within_bounds(shop: Shop) -> None:
    organizer = await shop.person()
    event, _ = await shop.published(organizer)
    await shop.database.execute(
        "UPDATE events SET max_tickets = 3, sold_tickets = 9, ends_at = '9999-12-31T23:59:59Z', "
        "blockchain_id = 2::numeric ^ 256 - 1 WHERE id = $1",
        event.id,
    )
    await shop.database.execute("UPDATE tiers SET sold = 99, supply = 1, price_wei = 2::numeric ^ 255")
    shop.cache.forget(f"event:{event.id}")
    read = await shop.anyone("GET", f"{EVENTS}/{event.id}")
    assert read.status == 200
    assert (read.data["remaining"], read.data["blockchain_id"]) == (0, str(2**256 - 1))
    assert [tier["remaining"] for tier in read.data["tiers"]] == [0, 0]
    assert (await shop.anyone("GET", f"{EVENTS}/{event.id}/availability")).data["tiers"][0][
        "priceWei"
    ] == str(2**255)
    assert (await shop.anyone("GET", EVENTS)).status == 200


async def test_whoever_has_seen_a_message_is_shown_nothing_older(shop: Shop) -> None:
    organizer = await shop.person()
    event, draft = await shop.published(organizer)
    urls = [f"{EVENTS}/{event.id}", f"{EVENTS}/{draft['id']}"]
    for url in urls:
        await shop.anyone("GET", url)
    # A change of which this process has not heard yet, told as message 1.
    await shop.database.execute("UPDATE events SET sold_tickets = 7")
    for url in urls:
        assert (await shop.anyone("GET", url)).data["sold_tickets"] == 0
        fresh = await shop.anyone("GET", url, headers={"echain-seen": "1"})
        assert fresh.data["sold_tickets"] == 7
        assert (await shop.anyone("GET", url, headers={"Echain-Seen": "0"})).data["sold_tickets"] == 0


async def test_what_is_no_id_of_a_message_is_refused(shop: Shop) -> None:
    event, _ = await shop.published(await shop.person())
    for text in ("-1", "x", "1.5", "", "²", "1" * 20):
        answer = await shop.anyone("GET", f"{EVENTS}/{event.id}", headers={"echain-seen": text})
        assert (answer.status, list(answer.fields)) == (422, ["echain-seen"]), text


async def test_more_than_nine_of_ten_reads_are_answered_by_the_cache_while_tickets_are_sold(
    shop: Shop,
) -> None:
    """Ten events read by many, the popular ones most; a sale for every thirty reads, then ten of them."""
    rng, organizer, buyer = random.Random(8), await shop.person(), await shop.person()
    events = [(await shop.published(organizer))[0] for _ in range(10)]
    weights = [1 / rank for rank in range(1, 11)]

    async def visit() -> None:
        event = rng.choices(events, weights)[0]
        assert (await shop.anyone("GET", f"{EVENTS}/{event.id}")).status == 200

    shop.cache.reads.clear()
    for _ in range(60):
        await shop.sold(rng.choices(events, weights)[0], buyer)
        for _ in range(3):
            await asyncio.gather(*(visit() for _ in range(10)))
    reads = shop.cache.reads
    assert sum(reads.values()) >= 1_800
    assert 1 - (reads["rendered"] + reads["past"]) / sum(reads.values()) > 0.9, reads


async def test_reads_take_the_statements_that_they_took_before_there_were_organizations(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A known draft and a public list: one. A kept event: none. What is mine: one more, for what I reach."""
    organizer = await shop.person()
    event, _ = await shop.published(organizer)
    draft = await shop.draft(organizer, title="Draft")
    asked: list[str] = []

    def counted(name: str) -> None:
        ask = getattr(shop.database, name)

        async def counting(query: str, *arguments: object) -> Any:
            asked.append(query)
            return await ask(query, *arguments)

        monkeypatch.setattr(shop.database, name, counting)

    for name in ("fetch", "fetchrow", "execute"):
        counted(name)
    for path, most in (
        (f"/{draft['id']}", 1),
        (f"/{event.id}", 0),
        ("", 1),
        ("?organizer=" + organizer.text, 1),
        ("?mine=true", 2),
    ):
        assert (await organizer.client("GET", f"{EVENTS}{path}")).status == 200
        asked.clear()
        assert (await organizer.client("GET", f"{EVENTS}{path}")).status == 200
        assert len(asked) == most, (path, asked)
