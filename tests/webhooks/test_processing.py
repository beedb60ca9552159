"""What becomes of webhooks: hints against a real node, payments in any order, by real workers."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.accounts.people import Clock
from tests.chain.ingest.devnet import Devnet
from tests.edge.http_client import Client
from tests.webhooks import signing

from echain.chain.rpc import Rpc
from echain.edge.http import StoredIdempotency, application
from echain.entry.addressbook import AddressBook
from echain.entry.connections import Services
from echain.entry.settings import read
from echain.entry.webhooks import webhook_endpoints, webhook_handlers
from echain.infra.cache import Cache
from echain.infra.database import Database
from echain.infra.embedded.anvil import Anvil
from echain.infra.jobs import JobKind, Workers
from echain.infra.metrics import Metrics
from echain.kernel.evm import checksum
from echain.kernel.time import to_unix, utc_now
from echain.webhooks import inboxstore
from echain.webhooks.inbox import RECEIVED
from echain.webhooks.jobs import BODIES_KEPT, sweep_once
from echain.webhooks.types import ChargeStatus

TRIES = 3
TRANSFER = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"


@dataclass
class Town:
    """The routes and the worker of webhooks as `entry` builds them, on a database and a chain."""

    database: Database
    client: Client

    async def told(self, body: bytes, headers: Mapping[str, str]) -> None:
        answer = await self.client("POST", "/webhooks/coinbase", body=body, headers=headers)
        assert answer.status == 200, answer.body

    async def hint(self, kind: str, content: Mapping[str, Any], **headers: str) -> None:
        body = json.dumps(content).encode()
        await self.told(body, signing.cdp(body, to_unix(utc_now()), event_type=kind, **headers))

    async def charge(self, kind: str, charge_id: str = "charge-1", **data: Any) -> None:
        body = signing.charge_event(kind, charge_id, **data)
        await self.told(body, signing.commerce(body))

    async def outcomes(self) -> list[str]:
        """Return what came of each webhook, in their order, once all are worked on."""
        async with asyncio.timeout(20):
            while await self.database.fetchval("SELECT count(*) FROM webhook_inbox WHERE outcome IS NULL"):
                await asyncio.sleep(0.02)
        return [
            row["outcome"]
            for row in await self.database.fetch("SELECT outcome FROM webhook_inbox ORDER BY id")
        ]

    async def status(self, charge_id: str = "charge-1") -> ChargeStatus:
        charge = await inboxstore.charge(self.database, "coinbase_commerce", charge_id)
        assert charge is not None
        return charge.status

    async def logs(self) -> int:
        return await self.database.fetchval("SELECT count(*) FROM chain_logs")


@pytest.fixture
async def town(database: Database, database_url: str, tmp_path: Path) -> AsyncIterator[Town]:
    """Without a chain whose contracts stand."""
    async with built(database, database_url, tmp_path, "http://127.0.0.1:1") as town:
        yield town


@pytest.fixture
async def devnet(anvil: Anvil, database: Database) -> Devnet:
    return await Devnet.start(anvil, database)


@pytest.fixture
async def chained(
    devnet: Devnet, database: Database, database_url: str, tmp_path: Path
) -> AsyncIterator[Town]:
    """With an event on sale on a real node, and no indexer: what comes in comes by hints."""
    async with built(database, database_url, tmp_path, devnet.anvil.url) as town:
        yield town


class built(AsyncExitStack):  # noqa: N801 -- a context, used like a function
    """Build a town; its worker asks again soon where our node does not know something yet."""

    def __init__(self, database: Database, database_url: str, home: Path, rpc_url: str) -> None:
        super().__init__()
        self.parts = (database, database_url, home, rpc_url)

    async def __aenter__(self) -> Town:  # type: ignore[override]
        await super().__aenter__()
        database, database_url, home, rpc_url = self.parts
        config = read(
            {
                "ECHAIN_HOME": str(home),
                "ECHAIN_DATABASE_URL": database_url,
                "ECHAIN_RPC_URL_84532": rpc_url,
                "ECHAIN_DEVNET": "true",
                "ECHAIN_COINBASE_COMMERCE_SECRETS": signing.COMMERCE_SECRET,
                "ECHAIN_COINBASE_CDP_SECRETS": signing.CDP_SECRET,
            }
        )
        rpc = Rpc([rpc_url], chain_id=84532)
        self.push_async_callback(rpc.close)
        cache = await self.enter_async_context(Cache(database_url, None))
        parts = Services(database, None, cache, {84532: rpc}, Metrics())
        book = AddressBook(config, database)
        await book.read()
        soon = JobKind(RECEIVED.name, RECEIVED.queue, RECEIVED.payload, tries=TRIES, first_retry_seconds=0.05)
        handlers = {
            soon if kind is RECEIVED else kind: handler
            for kind, handler in webhook_handlers(config, parts, book, self).items()
        }
        working = asyncio.create_task(Workers(database_url, database, handlers, parts.metrics).run())
        self.push_async_callback(stopped, working)

        async def nobody(*_: object) -> None:
            return None

        app = application(
            webhook_endpoints(config, parts),
            authenticate=nobody,
            clock=utc_now,
            idempotency=StoredIdempotency(database),
            title="echain",
            version="1",
        )
        return Town(database, Client(app))


async def stopped(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def mined(devnet: Devnet, transaction: str) -> dict[str, Any]:
    while (
        receipt := await asyncio.to_thread(devnet.anvil.rpc, "eth_getTransactionReceipt", transaction)
    ) is None:
        await asyncio.sleep(0.01)
    return receipt


def transfer_in(receipt: Mapping[str, Any]) -> dict[str, Any]:
    return next(log for log in receipt["logs"] if log["topics"][0] == TRANSFER)


def v1(log: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """Return a hint as the first version of the platform spells it."""
    return {
        "network": "base-sepolia",
        "blockHash": log["blockHash"],
        "blockNumber": int(log["blockNumber"], 16),
        "transactionHash": log["transactionHash"],
        "logIndex": int(log["logIndex"], 16),
        "contractAddress": log["address"],
        **changes,
    }


def v2(log: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """Return a hint as today's platform spells it."""
    return {
        "network": "base-sepolia",
        "block_number": int(log["blockNumber"], 16),
        "transaction_hash": log["transactionHash"],
        "log_index": int(log["logIndex"], 16),
        "contract_address": log["address"],
        "event_name": "Transfer",
        "parameters": {},
        **changes,
    }


