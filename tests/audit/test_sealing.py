"""Entries are chained after they were written: each once, in order, whoever dies meanwhile."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
import structlog
from tests.audit.ledger import (
    ADA,
    JAZZ,
    KEY,
    KEYS,
    OPERA,
    OTHER_KEY,
    check,
    seal_all,
    tell_ends,
    write,
)
from tests.infra.relaying import running, until

from echain.infra import audit
from echain.infra.audit.chain import PLATFORM, AuditKeys
from echain.infra.audit.sealer import TOLD_SECONDS, KeyUnknown, Sealer
from echain.infra.database import Database
from echain.infra.metrics import Metrics
from echain.infra.secret import Secret
from echain.kernel.time import utc_now

NURSERY = Path(__file__).with_name("sealer_nursery.py")
WAITING = "SELECT count(*) FROM audit_unsealed"


async def chained(database: Database, chain: UUID) -> list[int]:
    """Return the positions of a chain's entries by their numbers, which have no gaps."""
    rows = await database.fetch(
        "SELECT number, position FROM audit_links WHERE chain = $1 ORDER BY number", chain
    )
    assert [row["number"] for row in rows] == list(range(1, len(rows) + 1))
    return [row["position"] for row in rows]


async def test_each_organization_has_its_own_numbers(database: Database) -> None:
    await write(database, 1, 2, 3)
    await write(database, 4, 5, organization=OPERA)
    await write(database, 6, organization=None)
    await seal_all(database)
    await write(database, 7)
    await seal_all(database)
    assert [len(await chained(database, chain)) for chain in (JAZZ, OPERA, PLATFORM)] == [4, 2, 1]
    report = await check(database)
    assert (report.rows, report.findings, report.waiting) == (7, [], 0)


async def test_what_is_not_committed_is_not_sealed_and_what_commits_late_is_not_lost(
    database: Database,
) -> None:
    """A lower position may commit after a higher one was sealed."""
    async with database.transaction() as late:
        await audit.record(late, ADA, "event.late", resource="event:1", now=utc_now(), organization=JAZZ)
        await write(database, 2)
        await seal_all(database)
        assert len(await chained(database, JAZZ)) == 1
    await seal_all(database)
    assert await chained(database, JAZZ) == [2, 1]
    assert not (await check(database)).findings


async def test_parallel_writers_of_one_organization_wait_for_nobody_and_all_are_there(
    database: Database,
) -> None:
    """Each writer's next entry follows its own last one, and whoever waited for a row follows its holder."""
    await database.execute("CREATE TABLE door (id INT PRIMARY KEY, turn INT)")
    await database.execute("INSERT INTO door VALUES (1, 0)")

    async def writer(name: int) -> None:
        for turn in range(40):
            async with database.transaction() as tx:
                if turn % 4 == 0:
                    seen = await tx.fetchval("UPDATE door SET turn = turn + 1 RETURNING turn")
                    await audit.record(
                        tx, ADA, "door.turned", resource=f"door:{seen}", now=utc_now(), organization=JAZZ
                    )
                await audit.record(
                    tx,
                    ADA,
                    "writer.wrote",
                    resource=f"writer:{name}-{turn}",
                    now=utc_now(),
                    organization=JAZZ,
                )

    async with running(Sealer(database, KEYS).run()):
        await asyncio.gather(*map(writer, range(8)))
        await until(lambda: empty(database))
    positions = await chained(database, JAZZ)
    assert len(positions) == 8 * 50
    rows = {
        row["position"]: row["resource"]
        for row in await database.fetch("SELECT position, resource FROM audit_entries")
    }
    told = [rows[position] for position in positions]
    turns = [int(one.split(":")[1]) for one in told if one.startswith("door:")]
    assert turns == list(range(1, 81)), "in the order of the commits that waited for each other"
    for name in range(8):
        of_one = [one for one in told if one.startswith(f"writer:{name}-")]
        assert of_one == [f"writer:{name}-{turn}" for turn in range(40)]
    assert not (await check(database)).findings


async def empty(database: Database) -> bool:
    return await database.fetchval(WAITING) == 0


async def test_of_two_sealers_one_leads_and_the_other_takes_over(database: Database) -> None:
    with structlog.testing.capture_logs() as logs:

        def leaders() -> int:
            return sum(log["event"] == "audit.leading" for log in logs)

        first = asyncio.ensure_future(Sealer(database, KEYS).run())
        await until(leaders)
        async with running(Sealer(database, KEYS).run()):
            await write(database, *range(1, 12))
            await until(lambda: empty(database))
            assert leaders() == 1
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            await write(database, 12)
            await until(lambda: empty(database))
        assert leaders() == 2
    assert len(await chained(database, JAZZ)) == 12
    assert not (await check(database)).findings


