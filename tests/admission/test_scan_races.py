"""However many gates see one ticket at one moment, one of them admits."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from tests.accounts.people import Clock
from tests.admission.house import Event, Gate, House, Person

from echain.admission import store
from echain.admission.jobs import CheckInSweep
from echain.infra.database import Database

GATES = 16
ROUNDS = 50


@pytest.fixture
async def second_pool(module_database_url: str) -> AsyncIterator[Database]:
    """What another API process has of its own."""
    pool = await Database.connect(module_database_url, size=GATES, name="second")
    yield pool
    await pool.close()


async def opened(house: House, event: Event, second_pool: Database) -> list[Gate]:
    """Open gates of which every other one is served by another process."""
    gates = [await house.open_gate(event, f"Gate {number}") for number in range(GATES)]
    other = house.process(second_pool).app
    for gate in gates[::2]:
        gate.client = house.client(gate.secret, other)
    return gates


async def rounds_of_scans(
    house: House, event: Event, gates: list[Gate], holder: Person, rounds: int
) -> list[Counter[str]]:
    """Show one ticket after the other at all gates at once; return the verdicts of each round."""
    seen: list[Counter[str]] = []
    for token_id in range(rounds):
        await house.sell(event, token_id, holder)
        code = house.signed(event, token_id, holder.address)
        seen.append(Counter(await asyncio.gather(*(gate.verdict(code) for gate in gates))))
    return seen


async def test_sixteen_gates_and_one_ticket_make_one_admission(house: House, second_pool: Database) -> None:
    event, ada = await house.event(), await house.person()
    gates = await opened(house, event, second_pool)
    for verdicts in await rounds_of_scans(house, event, gates, ada, ROUNDS):
        assert verdicts == {"admitted": 1, "already_admitted": GATES - 1}
    assert await house.admitted(event) == list(range(ROUNDS))
    kept = Counter(scan["verdict"] for scan in await house.scans())
    assert kept == {"admitted": ROUNDS, "already_admitted": ROUNDS * (GATES - 1)}


async def test_without_the_unique_index_the_same_scans_admit_twice(
    house: House, second_pool: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: the race above is real, and it is the index that decides it."""
    event, ada = await house.event(), await house.person()
    gates = await opened(house, event, second_pool)
    guard = "ON CONFLICT (chain_id, ticket_contract, token_id) WHERE undone_at IS NULL DO NOTHING"
    assert guard in store.SCAN
    definition = await house.database.fetchval("SELECT pg_get_indexdef('admissions_once'::regclass)")
    await house.database.execute("DROP INDEX admissions_once")
    monkeypatch.setattr(store, "SCAN", store.SCAN.replace(guard, ""))
    try:
        for token_id in range(ROUNDS):
            await house.sell(event, token_id, ada)
            code = house.signed(event, token_id, ada.address)
            await asyncio.gather(*(gate.scan(code) for gate in gates))
        standing = Counter(await house.admitted(event))
        assert max(standing.values()) > 1
    finally:
        await house.database.execute("DELETE FROM admissions")
        await house.database.execute(definition)


async def test_every_loser_is_told_of_the_winner(house: House, second_pool: Database) -> None:
    event, ada = await house.event(), await house.person()
    gates = await opened(house, event, second_pool)
    for token_id in range(10):
        await house.sell(event, token_id, ada)
        code = house.signed(event, token_id, ada.address)
        answers = [answer.data for answer in await asyncio.gather(*(gate.scan(code) for gate in gates))]
        [winner] = [answer["admissionId"] for answer in answers if answer["verdict"] == "admitted"]
        told = {answer["firstAdmission"]["id"] for answer in answers if answer["firstAdmission"]}
        assert told == {winner}


async def test_one_scan_delivered_many_times_at_once_admits_once_and_says_so_each_time(
    house: House,
) -> None:
    event, ada = await house.event(), await house.person()
    gate = await house.open_gate(event)
    for token_id in range(20):
        await house.sell(event, token_id, ada)
        code, scan_id = house.signed(event, token_id, ada.address), str(uuid4())
        answers = await asyncio.gather(*(gate.scan(code, scan_id) for _ in range(8)))
        assert {answer.data["verdict"] for answer in answers} == {"admitted"}
        assert len({answer.data["admissionId"] for answer in answers}) == 1
    assert len(await house.scans()) == 20


async def test_undo_against_scans_never_leaves_two_admissions_standing(
    house: House, second_pool: Database
) -> None:
    event, ada = await house.event(), await house.person()
    gates = await opened(house, event, second_pool)
    for token_id in range(20):
        await house.sell(event, token_id, ada)
        code = house.signed(event, token_id, ada.address)
        first = (await gates[0].scan(code)).data
        undone, *answers = await asyncio.gather(
            gates[0].undo(first["admissionId"]), *(gate.scan(code) for gate in gates)
        )
        assert undone.status == 200
        again = Counter(answer.data["verdict"] for answer in answers)
        assert again["admitted"] <= 1
        assert again["admitted"] + again["already_admitted"] == GATES
        standing = await house.admitted(event)
        assert standing.count(token_id) == again["admitted"]


async def test_undo_against_the_sweep_leaves_nothing_due(house: House) -> None:
    event, ada = await house.event(), await house.person()
    gate = await house.open_gate(event)
    sweep = CheckInSweep(house.database, house.clock, {})
    for token_id in range(30):
        await house.sell(event, token_id, ada)
        admission = (await gate.scan(house.signed(event, token_id, ada.address))).data["admissionId"]
        undone, *_ = await asyncio.gather(gate.undo(admission), *(sweep.sweep() for _ in range(4)))
        assert undone.status == 200
    assert (
        await house.database.fetchval("SELECT count(*) FROM admissions WHERE check_in_due IS NOT NULL") == 0
    )


async def test_a_scan_that_races_a_revocation_is_kept_or_refused_never_half(
    house: House, clock: Clock
) -> None:
    event, ada = await house.event(), await house.person()
    for token_id in range(20):
        gate = await house.open_gate(event)
        await house.sell(event, token_id, ada)
        code = house.signed(event, token_id, ada.address)
        answer, revoked = await asyncio.gather(
            gate.scan(code),
            event.organizer.client("POST", f"/api/v1/gates/{gate.id}/revoke", json_body={}),
        )
        assert revoked.status == 200
        assert (answer.status == 200) == (token_id in await house.admitted(event))