# --- hints ---


async def test_a_hint_brings_what_it_points_at_through_the_one_ingest(chained: Town, devnet: Devnet) -> None:
    log = transfer_in(await mined(devnet, devnet.buy(1, 2)))
    await chained.hint("erc721_mint", v1(log))
    assert await chained.outcomes() == ["confirmed"]
    assert await devnet.differences(chained.database) == []
    assert await chained.database.fetchval("SELECT count(*) FROM tickets") == 2


async def test_every_spelling_of_the_same_log_is_confirmed_and_told_once(
    chained: Town, devnet: Devnet
) -> None:
    await mined(devnet, devnet.buy(1, 1))
    log = transfer_in(await mined(devnet, devnet.give(1, 2, 1)))
    wallet = {
        "eventId": "x",
        "eventType": "wallet.activity.detected",
        "data": v1(log, blockNumber=str(int(log["blockNumber"], 16)), logIndex=str(int(log["logIndex"], 16))),
    }
    without = v2(log)
    del without["transaction_hash"]
    hints = [
        ("erc721_transfer", v1(log)),
        ("smart_contract_event_activity", v1(log)),
        ("wallet_activity", v1(log)),
        ("contract_call", {"network": "base-sepolia", "transactionHash": log["transactionHash"]}),
        ("onchain.activity.detected", v2(log)),
        ("onchain.activity.detected", without),
        ("wallet.activity.detected", wallet),
        ("wallet.activity.multi", wallet),
    ]
    await asyncio.gather(*(chained.hint(kind, content) for kind, content in hints * 5))
    assert await chained.outcomes() == ["confirmed"] * 40
    assert await devnet.differences(chained.database) == []
    told = await chained.database.fetchval("SELECT count(*) FROM outbox WHERE type = 'ticket_transferred'")
    assert told == 1