async def test_the_lag_is_measured(database: Database) -> None:
    metrics = Metrics()
    Sealer(database, KEYS, metrics=metrics)
    await write(database, 1, 2)
    await metrics.refresh()
    assert b"echain_audit_rows 2.0" in metrics.render()
    await seal_all(database)
    await metrics.refresh()
    assert b"echain_audit_rows 0.0" in metrics.render()
    assert b"echain_audit_age_seconds 0.0" in metrics.render()


async def test_ends_are_told_to_the_log_and_to_the_platforms_chain_once_a_minute(database: Database) -> None:
    seconds = 0.0
    sealer = Sealer(database, KEYS, monotonic=lambda: seconds)
    with structlog.testing.capture_logs() as logs:
        async with database.session() as connection:
            for number in (1, 2, 3):
                await write(database, number)
                await sealer.seal(connection)
                await sealer.tell(connection)
            seconds += TOLD_SECONDS + 1
            await sealer.seal(connection)
            await sealer.tell(connection)
            seconds += TOLD_SECONDS + 1
            await sealer.seal(connection)
            await sealer.tell(connection)
    told = [(log["chain"], log["number"], log["hash"]) for log in logs if log["event"] == "audit.sealed"]
    report = await check(database)
    jazz = [one for one in told if one[0] == str(JAZZ)]
    # The first at once; then, a minute later, where it had come to; then nothing, as nothing happened.
    assert [number for _, number, _ in jazz] == [1, 3]
    assert jazz[-1][2] == report.ends[JAZZ][1].hex()
    kept = await database.fetch("SELECT diff FROM audit_entries WHERE action = 'audit.sealed'")
    assert [row["diff"] for row in kept] == [
        f'{{"hash":[null,"0x{digest}"],"number":[null,{number}]}}' for _, number, digest in jazz
    ]


async def test_who_leads_next_tells_what_the_one_before_did_not(database: Database) -> None:
    await write(database, 1)
    await seal_all(database)
    with structlog.testing.capture_logs() as logs:
        async with running(Sealer(database, KEYS).run()):
            await until(lambda: asyncio.sleep(0, any(log["event"] == "audit.sealed" for log in logs)))


async def test_an_installation_that_was_not_told_of_a_new_key_seals_nothing(database: Database) -> None:
    await write(database, 1)
    await seal_all(database, AuditKeys([Secret(OTHER_KEY), Secret(KEY)]))
    await write(database, 2)
    async with database.session() as connection:
        with pytest.raises(KeyUnknown, match="ECHAIN_AUDIT_KEYS"):
            await Sealer(database, KEYS).seal(connection)
    assert await database.fetchval(WAITING) == 1


async def test_a_new_key_goes_on_where_the_old_one_ended(database: Database) -> None:
    await write(database, 1, 2)
    await seal_all(database)
    both = AuditKeys([Secret(OTHER_KEY), Secret(KEY)])
    await write(database, 3)
    await seal_all(database, both)
    assert not (await check(database, keys=both)).findings
    used = await database.fetch("SELECT key_id FROM audit_links ORDER BY number")
    assert [row["key_id"] for row in used] == [KEYS.current, KEYS.current, both.current]


async def test_a_head_that_is_not_the_last_link_is_said_aloud(database: Database) -> None:
    await write(database, 1, 2)
    await tell_ends(database)
    await database.execute("UPDATE audit_heads SET number = 9 WHERE chain = $1", JAZZ)
    await write(database, 3)
    metrics = Metrics()
    with structlog.testing.capture_logs() as logs:
        async with database.session() as connection:
            await Sealer(database, KEYS, metrics=metrics).seal(connection)
    assert [log["log_level"] for log in logs if log["event"] == "audit.head_broken"] == ["error"]
    assert b"echain_audit_heads_broken_total 1.0" in metrics.render()


