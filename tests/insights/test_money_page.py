"""The page of an event's money says what the API says, in words, and pages through it without scripts."""

from __future__ import annotations

import re

from tests.admission.theatre import DEVNET, Theatre
from tests.edge.http_client import Client
from tests.insights.conftest import client_of
from tests.insights.test_transparency import ADA, BO, ORGANIZER

from echain.chain.rpc import Rpc
from echain.kernel.evm import checksum


async def shown(anyone: Client, target: str) -> str:
    answer = await anyone("GET", target)
    assert answer.status == 200, answer.body
    return answer.body.decode()


async def test_sums_and_movements_are_shown_with_what_the_contract_says(
    theatre: Theatre, anyone: Client
) -> None:
    show = await theatre.show(ORGANIZER)
    await theatre.buy(show, ADA, 3)
    await theatre.buy(show, BO, 1)
    page = await shown(anyone, f"/events/{show.id}/money")
    assert "equal the contract" in page
    assert "3 tickets sold" in page
    assert "1 ticket sold" in page
    assert checksum(ADA) in page
    assert "3 Tickets verkauft" in await shown(anyone, f"/de/events/{show.id}/money")


async def test_a_node_that_is_away_makes_the_page_say_so(theatre: Theatre) -> None:
    show = await theatre.show(ORGANIZER)
    await theatre.buy(show, ADA, 1)
    away = Rpc(["http://127.0.0.1:9"], chain_id=DEVNET.chain_id)
    page = await shown(client_of(theatre, away), f"/events/{show.id}/money")
    await away.close()
    assert "could not be asked" in page
    assert "1 ticket sold" in page


async def test_movements_are_paged_by_links(theatre: Theatre, anyone: Client) -> None:
    show = await theatre.show(ORGANIZER)
    for _ in range(3):
        await theatre.buy(show, ADA, 1)
    seen: list[str] = []
    target = f"/events/{show.id}/money?limit=2"
    for _ in range(5):
        page = await shown(anyone, target)
        seen += re.findall(r'<code title="(0x[0-9a-f]{64})"', page)
        following = re.search(r'rel="next" href="([?][^"]+)"', page)
        if following is None:
            break
        target = f"/events/{show.id}/money{following[1]}"
    assert len(seen) == len(set(seen)) == 3


async def test_an_event_that_is_none_has_no_page(anyone: Client) -> None:
    answer = await anyone("GET", "/events/01234567-89ab-7cde-8f01-23456789abcd/money")
    assert (answer.status, answer.error["code"]) == (404, "events.not_found")
