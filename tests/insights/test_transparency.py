"""Every coin is shown with its transaction, and the chain itself is asked whether the sums are right."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.admission.theatre import DEVNET, KEY, PRICE_WEI, Show, Theatre
from tests.edge.http_client import Client

from echain.insights.audit import PATIENCE_SECONDS
from echain.insights.service import matches
from echain.insights.types import Audit, Books
from echain.kernel.evm import Address, checksum
from echain.kernel.ids import derived_id

ORGANIZER = Address(b"\x0a" * 20)
ADA = Address(b"\xad" * 20)
BO = Address(b"\xb0" * 20)


async def shown(anyone: Client, show: Show, query: str = "") -> dict[str, Any]:
    answer = await anyone("GET", f"/api/v1/events/{show.id}/transparency{query}")
    assert answer.status == 200, answer.body
    return answer.data


def balance(theatre: Theatre, show: Show) -> int:
    return int(theatre.anvil.rpc("eth_getBalance", checksum(show.contract), "latest"), 16)


async def test_totals_of_sales_equal_the_contracts_books_and_balance(
    theatre: Theatre, anyone: Client
) -> None:
    show = await theatre.show(ORGANIZER)
    await theatre.buy(show, ADA, 3)
    await theatre.buy(show, BO, 1)
    page = await shown(anyone, show)
    assert page["matchesChain"] is True
    assert page["reason"] is None
    assert page["totals"] == {
        "paidIn": str(4 * PRICE_WEI),
        "refunded": "0",
        "withdrawn": "0",
        "fees": "0",
        "owed": str(4 * PRICE_WEI),
        "balance": str(balance(theatre, show)),
    }
    assert [(row["kind"], row["amount"], row["quantity"]) for row in page["rows"]] == [
        ("sale", str(PRICE_WEI), 1),
        ("sale", str(3 * PRICE_WEI), 3),
    ]
    assert {row["sender"] for row in page["rows"]} == {checksum(ADA), checksum(BO)}


async def test_each_row_names_the_transaction_that_the_chain_has(theatre: Theatre, anyone: Client) -> None:
    show = await theatre.show(ORGANIZER)
    [token_id] = await theatre.buy(show, ADA)
    given_away = theatre.call(ADA, show, "transferFrom(address,address,uint256)", ADA, BO, token_id)
    await theatre.follow()
    transfer, sale = (await shown(anyone, show))["rows"]
    assert (transfer["kind"], transfer["amount"]) == ("transfer", "0")
    assert transfer["transactionHash"] == given_away
    assert (transfer["sender"], transfer["receiver"]) == (checksum(ADA), checksum(BO))
    assert transfer["firstTokenId"] == token_id
    assert transfer["transactionUrl"] is None
    receipt = theatre.anvil.rpc("eth_getTransactionReceipt", sale["transactionHash"])
    assert int(receipt["blockNumber"], 16) == sale["blockNumber"]


async def test_refunds_after_a_cancel_empty_contract_and_sums_alike(theatre: Theatre, anyone: Client) -> None:
    show = await theatre.show(ORGANIZER)
    tickets = await theatre.buy(show, ADA, 2)
    theatre.call(ORGANIZER, show, "cancelEvent()")
    for token_id in tickets:
        theatre.call(ADA, show, "refund(uint256)", token_id)
    await theatre.follow()
    page = await shown(anyone, show)
    assert page["matchesChain"] is True
    assert (page["totals"]["refunded"], page["totals"]["owed"]) == (str(2 * PRICE_WEI), "0")
    refunds = [row for row in page["rows"] if row["kind"] == "refund"]
    assert [row["receiver"] for row in refunds] == [checksum(ADA)] * 2


async def test_withdrawals_are_shown_with_their_receivers(theatre: Theatre, anyone: Client) -> None:
    show = await theatre.show(ORGANIZER)
    await theatre.buy(show, ADA, 2)
    theatre.pass_time(8000)
    theatre.call(ORGANIZER, show, "withdraw()")
    await theatre.follow()
    page = await shown(anyone, show)
    assert page["matchesChain"] is True
    assert page["totals"]["withdrawn"] == str(2 * PRICE_WEI)
    [payout, _sale] = page["rows"]
    assert (payout["kind"], payout["receiver"]) == ("withdrawal", checksum(ORGANIZER))
    [totals] = (await anyone("GET", "/api/v1/transparency")).data
    assert totals["totals"]["withdrawn"] == str(2 * PRICE_WEI)


async def test_ether_that_was_forced_in_is_seen_and_hides_no_error(theatre: Theatre, anyone: Client) -> None:
    show = await theatre.show(ORGANIZER)
    await theatre.buy(show, ADA)
    theatre.anvil.rpc("anvil_setBalance", checksum(show.contract), hex(PRICE_WEI + 5))
    theatre.mine(1)
    await theatre.follow()
    page = await shown(anyone, show)
    assert page["matchesChain"] is True
    assert (page["totals"]["owed"], page["totals"]["balance"]) == (str(PRICE_WEI), str(PRICE_WEI + 5))


async def test_sums_that_the_contract_denies_are_called_wrong(theatre: Theatre, anyone: Client) -> None:
    show = await theatre.show(ORGANIZER)
    await theatre.buy(show, ADA)
    await theatre.database.execute("UPDATE contract_escrow SET paid_in_wei = paid_in_wei + 1")
    assert (await shown(anyone, show))["matchesChain"] is False


async def test_a_contract_that_lost_money_is_called_wrong(theatre: Theatre, anyone: Client) -> None:
    show = await theatre.show(ORGANIZER)
    await theatre.buy(show, ADA)
    theatre.anvil.rpc("anvil_setBalance", checksum(show.contract), hex(PRICE_WEI - 1))
    theatre.mine(1)
    await theatre.follow()
    assert (await shown(anyone, show))["matchesChain"] is False


async def test_blocks_that_are_not_indexed_yet_make_no_difference(theatre: Theatre, anyone: Client) -> None:
    show = await theatre.show(ORGANIZER)
    await theatre.buy(show, ADA)
    at = (await shown(anyone, show))["indexedBlock"]
    theatre.mine(2)
    page = await shown(anyone, show)
    assert (page["indexedBlock"], page["matchesChain"]) == (at, True)


async def test_a_reorg_that_is_not_followed_yet_is_a_doubt_not_an_error(
    theatre: Theatre, anyone: Client
) -> None:
    show = await theatre.show(ORGANIZER)
    theatre.mine(3)
    await theatre.buy(show, ADA)
    theatre.reorganize(1)
    page = await shown(anyone, show)
    assert (page["matchesChain"], page["reason"]) in {(None, "block_unknown"), (True, None)}
    await theatre.follow()
    page = await shown(anyone, show)
    assert page["matchesChain"] is True
    assert page["totals"]["paidIn"] == "0"
    assert page["rows"] == []


async def test_a_dead_node_leaves_the_page_readable_and_quick(theatre: Theatre, anyone: Client) -> None:
    show = await theatre.show(ORGANIZER)
    await theatre.buy(show, ADA)
    theatre.anvil.kill()
    began = time.monotonic()
    page = await shown(anyone, show)
    assert (page["matchesChain"], page["reason"]) == (None, "node_away")
    assert page["totals"]["balance"] is None
    assert page["totals"]["paidIn"] == str(PRICE_WEI)
    assert len(page["rows"]) == 1
    assert time.monotonic() - began < PATIENCE_SECONDS + 1
    assert (await anyone("GET", "/api/v1/transparency")).status == 200


async def test_a_node_that_hangs_is_waited_for_once_by_all_and_not_for_long(
    theatre: Theatre, anyone: Client
) -> None:
    show = await theatre.show(ORGANIZER)

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    theatre.anvil.stop()
    server = await asyncio.start_server(swallow, "127.0.0.1", theatre.anvil.port)
    async with server:
        began = time.monotonic()
        page = await shown(anyone, show)
        assert page["reason"] == "node_away"
        assert time.monotonic() - began < PATIENCE_SECONDS + 1
        again = time.monotonic()
        assert (await shown(anyone, show))["reason"] == "node_away"
        assert time.monotonic() - again < 1
        await theatre.rpc.close()


async def test_movements_come_in_parts_that_together_are_all_of_them(
    theatre: Theatre, anyone: Client
) -> None:
    show = await theatre.show(ORGANIZER)
    for buyer in (ADA, BO, ADA, BO, ADA):
        await theatre.buy(show, buyer)
    everything = (await shown(anyone, show))["rows"]
    assert len(everything) == 5
    parts, cursor = [], ""
    while True:
        page = await shown(anyone, show, f"?limit=2&cursor={cursor}")
        parts.append(page["rows"])
        if page["nextCursor"] is None:
            break
        cursor = page["nextCursor"]
    assert [len(part) for part in parts] == [2, 2, 1]
    assert [row for part in parts for row in part] == everything
    answer = await anyone("GET", f"/api/v1/events/{show.id}/transparency?cursor=elsewhere")
    assert answer.status == 422


async def test_the_platforms_totals_are_the_sum_over_events(theatre: Theatre, anyone: Client) -> None:
    [empty] = (await anyone("GET", "/api/v1/transparency")).data
    assert (empty["events"], empty["totals"]["paidIn"]) == (0, "0")
    one, other = await theatre.show(ORGANIZER), await theatre.show(KEY.address)
    await theatre.buy(one, ADA, 2)
    await theatre.buy(other, BO, 3)
    [totals] = (await anyone("GET", "/api/v1/transparency")).data
    assert totals["chainId"] == DEVNET.chain_id
    assert totals["events"] == 2
    assert totals["totals"]["paidIn"] == totals["totals"]["owed"] == str(5 * PRICE_WEI)


async def test_an_event_that_there_is_not_is_not_found(anyone: Client) -> None:
    answer = await anyone("GET", f"/api/v1/events/{derived_id(1)}/transparency")
    assert (answer.status, answer.error["code"]) == (404, "events.not_found")


amounts = st.integers(0, 10**30)


@given(amounts, amounts, amounts, amounts, st.integers(-3, 3))
def test_the_verdict_is_that_books_agree_and_nothing_owed_is_missing(
    refunded: int, withdrawn: int, fees: int, owed: int, surplus: int
) -> None:
    ours = Books(refunded + withdrawn + fees + owed, refunded, withdrawn, fees)
    assert ours.owed_wei == owed
    assert matches(ours, Audit(books=ours, balance_wei=owed + surplus)) is (surplus >= 0)
    theirs = Books(ours.paid_in_wei + 1, refunded, withdrawn, fees)
    assert matches(ours, Audit(books=theirs, balance_wei=owed + 1)) is False
    assert matches(ours, Audit(doubt="node_away")) is None