class Nursery:
    """Sealers that run as processes of their own, to be killed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.born: list[int] = []

    def bear(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        self.born.append(int(self._process.stdout.readline()))

    def kill(self) -> None:
        """Kill one at random, without a word."""
        os.kill(self.born.pop(random.randrange(len(self.born))), signal.SIGKILL)


@pytest.fixture
def nursery(database_url: str) -> Iterator[Nursery]:
    with subprocess.Popen(
        [sys.executable, NURSERY, database_url, KEY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        nursery = Nursery(process)
        yield nursery
        while nursery.born:
            nursery.kill()
        process.kill()


async def killed(database: Database, nursery: Nursery, *, rounds: int) -> None:
    """Kill sealers while entries come, always with a second one waiting; all entries are chained once."""
    stop = asyncio.Event()
    written = 0

    async def writer(organization: UUID | None) -> None:
        nonlocal written
        while not stop.is_set():
            async with database.transaction() as tx:
                for _ in range(30):
                    await audit.record(
                        tx,
                        ADA,
                        "thing.made",
                        resource=f"thing:{written}",
                        now=utc_now(),
                        organization=organization,
                    )
                    written += 1

    nursery.bear()
    writers = [asyncio.create_task(writer(one)) for one in (JAZZ, OPERA, None)]
    for _ in range(rounds):
        nursery.bear()
        sealed = await database.fetchval("SELECT count(*) FROM audit_links")
        # Only a leader that is at work is worth a kill.
        await until(lambda sealed=sealed: more(database, sealed))
        await asyncio.sleep(random.uniform(0, 0.03))
        nursery.kill()
        nursery.kill()
        nursery.bear()
    stop.set()
    await asyncio.gather(*writers)
    deadline = time.monotonic() + 60
    while not await empty(database):
        assert time.monotonic() < deadline, "the last sealer does not come to the end"
        await asyncio.sleep(0.05)
    counted = await database.fetchval("SELECT count(*) FROM audit_entries WHERE action = 'thing.made'")
    assert counted == written
    positions = [one for chain in (JAZZ, OPERA, PLATFORM) for one in await chained(database, chain)]
    assert (
        len(positions) == len(set(positions)) == await database.fetchval("SELECT count(*) FROM audit_entries")
    )
    assert not (await check(database)).findings


async def more(database: Database, than: int) -> bool:
    return await database.fetchval("SELECT count(*) FROM audit_links") > than


async def test_killed_sealers_lose_and_double_nothing(database: Database, nursery: Nursery) -> None:
    await killed(database, nursery, rounds=5)


@pytest.mark.soak
async def test_many_killed_sealers_lose_and_double_nothing(database: Database, nursery: Nursery) -> None:
    await killed(database, nursery, rounds=60)


ARRIVE = """
    INSERT INTO audit_arrivals (id, organization_id, at, actor_kind, actor_id, credential, action, resource,
                                request_id, sealed_client, client, diff)
    VALUES (gen_random_uuid(), $1, now(), 'gate', 'g', '', 'ticket.admitted', $2, '', $3, $4, '{}')
"""


async def test_what_arrived_without_waiting_is_taken_over_in_its_place(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where more has arrived than is taken over at once: what lies above it waits."""
    monkeypatch.setattr("echain.infra.audit.store.MOST_ARRIVALS", 3)
    for number in range(1, 9):
        if number % 4:
            await database.execute(ARRIVE, JAZZ, f"ticket:{number}", b"sealed", b"c" * 32)
        else:
            await write(database, number)
    metrics = Metrics()
    Sealer(database, KEYS, metrics=metrics)
    await metrics.refresh()
    assert b"echain_audit_rows 8.0" in metrics.render()
    async with database.session() as connection:
        assert [await Sealer(database, KEYS).seal(connection) for _ in range(4)] == [3, 4, 1, 0]
    assert await chained(database, JAZZ) == list(range(1, 9))
    assert await database.fetchval("SELECT count(*) FROM audit_clients") == 6
    assert await database.fetchval("SELECT count(*) FROM audit_arrivals") == 0
    assert not (await check(database)).findings


async def test_an_address_that_is_erased_while_its_entry_arrives_stays_erased(database: Database) -> None:
    await database.execute(ARRIVE, JAZZ, "ticket:1", b"sealed", b"c" * 32)
    with structlog.testing.capture_logs() as logs:
        async with database.transaction() as tx:
            await tx.execute("UPDATE audit_arrivals SET sealed_client = NULL")
            sealing = asyncio.ensure_future(Sealer(database, KEYS).run())
            await until(lambda: blocked(database))
        await until(lambda: database.fetchval("SELECT count(*) > 0 FROM audit_links"))
        sealing.cancel()
        await asyncio.gather(sealing, return_exceptions=True)
    assert "audit.again" in [log["event"] for log in logs]
    assert not [log for log in logs if log["log_level"] == "error"]
    assert await database.fetchval("SELECT count(*) FROM audit_clients") == 0
    assert len(await chained(database, JAZZ)) == 1


async def blocked(database: Database) -> bool:
    return await database.fetchval(
        "SELECT count(*) > 0 FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%audit_arrivals%'"
    )
