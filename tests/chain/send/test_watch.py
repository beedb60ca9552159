"""People hand transactions in and are told what the chain made of them."""

from __future__ import annotations

import asyncio
import time
from uuid import UUID

import pytest
from tests.edge.http_client import Client

from echain.chain import store as logstore
from echain.chain.deploy import deploy
from echain.chain.fees import Fees
from echain.chain.keys import Key, Unsigned
from echain.chain.rest import endpoints
from echain.chain.rpc import Rpc
from echain.chain.types import Contract
from echain.edge.http import Caller, StoredIdempotency, application
from echain.infra.secret import Secret
from echain.kernel.evm import Address, checksum, to_hex
from echain.kernel.money import Wei
from echain.kernel.time import utc_now

ADA = Key(Secret("59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d"))
"""Another of the accounts that a local node funds."""

SIGNED_IN = {"authorization": "Bearer ada"}


async def authenticate(headers, _cookies):
    signed_in = headers.get("authorization") == "Bearer ada"
    return Caller("user", UUID(int=1), ADA.address) if signed_in else None


@pytest.fixture
async def client(world):
    fees = Fees(world.rpc, world.DEVNET)
    app = application(
        endpoints(world.database, {84532: world.rpc}, {84532: fees}),
        authenticate=authenticate,
        clock=utc_now,
        idempotency=StoredIdempotency(world.database),
        title="echain",
        version="1",
    )
    yield Client(app, SIGNED_IN)
    await fees.close()


def call_of(world, nonce, *, number=1, to=None, data=None, chain_id=84532, fee=10**11):
    data = world.COUNT + number.to_bytes(32, "big") if data is None else data
    return ADA.sign(Unsigned(chain_id, nonce, to or world.COUNTER, data, Wei(0), 100_000, fee, 10**9))


async def hand_in(client, signed, **more):
    return await client("POST", "/api/v1/transactions", json_body={"raw": to_hex(signed.raw)} | more)


async def seen(client, signed):
    return (await client("GET", f"/api/v1/transactions/{to_hex(signed.hash)}")).data


async def test_a_signed_transaction_is_sent_watched_and_told_of_until_it_is_final(world, client):
    world.anvil.rpc("evm_setAutomine", False)
    signed = call_of(world, 0)
    answer = await hand_in(client, signed, chainId=84532)
    assert (answer.status, answer.data) == (201, {"chainId": 84532, "hash": to_hex(signed.hash)})
    pending = await seen(client, signed)
    assert (pending["status"], pending["from"], pending["nonce"]) == ("pending", checksum(ADA.address), "0")
    world.mine()
    mined = await seen(client, signed)
    assert (mined["status"], mined["blockNumber"], mined["confirmations"], mined["final"]) == (
        "mined",
        1,
        0,
        False,
    )
    world.mine(2)
    final = await seen(client, signed)
    assert (final["confirmations"], final["final"], final["reason"]) == (2, True, None)
    assert world.counted() == [1]


async def test_handing_in_twice_is_the_same_as_once(world, client):
    signed = call_of(world, 0)
    first = await hand_in(client, signed)
    second = await hand_in(client, signed)
    assert first.data == second.data
    assert (await seen(client, signed))["status"] == "mined"
    assert world.counted() == [1]


async def test_a_failed_transaction_tells_its_reason(world, client):
    signed = call_of(world, 0, to=world.REFUSER, data=world.sold_out(2, 0))
    await hand_in(client, signed)
    failed = await seen(client, signed)
    assert failed["status"] == "failed"
    assert failed["reason"]["error"] == "EventTicket_SoldOut"
    assert failed["reason"]["arguments"] == {"tierId": "2", "remaining": "0"}


async def test_the_status_follows_a_reorg(world, client):
    world.mine(3)
    signed = call_of(world, 0)
    await hand_in(client, signed)
    first = await seen(client, signed)
    world.anvil.rpc("evm_setAutomine", False)
    world.anvil.rpc("anvil_reorg", 1, [])
    world.anvil.rpc("anvil_dropAllTransactions")
    again = await seen(client, signed)
    assert again["status"] == "pending", "shown to the node again, for it was signed here"
    world.mine()
    after = await seen(client, signed)
    assert after["status"] == "mined"
    assert after["blockHash"] != first["blockHash"]


async def test_a_transaction_whose_nonce_is_taken_is_replaced(world, client):
    world.anvil.rpc("evm_setAutomine", False)
    slow, fast = call_of(world, 0, number=1), call_of(world, 0, number=2, fee=2 * 10**11)
    await hand_in(client, slow)
    world.anvil.rpc("anvil_dropAllTransactions")
    await world.rpc.call("eth_sendRawTransaction", [to_hex(fast.raw)])
    world.mine()
    assert (await seen(client, slow))["status"] == "replaced"
    assert (await seen(client, fast))["status"] == "mined", "known by the chain, though nobody handed it in"


async def test_a_hash_is_watched_even_before_the_node_has_it(world, client):
    signed = call_of(world, 0)
    answer = await client("POST", "/api/v1/transactions", json_body={"hash": to_hex(signed.hash)})
    assert answer.status == 201
    assert (await seen(client, signed))["status"] == "unknown"
    await world.rpc.call("eth_sendRawTransaction", [to_hex(signed.raw)])
    while await world.rpc.call("eth_getTransactionReceipt", [to_hex(signed.hash)]) is None:
        await asyncio.sleep(0.01)
    assert (await seen(client, signed))["status"] == "mined"


