"""A whole sale on a real chain: intents signed as they were given, projections folded from logs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from tests.accounts.people import Clock
from tests.events.conftest import EMPTY
from tests.events.shop import CHAIN_ID, DEVNET, Person, Shop

from echain.chain.deploy import deploy
from echain.chain.follow import FollowedChain, Follower
from echain.chain.keys import DEVNET_KEY, Key
from echain.chain.rpc import Rpc
from echain.chain.types import Contract
from echain.events.onchain import EventProjector
from echain.infra.cache import Cache
from echain.infra.database import Database
from echain.infra.embedded.anvil import Anvil
from echain.kernel.evm import checksum
from echain.kernel.time import from_unix, rfc3339
from echain.tickets.onchain import TicketProjector

ETHER = 10**18
EVENTS = "/api/v1/events"
TICKETS = "/api/v1/tickets"


class Market:
    """The shop with a chain under it."""

    def __init__(self, shop: Shop, node: Anvil, follower: Follower) -> None:
        self.shop = shop
        self.node = node
        self.follower = follower

    def tell_time(self) -> None:
        block = self.node.rpc("eth_getBlockByNumber", "latest", False)
        self.shop.clock.now = from_unix(int(block["timestamp"], 16))

    async def person(self) -> Person:
        person = await self.shop.person()
        self.node.rpc("anvil_setBalance", person.text, hex(1_000 * ETHER))
        return person

    async def sign(self, person: Person, intent: dict[str, Any]) -> dict[str, Any]:
        """Send an intent as it is, fold what came of it, and return the receipt."""
        nonce = int(self.node.rpc("eth_getTransactionCount", person.text, "latest"), 16)
        signed = person.wallet.account.sign_transaction(
            {
                "type": 2,
                "chainId": intent["chainId"],
                "nonce": nonce,
                "to": intent["to"],
                "data": intent["data"],
                "value": int(intent["value"]),
                "gas": int(intent["gas"]),
                "maxFeePerGas": int(intent["maxFeePerGas"]),
                "maxPriorityFeePerGas": int(intent["maxPriorityFeePerGas"]),
            }
        )
        name = self.node.rpc("eth_sendRawTransaction", "0x" + bytes(signed.raw_transaction).hex())
        # The node mines beside its answers.
        async with asyncio.timeout(10):
            while (receipt := self.node.rpc("eth_getTransactionReceipt", name)) is None:
                await asyncio.sleep(0.005)
        assert receipt["status"] == "0x1", intent["summary"]
        await self.follow()
        return receipt

    async def follow(self) -> None:
        await self.follower.catch_up()
        self.tell_time()
        # A notification may be a moment late; a reader may not.
        self.shop.cache._forget_everything()

    async def publish(self, organizer: Person, **changes: Any) -> dict[str, Any]:
        draft = await self.shop.draft(organizer, **changes)
        answer = await organizer.client("POST", f"{EVENTS}/{draft['id']}/publish")
        assert answer.status == 200, answer.body
        await self.sign(organizer, answer.data)
        event = (await self.shop.anyone("GET", f"{EVENTS}/{draft['id']}")).data
        assert event["status"] == "upcoming"
        return event

    async def buy(self, buyer: Person, event: dict[str, Any], **changes: Any) -> dict[str, Any]:
        answer = await self.shop.order(buyer, event["id"], **changes)
        assert answer.status == 200, answer.body
        receipt = await self.sign(buyer, answer.data)
        return {"gas": int(answer.data["gas"]), "used": int(receipt["gasUsed"], 16)}


@pytest.fixture
async def market(shop_url: str, anvil: Anvil) -> AsyncIterator[Market]:
    database = await Database.connect(shop_url, size=10, name="market")
    await database.execute(EMPTY)
    rpc = Rpc([anvil.url], chain_id=CHAIN_ID)
    clock = Clock()
    deployment = await deploy(rpc, database, Key(DEVNET_KEY), DEVNET, fee_bps=250, now=clock())
    roots = (Contract(deployment.factory, "factory", 0),)
    follower = Follower(
        rpc,
        database,
        [EventProjector(), TicketProjector()],
        FollowedChain(chain_id=CHAIN_ID, roots=roots, resettable=True),
    )
    async with Cache(shop_url, None) as cache:
        shop = Shop(database, cache, rpc, clock, deployment.factory)
        market = Market(shop, anvil, follower)
        market.tell_time()
        yield market
        await shop.fees.close()
    await rpc.close()
    await database.close()


async def test_a_published_event_is_what_its_draft_said(market: Market) -> None:
    organizer = await market.person()
    rules = {
        "giftPolicy": "limited",
        "maxGifts": 2,
        "giftsToContracts": False,
        "resaleCapBps": 11_000,
        "royaltyBps": 500,
    }
    opens = market.shop.clock() + timedelta(days=2)
    tiers = [
        {"name": "General", "priceWei": "5", "supply": 50, "saleEnd": rfc3339(opens), "maxPerPurchase": 7},
        {"name": "Late", "priceWei": str(2**96 - 1), "supply": 2**32 - 1, "saleStart": rfc3339(opens)},
    ]
    draft = await market.shop.draft(organizer, title="Grüße", rules=rules, tiers=tiers, maxTickets=2**32 - 2)
    intent = await organizer.client("POST", f"{EVENTS}/{draft['id']}/publish")
    receipt = await market.sign(organizer, intent.data)
    event = (await market.shop.anyone("GET", f"{EVENTS}/{draft['id']}")).data
    of_the_chain = {"status", "blockchain_id", "ticketContract", "feeBps", "metadata_uri", "metadataHash"}
    of_the_chain |= {"transactionHash", "createdAt", "updatedAt", "version"}
    assert {name: value for name, value in event.items() if name not in of_the_chain} == {
        name: value for name, value in draft.items() if name not in of_the_chain
    }
    assert (event["transactionHash"], event["feeBps"]) == (receipt["transactionHash"], 250)
    document = await market.shop.anyone("GET", event["metadata_uri"].removeprefix("https://tickets.example"))
    assert document.status == 200
    again = await organizer.client("POST", f"{EVENTS}/{draft['id']}/publish")
    assert (again.status, again.error["code"]) == (409, "events.already_published")


async def test_purchases_of_every_size_stay_within_their_gas_limit(market: Market) -> None:
    organizer, buyer = await market.person(), await market.person()
    tiers = [
        {"name": name, "priceWei": "5", "supply": 1_000, "maxPerPurchase": 50, "maxPerWallet": limit}
        for name, limit in (("Open", 0), ("Limited", 255))
    ]
    event = await market.publish(organizer, tiers=tiers, maxTickets=2_000)
    for tier in (0, 1):
        for quantity in (1, 2, 10, 50):
            gas = await market.buy(buyer, event, tierId=tier, quantity=quantity)
            assert gas["used"] < gas["gas"], (tier, quantity, gas)
    owned = await market.shop.anyone("GET", f"{TICKETS}?owner={buyer.text}&perPage=1")
    assert owned.json["meta"]["page"]["total"] == 126
    refused = await market.shop.order(buyer, event["id"], tierId=1, quantity=50)
    assert refused.status == 200
    await market.sign(buyer, refused.data)
    for quantity in (50, 50):
        await market.buy(buyer, event, tierId=1, quantity=quantity)
    last = await market.shop.order(buyer, event["id"], tierId=1, quantity=43)
    assert (last.status, last.error["details"]) == (409, {"maximum": 255, "bought": 213})
    await market.buy(buyer, event, tierId=1, quantity=42)


async def test_a_ticket_is_given_away_used_up_and_not_to_contracts(market: Market) -> None:
    organizer, holder, friend = [await market.person() for _ in range(3)]
    rules = {"giftPolicy": "limited", "maxGifts": 1, "giftsToContracts": False}
    event = await market.publish(organizer, rules=rules)
    await market.buy(holder, event)
    (ticket,) = (await market.shop.anyone("GET", f"{TICKETS}?owner={holder.text}")).data
    url = f"{TICKETS}/{ticket['id']}/transfer"
    contract = {"to": event["ticketContract"]}
    refused = await holder.client("POST", url, json_body=contract)
    assert (refused.status, refused.error["code"]) == (409, "tickets.gift_to_contract")
    gift = await holder.client("POST", url, json_body={"to": friend.text})
    receipt = await market.sign(holder, gift.data)
    moved = (await market.shop.anyone("GET", f"{TICKETS}/{ticket['id']}")).data
    assert (moved["owner"], moved["gifts"], moved["transferable"]) == (friend.text, 1, False)
    used_up = await friend.client("POST", url, json_body={"to": holder.text})
    assert used_up.error["code"] == "tickets.gifts_used_up"
    history = (await market.shop.anyone("GET", f"{TICKETS}/{ticket['id']}/history")).data
    assert [entry["kind"] for entry in history] == ["minted", "transferred"]
    assert history[1]["transactionHash"] == receipt["transactionHash"]


async def test_a_cancelled_event_pays_its_buyers_back(market: Market) -> None:
    organizer, buyer = await market.person(), await market.person()
    event = await market.publish(organizer)
    await market.buy(buyer, event, quantity=2)
    cancel = await organizer.client("DELETE", f"{EVENTS}/{event['id']}")
    assert cancel.status == 200, cancel.body
    await market.sign(organizer, cancel.data)
    again = await organizer.client("DELETE", f"{EVENTS}/{event['id']}")
    assert (again.status, again.error["code"]) == (409, "events.cancelled")
    assert (await market.shop.order(buyer, event["id"])).error["code"] == "tickets.cancelled"
    for ticket in (await market.shop.anyone("GET", f"{TICKETS}?owner={buyer.text}")).data:
        refund = await buyer.client("POST", f"{TICKETS}/{ticket['id']}/refund")
        await market.sign(buyer, refund.data)
        read = (await market.shop.anyone("GET", f"{TICKETS}/{ticket['id']}")).data
        assert (read["state"], read["transferable"]) == ("refunded", False)
        history = (await market.shop.anyone("GET", f"{TICKETS}/{ticket['id']}/history")).data
        assert [(entry["kind"], entry["amountWei"]) for entry in history] == [
            ("minted", "10000000000000000"),
            ("refunded", "10000000000000000"),
        ]
    assert int(market.node.rpc("eth_getBalance", event["ticketContract"], "latest"), 16) == 0


async def test_a_new_price_holds_from_then_on_and_only_for_tiers_that_exist(market: Market) -> None:
    organizer, buyer = await market.person(), await market.person()
    event = await market.publish(organizer)
    url = f"{EVENTS}/{event['id']}/tiers"
    price = await organizer.client("POST", f"{url}/1/price", json_body={"priceWei": "7"})
    await market.sign(organizer, price.data)
    assert (await market.shop.anyone("GET", f"{EVENTS}/{event['id']}")).data["tiers"][1]["priceWei"] == "7"
    assert (await market.shop.order(buyer, event["id"], tierId=1, quantity=2)).data["value"] == "14"
    unknown = await organizer.client("POST", f"{url}/9/price", json_body={"priceWei": "7"})
    assert (unknown.status, unknown.error["code"]) == (404, "events.unknown_tier")
    huge = await organizer.client("POST", f"{url}/1/price", json_body={"priceWei": str(2**96)})
    assert (huge.status, list(huge.fields)) == (422, ["priceWei"])


async def test_the_organizer_withdraws_once_after_the_end(market: Market) -> None:
    organizer, buyer = await market.person(), await market.person()
    event = await market.publish(organizer)
    await market.buy(buyer, event, quantity=4)
    market.node.rpc("evm_increaseTime", 40 * 86_400)
    market.node.rpc("evm_mine")
    await market.follow()
    organizer = await market.shop.person(organizer.wallet)
    withdraw = await organizer.client("POST", f"{EVENTS}/{event['id']}/withdraw")
    assert withdraw.status == 200, withdraw.body
    await market.sign(organizer, withdraw.data)
    paid = await market.shop.database.fetchval("SELECT amount_wei FROM payouts WHERE kind = 'proceeds'")
    assert int(paid) == 4 * 10**16 * 9_750 // 10_000
    again = await organizer.client("POST", f"{EVENTS}/{event['id']}/withdraw")
    assert (again.status, again.error["code"]) == (409, "tickets.nothing_to_withdraw")
    cancel = await organizer.client("DELETE", f"{EVENTS}/{event['id']}")
    assert (cancel.status, cancel.error["code"]) == (409, "events.already_withdrawn")


async def test_a_paused_factory_and_an_empty_wallet_are_said_before_anybody_signs(market: Market) -> None:
    organizer = await market.person()
    draft = await market.shop.draft(organizer)
    admin = checksum(Key(DEVNET_KEY).address)
    factory = market.shop.factory
    assert factory is not None
    pause = {"from": admin, "to": checksum(factory), "data": "0x8456cb59"}
    name = market.node.rpc("eth_sendTransaction", pause)
    async with asyncio.timeout(10):
        while market.node.rpc("eth_getTransactionReceipt", name) is None:
            await asyncio.sleep(0.005)
    refused = await organizer.client("POST", f"{EVENTS}/{draft['id']}/publish")
    assert (refused.status, refused.error["code"]) == (409, "events.creation_refused")
    assert refused.error["details"]["error"] == "EnforcedPause"


async def test_without_a_node_reads_go_on_and_intents_say_what_is_missing(market: Market) -> None:
    organizer, buyer = await market.person(), await market.person()
    event = await market.publish(organizer)
    assert (await market.shop.order(buyer, event["id"])).status == 200
    market.node.kill()
    assert (await market.shop.anyone("GET", f"{EVENTS}/{event['id']}/availability")).status == 200
    assert (await market.shop.order(buyer, event["id"])).status == 200, "the kept quote still serves"
    cancel = await organizer.client("DELETE", f"{EVENTS}/{event['id']}")
    assert (cancel.status, cancel.error["code"]) == (503, "chain.unreachable")
    market.node.start()
