"""What is unusual in what people buy, sell and pass on; each from a transaction on a real node."""

from __future__ import annotations

from eth_account import Account
from tests.admission.theatre import DEVNET, PRICE_WEI, Show
from tests.security.tower import ETHER, VALUE_WEI, Tower, text

from echain.chain.contracts import contract
from echain.kernel.evm import Address
from echain.security import rules

ORGANIZER = Address(b"\x0a" * 20)
ADA = Address(b"\xad" * 20)
BO = Address(b"\xb0" * 20)


async def priced(tower: Tower, show: Show, price_wei: int) -> None:
    tower.stage.call(ORGANIZER, show, "setPrice(uint256,uint256)", 0, price_wei)
    await tower.stage.follow()


async def buy(tower: Tower, show: Show, buyer: Address, quantity: int, price_wei: int) -> None:
    data = contract("EventTicket").encode("purchaseTickets(address,uint256)", [buyer, quantity])
    tower.stage.send(buyer, show.contract, data, price_wei * quantity)
    await tower.stage.follow()


async def test_a_sale_of_much_money_is_an_alarm_and_one_of_little_is_none(tower: Tower) -> None:
    show = await tower.stage.show(ORGANIZER)
    await tower.stage.buy(show, BO, 3)
    assert await tower.alarms() == []
    await priced(tower, show, VALUE_WEI // 2)
    await buy(tower, show, ADA, 2, VALUE_WEI // 2)
    [alarm] = await tower.alarms("?kind=high_value")
    assert (alarm["severity"], alarm["count"]) == ("warning", 1)
    assert alarm["subject"] == f"sale chain 84532 contract {text(show.contract)}"
    assert (alarm["facts"]["amount"], alarm["facts"]["wallet"]) == (str(VALUE_WEI), text(ADA))
    receipt = tower.stage.anvil.rpc("eth_getTransactionReceipt", alarm["facts"]["transaction"])
    assert receipt["status"] == "0x1"
    assert tower.counted("high_value") == 1


async def test_a_withdrawal_of_much_money_is_an_alarm_and_one_of_little_is_none(tower: Tower) -> None:
    rich, poor = await tower.stage.show(ORGANIZER, seats=200), await tower.stage.show(ORGANIZER)
    await tower.stage.buy(poor, BO, 1)
    for _ in range(3):
        await tower.stage.buy(rich, ADA, 40)
    tower.stage.pass_time(40 * 86_400)
    await tower.town.later(days=40)
    for show in (rich, poor):
        tower.stage.call(ORGANIZER, show, "withdraw()")
    await tower.stage.follow()
    [alarm] = [one for one in await tower.alarms() if one["kind"] == "high_value"]
    assert alarm["subject"] == f"withdrawal chain 84532 contract {text(rich.contract)}"
    assert alarm["facts"]["wallet"] == text(ORGANIZER)
    assert int(alarm["facts"]["amount"]) == 120 * PRICE_WEI > VALUE_WEI


async def test_one_wallet_that_buys_very_many_over_several_events_is_an_alarm(tower: Tower) -> None:
    first, second = await tower.stage.show(ORGANIZER), await tower.stage.show(BO)
    await tower.stage.buy(first, BO, 20)
    await tower.stage.buy(first, ADA, 30)
    await tower.stage.buy(second, ADA, 20)
    assert await tower.alarms() == [], "fifty are allowed"
    await tower.stage.buy(second, ADA, 1)
    [alarm] = await tower.alarms()
    assert (alarm["kind"], alarm["subject"]) == ("unusual_purchase", text(ADA))
    assert alarm["facts"] == {"tickets": "51", "minutes": "10"}


async def test_purchases_long_ago_do_not_count(tower: Tower) -> None:
    show = await tower.stage.show(ORGANIZER, seats=200)
    await tower.stage.buy(show, ADA, 50)
    tower.stage.pass_time(int(rules.BOUGHT_WITHIN.total_seconds()) + 5)
    tower.clock.pass_by(seconds=rules.BOUGHT_WITHIN.total_seconds() + 5)
    await tower.stage.buy(show, ADA, 50)
    assert await tower.alarms() == []


async def test_a_wallet_that_passes_very_many_on_is_an_alarm(tower: Tower) -> None:
    show = await tower.stage.show(ORGANIZER)
    tickets = await tower.stage.buy(show, ADA, rules.MOST_GIVEN + 1)
    for token in tickets[:-1]:
        tower.stage.call(ADA, show, "transferFrom(address,address,uint256)", ADA, BO, token)
    await tower.stage.follow()
    assert await tower.alarms() == [], "twenty are allowed"
    tower.stage.call(ADA, show, "transferFrom(address,address,uint256)", ADA, BO, tickets[-1])
    await tower.stage.follow()
    [alarm] = await tower.alarms()
    assert (alarm["kind"], alarm["subject"]) == ("unusual_transfers", text(ADA))
    assert alarm["facts"] == {"tickets": str(rules.MOST_GIVEN + 1), "minutes": "60"}


async def test_a_price_far_off_its_tiers_history_is_an_alarm_and_a_usual_raise_is_none(tower: Tower) -> None:
    show = await tower.stage.show(ORGANIZER)
    for _ in range(rules.LEAST_SALES):
        await tower.stage.buy(show, BO, 1)
    await priced(tower, show, PRICE_WEI * 10)
    await buy(tower, show, ADA, 1, PRICE_WEI * 10)
    assert await tower.alarms() == [], "ten times is not more than ten times"
    await priced(tower, show, PRICE_WEI // 10 - 1)
    await buy(tower, show, ADA, 1, PRICE_WEI // 10 - 1)
    await buy(tower, show, BO, 1, PRICE_WEI // 10 - 1)
    [alarm] = await tower.alarms()
    assert (alarm["kind"], alarm["count"]) == ("unusual_price", 1), "a new price is told once"
    assert alarm["subject"] == f"chain 84532 contract {text(show.contract)} tier 0"
    assert (alarm["facts"]["price"], alarm["facts"]["usual"]) == (str(PRICE_WEI // 10 - 1), str(PRICE_WEI))


async def test_a_sale_that_a_reorg_moves_is_told_once(tower: Tower) -> None:
    show = await tower.stage.show(ORGANIZER)
    await priced(tower, show, VALUE_WEI)
    buyer = Account.create()
    tower.stage.anvil.rpc("anvil_setBalance", buyer.address, hex(10 * ETHER))
    data = contract("EventTicket").encode("purchaseTickets(address,uint256)", [ADA, 1])
    signed = buyer.sign_transaction(
        {
            "chainId": DEVNET.chain_id,
            "nonce": 0,
            "to": text(show.contract),
            "data": data,
            "value": VALUE_WEI,
            "gas": 400_000,
            "maxFeePerGas": 10**11,
            "maxPriorityFeePerGas": 1,
        }
    )
    raw = "0x" + bytes(signed.raw_transaction).hex()
    for depth, place in ((1, 0), (3, 2)):
        tower.stage.mine(2)
        tower.stage.anvil.rpc("anvil_reorg", depth, [[raw, place]])
        await tower.stage.follow()
        [alarm] = await tower.alarms("?kind=high_value")
        assert (alarm["count"], alarm["facts"]["transaction"]) == (1, "0x" + bytes(signed.hash).hex())
    told = await tower.database.fetch("SELECT DISTINCT data FROM messages WHERE type = 'ticket_sold'")
    heard = await tower.database.fetchval("SELECT count(*) FROM messages WHERE type = 'ticket_sold'")
    assert (len(told), heard) == (1, 4), "two blocks told the same, on two channels each"


async def test_history_that_is_read_for_the_first_time_is_no_news(tower: Tower) -> None:
    show = await tower.stage.show(ORGANIZER)
    await priced(tower, show, 2 * ETHER)
    await tower.town.later(days=2)
    await buy(tower, show, ADA, 1, 2 * ETHER)
    assert await tower.alarms() == []
