"""Contracts that hold less than they owe, or more, and a platform that runs out of money for its work."""

from __future__ import annotations

from tests.admission.theatre import DEVNET, KEY, PRICE_WEI, Show
from tests.security.tower import ETHER, Tower, text

from echain.kernel.evm import Address
from echain.security import drift
from echain.security.kinds import BALANCES

ORGANIZER = Address(b"\x0a" * 20)
ADA = Address(b"\xad" * 20)


async def settle(tower: Tower) -> None:
    tower.stage.mine(DEVNET.confirmations + 1)
    await tower.stage.follow()


async def sold(tower: Tower, quantity: int = 3) -> Show:
    show = await tower.stage.show(ORGANIZER)
    await tower.stage.buy(show, ADA, quantity)
    return show


def hold(tower: Tower, show: Show, wei: int) -> None:
    tower.stage.anvil.rpc("anvil_setBalance", text(show.contract), hex(wei))


async def test_sales_refunds_and_withdrawals_drift_from_nothing_at_any_block(tower: Tower) -> None:
    show = await sold(tower)
    await tower.tick(BALANCES)
    for _ in range(6):
        await tower.stage.buy(show, ADA, 2)
        tower.stage.mine(3)
        await tower.stage.follow()
        await tower.tick(BALANCES)
    tower.stage.pass_time(40 * 86_400)
    tower.stage.call(ORGANIZER, show, "withdraw()")
    for _ in range(4):
        tower.stage.mine(4)
        await tower.stage.follow()
        await tower.tick(BALANCES)
    assert await tower.alarms() == []


async def test_a_refunded_event_drifts_from_nothing(tower: Tower) -> None:
    show = await tower.stage.show(ORGANIZER)
    tickets = await tower.stage.buy(show, ADA, 2)
    tower.stage.call(ORGANIZER, show, "cancelEvent()")
    for token in tickets:
        tower.stage.call(ADA, show, "refund(uint256)", token)
    await settle(tower)
    await tower.tick(BALANCES)
    assert await tower.alarms() == []


async def test_a_contract_that_holds_less_than_it_owes_is_an_alarm_once_a_day(tower: Tower) -> None:
    show = await sold(tower)
    await settle(tower)
    hold(tower, show, 3 * PRICE_WEI - 1)
    await settle(tower)
    await tower.tick(BALANCES)
    await tower.tick(BALANCES)
    [alarm] = await tower.alarms()
    assert (alarm["kind"], alarm["severity"], alarm["count"]) == ("balance_drift", "severe", 1)
    assert alarm["subject"] == f"chain 84532 contract {text(show.contract)}"
    assert (alarm["facts"]["expected"], alarm["facts"]["balance"]) == (
        str(3 * PRICE_WEI),
        str(3 * PRICE_WEI - 1),
    )


async def test_a_sale_that_our_books_lack_is_an_alarm(tower: Tower) -> None:
    show = await sold(tower)
    await settle(tower)
    await tower.database.execute(
        "UPDATE contract_escrow SET paid_in_wei = paid_in_wei - 1 WHERE ticket_contract = $1", show.contract
    )
    await tower.tick(BALANCES)
    assert await tower.kinds() == ["balance_drift"]


async def test_ether_that_somebody_forced_in_is_only_a_notice_and_told_once(tower: Tower) -> None:
    show = await sold(tower)
    hold(tower, show, 3 * PRICE_WEI + 5)
    await settle(tower)
    await tower.tick(BALANCES)
    tower.clock.pass_by(minutes=10)
    await tower.tick(BALANCES)
    [alarm] = await tower.alarms()
    assert (alarm["kind"], alarm["severity"], alarm["count"]) == ("balance_surplus", "notice", 1)
    assert tower.mails() == []


async def test_what_is_not_final_yet_is_not_judged(tower: Tower) -> None:
    show = await sold(tower)
    await settle(tower)
    hold(tower, show, 0)
    tower.stage.mine(1)
    await tower.stage.follow()
    await tower.tick(BALANCES)
    assert await tower.alarms() == []


async def test_money_that_left_without_a_log_is_found_on_the_round(tower: Tower) -> None:
    quiet = await sold(tower)
    await settle(tower)
    await tower.tick(BALANCES)
    other = await tower.stage.show(ADA)
    hold(tower, quiet, 0)
    await tower.stage.buy(other, ADA, 1)
    await settle(tower)
    await tower.tick(BALANCES)
    [alarm] = await tower.alarms()
    assert alarm["subject"].endswith(text(quiet.contract))


async def test_a_round_takes_every_contract_in_turn(tower: Tower, monkeypatch) -> None:
    monkeypatch.setattr(drift, "AT_ONCE", 1)
    shows = [await sold(tower, 1) for _ in range(3)]
    await settle(tower)
    for _ in range(2):
        await tower.tick(BALANCES)
    for show in shows:
        hold(tower, show, 0)
    await settle(tower)
    for _ in range(4):
        await tower.tick(BALANCES)
    assert {one["subject"].rpartition(" ")[2] for one in await tower.alarms()} == {
        text(show.contract) for show in shows
    }


async def test_a_node_on_another_fork_is_not_believed(tower: Tower) -> None:
    show = await sold(tower)
    await settle(tower)
    hold(tower, show, 0)
    tower.stage.mine(DEVNET.confirmations + 2)
    await tower.stage.follow()
    tower.stage.reorganize(1)
    await tower.tick(BALANCES)
    assert await tower.alarms() == []
    await tower.stage.follow()
    await tower.tick(BALANCES)
    assert await tower.kinds() == ["balance_drift"]


async def test_a_platform_that_can_hardly_pay_is_an_alarm_once_a_day(tower: Tower) -> None:
    await tower.tick(BALANCES)
    assert await tower.alarms() == []
    tower.stage.anvil.rpc("anvil_setBalance", text(KEY.address), hex(ETHER // 20 - 1))
    await tower.tick(BALANCES)
    await tower.tick(BALANCES)
    [alarm] = await tower.alarms()
    assert (alarm["kind"], alarm["severity"]) == ("key_balance_low", "severe")
    assert alarm["facts"] == {"balance": str(ETHER // 20 - 1)}
