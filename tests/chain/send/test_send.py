"""Each job of the platform is mined once, or fails with a reason."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from echain.chain.chains import chain
from echain.chain.keys import DEVNET_KEY
from echain.chain.rpc import Rpc
from echain.chain.send import enqueue, retry
from echain.infra.database import Database
from echain.infra.embedded.anvil import Anvil
from echain.kernel.evm import checksum

ETHER = 10**18


async def test_a_job_is_mined_once_and_final_after_its_confirmations(world):
    async with world.sending():
        await world.enqueue(7)
        await world.until(lambda: world.counted() == [7])
        await world.until_status("mined")
        await asyncio.sleep(1.2)
        assert (await world.job("count:7"))["status"] == "mined"
        world.mine(2)
        await world.until_status("final")
    job = await world.job("count:7")
    receipt = world.anvil.rpc("eth_getTransactionReceipt", "0x" + job["hash"].hex())
    assert (job["nonce"], job["succeeded"], job["block_number"]) == (0, True, int(receipt["blockNumber"], 16))
    assert int(job["spent_wei"]) == int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16)
    assert 0 < job["spent_wei"] < job["reserved_wei"]
    (audited,) = await world.database.fetch(
        "SELECT actor_kind, resource FROM audit_entries WHERE action = 'transaction.signed'"
    )
    assert (audited["actor_kind"], audited["resource"]) == ("system", f"transaction:0x{job['hash'].hex()}")


async def test_a_job_wakes_the_sender_without_waiting_for_its_next_look(world, monkeypatch):
    monkeypatch.setattr("echain.chain.send.POLL_SECONDS", 3600.0)
    async with world.sending():
        await world.enqueue(1)
        await world.until(lambda: world.counted() == [1])
        await asyncio.sleep(0.5)
        await world.enqueue(2)
        await world.until(lambda: world.counted() == [1, 2])


async def test_a_lost_notification_is_made_up_for_by_looking(world):
    async with world.sending():
        await world.enqueue(1)
        await world.until(lambda: world.counted() == [1])
        await world.database.execute(
            "INSERT INTO chain_transactions"
            " (id, chain_id, dedupe, purpose, to_address, data, value_wei, gas_limit)"
            " SELECT gen_random_uuid(), chain_id, 'silent', purpose, to_address, $1, 0, gas_limit"
            " FROM chain_transactions",
            world.COUNT + (2).to_bytes(32, "big"),
        )
        await world.until(lambda: world.counted() == [1, 2])


async def enqueued_and_rolled_back(world):
    async with world.database.transaction() as tx:
        await enqueue(
            tx,
            chain_id=84532,
            to=world.COUNTER,
            data=world.COUNT + bytes(32),
            gas_limit=100_000,
            purpose="count",
            dedupe="never",
        )
        raise LookupError


async def test_a_job_of_a_transaction_that_rolled_back_is_never_sent(world):
    async with world.sending():
        with pytest.raises(LookupError):
            await enqueued_and_rolled_back(world)
        await world.enqueue(1)
        await world.until(lambda: world.counted() == [1])
    assert list(await world.jobs()) == ["count:1"]


async def test_parallel_enqueues_with_one_dedupe_key_are_one_job(world):
    for round_ in range(10):
        ids = await asyncio.gather(*(world.enqueue(round_, dedupe=f"once:{round_}") for _ in range(10)))
        assert len(set(ids)) == 1
    async with world.sending():
        await world.until(lambda: len(world.counted()) == 10)
        await world.until_status("final", "once:0")
    assert sorted(world.counted()) == list(range(10))


async def test_two_senders_at_once_mine_every_job_once(world, database_url):
    other = await Database.connect(database_url, size=4, name="other")
    other_rpc = Rpc([world.anvil.url], chain_id=84532)
    mine, world_database = world.database, world.database
    async with world.sending():
        world.database = other
        async with world.sending(rpc=other_rpc):
            world.database = mine
            await asyncio.gather(*(world.enqueue(number) for number in range(60)))
            await world.until(lambda: len(world.counted()) >= 60)
        world.database = world_database
    await other_rpc.close()
    await other.close()
    assert sorted(world.counted()) == list(range(60))
    assert sorted(job["nonce"] for job in (await world.jobs()).values()) == list(range(60))


async def test_the_turn_passes_on_when_a_sender_ends(world):
    async with world.sending():
        await world.enqueue(1)
        await world.until(lambda: world.counted() == [1])
    async with world.sending():
        await world.enqueue(2)
        await world.until(lambda: world.counted() == [1, 2])


async def test_a_call_that_would_revert_fails_with_its_reason_and_uses_no_nonce(world):
    await world.enqueue(0, dedupe="refused", to=world.REFUSER, data=world.sold_out(3, 1))
    await world.enqueue(1)
    async with world.sending():
        await world.until(lambda: world.counted() == [1])
        await world.until_status("failed", "refused")
    refused = await world.job("refused")
    assert refused["failure"]["error"] == "EventTicket_SoldOut"
    assert refused["failure"]["arguments"] == {"tierId": "3", "remaining": "1"}
    assert refused["nonce"] is None
    assert (await world.job("count:1"))["nonce"] == 0


async def test_what_failed_before_it_was_sent_can_be_queued_again(world):
    job_id = await world.enqueue(5)
    world.anvil.rpc("anvil_setCode", checksum(world.COUNTER), world.REFUSER_CODE)
    async with world.sending():
        await world.until_status("failed")
        world.anvil.rpc("anvil_setCode", checksum(world.COUNTER), world.COUNTER_CODE)
        async with world.database.transaction() as tx:
            assert await retry(tx, job_id)
        await world.until(lambda: world.counted() == [5])
        await world.until_status("mined")
        async with world.database.transaction() as tx:
            assert not await retry(tx, job_id), "what was sent is not sent again"


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ({"to": b"\x01" * 20}, "target_not_allowed"),
        ({"data": bytes(36)}, "target_not_allowed"),
        ({"data": b""}, "target_not_allowed"),
        ({"value_wei": ETHER + 1}, "cap_per_transaction"),
        ({"gas_limit": 21_500}, "gas_limit"),
    ],
)
async def test_what_the_key_is_not_for_fails_and_uses_no_nonce(world, call, reason):
    await world.enqueue(1, dedupe="forbidden", **call)
    await world.enqueue(2)
    async with world.sending():
        await world.until(lambda: world.counted() == [2])
        await world.until_status("failed", "forbidden")
    job = await world.job("forbidden")
    assert (job["failure"]["error"], job["nonce"]) == (reason, None)


async def test_a_transaction_above_its_cap_waits_and_holds_nobody_up(world):
    await world.enqueue(1, value_wei=5 * 10**15)
    await world.enqueue(2)
    async with world.sending(cap_per_transaction_wei=5 * 10**15):
        await world.until(lambda: world.counted() == [2])
    assert (await world.job("count:1"))["held"] == "cap_per_transaction"
    async with world.sending(cap_per_transaction_wei=6 * 10**15):
        await world.until(lambda: world.counted() == [2, 1])
    assert (await world.job("count:1"))["held"] is None


async def test_an_hour_s_cap_holds_what_would_exceed_it(world):
    for number in range(5):
        await world.enqueue(number, value_wei=10**15)
    async with world.sending(cap_per_hour_wei=int(3.5 * 10**15)):
        await world.until(lambda: len(world.counted()) == 3)
        await asyncio.sleep(1.5)
    assert world.counted() == [0, 1, 2]
    assert [job["held"] for job in (await world.jobs()).values()] == [None] * 3 + ["cap_per_hour"] * 2
    await world.database.execute(
        "UPDATE chain_transactions SET assigned_at = assigned_at - interval '2 hours'"
    )
    async with world.sending(cap_per_hour_wei=int(3.5 * 10**15)):
        await world.until(lambda: world.counted() == [0, 1, 2, 3, 4])


async def test_a_key_without_funds_waits_for_them(world):
    await world.enqueue(1)
    world.anvil.rpc("anvil_setBalance", checksum(world.KEY.address), "0x1")
    async with world.sending():

        async def held():
            return (await world.job("count:1"))["held"] == "insufficient_funds"

        await world.until(held)
        assert (await world.job("count:1"))["nonce"] is None
        world.anvil.rpc("anvil_setBalance", checksum(world.KEY.address), hex(ETHER))
        await world.until(lambda: world.counted() == [1])


async def test_no_more_are_under_way_than_allowed(world):
    world.anvil.rpc("evm_setAutomine", False)
    for number in range(7):
        await world.enqueue(number)
    async with world.sending(in_flight=3):
        await world.until(lambda: len(world.pool()) == 3)
        await asyncio.sleep(0.6)
        assert len(world.pool()) == 3
        async with asyncio.timeout(20):
            while len(world.counted()) < 7:
                world.mine()
                await asyncio.sleep(0.2)
                assert len(world.pool()) <= 3
    assert world.counted() == list(range(7))


async def test_a_stuck_transaction_is_replaced_at_the_same_nonce_and_mined_once(world):
    world.anvil.rpc("evm_setAutomine", False)
    await world.enqueue(1)
    async with world.sending(stuck_seconds=0.4):

        async def replaced():
            return len(await world.attempts()) >= 3

        await world.until(replaced)
        await world.until(lambda: len(world.pool()) == 1)
        world.mine()
        await world.until_status("mined")
    attempts = await world.attempts()
    assert {attempt["nonce"] for attempt in attempts} == {0}
    for before, after in itertools.pairwise(attempts):
        for fee in ("max_fee_per_gas", "max_priority_fee_per_gas"):
            assert int(after[fee]) * 8 >= int(before[fee]) * 9
    assert world.counted() == [1]


async def test_a_base_fee_above_the_offer_is_overtaken(world):
    world.anvil.rpc("evm_setAutomine", False)
    await world.enqueue(1)
    async with world.sending(stuck_seconds=0.5):
        await world.until(lambda: len(world.pool()) == 1)
        world.anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(50 * 10**9))
        world.mine()
        assert world.counted() == []
        for _ in range(40):
            await asyncio.sleep(0.25)
            world.mine()
            if world.counted():
                break
    assert world.counted() == [1]


async def test_an_older_attempt_that_is_mined_after_all_settles_the_job(world):
    class Deaf(Rpc):
        """Loses every replacement."""

        heard = 0

        async def call(self, method, params=()):
            if method == "eth_sendRawTransaction":
                Deaf.heard += 1
                if Deaf.heard > 1:
                    return None
            return await super().call(method, params)

    world.anvil.rpc("evm_setAutomine", False)
    await world.enqueue(1)
    deaf = Deaf([world.anvil.url], chain_id=84532)
    async with world.sending(rpc=deaf, stuck_seconds=0.3):

        async def replaced():
            return len(await world.attempts()) == 2

        await world.until(replaced)
        world.mine(3)
        await world.until_status("final")
    await deaf.close()
    assert (await world.job("count:1"))["hash"] == (await world.attempts())[0]["hash"]
    assert world.counted() == [1]


async def test_what_a_reorg_takes_away_is_sent_again_byte_for_byte(world):
    world.mine(3)
    async with world.sending():
        await world.enqueue(1)
        await world.until_status("mined")
        before = await world.attempts()
        world.anvil.rpc("evm_setAutomine", False)
        world.anvil.rpc("anvil_reorg", 1, [])
        assert world.counted() == []
        await world.until_status("sent")
        job = await world.job("count:1")
        assert (job["block_number"], job["hash"], job["succeeded"]) == (None, None, None)
        world.mine()
        await world.until(lambda: world.counted() == [1])
        await world.until_status("mined")
        world.mine(2)
        await world.until_status("final")
    assert [attempt["hash"] for attempt in await world.attempts()] == [attempt["hash"] for attempt in before]


async def test_a_transaction_that_the_node_forgot_is_sent_again(world):
    world.anvil.rpc("evm_setAutomine", False)
    async with world.sending(rebroadcast_seconds=0.3):
        await world.enqueue(1)
        await world.until(lambda: len(world.pool()) == 1)
        world.anvil.rpc("anvil_dropAllTransactions")
        await world.until(lambda: len(world.pool()) == 1)
        world.mine()
        await world.until_status("mined")
    assert len(await world.attempts()) == 1


async def test_a_nonce_that_the_key_s_owner_used_elsewhere_is_proven_before_another_is_taken(world):
    world.anvil.rpc("evm_setAutomine", False)
    async with world.sending():
        await world.enqueue(1)
        await world.until(lambda: len(world.pool()) == 1)
        world.anvil.rpc("anvil_dropAllTransactions")
        own = checksum(world.KEY.address)
        world.anvil.rpc(
            "eth_sendTransaction",
            {"from": own, "to": own, "value": "0x1", "nonce": "0x0", "maxFeePerGas": hex(10**11)},
        )
        world.mine()
        await asyncio.sleep(0.8)
        assert (await world.job("count:1"))["status"] == "sent", "not before it is confirmed"
        world.mine(2)

        async def moved():
            return (await world.job("count:1"))["nonce"] == 1

        await world.until(moved)
        await world.until(lambda: len(world.pool()) == 1)
        world.mine(3)
        await world.until_status("final")
    assert world.counted() == [1]


async def test_a_node_that_hides_a_receipt_does_not_make_the_job_be_sent_twice(world):
    class Secretive(Rpc):
        hiding = True

        async def batch(self, calls):
            answers = await super().batch(calls)
            return [None] * len(answers) if self.hiding else answers

    secretive = Secretive([world.anvil.url], chain_id=84532)
    async with world.sending(rpc=secretive, rebroadcast_seconds=0.3):
        await world.enqueue(1)
        await world.until(lambda: world.counted() == [1])
        for _ in range(5):
            world.mine()
            await asyncio.sleep(0.4)
        job = await world.job("count:1")
        assert (job["status"], job["nonce"]) == ("sent", 0)
        secretive.hiding = False
        await world.until_status("final")
    await secretive.close()
    assert world.counted() == [1]


async def test_a_call_that_fails_in_its_block_is_failed_with_its_reason_once_confirmed(world):
    world.anvil.rpc("evm_setAutomine", False)
    world.anvil.rpc("anvil_setCode", checksum(world.REFUSER), world.COUNTER_CODE)
    await world.enqueue(0, dedupe="late", to=world.REFUSER, data=world.sold_out(1, 0))
    async with world.sending():
        await world.until(lambda: len(world.pool()) == 1)
        world.anvil.rpc("anvil_setCode", checksum(world.REFUSER), world.REFUSER_CODE)
        world.mine()
        await world.until_status("mined")
        world.mine(2)
        await world.until_status("failed")
    job = await world.job("late")
    assert (job["succeeded"], job["nonce"]) == (False, 0)
    assert job["failure"]["error"] == "EventTicket_SoldOut"


async def test_a_node_that_lost_its_last_blocks_gets_the_same_bytes_again(world):
    snapshot = world.anvil.rpc("evm_snapshot")
    async with world.sending():
        for number in range(3):
            await world.enqueue(number)
        await world.until(lambda: len(world.counted()) == 3)
        world.mine(2)
        await world.until_status("final")
        before = await world.attempts()
        world.anvil.rpc("evm_revert", snapshot)
        assert world.counted() == []
        await world.enqueue(3)
        await world.until(lambda: len(world.counted()) == 4)
        await asyncio.sleep(0.5)
    assert world.counted() == [0, 1, 2, 3]
    again = await world.attempts()
    assert [attempt["hash"] for attempt in again[:3]] == [attempt["hash"] for attempt in before]


async def test_a_chain_that_began_anew_starts_at_its_first_nonce(world):
    async with world.sending():
        await world.enqueue(1)
        await world.enqueue(2)
        await world.until(lambda: len(world.counted()) == 2)
        world.mine(2)
        await world.until_status("final")
    world.anvil.rpc("evm_setAutomine", False)
    await world.enqueue(3)
    async with world.sending():
        await world.until(lambda: len(world.pool()) == 1)
    await world.database.execute("UPDATE chain_senders SET genesis = sha256(genesis)")
    world.anvil.rpc("anvil_dropAllTransactions")
    world.anvil.rpc("anvil_setNonce", checksum(world.KEY.address), "0x0")
    world.anvil.rpc("evm_setAutomine", True)
    await world.enqueue(4)
    async with world.sending():
        await world.until(lambda: 4 in world.counted())
    jobs = await world.jobs()
    assert jobs["count:3"]["failure"]["error"] == "chain_began_anew"
    assert jobs["count:1"]["status"] == "final"
    assert jobs["count:4"]["nonce"] == 0


async def test_a_dead_node_is_waited_for(world):
    async with world.sending():
        await world.enqueue(1)
        await world.until(lambda: world.counted() == [1])
        world.anvil.stop()
        await world.enqueue(2)
        await asyncio.sleep(0.5)
        world.anvil.start()
        await world.until(lambda: world.counted() == [1, 2])


async def test_a_dead_database_is_waited_for(anvil, own_postgres, world):
    world.database = database = await Database.connect(own_postgres.url(), size=4, name="own")
    async with world.sending():
        await world.enqueue(1)
        await world.until(lambda: world.counted() == [1])
        own_postgres.kill()
        await asyncio.sleep(0.3)
        own_postgres.start()
        await world.enqueue(2)
        await world.until(lambda: world.counted() == [1, 2])
    await database.close()


async def test_one_build_sends_on_two_chains_at_once_with_one_key(world, tmp_path):
    with Anvil(tmp_path / "base", home=tmp_path, chain_id=8453) as base:
        base.rpc("anvil_setCode", checksum(world.COUNTER), world.COUNTER_CODE)
        base_rpc = Rpc([base.url], chain_id=8453)
        there = type(world)(base, base_rpc, world.database)
        async with world.sending(), there.sending(on=chain(8453)):
            await asyncio.gather(
                *(world.enqueue(number) for number in range(0, 20, 2)),
                *(there.enqueue(number, chain_id=8453) for number in range(1, 20, 2)),
            )
            await world.until(lambda: len(world.counted()) + len(there.counted()) >= 20)
            base.rpc("anvil_mine", hex(10))
            await there.until_status("final", *(f"count:{number}" for number in range(1, 20, 2)))
        await base_rpc.close()
        assert sorted(world.counted()) == list(range(0, 20, 2))
        assert sorted(there.counted()) == list(range(1, 20, 2))


async def test_no_log_line_shows_the_key(world, capsys):
    await world.enqueue(0, dedupe="refused", to=world.REFUSER, data=world.sold_out(3, 1))
    await world.enqueue(0, dedupe="forbidden", data=bytes(4))
    await world.enqueue(1)
    async with world.sending():
        await world.until(lambda: world.counted() == [1])
        await world.until_status("failed", "refused", "forbidden")
        world.anvil.stop()
        await world.enqueue(2)
        await asyncio.sleep(0.5)
        world.anvil.start()
        await world.until(lambda: world.counted() == [1, 2])
    said = "".join(capsys.readouterr())
    assert "send.failed" in said
    assert "send.waits" in said
    assert DEVNET_KEY.reveal() not in said
