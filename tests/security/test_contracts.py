"""Whoever pauses the contracts, takes them over or changes their terms is seen; each on a real node."""

from __future__ import annotations

import pytest
from tests.admission.theatre import DEVNET, KEY
from tests.security.tower import Tower, text

from echain.chain.contracts import contract
from echain.kernel.evm import Address, keccak
from echain.security.kinds import BALANCES, CONTRACTS

EVE = Address(b"\xee" * 20)
MODULE = Address(b"\x4d" * 20)
FACTORY = contract("EventFactory")


def order(tower: Tower, signature: str, *arguments: object) -> None:
    """Have the factory's owner, whose key may be stolen, send something."""
    tower.stage.send(KEY.address, tower.stage.deployment.factory, FACTORY.encode(signature, arguments))


async def look(tower: Tower) -> None:
    """Let what was mined become final, and look."""
    tower.stage.mine(DEVNET.confirmations + 1)
    await tower.stage.follow()
    await tower.tick(CONTRACTS)


async def acknowledge(tower: Tower, alarm: str) -> int:
    return (await tower.boss.client("POST", f"/api/v1/admin/alarms/{alarm}/acknowledge")).status


def thing(tower: Tower) -> str:
    return f"chain 84532 factory {text(tower.stage.deployment.factory)}"


async def test_what_is_seen_first_is_how_it_should_be_even_if_paused(tower: Tower) -> None:
    order(tower, "pause()")
    await look(tower)
    await look(tower)
    assert await tower.alarms() == []


async def test_ordinary_business_is_no_alarm(tower: Tower) -> None:
    await look(tower)
    show = await tower.stage.show(EVE)
    await tower.stage.buy(show, MODULE, 2)
    await look(tower)
    assert await tower.alarms() == []


async def test_a_pause_is_an_alarm_once_and_after_being_seen_to_the_end_of_it_is_one(tower: Tower) -> None:
    await look(tower)
    order(tower, "pause()")
    await tower.tick(CONTRACTS)
    [alarm] = await tower.alarms()
    assert (alarm["kind"], alarm["severity"], alarm["subject"]) == (
        *("contract_paused", "severe"),
        thing(tower),
    )
    assert alarm["facts"] == {"field": "paused", "accepted": "no", "now": "yes"}
    await look(tower)
    await tower.tick(CONTRACTS)
    [same] = await tower.alarms()
    assert (same["id"], same["count"]) == (alarm["id"], 2), "the state, and later its log"
    assert same["facts"]["log"] == "Paused"
    assert await acknowledge(tower, alarm["id"]) == 200
    await look(tower)
    assert len(await tower.alarms()) == 1
    tower.clock.pass_by(hours=2)
    order(tower, "unpause()")
    await look(tower)
    last = (await tower.alarms())[-1]
    assert (last["kind"], last["facts"]) == (
        "contract_paused",
        {"field": "paused", "accepted": "yes", "now": "no"},
    )


async def test_a_pause_that_ends_before_anybody_looks_is_seen_in_the_logs(tower: Tower) -> None:
    await look(tower)
    order(tower, "pause()")
    order(tower, "unpause()")
    await look(tower)
    [alarm] = await tower.alarms()
    assert (alarm["kind"], alarm["facts"]["log"]) == ("contract_paused", "Paused")
    assert alarm["facts"]["account"] == text(KEY.address)


async def test_pausing_again_after_it_was_undone_is_another_cause(tower: Tower) -> None:
    await look(tower)
    for signature in ("pause()", "unpause()", "pause()"):
        order(tower, signature)
        await tower.tick(CONTRACTS)
    [alarm] = await tower.alarms()
    assert (alarm["count"], alarm["facts"]["now"]) == (2, "yes")