async def test_what_nobody_handed_in_and_no_chain_has_is_404(client):
    answer = await client("GET", "/api/v1/transactions/0x" + "ab" * 32)
    assert (answer.status, answer.error["code"]) == (404, "transactions.unknown")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "hash"),
        ({"hash": "0x" + "ab" * 32, "raw": "0x02"}, "hash"),
        ({"raw": "0x02"}, "raw"),
        ({"raw": "0xzz"}, "raw"),
        ({"hash": "0x12"}, "hash"),
        ({"hash": "0x" + "ab" * 32, "chainId": 0}, "chainId"),
        ({"hash": "0x" + "ab" * 32, "more": 1}, "more"),
    ],
)
async def test_wrong_input_is_named_and_writes_nothing(world, client, body, field):
    answer = await client("POST", "/api/v1/transactions", json_body=body)
    assert answer.status == 422
    assert list(answer.fields) == [field]
    assert await world.database.fetchval("SELECT count(*) FROM watched_transactions") == 0


async def test_a_transaction_for_another_chain_is_refused_and_not_shown_to_this_one(world, client):
    foreign = call_of(world, 0, chain_id=1)
    answer = await hand_in(client, foreign)
    assert (answer.status, answer.error["code"]) == (404, "chain.unknown")
    assert list((await hand_in(client, foreign, chainId=84532)).fields) == ["chainId"]
    elsewhere = await client(
        "POST", "/api/v1/transactions", json_body={"hash": "0x" + "ab" * 32, "chainId": 5}
    )
    assert elsewhere.error["code"] == "chain.unknown"
    assert world.counted() == []


async def test_what_the_node_refuses_is_told_and_not_watched(world, client):
    await hand_in(client, call_of(world, 0))
    stale = call_of(world, 0, number=9)
    answer = await hand_in(client, stale)
    assert (answer.status, answer.error["code"]) == (409, "transactions.refused")
    assert answer.error["details"]["reason"] == "nonce_used"
    poor = Key(Secret("11" * 32)).sign(Unsigned(84532, 0, world.COUNTER, b"", Wei(1), 21_000, 10**11, 1))
    refused = await hand_in(client, poor)
    assert refused.error["details"]["reason"] == "no_funds"
    assert await world.database.fetchval("SELECT count(*) FROM watched_transactions") == 1


async def test_only_the_signed_in_may_send_but_anyone_may_look(world, client):
    signed = call_of(world, 0)
    anonymous = Client(client.app)
    refused = await hand_in(anonymous, signed)
    assert refused.status == 401
    await hand_in(client, signed)
    assert (await seen(anonymous, signed))["status"] == "mined"


async def test_the_platform_s_own_transactions_are_found_too(world, client):
    async with world.sending():
        await world.enqueue(4)
        await world.until_status("mined")
    own = (await world.attempts())[0]
    answer = (await client("GET", f"/api/v1/transactions/0x{own['hash'].hex()}")).data
    assert (answer["status"], answer["from"]) == ("mined", checksum(world.KEY.address))


async def test_what_our_contracts_emitted_is_decoded_and_a_stranger_s_word_left_out(world, client):
    deployed = await deploy(world.rpc, world.database, world.KEY, world.DEVNET, now=utc_now())
    last = to_hex(deployed.transaction_hashes[-1])
    assert (await client("GET", f"/api/v1/transactions/{last}")).data["effects"] == []
    async with world.database.transaction() as tx:
        await logstore.create_partition(tx, 84532)
        await logstore.create_cursor(tx, 84532, 0)
        await logstore.add_roots(tx, 84532, [Contract(deployed.factory, "factory", 1)])
    effects = (await client("GET", f"/api/v1/transactions/{last}")).data["effects"]
    assert [(effect["contract"], effect["event"]) for effect in effects] == [("factory", "ContractsSet")]
    assert effects[0]["arguments"]["implementation"] == checksum(deployed.implementation)


async def test_chains_tell_their_heads_and_contracts(world, client):
    before = (await client("GET", "/api/v1/chains")).data
    assert [(one["chainId"], one["head"], one["indexedHead"], one["contracts"]) for one in before] == [
        (84532, 0, None, [])
    ]
    deployed = await deploy(world.rpc, world.database, world.KEY, world.DEVNET, now=utc_now())
    await asyncio.sleep(1.1)
    after = (await client("GET", "/api/v1/chains")).data[0]
    places = {one["name"]: (one["address"], one["blockNumber"]) for one in after["contracts"]}
    assert places["EventFactory"] == (checksum(deployed.factory), 1)
    assert places["Poap"] == (checksum(deployed.poap), 3)
    assert after["unitScale"] == "1"


async def test_a_dead_node_is_told_within_seconds_and_chains_still_answer(world, client):
    signed = call_of(world, 0)
    await hand_in(client, signed)
    world.anvil.stop()
    began = time.monotonic()
    answer = await client("GET", f"/api/v1/transactions/{to_hex(signed.hash)}")
    assert (answer.status, answer.error["code"]) == (503, "chain.unreachable")
    chains = await client("GET", "/api/v1/chains")
    assert (chains.status, chains.data[0]["head"]) == (200, None)
    assert time.monotonic() - began < 5
    world.anvil.start()


async def test_a_node_of_another_chain_is_named(world, database):
    wrong = Rpc([world.anvil.url], chain_id=8453)
    fees = Fees(wrong, world.DEVNET)
    app = application(
        endpoints(database, {84532: wrong}, {84532: fees}),
        authenticate=authenticate,
        clock=utc_now,
        idempotency=StoredIdempotency(database),
        title="echain",
        version="1",
    )
    answer = await hand_in(Client(app, SIGNED_IN), call_of(world, 0, to=Address(b"\x01" * 20)))
    assert (answer.status, answer.error["code"]) == (503, "chain.wrong_chain")
    await fees.close()
    await wrong.close()
