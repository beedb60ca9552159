"""What holders of tickets are told together: changes, cancellations, reminders; and digests."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import icalendar
import pytest
from tests.events.shop import CHAIN_ID, OnChain, Person
from tests.notify.town import Town, founded, subjects, when

from echain.kernel.evm import keccak
from echain.kernel.messages import Message
from echain.notify import announcing
from echain.notify.kinds import DIGESTS, REMIND


async def holders(town: Town, event: OnChain, count: int) -> list[Person]:
    people = [await town.resident(f"p{number}.{event.number}.{count}@x.example") for number in range(count)]
    for person in people:
        await town.shop.sold(event, person, quantity=2)
    return people


async def created(town: Town, event: OnChain) -> None:
    """Write the fact that the projection of an event was folded from."""
    await town.database.execute(
        """
        INSERT INTO event_creations
        SELECT chain_id, 1, 0, ticket_contract, id, blockchain_id, organizer, name, metadata_uri,
               metadata_hash, ticket_price_wei, max_tickets, starts_at, ends_at, fee_bps, gift_policy,
               max_gifts, gifts_to_contracts, resale_cap_bps, royalty_bps, transaction_hash, created_at
          FROM events WHERE id = $1
        """,
        event.id,
    )


async def changed(
    town: Town,
    event: OnChain,
    *,
    block: int,
    metadata_hash: bytes | None = None,
    later: timedelta = timedelta(0),
) -> None:
    """Write a change of an event as its projector would, and tell it."""
    await town.database.execute(
        """
        INSERT INTO event_updates
        SELECT chain_id, $2, 0, blockchain_id, metadata_uri, coalesce($3, metadata_hash),
               starts_at + $4, ends_at + $4
          FROM events WHERE id = $1
        """,
        *(event.id, block, metadata_hash, later),
    )
    await town.database.execute(
        """
        UPDATE events SET metadata_hash = coalesce($2, metadata_hash), starts_at = starts_at + $3,
                          ends_at = ends_at + $3
         WHERE id = $1
        """,
        *(event.id, metadata_hash, later),
    )
    row = await town.database.fetchrow("SELECT * FROM events WHERE id = $1", event.id)
    assert row is not None
    await town.updates(
        event,
        block=block,
        metadata_uri="https://x",
        metadataHash="0x" + row["metadata_hash"].hex(),
        **when(town, seconds=(row["starts_at"] - town.clock()).total_seconds()),
    )


async def cancelled(town: Town, event: OnChain, *, block: int) -> None:
    await town.shop.cancelled(event)
    await town.database.execute(
        "INSERT INTO event_cancellations VALUES ($1, $2, 0, $3)", CHAIN_ID, block, event.number
    )
    await town.updates(event, block=block, cancelled=True)


async def test_a_new_time_and_place_are_told_to_every_holder_with_what_was_before(town: Town) -> None:
    organizer = await town.resident()
    event, _ = await town.shop.published(organizer)
    await created(town, event)
    await holders(town, event, 2)
    stranger = await town.resident("nobody@x.example")
    digest, _ = await town.document(organizer, place={"name": "New Harbour"})
    await changed(town, event, block=10**9, metadata_hash=digest, later=timedelta(days=1))
    await town.quiet()
    assert town.office.letters == []
    await town.final(10**9)
    await town.quiet()
    assert sorted(letter.recipient[:2] for letter in town.office.letters) == ["p0", "p1"]
    text = town.office.letters[0].part("text/plain").replace("\r\n", "\n")
    assert (
        "When: Monday, 2 February 2026, 04:04 (Europe/Berlin)\n  (was Sunday, 1 February 2026, 04:04" in text
    )
    assert "Where: New Harbour\n  (was Old Harbour, Quay 1)" in text
    assert "2 tickets" in text
    assert [one["kind"] for one in await town.inbox(stranger)] == ["security"]


async def test_a_better_description_is_no_news(town: Town) -> None:
    organizer = await town.resident()
    event, _ = await town.shop.published(organizer)
    await created(town, event)
    (ada,) = await holders(town, event, 1)
    digest, _ = await town.document(organizer, description="Longer words.")
    await changed(town, event, block=10**9, metadata_hash=digest)
    await town.final(10**9)
    await town.quiet()
    assert town.office.letters == []
    assert [one["kind"] for one in await town.inbox(ada)] == ["security"]


async def test_a_cancellation_reaches_all_holders_page_by_page_each_once(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcing, "HOLDERS_AT_ONCE", 2)
    async with founded(database_url) as town, town.working():  # two workers
        organizer = await town.resident()
        event, _ = await town.shop.published(organizer)
        people = await holders(town, event, 5)
        await cancelled(town, event, block=10**9)
        await town.final(10**9)
        await town.quiet()
        assert sorted(letter.recipient[:2] for letter in town.office.letters) == [
            "p0",
            "p1",
            "p2",
            "p3",
            "p4",
        ]
        assert subjects(town.office.letters) == ["Cancelled: Harbour Lights"] * 5
        assert "refund" in town.office.letters[0].part("text/plain")
        for person in people:
            assert [one["kind"] for one in await town.inbox(person)] == ["event_cancelled", "security"]


async def test_a_cancellation_that_a_reorg_takes_is_undone_for_all_and_mailed_to_none(town: Town) -> None:
    organizer = await town.resident()
    event, _ = await town.shop.published(organizer)
    people = await holders(town, event, 3)
    await cancelled(town, event, block=10**9)
    await town.quiet()
    await town.fork(above=10**9 - 1)
    await town.final(2 * 10**9)
    await town.quiet()
    assert town.office.letters == []
    for person in people:
        assert (await town.inbox(person))[0]["undoneAt"] is not None


async def test_a_reorg_in_the_midst_of_telling_leaves_nobody_told_of_what_is_not_so(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever comes first, a page of holders or the reorg: nobody keeps what no longer holds."""
    monkeypatch.setattr(announcing, "HOLDERS_AT_ONCE", 1)
    async with founded(database_url) as town:
        organizer = await town.resident()
        event, _ = await town.shop.published(organizer)
        for _ in range(12):
            await town.shop.sold(event, await town.resident())
        for round_ in range(4):
            await cancelled(town, event, block=10**9 + round_)
            await asyncio.sleep(0.005 * round_)
            await town.fork(above=10**9 - 1)
            await town.quiet()
            standing = await town.database.fetchval(
                "SELECT count(*) FROM notifications WHERE kind = 'event_cancelled' AND undone_at IS NULL"
            )
            assert standing == 0