async def test_a_hand_over_of_the_factory_is_an_alarm_as_it_begins_and_as_it_is_done(
    tower: Tower,
) -> None:
    await look(tower)
    order(tower, "beginDefaultAdminTransfer(address)", EVE)
    await tower.tick(CONTRACTS)
    [begun] = await tower.alarms()
    assert (begun["kind"], begun["facts"]["field"]) == ("contract_owner_changed", "pending owner")
    assert begun["facts"]["now"].startswith(text(EVE))
    tower.stage.pass_time(2 * 86_400)
    await tower.town.later(hours=2)
    accept = FACTORY.encode("acceptDefaultAdminTransfer()", [])
    tower.stage.send(EVE, tower.stage.deployment.factory, accept)
    await tower.tick(CONTRACTS)
    done = (await tower.alarms())[-1]
    causes = (await tower.boss.client("GET", f"/api/v1/admin/alarms/{done['id']}")).data["causes"]
    now = {cause["facts"]["field"]: cause["facts"]["now"] for cause in causes}
    assert now == {"owner": text(EVE), "platform key is owner": "no"}


@pytest.mark.parametrize(
    ("signature", "arguments", "kind", "field"),
    [
        ("setFee(uint16)", [700], "contract_changed", None),
        ("setTreasury(address)", [EVE], "contract_changed", "treasury"),
        ("setOpenCreation(bool)", [False], "contract_changed", "open to all"),
        ("setModule(address,bool)", [MODULE, True], "contract_changed", None),
        (
            "grantRole(bytes32,address)",
            [keccak(b"PAUSER_ROLE"), EVE],
            "contract_owner_changed",
            None,
        ),
        (
            "renounceRole(bytes32,address)",
            [keccak(b"PAUSER_ROLE"), KEY.address],
            "contract_owner_changed",
            "platform key may pause",
        ),
    ],
    ids=["fee", "treasury", "creation", "module", "role", "key"],
)
async def test_each_change_of_terms_modules_and_roles_is_an_alarm(
    tower: Tower, signature: str, arguments: list[object], kind: str, field: str | None
) -> None:
    await look(tower)
    order(tower, signature, *arguments)
    await look(tower)
    [alarm] = await tower.alarms()
    assert (alarm["kind"], alarm["severity"]) == (kind, "severe")
    causes = (await tower.boss.client("GET", f"/api/v1/admin/alarms/{alarm['id']}")).data["causes"]
    assert any("log" in cause["facts"] for cause in causes)
    assert {cause["facts"].get("field") for cause in causes} - {None} == ({field} if field else set())


async def test_a_node_that_is_away_is_no_alarm_and_what_it_hid_is_seen_later(tower: Tower) -> None:
    await look(tower)
    order(tower, "pause()")
    tower.stage.anvil.stop()
    await tower.tick(CONTRACTS)
    await tower.tick(BALANCES)
    assert await tower.alarms() == []
    assert (await tower.boss.client("GET", "/api/v1/admin/jobs")).data == [], "nor is it a dead letter"
    tower.stage.anvil.start()
    await tower.tick(CONTRACTS)
    assert await tower.kinds() == ["contract_paused"]


async def test_only_what_an_alarm_told_is_accepted_with_it(tower: Tower) -> None:
    await look(tower)
    order(tower, "setTreasury(address)", EVE)
    await tower.tick(CONTRACTS)
    [alarm] = await tower.alarms()
    order(tower, "setTreasury(address)", MODULE)
    assert await acknowledge(tower, alarm["id"]) == 200
    await tower.tick(CONTRACTS)
    [same] = await tower.alarms()
    assert same["facts"] == {"field": "treasury", "accepted": text(EVE), "now": text(MODULE)}


async def test_what_another_alarm_told_is_not_accepted_with_it(tower: Tower) -> None:
    await look(tower)
    order(tower, "pause()")
    order(tower, "setTreasury(address)", EVE)
    await tower.tick(CONTRACTS)
    paused, changed = sorted(await tower.alarms(), key=lambda one: one["kind"] != "contract_paused")
    assert changed["kind"] == "contract_changed"
    assert await acknowledge(tower, changed["id"]) == 200
    order(tower, "unpause()")
    await tower.tick(CONTRACTS)
    assert [one["count"] for one in await tower.alarms("?kind=contract_paused")] == [paused["count"]]
