"""What waited to be sent to somebody who is erased is not sent, by whatever way."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.events.shop import Person
from tests.notify.pushservice import Browser as PushBrowser
from tests.notify.town import KEYS, Town, founded

from echain.accounts import erasing
from echain.entry.privacy import holdings
from echain.infra.database import Database
from echain.kernel.evm import checksum
from echain.kernel.messages import Message

EMAIL = "ada@harbour.example"


@pytest.fixture
async def silent(database_url: str) -> AsyncIterator[Town]:
    """Nothing runs until the test lets it."""
    async with founded(database_url, works=False) as town:
        yield town


async def queue(database: Database) -> list[str]:
    rows = await database.fetch(
        "SELECT convert_from(payload, 'UTF8')::jsonb ->> 'kind' AS kind FROM jobs.queue"
    )
    return sorted(row["kind"] for row in rows)


async def erase(town: Town, person: Person) -> None:
    user_id = await town.database.fetchval("SELECT user_id FROM wallets WHERE address = $1", person.address)
    async with town.database.transaction() as tx:
        await erasing.erase(tx, user_id, holdings(KEYS), now=town.clock())


async def test_mail_and_pushes_that_wait_reach_nobody_any_more(silent: Town) -> None:
    """Settled facts are planned for two people; one is erased before a worker begins."""
    town = silent
    async with town.relaying(), town.working():
        ada = await town.resident(EMAIL)
        bo = await town.resident("bo@harbour.example")
        for person in (ada, bo):
            await town.choose(person, kinds={"purchase": {"push": True}})
            browser = PushBrowser(f"https://127.0.0.1:9/{person.text}")
            await town.ask(person, "POST", "/push/subscriptions", browser.subscription)
        organizer = await town.shop.person()
        event, _ = await town.shop.published(organizer)
        await town.quiet()
    town.office.letters.clear()
    async with town.relaying():
        await town.final(100)
        for person in (ada, bo):
            await town.buys(person, event, block=50)
        deliveries = "SELECT count(*) FROM notification_deliveries"
        while await town.database.fetchval(deliveries) < 4:
            await town.database.fetchval("SELECT pg_sleep(0.02)")
    assert (await queue(town.database)).count("notify.mail") == 2
    await erase(town, ada)
    async with town.working():
        while "notify.mail" in await queue(town.database):
            await town.database.fetchval("SELECT pg_sleep(0.02)")
    assert [letter.recipient for letter in town.office.letters] == ["bo@harbour.example"]
    states = await town.database.fetch("SELECT user_id FROM notification_deliveries")
    assert len(states) == 2, "those of the other"


async def test_a_mail_that_asks_an_address_and_one_that_takes_leave_are_taken_back(silent: Town) -> None:
    """Both carry the address or a token for it, sealed, in the job itself."""
    town = silent
    async with town.relaying(), town.working():
        ada = await town.resident(EMAIL)
        bo = await town.resident("bo@harbour.example")
    town.office.letters.clear()
    for person, name in ((ada, "ada"), (bo, "bo")):
        await town.ask(person, "DELETE", "/me/email")
        await town.later(minutes=10)
        await town.ask(person, "PUT", "/me/email", {"email": f"{name}.new@harbour.example"})
    assert await queue(town.database) == sorted(["notify.farewell", "notify.verify"] * 2)
    await erase(town, ada)
    assert await queue(town.database) == ["notify.farewell", "notify.verify"]
    async with town.relaying(), town.working():
        await town.quiet()
    assert sorted(letter.recipient for letter in town.office.letters) == [
        "bo.new@harbour.example",
        "bo@harbour.example",
    ]


async def test_words_on_the_private_channel_are_taken_out_of_what_clients_may_catch_up_on(
    silent: Town,
) -> None:
    """Before and after the relay has moved them; their numbers stay, for readers count on every one."""
    town = silent
    ada, bo = await town.resident(), await town.resident()
    told = {"title": "A session was ended", "text": "Ada's telephone", "kind": "security"}
    messages = [Message((f"user:{checksum(one.address)}",), "notification", told) for one in (ada, bo)]
    await town.say(*messages)
    async with town.relaying():
        await town.quiet()
    await town.say(*messages)
    await erase(town, ada)
    for table, column in (("messages", "channel"), ("outbox", "channels")):
        rows = await town.database.fetch(f"SELECT {column} AS channel, data FROM {table}")
        words = {row["channel"].rpartition(":")[2]: "telephone" in row["data"] for row in rows}
        assert words[bo.text], table
        assert not words[ada.text], table
    async with town.relaying():
        await town.quiet()
    row = await town.database.fetchrow("SELECT tip, oldest FROM relay_cursor")
    assert row is not None
    numbers = await town.database.fetch("SELECT sequence FROM messages ORDER BY sequence")
    assert [one["sequence"] for one in numbers] == list(range(row["oldest"], row["tip"] + 1))
