"""What the gate says of every kind of ticket and code, asked over HTTP."""

from __future__ import annotations

import secrets
from uuid import uuid4

import pytest
from tests.admission.house import CHAIN_ID, House

from echain.admission import codes
from echain.admission.codes import CodeKey
from echain.admission.types import MESSAGES, Verdict
from echain.kernel.evm import Address, checksum


async def test_the_holder_of_a_ticket_is_admitted(house: House) -> None:
    event, ada = await house.event(), await house.person()
    gate = await house.open_gate(event)
    ticket = await house.sell(event, 7, ada)
    answer = await gate.scan(await house.code(ada, ticket))
    assert answer.status == 200
    said = answer.data
    assert said["verdict"] == "admitted"
    owner = checksum(ada.address)
    assert said["ticket"] == {"token_id": 7, "tier": 1, "holder": f"{owner[:6]}…{owner[-4:]}"}
    assert said["admissionId"]
    assert said["firstAdmission"] is None
    assert said["counts"] == {"admitted": 1, "sold": 0}
    assert await house.admitted(event) == [7]


async def test_a_second_scan_is_told_when_and_where_the_first_was(house: House) -> None:
    event, ada = await house.event(), await house.person()
    north, south = await house.open_gate(event, "North"), await house.open_gate(event, "South")
    ticket = await house.sell(event, 7, ada)
    code = await house.code(ada, ticket)
    first = (await north.scan(code)).data
    house.clock.pass_by(seconds=12)
    second = (await south.scan(code)).data
    assert second["verdict"] == "already_admitted"
    assert second["admissionId"] is None
    assert second["firstAdmission"] == {
        "id": first["admissionId"],
        "at": "2026-01-02T03:04:05Z",
        "gate": north.id,
        "gateName": "North",
    }
    assert await house.admitted(event) == [7]


async def test_the_old_holders_code_is_refused_once_the_ticket_has_moved(house: House) -> None:
    event, ada, bo = await house.event(), await house.person(), await house.person()
    gate = await house.open_gate(event)
    ticket = await house.sell(event, 7, ada)
    code = await house.code(ada, ticket)
    await house.sell(event, 7, bo)
    assert await gate.verdict(code) == "not_holder"
    assert await gate.verdict(await house.code(bo, ticket)) == "admitted"
    assert await gate.verdict(code) == "not_holder"


async def test_a_screenshot_admits_nobody_after_sixty_seconds(house: House) -> None:
    event, ada = await house.event(), await house.person()
    gate = await house.open_gate(event)
    code = await house.code(ada, await house.sell(event, 7, ada))
    house.clock.pass_by(seconds=60)
    assert await gate.verdict(code) == "expired"
    assert await house.admitted(event) == []


async def test_a_ticket_of_another_event_is_told_apart_from_a_forged_one(house: House) -> None:
    one, other = await house.event(), await house.event()
    ada = await house.person()
    gate = await house.open_gate(one)
    await house.sell(one, 7, ada)
    assert await gate.verdict(await house.code(ada, await house.sell(other, 7, ada))) == "wrong_event"
    forged = codes.issue(
        CodeKey.from_seed("another platform"),
        chain_id=CHAIN_ID,
        ticket_contract=one.contract,
        token_id=7,
        holder=ada.address,
        now=house.clock(),
    )
    assert await gate.verdict(forged.text) == "forged"
    assert await house.admitted(one) == []


async def test_a_stranger_with_a_code_for_an_event_of_the_same_tag_gets_in_nowhere(house: House) -> None:
    """An event's tag has four bytes, so somebody may find another contract with it; it must not matter."""
    event, ada, eve = await house.event(), await house.person(), await house.person()
    gate = await house.open_gate(event)
    await house.sell(event, 7, ada)
    assert await gate.verdict(house.signed(event, 7, eve.address)) == "not_holder"


@pytest.mark.parametrize(
    ("state", "verdict"),
    [("refunded", "refunded"), ("used", "used_on_chain"), ("locked", "locked"), ("valid", "admitted")],
)
async def test_the_state_of_a_ticket_on_chain_decides(house: House, state: str, verdict: str) -> None:
    event, ada = await house.event(), await house.person()
    gate = await house.open_gate(event)
    await house.sell(event, 7, ada, state=state)
    assert await gate.verdict(house.signed(event, 7, ada.address)) == verdict


async def test_a_cancelled_event_admits_nobody(house: House) -> None:
    event, ada = await house.event(), await house.person()
    gate = await house.open_gate(event)
    await house.sell(event, 7, ada)
    await house.database.execute("UPDATE events SET cancelled = TRUE")
    assert await gate.verdict(house.signed(event, 7, ada.address)) == "cancelled"


async def test_a_ticket_that_nobody_bought_is_unknown(house: House) -> None:
    event, ada = await house.event(), await house.person()
    gate = await house.open_gate(event)
    assert await gate.verdict(house.signed(event, 7, ada.address)) == "unknown_ticket"


async def test_the_chains_own_check_in_after_admission_leaves_the_first_admission_to_tell(
    house: House,
) -> None:
    event, ada = await house.event(), await house.person()
    gate = await house.open_gate(event)
    ticket = await house.sell(event, 7, ada)
    assert await gate.verdict(await house.code(ada, ticket)) == "admitted"
    await house.sell(event, 7, ada, state="used")
    assert await gate.verdict(await house.code(ada, ticket)) == "already_admitted"


