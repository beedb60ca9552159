"""A mail server that is away, busy, wrong or slow; workers that die; addresses whose mail comes back."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.events.shop import CHAIN_ID, OnChain, Person
from tests.infra.relaying import until
from tests.notify.town import Town, founded, subjects

from echain.infra.jobs import JobKind, Queue, enqueue
from echain.kernel.messages import Message
from echain.notify import kinds
from echain.notify.kinds import Delivery

ROOT = Path(__file__).parents[2]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries come a tenth of a second apart."""
    mail = JobKind("notify.mail", Queue.NOTIFICATION, Delivery, tries=6, first_retry_seconds=0.05)
    for module in ("echain.notify.kinds", "echain.notify.jobs", "echain.notify.service"):
        monkeypatch.setattr(f"{module}.MAIL", mail)


async def buyer(town: Town) -> tuple[Person, OnChain]:
    organizer, ada = await town.resident(), await town.resident("ada@x.example")
    event, _ = await town.shop.published(organizer)
    return ada, event


async def states(town: Town) -> list[str]:
    return [state for _, channel, state in await town.deliveries() if channel == "email"]


@pytest.fixture
async def fresh(quick: None, database_url: str) -> Any:
    async with founded(database_url, seconds=0.5) as town:
        yield town


async def test_a_server_that_puts_mail_off_gets_it_later(fresh: Town) -> None:
    ada, event = await buyer(fresh)
    fresh.office.answers = ["451 4.3.0 later", "421 4.3.2 busy", "452 4.3.1 full"]
    await fresh.buys(ada, event, block=1)
    await fresh.final(1)
    letters = await fresh.office.until(1)
    await until(lambda: states_are(fresh, ["sent"]))
    tries = await fresh.database.fetchval("SELECT tries FROM notification_deliveries WHERE channel = 'email'")
    assert (tries, subjects(letters)) == (4, ["Your tickets for Harbour Lights"])


async def states_are(town: Town, expected: list[str]) -> bool:
    return await states(town) == expected


async def test_a_server_that_never_takes_it_leaves_a_dead_letter_that_can_be_retried(fresh: Town) -> None:
    ada, event = await buyer(fresh)
    fresh.office.answers = ["451 4.3.0 later"] * 6
    await fresh.buys(ada, event, block=1)
    await fresh.final(1)
    dead = "SELECT count(*) FROM jobs.queue WHERE status = 'failed'"

    async def is_dead() -> bool:
        return await fresh.database.fetchval(dead) == 1

    await until(is_dead)
    assert await states(fresh) == ["waiting"]
    assert fresh.office.letters == []
    async with fresh.database.transaction() as tx:
        row = await tx.fetchrow("SELECT id FROM notification_deliveries WHERE channel = 'email'")
        await enqueue(tx, kinds.MAIL, [Delivery(row["id"])])
    await fresh.office.until(1)


async def test_a_message_refused_for_good_is_failed_and_nobody_s_fault(fresh: Town) -> None:
    ada, event = await buyer(fresh)
    fresh.office.answers = ["554 5.7.1 spam"]
    await fresh.buys(ada, event, block=1)
    await fresh.final(1)
    await fresh.quiet()
    assert await states(fresh) == ["failed"]
    assert not (await fresh.ask(ada, "GET", "/me/email"))["suspended"]
    reason = await fresh.database.fetchval(
        "SELECT reason FROM notification_deliveries WHERE state = 'failed'"
    )
    assert reason == "the message is refused (554 5.7.1)"


async def test_an_address_whose_mail_comes_back_three_times_in_a_row_gets_no_more(fresh: Town) -> None:
    ada, event = await buyer(fresh)
    unknown = {"ada@x.example": "550 5.1.1 <ada@x.example>: unknown"}

    async def buys(block: int) -> None:
        await fresh.buys(ada, event, block=block)
        await fresh.final(block)
        await fresh.quiet()

    fresh.office.mailboxes = unknown
    await buys(1)
    await buys(2)
    fresh.office.mailboxes = {}
    await buys(3)  # arrives: only those in a row count
    fresh.office.mailboxes = unknown
    await buys(4)
    await buys(5)
    assert not (await fresh.ask(ada, "GET", "/me/email"))["suspended"]
    await buys(6)
    assert (await fresh.ask(ada, "GET", "/me/email"))["suspended"]
    assert "does not work" in (await fresh.inbox(ada))[0]["title"]
    ways = (await fresh.ask(ada, "GET", "/me/notification-preferences"))["ways"]
    assert not ways["email"]["available"]
    fresh.office.mailboxes = {}
    before = len(fresh.office.letters)
    await buys(7)
    assert len(fresh.office.letters) == before
    # Confirmed again, it gets mail again.
    await fresh.later(hours=1)
    await fresh.confirm(ada, "ada@x.example")
    await buys(8)
    assert len(fresh.office.letters) == before + 1


