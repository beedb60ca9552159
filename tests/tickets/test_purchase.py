"""Buying: one statement, no question to the chain, a reason for every refusal, and nothing written."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

from tests.events.shop import Shop

from echain.chain.contracts import contract
from echain.kernel.evm import checksum, keccak, to_hex
from echain.kernel.time import rfc3339

PURCHASE = "/api/v1/tickets/purchase"


async def test_an_order_is_answered_with_the_transaction_that_buys(shop: Shop) -> None:
    organizer, buyer, friend = [await shop.person() for _ in range(3)]
    event, draft = await shop.published(organizer)
    answer = await shop.order(buyer, draft["id"], tierId=1, quantity=3, recipient=friend.text)
    assert answer.status == 200, answer.body
    expected = contract("EventTicket").encode(
        "purchaseTickets(address,uint256,uint256,bytes32[])", [friend.address, 1, 3, []]
    )
    intent = answer.data
    assert intent["data"] == to_hex(expected)
    assert (intent["to"], intent["from"]) == (checksum(event.contract), buyer.text)
    assert intent["value"] == str(3 * 5 * 10**16)
    assert intent["gas"] == "240000"
    assert int(intent["maxFeePerGas"]) >= int(intent["maxPriorityFeePerGas"]) > 0
    assert "3 tickets" in intent["summary"]


async def test_either_id_of_the_event_will_do_and_only_buyers_are_answered(shop: Shop) -> None:
    organizer, buyer = await shop.person(), await shop.person()
    event, draft = await shop.published(organizer)
    assert (await shop.order(buyer, event.id)).data == (await shop.order(buyer, draft["id"])).data
    anonymous = await shop.anyone("POST", PURCHASE, json_body={"eventId": str(event.id)})
    assert anonymous.status == 401


async def test_what_cannot_be_bought_is_refused_with_its_reason_and_nothing_is_written(shop: Shop) -> None:
    organizer, buyer = await shop.person(), await shop.person()
    opens = shop.clock() + timedelta(days=1)
    tiers = [
        {"name": "General", "priceWei": "1", "supply": 5},
        {"name": "Later", "priceWei": "1", "supply": 5, "saleStart": rfc3339(opens)},
        {"name": "Few", "priceWei": "1", "supply": 50, "maxPerPurchase": 2, "maxPerWallet": 3},
    ]
    event, _ = await shop.published(organizer, tiers=tiers, maxTickets=40)
    await shop.sold(event, organizer, tier=0, quantity=4)
    before = await shop.counts()
    cases: list[tuple[dict[str, Any], int, str, dict[str, Any]]] = [
        ({"quantity": 2}, 409, "tickets.sold_out", {"remaining": 1}),
        ({"tierId": 1}, 409, "tickets.sale_not_open", {"opensAt": rfc3339(opens)}),
        ({"tierId": 2, "quantity": 3}, 409, "tickets.quantity", {"maximum": 2}),
        ({"tierId": 3}, 404, "tickets.unknown_tier", {}),
        ({"eventId": str(uuid4())}, 404, "events.not_found", {}),
    ]
    for change, status, code, details in cases:
        answer = await shop.order(buyer, event.id, **change)
        assert (answer.status, answer.error["code"]) == (status, code), answer.body
        assert answer.error["details"] == details
    await shop.cancelled(event)
    assert (await shop.order(buyer, event.id)).error["code"] == "tickets.cancelled"
    over, _ = await shop.published(organizer)
    shop.clock.pass_by(days=31)
    buyer = await shop.person(buyer.wallet)
    assert (await shop.order(buyer, over.id)).error["code"] == "tickets.sale_closed"
    after = await shop.counts()
    assert (after["outbox"], after["event_registrations"]) == (
        before["outbox"],
        before["event_registrations"],
    )
    assert await shop.database.fetchval("SELECT count(*) FROM tickets") == 4


async def test_a_wrong_order_is_refused_by_field_and_reason(shop: Shop) -> None:
    buyer = await shop.person()
    for change, path in (
        ({"quantity": 0}, "quantity"),
        ({"quantity": 51}, "quantity"),
        ({"quantity": "1"}, "quantity"),
        ({"tierId": -1}, "tierId"),
        ({"tierId": 2**40}, "tierId"),
        ({"eventId": "x"}, "eventId"),
        ({"recipient": "0x12"}, "recipient"),
        ({"recipient": "0x" + "00" * 20}, "recipient"),
        ({"recipient": "0xAb5801a7D398351b8bE11C439e05C5B3259aeC9C"}, "recipient"),
        ({"proof": ["0x12"]}, "proof[0]"),
        ({"proof": ["0x" + "12" * 32] * 41}, "proof"),
        ({"price": "1"}, "price"),
    ):
        answer = await shop.order(buyer, uuid4(), **change)
        assert (answer.status, answer.error["code"]) == (422, "request.invalid"), (change, answer.body)
        assert path in answer.fields, (change, answer.fields)


async def test_a_wallet_limit_counts_what_was_bought_for_a_wallet_wherever_it_went(shop: Shop) -> None:
    organizer, buyer, friend = [await shop.person() for _ in range(3)]
    tiers = [
        {"name": "Limited", "priceWei": "1", "supply": 50, "maxPerWallet": 4},
        {"name": "Other", "priceWei": "1", "supply": 50},
    ]
    event, _ = await shop.published(organizer, tiers=tiers)
    elsewhere, _ = await shop.published(organizer, tiers=tiers)
    first, _ = await shop.sold(event, buyer, quantity=2)
    await shop.sold(event, buyer, tier=1, quantity=5)
    await shop.sold(elsewhere, buyer, quantity=4)
    await shop.sold(event, buyer, quantity=3, complimentary=True)
    await shop.given(event, first, buyer, friend)
    (received,) = await shop.sold(event, friend)
    await shop.given(event, received, friend, buyer)
    ok = await shop.order(buyer, event.id, quantity=2)
    assert ok.status == 200, ok.body
    refused = await shop.order(buyer, event.id, quantity=3)
    assert (refused.status, refused.error["code"]) == (409, "tickets.wallet_limit")
    assert refused.error["details"] == {"maximum": 4, "bought": 2}
    # The one that came back to where it was bought counts once, and so does the friend's own.
    await shop.given(event, first, friend, buyer)
    assert (await shop.order(buyer, event.id, quantity=3)).error["details"]["bought"] == 2
    friends = await shop.order(friend, event.id, quantity=4)
    assert friends.error["details"] == {"maximum": 4, "bought": 1}
    gift = await shop.order(buyer, event.id, quantity=4, recipient=organizer.text)
    assert gift.status == 200


async def test_a_listed_tier_takes_the_proof_into_the_calldata(shop: Shop) -> None:
    organizer, buyer = await shop.person(), await shop.person()
    event, _ = await shop.published(organizer)
    sibling = b"\x07" * 32
    leaf = keccak(keccak(bytes(12) + buyer.address))
    root = keccak(min(leaf, sibling) + max(leaf, sibling))
    await shop.database.execute("UPDATE tiers SET allow_list_root = $1", root)
    refused = await shop.order(buyer, event.id)
    assert (refused.status, refused.error["code"]) == (409, "tickets.not_on_allow_list")
    taken = await shop.order(buyer, event.id, proof=[to_hex(sibling)])
    assert taken.data["data"].endswith(sibling.hex())


async def test_the_price_that_is_asked_is_the_projections_whatever_the_order_says(shop: Shop) -> None:
    organizer, buyer = await shop.person(), await shop.person()
    event, _ = await shop.published(organizer)
    await shop.database.execute("UPDATE tiers SET price_wei = 2::numeric ^ 96 - 1")
    answer = await shop.order(buyer, event.id, quantity=10)
    assert answer.data["value"] == str(10 * (2**96 - 1))
