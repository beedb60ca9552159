"""A whole sale on a real chain, as its people hear of it: logs, messages, notifications, mail."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.notify.town import Town, around, subjects
from tests.tickets.test_sale_on_chain import EVENTS, TICKETS, Market, market

__all__ = ["market"]


@pytest.fixture
def shop_url(database_url: str) -> str:
    """A database for each test, not one for all."""
    return database_url


@pytest.fixture
async def town(market: Market, shop_url: str) -> AsyncIterator[Town]:
    async with around(market.shop, shop_url) as town:
        yield town


async def bury(market: Market, town: Town) -> None:
    """Let so many blocks follow that everything is final."""
    market.node.rpc("anvil_mine", hex(20))
    await market.follow()
    await town.quiet()


async def test_everybody_hears_what_the_chain_says_of_them(market: Market, town: Town) -> None:
    organizer, ada, bo = [await market.person() for _ in range(3)]
    await town.confirm(ada, "ada@x.example")
    await town.confirm(bo, "bo@x.example", "de")
    event = await market.publish(organizer)
    await market.buy(ada, event, quantity=2)
    await town.quiet()
    assert [note["kind"] for note in await town.inbox(ada)] == ["purchase", "security"]
    assert town.office.letters == []
    await bury(market, town)
    assert subjects(town.office.letters) == ["Your tickets for Harbour Lights"]
    town.office.letters.clear()

    tickets = (await market.shop.anyone("GET", f"{TICKETS}?owner={ada.text}")).data
    given = await ada.client("POST", f"{TICKETS}/{tickets[0]['id']}/transfer", json_body={"to": bo.text})
    await market.sign(ada, given.data)
    await bury(market, town)
    (letter,) = town.office.letters
    assert letter.parsed["Subject"] == "Du hast ein Ticket für Harbour Lights bekommen"
    assert (await town.inbox(ada))[0]["kind"] == "ticket_sent"
    town.office.letters.clear()

    await market.sign(organizer, (await organizer.client("DELETE", f"{EVENTS}/{event['id']}")).data)
    await bury(market, town)
    assert subjects(town.office.letters) == ["Abgesagt: Harbour Lights", "Cancelled: Harbour Lights"]
    town.office.letters.clear()

    refund = await ada.client("POST", f"{TICKETS}/{tickets[1]['id']}/refund")
    await market.sign(ada, refund.data)
    await bury(market, town)
    (letter,) = town.office.letters
    assert (letter.recipient, letter.parsed["Subject"]) == ("ada@x.example", "Refunded: Harbour Lights")
    assert "0.01 ETH" in letter.part("text/plain")


async def test_a_fork_takes_back_what_was_told_and_mails_nothing(market: Market, town: Town) -> None:
    organizer, ada = await market.person(), await market.person()
    await town.confirm(ada, "ada@x.example")
    event = await market.publish(organizer)
    market.node.rpc("anvil_mine", hex(20))
    await market.follow()
    await market.buy(ada, event)
    await town.quiet()
    market.node.rpc("anvil_reorg", 3, [])
    market.node.rpc("anvil_mine", hex(1))
    await market.follow()
    await town.quiet()
    bought = [note for note in await town.inbox(ada) if note["kind"] == "purchase"]
    assert [note["undoneAt"] is not None for note in bought] == [True]
    await bury(market, town)
    assert town.office.letters == []