async def test_a_server_that_hangs_is_left_and_tried_again(fresh: Town) -> None:
    ada, event = await buyer(fresh)
    fresh.office.silent = asyncio.Event()
    await fresh.buys(ada, event, block=1)
    await fresh.final(1)
    waiting = "SELECT count(*) FROM notification_deliveries WHERE state = 'waiting' AND tries > 0"

    async def was_tried() -> bool:
        return await fresh.database.fetchval(waiting) == 1

    await until(was_tried)
    fresh.office.silent = None
    (letter,) = await fresh.office.until(1)
    assert letter.recipient == "ada@x.example"


@pytest.mark.parametrize("moment", ["before the server has it", "after the server took it"])
async def test_a_killed_worker_s_mail_is_sent_by_another_and_recognizable(
    database_url: str, moment: str
) -> None:
    """Nobody can know whether a mail under way arrived: it is sent again with the same Message-ID, once."""
    async with founded(database_url, works=False) as town:
        async with town.relaying(), town.working():
            ada, event = await buyer(town)
        async with town.relaying():
            await town.buys(ada, event, block=1)
            await town.final(1)
            await until(lambda: states_are(town, ["waiting"]))
        mailman = Mailman(town)
        try:
            if moment == "before the server has it":
                town.office.silent = asyncio.Event()
                await until(lambda: states_are(town, ["sending"]))
                mailman.kill()
            else:
                town.office.before_answer = mailman.kill
                await town.office.until(1)
        finally:
            mailman.kill()
        town.office.silent = town.office.before_answer = None
        assert await states(town) == ["sending"]
        # A minute passes.
        await town.database.execute(
            "UPDATE notification_deliveries SET held_until = held_until - interval '61 seconds'"
        )
        other = Mailman(town)
        try:
            await until(lambda: states_are(town, ["sent"]))
        finally:
            other.kill()
        expected = 1 if moment == "before the server has it" else 2
        assert len(town.office.letters) == expected
        assert len({letter.parsed["Message-ID"] for letter in town.office.letters}) == 1


class Mailman:
    """A worker's process."""

    def __init__(self, town: Town) -> None:
        program = [sys.executable, "-m", "tests.notify.mailman", town.url, str(town.office.port)]
        self._process = subprocess.Popen(program, cwd=ROOT)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


async def test_two_runs_of_a_job_at_once_send_one_mail(fresh: Town) -> None:
    ada, event = await buyer(fresh)
    fresh.office.silent = asyncio.Event()
    await fresh.buys(ada, event, block=1)
    await fresh.final(1)
    await until(lambda: states_are(fresh, ["sending"]))
    async with fresh.database.transaction() as tx:
        row = await tx.fetchrow("SELECT id FROM notification_deliveries WHERE channel = 'email'")
        await enqueue(tx, kinds.MAIL, [Delivery(row["id"])] * 3)
    fresh.office.silent.set()
    await until(lambda: states_are(fresh, ["sent"]))
    await fresh.quiet()
    assert len(fresh.office.letters) == 1


async def test_fifty_purchases_and_no_more_than_a_hundred_mails_a_day(fresh: Town) -> None:
    ada, event = await buyer(fresh)
    sold = {
        "eventId": str(event.id),
        "ticketIds": [event.ticket(1)],
        "buyer": ada.text,
        "tier": 0,
        "price": "0",
        "remaining": 1,
    }
    many = [Message((f"event:{event.id}",), "ticket_sold", sold, CHAIN_ID, 1) for _ in range(130)]
    await fresh.say(*many)
    await fresh.final(1)
    await fresh.quiet()
    assert len(fresh.office.letters) == 100
    assert await fresh.database.fetchval("SELECT count(*) FROM notifications WHERE kind = 'purchase'") == 130
    # What is about security comes through, and tomorrow the rest does again.
    stolen = {"title": "A session was ended", "text": "…", "kind": "security"}
    await fresh.say(Message((f"user:{ada.text}",), "notification", stolen))
    await fresh.quiet()
    assert len(fresh.office.letters) == 101
    await fresh.later(hours=25)
    await fresh.buys(ada, event, block=2)
    await fresh.final(2)
    await fresh.quiet()
    assert len(fresh.office.letters) == 102
