"""In the app at once; by mail only what no reorg can take back; each thing once."""

from __future__ import annotations

from tests.events.shop import CHAIN_ID
from tests.notify.town import Town, subjects

from echain.infra.outbox import publish
from echain.kernel.messages import Message


async def test_a_purchase_is_told_at_once_and_mailed_when_it_is_final(town: Town) -> None:
    organizer, ada = await town.resident(), await town.resident("ada@x.example")
    event, draft = await town.shop.published(organizer)
    tickets = await town.buys(ada, event, block=100, quantity=2)
    await town.quiet()
    told, *others = await town.inbox(ada, "?unread=true")
    assert [one["kind"] for one in others] == ["security"]  # the address that was confirmed
    assert (told["kind"], told["settled"], told["ticketIds"]) == ("purchase", False, tickets)
    assert told["eventId"] == draft["id"]
    assert "Your 2 tickets for Harbour Lights" in told["text"]
    await town.final(99)
    await town.quiet()
    assert town.office.letters == []
    await town.final(100)
    await town.quiet()
    (letter,) = town.office.letters
    assert (letter.recipient, letter.parsed["Subject"]) == (
        "ada@x.example",
        "Your tickets for Harbour Lights",
    )
    assert letter.parsed["From"] == "Harbour Tickets <tickets@harbour.example>"
    assert "0.02 ETH" in letter.part("text/plain")
    assert (await town.inbox(ada))[0]["settled"]
    assert await town.deliveries() == [("purchase", "email", "sent")]
    page = town.tools.metrics.render().decode()
    assert 'echain_notifications_total{channel="email",kind="purchase",outcome="sent"} 1.0' in page
    assert 'echain_notification_delay_seconds_count{channel="email"} 1.0' in page


async def test_what_a_reorg_takes_before_finality_is_never_mailed(town: Town) -> None:
    organizer, ada = await town.resident(), await town.resident("ada@x.example")
    event, _ = await town.shop.published(organizer)
    await town.buys(ada, event, block=100)
    await town.quiet()
    unread = (await town.ask(ada, "GET", "/notifications/unread"))["unread"]
    await town.fork(above=99)
    await town.quiet()
    gone = (await town.inbox(ada))[0]
    assert gone["undoneAt"] is not None
    assert (await town.ask(ada, "GET", "/notifications/unread"))["unread"] == unread - 1
    await town.final(200)
    await town.quiet()
    assert town.office.letters == []
    # The sale comes again in another block, as another message.
    await town.buys(ada, event, block=201)
    await town.final(300)
    await town.quiet()
    assert subjects(town.office.letters) == ["Your tickets for Harbour Lights"]
    assert [one["undoneAt"] is None for one in await town.inbox(ada)][:2] == [True, False]


async def test_a_reorg_before_anybody_heard_tells_nothing(silent_town: Town) -> None:
    town = silent_town
    organizer, ada = await town.shop.person(), await town.shop.person()
    event, _ = await town.shop.published(organizer)
    await town.buys(ada, event, block=100)
    # Relayed, but not heard: the handler comes after the reorg.
    await town.database.execute(
        """
        INSERT INTO messages (sequence, channel, type, data, chain_id, block_number, created_at)
        SELECT 1, channels, type, data, chain_id, NULL, created_at FROM outbox
        """
    )
    await town.database.execute("DELETE FROM outbox")
    await town.database.execute("UPDATE relay_cursor SET tip = 1")
    await town.database.execute("INSERT INTO relay_handlers VALUES ('notify', 0)")
    async with town.relaying():
        await town.quiet()
    assert await town.inbox(ada) == []


async def test_a_live_message_goes_to_the_wallet_and_a_reorg_takes_it_back(town: Town) -> None:
    organizer, ada = await town.resident(), await town.resident()
    event, _ = await town.shop.published(organizer)
    await town.buys(ada, event, block=100)
    await town.quiet()
    channel = f"user:{ada.text}"
    (live,) = await town.database.fetch("SELECT * FROM messages WHERE channel = $1", channel)
    assert (live["type"], live["chain_id"], live["block_number"]) == ("notification", CHAIN_ID, 100)
    assert (await town.inbox(ada))[0]["id"] in live["data"]
    await town.fork(above=99)
    await town.quiet()
    told = await town.database.fetch("SELECT type FROM messages WHERE channel = $1", channel)
    assert [row["type"] for row in told] == ["notification", "reverted"]


async def test_the_same_message_heard_twice_is_told_once(town: Town) -> None:
    """A relay that lost its place hands everything out again."""
    organizer, ada = await town.resident(), await town.resident("ada@x.example")
    event, _ = await town.shop.published(organizer)
    await town.buys(ada, event, block=100)
    await town.final(100)
    await town.quiet()
    await town.database.execute("UPDATE relay_handlers SET sequence = 0")
    await town.database.execute(
        """
        INSERT INTO unsettled
        SELECT chain_id, block_number, sequence FROM messages WHERE type = 'ticket_sold'
        """
    )
    await town.quiet()
    assert [one["kind"] for one in await town.inbox(ada)] == ["purchase", "security"]
    assert len(town.office.letters) == 1
    live = "SELECT count(*) FROM messages WHERE type = 'notification' AND data LIKE '%purchase%'"
    assert await town.database.fetchval(live) == 1


