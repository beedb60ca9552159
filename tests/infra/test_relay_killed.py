"""Relays are killed at any moment while messages come: each message arrives in order and is handled once."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest
from redis.asyncio import Redis as RedisClient
from tests.infra.relaying import listening, until

from echain.infra.database import Database
from echain.infra.feed import Feed
from echain.infra.outbox import publish
from echain.kernel.messages import Message

KILLS = 60
CHAIN_ID = 7
FINAL = f"UPDATE chain_cursors SET finalized_number = $1 WHERE chain_id = {CHAIN_ID}"
NURSERY = Path(__file__).with_name("relay_nursery.py")


class Nursery:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.born: set[int] = set()

    def bear(self) -> int:
        """Start a relay and return its pid at once."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        pid = int(self._process.stdout.readline())
        self.born.add(pid)
        return pid

    def kill(self, pid: int) -> None:
        self.born.discard(pid)
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
async def notes(database: Database) -> Database:
    for table in ("handled", "settled"):
        await database.execute(
            f"""
            CREATE TABLE {table} (
                place BIGINT GENERATED ALWAYS AS IDENTITY, sequence BIGINT UNIQUE, channel TEXT, data TEXT
            )
            """
        )
    await database.execute(
        "INSERT INTO chain_cursors (chain_id, from_block, block_number) VALUES ($1, 0, -1)", CHAIN_ID
    )
    return database


@pytest.fixture
def nursery(notes: Database, database_url: str, redis_url: str) -> Iterator[Nursery]:
    with subprocess.Popen(
        [sys.executable, NURSERY, database_url, redis_url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        nursery = Nursery(process)
        yield nursery
        for pid in list(nursery.born):
            nursery.kill(pid)
        process.kill()


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[RedisClient]:
    async with RedisClient.from_url(redis_url, socket_timeout=0.5) as redis:
        yield redis


class Told:
    """What was committed, by writer and channel, in order."""

    def __init__(self) -> None:
        self.numbers: dict[tuple[int, str], list[int]] = defaultdict(list)
        self.stop = False

    async def write(self, database: Database, writer: int) -> None:
        """Publish until told to stop; writer 0 does it as a chain does, block by block, final two later."""
        rng, n, block = random.Random(writer), 0, 0
        while not self.stop:
            channel = f"event:{rng.randrange(3)}"
            numbers = [n := n + 1 for _ in range(rng.choice((1, 1, 1, 5)))]
            block += 1
            place = (CHAIN_ID, block) if writer == 0 else (None, None)
            async with database.transaction() as tx:
                said = [{"writer": writer, "n": one} for one in numbers]
                await publish(tx, [Message((channel, "platform"), "test", one, *place) for one in said])
                if writer == 0:
                    await tx.execute(FINAL, block - 2)
                await asyncio.sleep(rng.random() * 0.01)
            for one in (channel, "platform"):
                self.numbers[writer, one] += numbers

    def check(self, rows: list[tuple[str, bytes | str]]) -> None:
        """Assert that these (channel, data) are what was committed, each once, in each writer's order."""
        heard: dict[tuple[int, str], list[int]] = defaultdict(list)
        for channel, data in rows:
            said = msgspec.json.decode(data)
            heard[said["writer"], channel].append(said["n"])
        assert heard == self.numbers


async def test_a_relay_killed_at_any_moment_loses_doubles_and_disorders_nothing(
    nursery: Nursery, notes: Database, client: RedisClient
) -> None:
    rng, told, busy = random.Random(1), Told(), 0
    async with listening(Feed(notes, client)) as listener:
        writers = [asyncio.create_task(told.write(notes, writer)) for writer in range(3)]
        for _ in range(KILLS):
            before = await notes.fetchval("SELECT tip FROM relay_cursor")
            pid = nursery.bear()
            # Long enough to become the leader most of the time, and to be in the middle of anything.
            await asyncio.sleep(rng.uniform(0.02, 0.2))
            nursery.kill(pid)
            busy += await notes.fetchval("SELECT tip FROM relay_cursor") != before
        told.stop = True
        await asyncio.gather(*writers)
        await notes.execute(FINAL, 1_000_000)
        nursery.bear()

        async def done() -> bool:
            return await notes.fetchval(
                """
                SELECT NOT EXISTS (SELECT FROM outbox) AND NOT EXISTS (SELECT FROM unsettled)
                   AND sequence = tip FROM relay_handlers CROSS JOIN relay_cursor
                """
            )

        await until(done)
        count = await notes.fetchval("SELECT tip FROM relay_cursor")
        await until(lambda: len(listener.heard) >= count)
    assert [message.sequence for message in listener.heard] == list(range(1, count + 1))
    told.check([(message.channel, message.data) for message in listener.heard])
    for table in ("handled", "settled"):
        rows = await notes.fetch(f"SELECT sequence, channel, data FROM {table} ORDER BY place")
        sequences = [row["sequence"] for row in rows]
        # What a block said settles later than what none did.
        assert (sequences if table == "handled" else sorted(sequences)) == list(range(1, count + 1))
        told.check([(row["channel"], row["data"]) for row in rows])
    assert busy > KILLS // 2, "most of them died before they did anything"


async def test_a_hot_standby_takes_over_within_five_seconds(
    nursery: Nursery, notes: Database, client: RedisClient
) -> None:
    async with listening(Feed(notes, client)) as listener:
        for turn in range(4):
            nursery.bear()
            nursery.bear()
            leader = await leading(notes, nursery)
            nursery.kill(leader)
            began = time.monotonic()
            async with notes.transaction() as tx:
                await publish(tx, [Message(("platform",), "test", {"writer": 0, "n": turn})])
            await until(lambda count=turn + 1: len(listener.heard) == count)
            assert time.monotonic() - began < 5
            for pid in list(nursery.born):
                nursery.kill(pid)


async def leading(database: Database, nursery: Nursery) -> int:
    """Return the process that leads, once one does; each calls itself by its pid at the server."""
    led: list[int] = []

    async def found() -> bool:
        rows = await database.fetch(
            """
            SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid)
            WHERE locktype = 'advisory' AND granted
            """
        )
        led[:] = [pid for pid in nursery.born if (f"relay {pid}",) in map(tuple, rows)]
        return len(led) == 1

    await until(found)
    return led[0]
