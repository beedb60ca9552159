"""From an admission to a proof of attendance on a real chain, through failures and reorgs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from tests.accounts.people import Clock
from tests.admission.house import Gate, House, Person
from tests.admission.theatre import DEVNET, KEY, Show, Theatre, opened

from echain.chain.fees import Fees
from echain.chain.rpc import Rpc
from echain.events.intents import ChainAccess, Intents
from echain.infra.database import Database
from echain.infra.embedded.anvil import Anvil
from echain.kernel.evm import Address, checksum
from echain.kernel.time import utc_now


@dataclass
class Evening:
    """A show with its organizer, a ticket holder inside, and the gate that let her in."""

    theatre: Theatre
    house: House
    show: Show
    organizer: Person
    ada: Person
    token_id: int
    gate: Gate
    intent: dict[str, Any]
    admission_id: str

    def dedupe(self, attempt: int) -> str:
        return f"check-in:{DEVNET.chain_id}:{self.show.contract.hex()}:{self.token_id}:{attempt}"

    async def job(self) -> Any:
        return await self.theatre.database.fetchrow(
            """
            SELECT job.* FROM admissions JOIN chain_transactions AS job ON job.id = check_in_job
             WHERE admissions.id = $1::text::uuid
            """,
            self.admission_id,
        )

    async def due(self) -> Any:
        """Return when the admission is looked at next."""
        return await self.theatre.database.fetchval(
            "SELECT check_in_due FROM admissions WHERE id = $1::text::uuid", self.admission_id
        )

    async def look_now(self) -> None:
        """Sweep once as though the wait were over."""
        await self.theatre.database.execute(
            "UPDATE admissions SET check_in_due = $1 WHERE check_in_due IS NOT NULL", utc_now()
        )
        await self.theatre.sweep().sweep()

    async def enable(self) -> None:
        """Let the organizer sign and send the gate's intent."""
        self.theatre.send_intent(self.intent)
        await self.theatre.follow()

    async def listed(self) -> list[Any]:
        answer = await self.house.client()("GET", f"/api/v1/poaps?attendee={checksum(self.ada.address)}")
        return answer.data

    async def until(self, holds: Callable[[], Awaitable[object]]) -> None:
        """Sweep and follow until something holds."""
        async with asyncio.timeout(20):
            while not await holds():
                await self.look_now()
                await self.theatre.follow()
                await asyncio.sleep(0.02)

    async def until_status(self, status: str) -> None:
        async def reached() -> bool:
            return (await self.job())["status"] == status

        await self.until(reached)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A database of each test's own, for its chain begins anew."""
    pool = await Database.connect(database_url, size=10, name="test")
    yield pool
    await pool.close()


@pytest.fixture
async def theatre(anvil: Anvil, database: Database) -> AsyncIterator[Theatre]:
    rpc = Rpc([anvil.url], chain_id=DEVNET.chain_id)
    try:
        yield await opened(anvil, database, rpc)
    finally:
        await rpc.close()


@pytest.fixture
async def evening(theatre: Theatre) -> AsyncIterator[Evening]:
    fees = Fees(theatre.rpc, DEVNET)

    async def factory(_chain_id: int) -> Address:
        return theatre.deployment.factory

    house = House(
        theatre.database,
        Clock(utc_now()),
        intents=Intents({DEVNET.chain_id: ChainAccess(theatre.rpc, fees)}, factory),
        relays=theatre.relays,
    )
    organizer, ada = await house.person(), await house.person()
    show = await theatre.show(organizer.address)
    [token_id] = await theatre.buy(show, ada.address)
    answer = await organizer.client(
        "POST", "/api/v1/gates", json_body={"eventId": str(show.id), "name": "Door"}
    )
    assert answer.status == 201, answer.body
    gate = Gate(answer.data["id"], answer.data["secret"], house.client(answer.data["secret"]))
    scanned = (await gate.scan(await house.code(ada, show.ticket(token_id)))).data
    assert scanned["verdict"] == "admitted"
    yield Evening(
        theatre, house, show, organizer, ada, token_id, gate, answer.data["intent"], scanned["admissionId"]
    )
    await fees.close()


async def test_the_gates_intent_is_for_the_organizer_and_enables_the_platforms_key(evening: Evening) -> None:
    assert evening.intent["from"] == checksum(evening.organizer.address)
    assert evening.intent["to"] == checksum(evening.theatre.deployment.poap)
    await evening.enable()
    [key] = await evening.theatre.database.fetch("SELECT * FROM gate_keys")
    assert (int(key["blockchain_id"]), key["gate"]) == (evening.show.number, KEY.address)
    ends_at = await evening.theatre.database.fetchval("SELECT ends_at FROM events")
    assert key["valid_from"] < utc_now() < ends_at < key["valid_until"]


async def test_the_intents_gas_suffices_with_room(evening: Evening) -> None:
    sent = evening.theatre.send_intent(evening.intent)
    used = int(evening.theatre.anvil.rpc("eth_getTransactionReceipt", sent)["gasUsed"], 16)
    assert used * 5 // 4 < int(evening.intent["gas"])