async def test_both_sides_of_a_gift_are_told_each_in_their_words(town: Town) -> None:
    organizer, ada = await town.resident(), await town.resident("ada@x.example")
    bo = await town.resident("bo@x.example", "de-AT,de;q=0.9,en;q=0.8")
    event, _ = await town.shop.published(organizer)
    (token,) = await town.shop.sold(event, ada)
    await town.shop.given(event, token, ada, bo)
    data = {"eventId": str(event.id), "ticketId": event.ticket(token), "from": ada.text, "to": bo.text}
    channels = (f"event:{event.id}", f"user:{ada.text}", f"user:{bo.text}")
    await town.say(Message(channels, "ticket_transferred", data, CHAIN_ID, 100))
    await town.final(100)
    await town.quiet()
    assert (await town.inbox(ada))[0]["title"] == "You gave away a ticket"
    assert (await town.inbox(bo))[0]["title"] == "Du hast ein Ticket bekommen"
    # What one did oneself is not mailed unless asked for.
    assert subjects(town.office.letters) == ["Du hast ein Ticket für Harbour Lights bekommen"]
    letter = town.office.letters[0]
    assert ada.text in letter.part("text/plain")
    assert 'lang="de"' in letter.part("text/html")
    assert "Europe/Berlin" in letter.part("text/html")
    assert "Uhr" in letter.part("text/html")


async def test_a_refund_a_proof_and_a_stolen_session_are_told(town: Town) -> None:
    organizer, ada = await town.resident(), await town.resident("ada@x.example")
    event, _ = await town.shop.published(organizer)
    ticket = event.ticket(7)
    user = f"user:{ada.text}"
    refund = {"eventId": str(event.id), "ticketId": ticket, "holder": ada.text, "amount": "25000000000000000"}
    poap = {"eventId": str(event.id), "ticketId": ticket, "attendee": ada.text, "gate": None, "count": 1}
    stolen = {
        "title": "A session was ended",
        "text": "Firefox: …",
        "kind": "security",
        "about": "session_reuse",
    }
    await town.say(
        Message((f"event:{event.id}", user), "ticket_refunded", refund, CHAIN_ID, 100),
        Message((f"event:{event.id}", user), "checkin_complete", poap, CHAIN_ID, 100),
        Message((user,), "notification", stolen),
    )
    await town.quiet()
    # What no block said is settled at once.
    assert subjects(town.office.letters) == ["A session was ended"]
    assert town.office.letters[0].parsed["List-Unsubscribe"] is None
    await town.final(100)
    await town.quiet()
    assert subjects(town.office.letters) == ["A session was ended", "Refunded: Harbour Lights"]
    kinds = {one["kind"] for one in await town.inbox(ada)}
    assert kinds == {"security", "attendance", "refund"}
    # The message that told of the session is its live message; there is no second one.
    count = (
        "SELECT count(*) FROM messages WHERE channel = $1 AND type = 'notification' AND data LIKE '%session%'"
    )
    assert await town.database.fetchval(count, user) == 1


async def test_strangers_and_those_who_got_tickets_for_nothing_get_no_mail(town: Town) -> None:
    """Else anybody could have us write to anybody by handing out worthless tickets."""
    organizer, ada = await town.resident(), await town.resident("ada@x.example")
    event, _ = await town.shop.published(organizer)
    sold = {
        "eventId": str(event.id),
        "ticketIds": [event.ticket(1)],
        "tier": 0,
        "price": "0",
        "remaining": 1,
    }
    stranger = "0x" + "ab" * 20
    await town.say(
        Message((f"event:{event.id}",), "ticket_sold", {**sold, "buyer": None}, CHAIN_ID, 100),
        Message((f"event:{event.id}",), "ticket_sold", {**sold, "buyer": stranger}, CHAIN_ID, 100),
    )
    await town.final(100)
    await town.quiet()
    assert town.office.letters == []
    assert await town.database.fetchval("SELECT count(*) FROM notifications WHERE kind = 'purchase'") == 0
    assert [one["kind"] for one in await town.inbox(ada)] == ["security"]


async def test_a_message_that_nobody_can_read_stops_nobody(town: Town) -> None:
    organizer, ada = await town.resident(), await town.resident("ada@x.example")
    event, _ = await town.shop.published(organizer)
    broken = Message((f"event:{event.id}",), "ticket_sold", {"eventId": "no"}, CHAIN_ID, 100)
    async with town.database.transaction() as tx:
        await publish(tx, [broken])
    await town.buys(ada, event, block=100)
    await town.final(100)
    await town.quiet()
    assert len(town.office.letters) == 1