async def test_a_lying_hint_is_found_out_and_writes_nothing(chained: Town, devnet: Devnet) -> None:
    mint = transfer_in(await mined(devnet, devnet.buy(1, 1)))
    gift = transfer_in(await mined(devnet, devnet.give(1, 2, 1)))
    lies = [
        ("erc721_transfer", v1(gift, logIndex=77)),
        ("erc721_transfer", v1(gift, contractAddress="0x" + "ab" * 20)),
        ("erc721_transfer", v1(gift, blockHash="0x" + "ab" * 32)),
        ("erc721_transfer", v1(gift, blockNumber=1)),
        ("erc721_transfer", v1(gift, transactionHash=mint["transactionHash"])),
        ("erc721_mint", v1(gift)),
        ("erc20_transfer", v1(gift)),
        ("contract_call", v1(gift, contractAddress="0x" + "ab" * 20)),
        ("onchain.activity.detected", v2(gift, contract_address="0x" + "cd" * 20)),
    ]
    for kind, content in lies:
        await chained.hint(kind, content)
    assert await chained.outcomes() == ["contradicted"] * len(lies)
    assert await chained.logs() == 0
    reasons = await chained.database.fetch("SELECT reason FROM webhook_inbox")
    assert all(row["reason"] for row in reasons)
    await chained.hint("erc721_transfer", v1(gift))
    assert (await chained.outcomes())[-1] == "confirmed"
    # Lies about what stands already are no better.
    for kind, content in lies:
        await chained.hint(kind, content)
    assert (await chained.outcomes())[len(lies) + 1 :] == ["contradicted"] * len(lies)


async def test_a_transaction_that_nobody_knows_is_asked_for_some_times_and_unseen(chained: Town) -> None:
    content = {"network": "base-sepolia", "transactionHash": "0x" + "ab" * 32, "logIndex": 0}
    await chained.hint("erc721_transfer", content)
    await chained.hint(
        "onchain.activity.detected", {"network": "base-sepolia", "block_number": 10**9, "log_index": 0}
    )
    assert await chained.outcomes() == ["unseen", "unseen"]
    assert await chained.logs() == 0


async def test_a_hint_that_is_ahead_of_our_node_waits_for_it(chained: Town, devnet: Devnet) -> None:
    await asyncio.to_thread(devnet.anvil.rpc, "evm_setAutomine", False)
    bought = await asyncio.to_thread(devnet.buy, 1, 1)
    content = {"network": "base-sepolia", "transactionHash": bought, "logIndex": 0}
    await chained.hint("erc721_mint", content)
    async with asyncio.timeout(10):
        while not await chained.database.fetchval("SELECT max(attempts) FROM jobs.queue"):
            await asyncio.sleep(0.005)
    await asyncio.to_thread(devnet.anvil.rpc, "evm_mine")
    assert await chained.outcomes() == ["confirmed"]


async def test_a_log_of_a_contract_that_is_not_ours_is_foreign(chained: Town, devnet: Devnet) -> None:
    emitting = {"from": devnet.accounts[0], "data": "0x60006000a0", "gas": hex(200_000)}
    receipt = await mined(devnet, devnet.anvil.rpc("eth_sendTransaction", emitting))
    await chained.hint("onchain.activity.detected", v2(receipt["logs"][0]))
    assert await chained.outcomes() == ["foreign"]


async def test_networks_that_are_not_served_are_none_of_ours(chained: Town) -> None:
    for network in ("base-mainnet", "hedera-mainnet", "84532"):
        await chained.hint("erc721_transfer", {"network": network, "blockNumber": 1, "logIndex": 0})
    assert await chained.outcomes() == ["ignored"] * 3


async def test_after_a_reorg_the_old_place_is_contradicted_and_the_new_one_stands(
    chained: Town, devnet: Devnet
) -> None:
    log = transfer_in(await mined(devnet, devnet.buy(1, 1)))
    await chained.hint("erc721_mint", v1(log))
    assert await chained.outcomes() == ["confirmed"]
    devnet.anvil.rpc("anvil_reorg", 1, [])
    again = transfer_in(await mined(devnet, devnet.buy(2, 1)))
    await chained.hint("erc721_mint", v1(again))
    assert await chained.outcomes() == ["confirmed"] * 2
    await chained.hint("erc721_mint", v1(log))
    assert (await chained.outcomes())[2] in {"contradicted", "unseen"}
    owner = await chained.database.fetchval("SELECT owner FROM tickets WHERE token_id = 1")
    assert checksum(owner) == checksum(bytes.fromhex(devnet.accounts[2][2:]))
    assert await devnet.differences(chained.database) == []