async def test_the_calendar_entry_of_a_ticket_moves_and_goes_with_its_event(town: Town) -> None:
    organizer, ada = await town.resident(), await town.resident("ada@x.example")
    event, _ = await town.shop.published(organizer)
    await created(town, event)
    await town.buys(ada, event, block=100)
    await town.final(10**6)
    await town.quiet()
    await changed(town, event, block=10**7, later=timedelta(days=1))
    await town.final(10**8)
    await town.quiet()
    await cancelled(town, event, block=10**9)
    await town.final(10**9)
    await town.quiet()
    entries = []
    for letter in town.office.letters:
        (part,) = [one for one in letter.parsed.walk() if one.get_content_type() == "text/calendar"]
        calendar = icalendar.Calendar.from_ical(part.get_content())
        assert calendar["METHOD"] == part.get_param("method")
        (entry,) = calendar.walk("VEVENT")
        entries.append((str(calendar["METHOD"]), str(entry["UID"]), int(entry["SEQUENCE"]), entry))
    assert [(method, sequence) for method, _, sequence, _ in entries] == [
        ("PUBLISH", 0),
        ("PUBLISH", 1),
        ("CANCEL", 2),
    ]
    assert {uid for _, uid, _, _ in entries} == {f"{event.id}@tickets.example"}
    starts = [entry.decoded("DTSTART") for *_, entry in entries]
    assert starts[1] - starts[0] == timedelta(days=1)
    assert starts[0].utcoffset() == timedelta(0)
    assert str(entries[2][3]["STATUS"]) == "CANCELLED"
    assert str(entries[0][3]["LOCATION"]) == "Old Harbour, Quay 1"


async def test_reminders_come_a_day_and_two_hours_before_once_whoever_looks(database_url: str) -> None:
    async with founded(database_url) as town, town.working(), town.working():
        organizer = await town.resident()
        event, _ = await town.shop.published(organizer)
        await holders(town, event, 2)
        await town.final(10**9)
        await town.later(days=28, hours=23)
        await town.tick(REMIND)
        assert town.office.letters == []
        await town.later(hours=1)
        for _ in range(3):
            await asyncio.gather(town.tick(REMIND), town.tick(REMIND))
        assert subjects(town.office.letters) == ["Coming up: Harbour Lights"] * 2
        # Who buys now knows that it is tomorrow.
        await holders(town, event, 3)
        await town.final(2 * 10**9)
        await town.tick(REMIND)
        assert len(town.office.letters) == 2
        await town.later(hours=22)
        for _ in range(3):
            await town.tick(REMIND)
        assert subjects(town.office.letters)[2:] == ["Starting soon: Harbour Lights"] * 5
        await town.later(hours=3)
        await town.tick(REMIND)
        assert len(town.office.letters) == 7


