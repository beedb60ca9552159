"""One question a block, however many ask; an older answer while nobody answers, for a while."""

from __future__ import annotations

import asyncio

import pytest

from echain.chain.chains import chain
from echain.chain.fees import STALE_SECONDS, Fees
from echain.chain.intent import InsufficientFunds, Reverted, prepare
from echain.chain.rpc import ChainUnreachable, Rpc
from echain.kernel.evm import Address, checksum
from echain.kernel.money import Wei

STRANGER = Address(b"\x77" * 20)


class Counting(Rpc):
    """Counts the questions, and can be struck dumb."""

    asked = 0
    dumb = False

    async def call(self, method, params=()):
        self.asked += method == "eth_feeHistory"
        if self.dumb:
            await asyncio.sleep(0.01)
            raise ChainUnreachable
        return await super().call(method, params)


class Hands:
    """A clock that is set by hand, in seconds."""

    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
async def rpc(anvil):
    client = Counting([anvil.url], chain_id=84532)
    yield client
    await client.close()


@pytest.fixture
def hands():
    return Hands()


@pytest.fixture
async def fees(rpc, hands):
    kept = Fees(rpc, chain(84532, devnet=True), monotonic=hands)
    yield kept
    await kept.close()


async def test_a_thousand_callers_ask_the_node_once(fees, rpc, hands):
    quotes = await asyncio.gather(*(fees.quote() for _ in range(1000)))
    assert len({quote.max_fee_per_gas for quote in quotes}) == 1
    hands.now += 0.9
    await fees.quote()
    assert rpc.asked == 1


async def test_a_quote_a_little_old_serves_while_the_next_is_on_its_way(fees, rpc, hands, anvil):
    first = await fees.quote()
    anvil.rpc("anvil_mine", "0x5")
    hands.now += 1.5
    assert await fees.quote() == first
    async with asyncio.timeout(5):
        while (await fees.quote()).block_number != 5:
            await asyncio.sleep(0.01)
    assert rpc.asked == 2


async def test_a_quote_too_old_is_waited_for(fees, hands, anvil):
    await fees.quote()
    anvil.rpc("anvil_mine", "0x5")
    hands.now += 30
    assert (await fees.quote()).block_number == 5


async def test_a_dead_node_is_stood_in_for_by_an_older_quote_but_not_for_ever(fees, rpc, hands):
    first = await fees.quote()
    rpc.dumb = True
    hands.now += STALE_SECONDS - 1
    assert await fees.quote() == first
    asked = rpc.asked
    assert await fees.quote() == first
    assert rpc.asked == asked, "not asked again within the second"
    hands.now += 2
    with pytest.raises(ChainUnreachable):
        await fees.quote()
    rpc.dumb = False
    hands.now += 2
    assert (await fees.quote()).max_fee_per_gas > 0


async def test_an_intent_with_its_gas_given_asks_nothing_but_the_kept_quote(fees, rpc):
    await fees.quote()
    rpc.dumb = True
    intent = await prepare(
        rpc,
        fees,
        chain_id=84532,
        sender=STRANGER,
        to=STRANGER,
        data=b"\x01",
        value_wei=Wei(7),
        summary="Nothing",
        gas=100_000,
    )
    assert (intent.value, intent.gas, intent.from_) == ("7", "100000", checksum(STRANGER))


async def test_an_intent_s_value_is_scaled_to_the_chain_s_rpc_unit(rpc, hands):
    hedera = Fees(rpc, chain(296), monotonic=hands)
    intent = await prepare(
        rpc,
        hedera,
        chain_id=296,
        sender=STRANGER,
        to=STRANGER,
        data=b"",
        value_wei=Wei(250_000_000),
        summary="2.5 HBAR",
        gas=100_000,
    )
    assert intent.value == str(25 * 10**17)
    await hedera.close()


async def test_an_estimate_has_head_room_and_finds_reverts_before_anybody_pays(world, fees, rpc):
    async def prepared(to, data, value=0):
        return await prepare(
            rpc,
            fees,
            chain_id=84532,
            sender=world.KEY.address,
            to=to,
            data=data,
            value_wei=Wei(value),
            summary="Count",
        )

    intent = await prepared(world.COUNTER, world.COUNT + bytes(32))
    call = {"from": intent.from_, "to": intent.to, "data": intent.data}
    estimate = int(world.anvil.rpc("eth_estimateGas", call), 16)
    assert estimate * 6 / 5 <= int(intent.gas) < estimate * 6 / 5 + 1
    with pytest.raises(Reverted) as refused:
        await prepared(world.REFUSER, world.sold_out(1, 2))
    assert (refused.value.name, refused.value.arguments) == ("EventTicket_SoldOut", (1, 2))
    assert refused.value.details["arguments"] == {"tierId": "1", "remaining": "2"}
    with pytest.raises(Reverted) as unknown:
        await prepared(world.REFUSER, b"\x01\x02\x03\x04")
    assert unknown.value.name is None
    with pytest.raises(InsufficientFunds):
        await prepared(world.COUNTER, world.COUNT + bytes(32), 10**30)