async def test_while_no_node_answers_a_hint_is_tried_again_and_unseen_in_the_end(town: Town) -> None:
    await town.hint(
        "erc721_transfer", {"network": "base-sepolia", "transactionHash": "0x" + "ab" * 32, "logIndex": 0}
    )
    assert await town.outcomes() == ["unseen"]
    reason = await town.database.fetchval("SELECT reason FROM webhook_inbox")
    assert "answer" in reason, "it says that nobody could be asked"
    assert await town.database.fetchval("SELECT count(*) FROM jobs.queue") == 0, "no dead letter is left"
    tried = await town.database.fetch("SELECT status::text FROM jobs.log ORDER BY id")
    assert [row["status"] for row in tried].count("picked") == TRIES


def test_a_hint_outlives_hours_without_a_node_and_waits_little_at_first() -> None:
    pauses = [RECEIVED.pause(attempt).total_seconds() for attempt in range(1, RECEIVED.tries)]
    assert pauses[0] < 2
    assert 6 * 3600 < sum(pauses) < 9 * 3600


# --- payments ---


@pytest.mark.parametrize(
    "order",
    list(itertools.permutations(["charge:created", "charge:pending", "charge:failed", "charge:confirmed"])),
)
async def test_a_payment_ends_confirmed_in_whatever_order_it_is_told(
    town: Town, order: tuple[str, ...]
) -> None:
    for kind in order:
        await town.charge(kind)
        await town.outcomes()
    assert await town.status() is ChargeStatus.CONFIRMED


async def test_a_late_word_undoes_nothing_and_says_so(town: Town) -> None:
    for kind in ("charge:confirmed", "charge:pending", "charge:created", "charge:failed"):
        await town.charge(kind)
        await town.outcomes()
    assert await town.outcomes() == ["recorded", "late", "late", "late"]
    assert await town.status() is ChargeStatus.CONFIRMED


async def test_payments_told_all_at_once_end_at_the_furthest(town: Town) -> None:
    kinds = ["charge:created", "charge:pending", "charge:failed", "charge:confirmed", "charge:pending"]
    await asyncio.gather(*(town.charge(kind, f"charge-{n}") for n in range(10) for kind in kinds))
    await town.outcomes()
    for number in range(10):
        assert await town.status(f"charge-{number}") is ChargeStatus.CONFIRMED


async def test_a_payment_carries_what_an_order_compares(town: Town) -> None:
    await town.charge("charge:pending")
    await town.outcomes()
    charge = await inboxstore.charge(town.database, "coinbase_commerce", "charge-1")
    assert charge is not None
    assert (charge.amount, charge.currency, charge.code, charge.metadata) == (
        "25.00",
        "EUR",
        "66BEOV2A",
        {"order": "7"},
    )


@pytest.mark.parametrize("family", ["payment_link.payment", "checkout.payment"])
async def test_what_replaces_commerce_is_read_the_same(town: Town, family: str) -> None:
    checkout = {
        "id": "68f7a946db0529ea9b6d3a12",
        "amount": "100.00",
        "currency": "USDC",
        "network": "base",
        "metadata": {"order": "7"},
    }
    for kind, content in (
        ("failed", checkout),
        ("success", checkout),
        ("expired", {"eventType": f"{family}.expired", "data": checkout}),
    ):
        await town.hint(f"{family}.{kind}", content)
        await town.outcomes()
    assert await town.outcomes() == ["recorded", "recorded", "late"]
    charge = await inboxstore.charge(town.database, "coinbase_cdp", checkout["id"])
    assert charge is not None
    assert (charge.status, charge.amount, charge.currency) == (ChargeStatus.CONFIRMED, "100.00", "USDC")


async def test_bodies_go_after_a_month_and_ids_stay_against_replays(town: Town) -> None:
    body = signing.charge_event("charge:confirmed")
    await town.told(body, signing.commerce(body))
    await town.outcomes()
    clock = Clock(utc_now() + BODIES_KEPT + timedelta(seconds=1))
    await sweep_once(town.database, clock)
    assert await town.database.fetchval("SELECT body FROM webhook_inbox") is None
    answer = await town.client("POST", "/webhooks/coinbase", body=body, headers=signing.commerce(body))
    assert answer.data == {"duplicate": True}