async def test_an_event_that_moves_is_announced_for_its_new_start_and_a_cancelled_one_never(
    town: Town,
) -> None:
    organizer = await town.resident()
    event, _ = await town.shop.published(organizer)
    other, _ = await town.shop.published(organizer, title="Never")
    (ada,) = await holders(town, event, 1)
    await town.shop.sold(other, ada)
    await town.shop.cancelled(other)
    await town.final(10**9)
    await town.later(days=29, minutes=1)
    await town.tick(REMIND)
    await town.database.execute(
        "UPDATE events SET starts_at = starts_at + interval '2 days' WHERE id = $1", event.id
    )
    await town.tick(REMIND)
    await town.later(days=2)
    await town.tick(REMIND)
    assert subjects(town.office.letters) == ["Coming up: Harbour Lights"] * 2


async def test_who_holds_only_what_is_not_final_is_not_reminded_by_mail(town: Town) -> None:
    organizer = await town.resident()
    event, _ = await town.shop.published(organizer)
    await holders(town, event, 1)
    await town.final(1)
    await town.later(days=29, minutes=1)
    await town.tick(REMIND)
    assert town.office.letters == []


async def test_a_digest_tells_of_what_had_no_mail_of_its_own_once_a_period(database_url: str) -> None:
    async with founded(database_url) as town, town.working():
        organizer = await town.resident("org@x.example", "de")
        event, _ = await town.shop.published(organizer)
        preferences = await town.choose(
            organizer, digest="daily", timeZone="America/New_York", kinds={"purchase": {"email": False}}
        )
        # Eight in New York, in winter: 13:00 UTC.
        assert preferences["nextDigestAt"] == "2026-01-02T13:00:00Z"
        await town.buys(organizer, event, block=100)
        await town.shop.sold(event, keccak(b"stranger")[:20], quantity=3)
        await gift(town, event, organizer)
        await town.final(10**9)
        await town.quiet()
        assert subjects(town.office.letters) == ["Du hast ein Ticket für Harbour Lights bekommen"]
        town.office.letters.clear()
        town.clock.now = datetime(2026, 1, 2, 12, 59, tzinfo=UTC)
        await town.tick(DIGESTS)
        assert town.office.letters == []
        town.clock.now = datetime(2026, 1, 2, 13, 1, tzinfo=UTC)
        await asyncio.gather(*(town.tick(DIGESTS) for _ in range(4)))
        (digest,) = town.office.letters
        assert digest.parsed["Subject"] == "Dein Tag: 1 Neuigkeit, 4 Tickets verkauft"
        text = digest.part("text/plain")
        assert "Harbour Lights: 4 verkauft, 0,04 ETH" in text
        assert "Du hast dein Ticket" in text
        # The next period has nothing to tell.
        town.clock.now = datetime(2026, 1, 3, 13, 1, tzinfo=UTC)
        await town.tick(DIGESTS)
        assert len(town.office.letters) == 1
        due = await town.database.fetchval("SELECT next_digest_at FROM notification_settings")
        assert due == datetime(2026, 1, 4, 13, tzinfo=UTC)


async def gift(town: Town, event: OnChain, to: Person) -> None:
    """Tell of a gift to somebody, which has a mail of its own."""
    giver = "0x" + "ab" * 20
    data = {"eventId": str(event.id), "ticketId": event.ticket(9), "from": giver, "to": to.text}
    channels = (f"event:{event.id}", f"user:{giver}", f"user:{to.text}")
    await town.say(Message(channels, "ticket_transferred", data, CHAIN_ID, 100))


async def test_what_was_undone_is_no_news(town: Town) -> None:
    ada = await town.resident("ada@x.example")
    organizer = await town.resident()
    event, _ = await town.shop.published(organizer)
    await town.choose(ada, digest="daily", kinds={"purchase": {"email": False}})
    await town.database.execute("DELETE FROM notifications")
    await town.buys(ada, event, block=100)
    await town.quiet()
    await town.fork(above=99)
    await town.final(10**9)
    await town.quiet()
    await town.later(days=2)
    await town.tick(DIGESTS)
    assert town.office.letters == []
