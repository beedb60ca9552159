"""Tickets as people read them, and what their holders and organizers may prepare."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.events.shop import Shop

TICKETS = "/api/v1/tickets"
EVENTS = "/api/v1/events"


async def test_a_ticket_is_told_with_the_names_that_clients_know(shop: Shop) -> None:
    organizer, holder = await shop.person(), await shop.person()
    event, draft = await shop.published(organizer)
    (token,) = await shop.sold(event, holder, tier=1, price=7)
    ticket = (await shop.anyone("GET", f"{TICKETS}/{event.ticket(token)}")).data
    assert ticket["id"] == event.ticket(token)
    assert (ticket["token_id"], ticket["owner"], ticket["blockchain_id"]) == (
        token,
        holder.text,
        str(event.number),
    )
    assert (ticket["checked_in"], ticket["transferable"]) == (False, True)
    assert (ticket["eventId"], ticket["eventTitle"]) == (draft["id"], "Harbour Lights")
    assert (ticket["tierId"], ticket["tierName"], ticket["pricePaidWei"]) == (1, "VIP", "7")
    assert "/api/v1/metadata/0x" in ticket["metadata_uri"]
    await shop.become(event, token, "used")
    ticket = (await shop.anyone("GET", f"{TICKETS}/{event.ticket(token)}")).data
    assert (ticket["state"], ticket["checked_in"], ticket["transferable"]) == ("used", True, False)


async def test_what_is_no_ticket_is_not_found(shop: Shop) -> None:
    organizer = await shop.person()
    event, _ = await shop.published(organizer)
    upper = f"84532-0x{event.contract.hex().upper()}-1"
    for name in (event.ticket(1), upper, "1", "84532-0x00-1", event.ticket(10**17), "84532--1", "a" * 100):
        for path in ("", "/history"):
            answer = await shop.anyone("GET", f"{TICKETS}/{name}{path}")
            assert (answer.status, answer.error["code"]) == (404, "tickets.not_found"), name


async def test_lists_go_by_owner_event_and_state(shop: Shop) -> None:
    organizer, ada, bo = [await shop.person() for _ in range(3)]
    event, draft = await shop.published(organizer)
    other, _ = await shop.published(organizer, title="Other")
    await shop.sold(event, ada, quantity=3)
    await shop.sold(event, bo, quantity=2)
    await shop.sold(other, ada, quantity=1)
    await shop.become(event, 2, "used")

    async def listed(query: str) -> list[tuple[str, int]]:
        answer = await shop.anyone("GET", f"{TICKETS}?{query}")
        assert answer.status == 200, answer.body
        assert answer.json["meta"]["page"]["total"] == len(answer.data)
        return sorted((item["eventTitle"], item["token_id"]) for item in answer.data)

    of_event = [("Harbour Lights", token) for token in (1, 2, 3, 4, 5)]
    assert await listed(f"owner={ada.text}") == [*of_event[:3], ("Other", 1)]
    assert await listed(f"eventId={draft['id']}") == of_event
    assert await listed(f"eventId={event.id}&owner={bo.text}") == of_event[3:]
    assert await listed(f"eventId={event.id}&state=used") == of_event[1:2]
    assert await listed(f"owner={organizer.text}") == []
    wrong = await shop.anyone("GET", TICKETS)
    assert (wrong.status, list(wrong.fields)) == (422, ["owner"])


async def test_a_walk_over_tickets_neither_skips_nor_repeats_while_more_are_sold(shop: Shop) -> None:
    organizer, holder = await shop.person(), await shop.person()
    event, _ = await shop.published(organizer)
    await shop.sold(event, holder, quantity=10)
    seen: list[int] = []
    cursor = ""
    while True:
        answer = await shop.anyone("GET", f"{TICKETS}?eventId={event.id}&limit=4&cursor={cursor}")
        seen += [item["token_id"] for item in answer.data]
        cursor = answer.json["meta"]["page"].get("nextCursor", "")
        if not cursor:
            break
        if len(seen) < 8:
            await shop.sold(event, holder, quantity=1)
    assert seen == list(range(1, 12))
    pages = [
        [
            item["token_id"]
            for item in (await shop.anyone("GET", f"{TICKETS}?eventId={event.id}&perPage=5&page={page}")).data
        ]
        for page in (1, 2, 3, 4)
    ]
    assert pages == [[1, 2, 3, 4, 5], [6, 7, 8, 9, 10], [11], []]
    wrong = await shop.anyone("GET", f"{TICKETS}?eventId={event.id}&cursor=zz")
    assert (wrong.status, list(wrong.fields)) == (422, ["cursor"])


async def test_a_tickets_history_is_every_thing_that_happened_in_order(shop: Shop) -> None:
    organizer, ada, bo = [await shop.person() for _ in range(3)]
    event, _ = await shop.published(organizer)
    (token,) = await shop.sold(event, ada, price=9)
    await shop.given(event, token, ada, bo)
    await shop.become(event, token, "locked")
    await shop.become(event, token, "valid")
    await shop.become(event, token, "used")
    await shop.sold(event, ada)
    history = (await shop.anyone("GET", f"{TICKETS}/{event.ticket(token)}/history")).data
    assert [entry["kind"] for entry in history] == ["minted", "transferred", "locked", "unlocked", "used"]
    minted, given, *_ = history
    assert (minted["from"], minted["to"], minted["amountWei"]) == (None, ada.text, "9")
    assert (given["from"], given["to"], given["amountWei"]) == (ada.text, bo.text, None)
    assert all(entry["transactionHash"].startswith("0x") for entry in (minted, given))


async def test_only_the_holder_of_a_ticket_that_may_move_gives_it_away(shop: Shop) -> None:
    organizer, holder, friend = [await shop.person() for _ in range(3)]
    event, _ = await shop.published(organizer, rules={"giftPolicy": "limited", "maxGifts": 1}, maxTickets=50)
    tokens = await shop.sold(event, holder, quantity=5)

    async def transfer(token: int, who: Any = holder, to: str = friend.text) -> str:
        answer = await who.client("POST", f"{TICKETS}/{event.ticket(token)}/transfer", json_body={"to": to})
        assert answer.status in {404, 409, 422}, answer.body
        return answer.error["code"]

    for token, state in zip(tokens, ("used", "refunded", "locked"), strict=False):
        await shop.become(event, token, state)
        assert await transfer(token) == f"tickets.{state}"
    await shop.database.execute("UPDATE tickets SET gifts = 1 WHERE token_id = 4")
    assert await transfer(4) == "tickets.gifts_used_up"
    assert await transfer(5, friend) == "tickets.not_found"
    assert await transfer(5, organizer) == "tickets.not_found"
    assert await transfer(5, holder, "0x" + "00" * 20) == "request.invalid"
    assert await transfer(5, holder, holder.text) == "request.invalid"
    await shop.database.execute("UPDATE events SET gift_policy = 'forbidden'")
    assert await transfer(5) == "tickets.gift_forbidden"
    anonymous = await shop.anyone(
        "POST", f"{TICKETS}/{event.ticket(5)}/transfer", json_body={"to": friend.text}
    )
    assert anonymous.status == 401


async def test_a_ticket_is_refunded_to_its_holder_once_its_event_is_cancelled(shop: Shop) -> None:
    organizer, holder = await shop.person(), await shop.person()
    event, _ = await shop.published(organizer)
    await shop.sold(event, holder, quantity=2)

    async def refund(token: int, who: Any = holder) -> str:
        answer = await who.client("POST", f"{TICKETS}/{event.ticket(token)}/refund")
        assert answer.status in {403, 404, 409}, answer.body
        return answer.error["code"]

    assert await refund(1) == "tickets.not_cancelled"
    await shop.cancelled(event)
    assert await refund(1, organizer) == "tickets.not_found"
    await shop.become(event, 1, "refunded")
    assert await refund(1) == "tickets.refunded"
    assert await refund(3) == "tickets.not_found"


async def test_proceeds_wait_for_the_end_and_a_cancelled_event_has_none(shop: Shop) -> None:
    organizer = await shop.person()
    event, _ = await shop.published(organizer)
    early = await organizer.client("POST", f"{EVENTS}/{event.id}/withdraw")
    assert (early.status, early.error["code"]) == (409, "tickets.not_ended")
    await shop.cancelled(event)
    cancelled = await organizer.client("POST", f"{EVENTS}/{event.id}/withdraw")
    assert (cancelled.status, cancelled.error["code"]) == (409, "tickets.cancelled")


async def test_a_draft_has_no_sales_yet_and_says_so_to_its_organizer(shop: Shop) -> None:
    organizer = await shop.person()
    draft = await shop.draft(organizer)
    for method, path, body in (
        ("GET", "/sales", None),
        ("GET", "/attendees", None),
        ("POST", "/withdraw", None),
        ("POST", "/tiers/0/price", {"priceWei": "1"}),
    ):
        answer = await organizer.client(method, f"{EVENTS}/{draft['id']}{path}", json_body=body)
        assert (answer.status, answer.error["code"]) == (409, "events.not_published")


async def test_sales_are_told_newest_first_and_walked_without_gaps(shop: Shop) -> None:
    organizer, ada, bo = [await shop.person() for _ in range(3)]
    event, _ = await shop.published(organizer)
    for buyer, quantity in ((ada, 2), (bo, 1), (ada, 3)):
        await shop.sold(event, buyer, quantity=quantity, price=5)
    url = f"{EVENTS}/{event.id}/sales?limit=2"
    first = await organizer.client("GET", url)
    assert [(sale["buyer"], sale["quantity"], sale["totalWei"]) for sale in first.data] == [
        (ada.text, 3, "15"),
        (bo.text, 1, "5"),
    ]
    await shop.sold(event, bo)
    rest = await organizer.client("GET", f"{url}&cursor={first.json['meta']['page']['nextCursor']}")
    assert [(sale["buyer"], sale["firstTokenId"]) for sale in rest.data] == [(ada.text, 1)]
    assert "nextCursor" not in rest.json["meta"]["page"]
    for cursor in ("x", "-1", "9" * 30, "%D9%A3"):
        assert (await organizer.client("GET", f"{url}&cursor={cursor}")).status == 422


async def test_attendees_are_holders_and_those_who_registered_each_once(shop: Shop) -> None:
    organizer = await shop.person()
    event, draft = await shop.published(organizer)
    other, _ = await shop.published(organizer)
    people = sorted([await shop.person() for _ in range(5)], key=lambda person: person.address)
    holder, both, guest, refunded, elsewhere = people
    await shop.sold(event, holder, quantity=2)
    await shop.become(event, 1, "used")
    await shop.sold(event, both)
    await shop.become(event, (await shop.sold(event, refunded))[0], "refunded")
    await shop.sold(other, elsewhere)
    for person in (both, guest):
        await person.client("POST", f"{EVENTS}/{draft['id']}/register")
    await both.client("POST", f"{EVENTS}/{other.id}/register")
    seen: list[dict[str, Any]] = []
    cursor = ""
    while True:
        answer = await organizer.client("GET", f"{EVENTS}/{event.id}/attendees?limit=2&cursor={cursor}")
        seen += answer.data
        cursor = answer.json["meta"]["page"].get("nextCursor", "")
        if not cursor:
            break
    told = [
        (one["address"], one["tickets"], one["checkedIn"], one["registeredAt"] is not None) for one in seen
    ]
    assert told == [(holder.text, 2, 1, False), (both.text, 1, 0, True), (guest.text, 0, 0, True)]


async def test_attendance_is_a_used_ticket_in_ones_hands(shop: Shop) -> None:
    organizer, ada, bo = [await shop.person() for _ in range(3)]
    event, draft = await shop.published(organizer)
    await shop.sold(event, ada, quantity=2)
    await shop.sold(event, bo)
    await shop.become(event, 2, "used")

    async def verified(address: str) -> Any:
        answer = await shop.anyone("POST", f"{EVENTS}/{event.id}/verify", json_body={"address": address})
        return answer.data

    expected = {"eventId": draft["id"], "address": ada.text, "attended": True, "tickets": [2]}
    assert await verified(ada.text) == await verified(ada.text.lower()) == expected
    assert (await verified(bo.text))["attended"] is False
    wrong = await shop.anyone("POST", f"{EVENTS}/{event.id}/verify", json_body={"address": "0x1"})
    assert (wrong.status, list(wrong.fields)) == (422, ["address"])


async def test_a_hundred_tickets_of_many_events_are_one_statement(shop: Shop) -> None:
    organizer, holder = await shop.person(), await shop.person()
    events = [(await shop.published(organizer))[0] for _ in range(5)]
    for event in events:
        await shop.sold(event, holder, quantity=20)
    counted = await statements_of(shop, f"{TICKETS}?owner={holder.text}&perPage=100", items=100)
    assert counted == 1
    assert await statements_of(shop, f"{EVENTS}?perPage=20", items=5) == 1
    assert await statements_of(shop, f"{EVENTS}?limit=20", items=5) == 1
    assert await statements_of(shop, f"{EVENTS}/search?q=harbour", items=5) == 1


async def statements_of(shop: Shop, path: str, *, items: int) -> int:
    """Return how many statements a read sends to the database."""
    seen: list[object] = []
    async with shop.database.connection() as connection:
        everyone = [connection, *shop.database._idle]
    for one in everyone:
        one.add_query_logger(seen.append)
    try:
        answer = await shop.anyone("GET", path)
    finally:
        for one in everyone:
            one.remove_query_logger(seen.append)
    assert len(answer.data) == items
    await asyncio.sleep(0)
    return len(seen)