async def test_a_reorg_that_unsells_the_ticket_leaves_the_admission_standing(house: House) -> None:
    event, ada, bo = await house.event(), await house.person(), await house.person()
    gate = await house.open_gate(event)
    code = await house.code(ada, await house.sell(event, 7, ada))
    assert await gate.verdict(code) == "admitted"
    await house.unsell(event, 7)
    assert await gate.verdict(code) == "already_admitted"
    assert await house.admitted(event) == [7]
    # Sold again on the other fork, to somebody else: the seat was taken all the same.
    assert await gate.verdict(await house.code(bo, await house.sell(event, 7, bo))) == "already_admitted"


async def test_guessed_codes_are_all_refused_and_all_kept(house: House) -> None:
    event, ada = await house.event(), await house.person()
    gate = await house.open_gate(event)
    genuine = codes.base45_decode(await house.code(ada, await house.sell(event, 7, ada)))
    for number in range(500):
        guess = bytearray(genuine if number % 2 else bytes([codes.VERSION]) + secrets.token_bytes(84))
        guess[21:] = secrets.token_bytes(64)
        assert await gate.verdict(codes.base45_encode(bytes(guess))) == "forged"
    assert await house.admitted(event) == []
    assert len(await house.scans()) == 500


@pytest.mark.parametrize("code", ["", "hello", "https://tickets.example/t/7", "%69 VD92EX0", "é", "\x01\x7f"])
async def test_whatever_the_camera_reads_is_answered_with_a_verdict(house: House, code: str) -> None:
    gate = await house.open_gate(await house.event())
    assert await gate.verdict(code) == "malformed"


async def test_every_verdict_is_kept_as_a_scan_with_what_is_known(house: House) -> None:
    event, ada = await house.event(), await house.person()
    gate = await house.open_gate(event)
    code = await house.code(ada, await house.sell(event, 7, ada))
    for shown in (code, code, "nonsense"):
        await gate.scan(shown)
        house.clock.pass_by(seconds=1)
    scans = await house.scans()
    assert [scan["verdict"] for scan in scans] == ["admitted", "already_admitted", "malformed"]
    assert [scan["token_id"] for scan in scans] == [7, 7, None]
    assert [scan["ticket_contract"] for scan in scans] == [event.contract, event.contract, None]
    assert {str(scan["gate_id"]) for scan in scans} == {gate.id}


async def test_the_same_scan_sent_again_answers_the_first_verdict_and_writes_nothing(house: House) -> None:
    event, ada = await house.event(), await house.person()
    gate = await house.open_gate(event)
    code, scan_id = await house.code(ada, await house.sell(event, 7, ada)), str(uuid4())
    first = await gate.scan(code, scan_id)
    house.clock.pass_by(minutes=5)
    again = await gate.scan(code, scan_id)
    assert again.data == first.data
    assert first.data["verdict"] == "admitted"
    assert len(await house.scans()) == 1


async def test_a_refused_scan_sent_again_stays_refused_whatever_has_changed(house: House) -> None:
    event, ada = await house.event(), await house.person()
    gate = await house.open_gate(event)
    code, scan_id = house.signed(event, 7, ada.address), str(uuid4())
    assert (await gate.scan(code, scan_id)).data["verdict"] == "unknown_ticket"
    await house.sell(event, 7, ada)
    assert (await gate.scan(code, scan_id)).data["verdict"] == "unknown_ticket"
    assert await house.admitted(event) == []


async def test_a_scan_id_used_for_another_code_is_a_conflict(house: House) -> None:
    event, ada = await house.event(), await house.person()
    gate = await house.open_gate(event)
    scan_id = str(uuid4())
    await gate.scan("nonsense", scan_id)
    answer = await gate.scan(await house.code(ada, await house.sell(event, 7, ada)), scan_id)
    assert (answer.status, answer.error["code"]) == (409, "admission.scan_reused")
    assert await house.admitted(event) == []


async def test_two_gates_may_choose_the_same_scan_id(house: House) -> None:
    event, ada = await house.event(), await house.person()
    north, south = await house.open_gate(event), await house.open_gate(event)
    code, scan_id = await house.code(ada, await house.sell(event, 7, ada)), str(uuid4())
    assert (await north.scan(code, scan_id)).data["verdict"] == "admitted"
    assert (await south.scan(code, scan_id)).data["verdict"] == "already_admitted"


async def test_a_code_longer_than_any_real_one_is_refused_before_it_is_read(house: House) -> None:
    gate = await house.open_gate(await house.event())
    answer = await gate.scan("A" * 513)
    assert (answer.status, answer.error["code"]) == (422, "request.invalid")


async def test_the_count_follows_other_processes_within_a_second(house: House) -> None:
    event, ada = await house.event(), await house.person()
    gate = await house.open_gate(event)
    other = await house.open_gate(event)
    other.client = house.client(other.secret, house.process().app)
    counts = []
    for token_id in range(4):
        await house.sell(event, token_id, ada)
        at = (gate, other)[token_id % 2]
        counts.append((await at.scan(house.signed(event, token_id, ada.address))).data["counts"]["admitted"])
    assert counts == sorted(counts)
    assert counts[:2] == [1, 2]
    assert counts[-1] <= 4


def test_every_verdict_has_its_own_words() -> None:
    assert set(MESSAGES) == set(Verdict)
    assert len(set(MESSAGES.values())) == len(Verdict)


def test_an_address_of_zeros_has_a_tag_like_any_other() -> None:
    assert codes.holder_tag(Address(bytes(20))) == bytes(8)