async def test_an_admission_becomes_a_poap_once_the_organizer_enables_the_key(evening: Evening) -> None:
    theatre = evening.theatre
    async with theatre.sending():
        await evening.look_now()
        assert await evening.job() is None
        await evening.enable()
        await evening.until(evening.listed)
        assert await theatre.attended(evening.ada.address, evening.show)
        [poap] = await evening.listed()
        assert poap["eventId"] == str(evening.show.id)
        assert poap["token_id"] == evening.token_id
        assert poap["poapId"] == str(evening.show.number << 128 | evening.token_id)
        told = await theatre.database.fetchrow(
            "SELECT channels, data::json ->> 'gate' AS gate FROM outbox WHERE type = 'checkin_complete'"
        )
        assert told is not None
        assert told["gate"] == evening.gate.id
        assert f"user:{checksum(evening.ada.address)}" in told["channels"].split(" ")
        earned = await theatre.database.fetchval(
            "SELECT data::json ->> 'poapId' FROM outbox WHERE type = 'reward_earned'"
        )
        assert earned == poap["poapId"]
        theatre.mine(4)

        async def settled() -> bool:
            return await evening.due() is None

        await evening.until(settled)
    assert await theatre.database.fetchval("SELECT count(*) FROM chain_transactions") == 1


async def test_the_check_ins_gas_suffices_with_room(evening: Evening) -> None:
    await evening.enable()
    async with evening.theatre.sending():
        await evening.until(evening.listed)
        await evening.until_status("mined")
    job = await evening.job()
    receipt = evening.theatre.anvil.rpc("eth_getTransactionReceipt", "0x" + job["hash"].hex())
    assert int(receipt["gasUsed"], 16) * 5 // 4 < job["gas_limit"]


async def test_after_the_poap_the_ticket_stays_admitted_and_is_told_so(evening: Evening) -> None:
    await evening.enable()
    async with evening.theatre.sending():
        await evening.until(evening.listed)
    code = await evening.house.code(evening.ada, evening.show.ticket(evening.token_id))
    assert await evening.gate.verdict(code) == "already_admitted"


async def test_an_undone_admission_gets_no_poap_from_then_on(evening: Evening) -> None:
    assert (await evening.gate.undo(evening.admission_id)).status == 200
    await evening.enable()
    async with evening.theatre.sending():
        await evening.look_now()
        assert await evening.job() is None
    assert await evening.due() is None


async def test_sweeping_again_and_in_parallel_sends_one_transaction(evening: Evening) -> None:
    await evening.enable()
    for _ in range(5):
        await asyncio.gather(*(evening.look_now() for _ in range(4)))
    rows = await evening.theatre.database.fetch("SELECT dedupe FROM chain_transactions")
    assert [row["dedupe"] for row in rows] == [evening.dedupe(1)]


async def test_undo_and_a_second_admission_share_one_transaction(evening: Evening) -> None:
    await evening.enable()
    await evening.look_now()
    assert (await evening.gate.undo(evening.admission_id)).status == 200
    code = await evening.house.code(evening.ada, evening.show.ticket(evening.token_id))
    assert await evening.gate.verdict(code) == "admitted"
    async with evening.theatre.sending():
        await evening.until(evening.listed)
    assert await evening.theatre.database.fetchval("SELECT count(*) FROM chain_transactions") == 1


async def test_a_poap_that_a_reorg_takes_is_minted_again(evening: Evening) -> None:
    theatre = evening.theatre
    await evening.enable()
    theatre.mine(2)
    async with theatre.sending():
        await evening.until(evening.listed)
        first = (await evening.listed())[0]["transactionHash"]
        theatre.reorganize(1)
        await theatre.follow()
        assert await evening.listed() == []
        assert await evening.due() is not None
        await evening.until(evening.listed)
        theatre.mine(4)
        await theatre.follow()
    assert await theatre.attended(evening.ada.address, evening.show)
    assert first


async def test_a_reorg_below_the_sale_leaves_the_admission_and_sends_nothing(evening: Evening) -> None:
    theatre = evening.theatre
    theatre.reorganize(1)
    await theatre.follow()
    assert await theatre.database.fetchval("SELECT count(*) FROM tickets") == 0
    await evening.enable()
    await evening.look_now()
    assert await evening.job() is None
    assert await evening.due() is not None
    assert await theatre.database.fetchval("SELECT count(*) FROM admissions WHERE undone_at IS NULL") == 1


async def test_a_failed_check_in_is_tried_again_later(evening: Evening) -> None:
    theatre = evening.theatre
    await evening.enable()
    await evening.look_now()
    failed = await evening.job()
    await theatre.database.execute("UPDATE chain_transactions SET status = 'failed', failure = '{}'::jsonb")
    assert await evening.due() > utc_now()
    async with theatre.sending():
        await evening.until(evening.listed)
    again = await evening.job()
    assert again["id"] != failed["id"]
    assert again["dedupe"] == evening.dedupe(2)


async def test_the_sweep_runs_by_itself(evening: Evening) -> None:
    await evening.enable()
    sweeping = asyncio.create_task(evening.theatre.sweep().run())
    try:
        async with evening.theatre.sending(), asyncio.timeout(20):
            while not await evening.listed():
                await evening.theatre.follow()
                await asyncio.sleep(0.05)
    finally:
        sweeping.cancel()
        [ended] = await asyncio.gather(sweeping, return_exceptions=True)
    assert isinstance(ended, asyncio.CancelledError)
