"""One indexer leads, the others stand by; whatever befalls the leader, another follows within seconds."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from tests.chain.ingest.devnet import Devnet

from echain.chain import store
from echain.chain.leader import SILENCE_SECONDS, lead
from echain.infra.database import Database, DatabaseUnavailable
from echain.infra.embedded.anvil import Anvil

PROGRAM = Path(__file__).with_name("indexer_process.py")
TAKEN_OVER_SECONDS = 5.0
_names = (f"indexer-{number}" for number in itertools.count())


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """These tests share a chain id, so each has its own database."""
    pool = await Database.connect(database_url, size=10, name="test")
    yield pool
    await pool.close()


@pytest.fixture
async def devnet(anvil: Anvil, database: Database) -> Devnet:
    return await Devnet.start(anvil, database)


class Indexers:
    """Processes that follow one devnet."""

    def __init__(self, devnet: Devnet, database: Database) -> None:
        self.devnet = devnet
        self.database = database
        self.alive: dict[str, subprocess.Popen[bytes]] = {}

    async def add(self, database_url: str) -> str:
        """Start one more; return its name once it is about to work."""
        name = next(_names)
        chain = msgspec.json.encode(self.devnet.followed()).decode()
        process = await asyncio.to_thread(
            subprocess.Popen,
            [sys.executable, PROGRAM, database_url, self.devnet.anvil.url, chain, name],
            stdout=subprocess.PIPE,
        )
        self.alive[name] = process
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == b"working\n"
        return name

    async def leader(self, *, other_than: str = "") -> str:
        """Wait for a leader and return its name."""
        while True:
            name = await self.database.fetchval(
                """
                SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid)
                WHERE locktype = 'advisory' AND granted AND pg_locks.database = (
                          SELECT oid FROM pg_database WHERE datname = current_database())
                  AND (classid::bigint << 32) | objid::bigint = hashtextextended($1, 0)
                """,
                f"follow:{self.devnet.anvil.chain_id}",
            )
            if name is not None and name != other_than:
                return name
            await asyncio.sleep(0.01)

    async def seen(self) -> float:
        """Sell a ticket; return the seconds until the projections have it."""
        began = time.monotonic()
        await asyncio.to_thread(self.devnet.buy, 1, 1)
        height = int(await asyncio.to_thread(self.devnet.anvil.rpc, "eth_blockNumber"), 16)
        while not await self.database.fetchval("SELECT block_number >= $1 FROM chain_cursors", height):
            assert time.monotonic() - began < 30, await self.database.fetch(
                "SELECT application_name, state, wait_event, query FROM pg_stat_activity"
            )
            await asyncio.sleep(0.01)
        return time.monotonic() - began

    def end(self, name: str) -> None:
        process = self.alive.pop(name)
        process.kill()
        process.communicate()


@pytest.fixture
async def indexers(devnet: Devnet, database: Database) -> AsyncIterator[Indexers]:
    indexers = Indexers(devnet, database)
    yield indexers
    for name in list(indexers.alive):
        with suppress(ProcessLookupError):
            os.kill(indexers.alive[name].pid, signal.SIGCONT)
        indexers.end(name)


@asynccontextmanager
async def trading(devnet: Devnet, seed: int) -> AsyncGenerator[None]:
    """Sell and give tickets all the while."""
    rng, over = random.Random(seed), asyncio.Event()

    async def trade() -> None:
        while not over.is_set():
            await asyncio.to_thread(devnet.buy, rng.randrange(1, 6), rng.randint(1, 3))
            await asyncio.sleep(rng.uniform(0, 0.05))

    task = asyncio.create_task(trade())
    try:
        yield
    finally:
        over.set()
        await task


async def settled(devnet: Devnet, database: Database) -> None:
    began = time.monotonic()
    while differences := await devnet.differences(database):
        assert time.monotonic() - began < 30, differences
        await asyncio.sleep(0.1)


@pytest.mark.timeout(200)
async def test_each_leader_that_is_killed_at_work_is_replaced_in_seconds_and_nothing_is_lost(
    indexers: Indexers, devnet: Devnet, database: Database, database_url: str
) -> None:
    rng, took = random.Random(1), list[float]()
    await indexers.add(database_url)
    await indexers.add(database_url)
    await indexers.seen()
    async with trading(devnet, 2):
        for _ in range(6):
            await asyncio.sleep(rng.uniform(0, 0.3))
            indexers.end(await indexers.leader())
            took.append(await indexers.seen())
            await indexers.add(database_url)
    await settled(devnet, database)
    assert max(took) < TAKEN_OVER_SECONDS, took


@pytest.mark.timeout(200)
async def test_a_leader_that_is_paused_is_replaced_and_harms_nothing_when_it_goes_on(
    indexers: Indexers, devnet: Devnet, database: Database, database_url: str
) -> None:
    """Paused wherever it is, in a transaction too; then the others wait for the cursor that it holds."""
    rng, took = random.Random(3), list[float]()
    await indexers.add(database_url)
    await indexers.add(database_url)
    await indexers.seen()
    async with trading(devnet, 4):
        for _ in range(4):
            await asyncio.sleep(rng.uniform(0, 0.3))
            paused = await indexers.leader()
            os.kill(indexers.alive[paused].pid, signal.SIGSTOP)
            began = time.monotonic()
            await indexers.leader(other_than=paused)
            await indexers.seen()
            took.append(time.monotonic() - began)
            os.kill(indexers.alive[paused].pid, signal.SIGCONT)
            await indexers.seen()
    await settled(devnet, database)
    assert all(process.poll() is None for process in indexers.alive.values()), "one ended by itself"
    assert max(took) < TAKEN_OVER_SECONDS, took


async def test_a_leader_that_is_cut_off_from_the_database_is_replaced(
    indexers: Indexers, devnet: Devnet, database: Database, database_url: str, tmp_path: Path
) -> None:
    """Its sockets stay open and nothing comes through them any more, as when a network is parted."""
    async with wire(database_url, tmp_path / "wire") as cut:
        leader = await indexers.add(cut.url)
        await indexers.seen()
        assert await indexers.leader() == leader
        await indexers.add(database_url)
        cut.silent = True
        assert await indexers.seen() < TAKEN_OVER_SECONDS
        cut.silent = False
        await indexers.seen()
    await settled(devnet, database)


async def test_who_is_silent_within_a_copy_does_not_hold_the_cursor_for_ever(
    indexers: Indexers, devnet: Devnet, database: Database, database_url: str
) -> None:
    """The server waits for the rest of a COPY without any limit of its own."""
    await indexers.add(database_url)
    await indexers.seen()

    async def stuck() -> AsyncGenerator[bytes]:
        yield b"PGCOPY\n\xff\r\n\0" + bytes(8)
        await asyncio.Event().wait()

    async def hold() -> None:
        async with database.transaction() as tx:
            await store.read_cursor(tx, devnet.anvil.chain_id, lock=True)
            await tx.copy_to_table("transfers", source=stuck(), format="binary")

    holding = asyncio.create_task(hold())
    await asyncio.sleep(0.2)
    assert await indexers.seen() < SILENCE_SECONDS + 3
    holding.cancel()
    with suppress(asyncio.CancelledError, DatabaseUnavailable, ConnectionError):
        await holding


async def test_work_ends_with_the_lead(database: Database) -> None:
    working, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        working.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    leading = asyncio.create_task(lead(database, 7, work))
    await working.wait()
    await database.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
    )
    with pytest.raises(DatabaseUnavailable):
        await leading
    assert ended.is_set()


async def test_an_error_of_the_work_reaches_whoever_leads_and_frees_the_lead(database: Database) -> None:
    async def fail() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        await lead(database, 8, fail)
    done = asyncio.Event()

    async def work() -> None:
        done.set()

    await lead(database, 8, work)
    assert done.is_set()


class Wire:
    """A socket before the server's; ``silent`` swallows what goes through it."""

    def __init__(self, server: Path, url: str) -> None:
        self.server = server
        self.url = url
        self.silent = False
        self.tasks: set[asyncio.Task[None]] = set()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tasks.add(asyncio.create_task(self._carry(reader, writer)))

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(str(self.server))
        try:
            await asyncio.gather(self._pass(reader, back), self._pass(there, writer))
        finally:
            for end in (back, writer):
                end.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                if not self.silent:
                    writer.write(data)
                    await writer.drain()
        writer.close()


@asynccontextmanager
async def wire(database_url: str, folder: Path) -> AsyncGenerator[Wire]:
    name = ".s.PGSQL.5432"
    host = parse_qs(urlsplit(database_url).query)["host"][0]
    wire = Wire(Path(host) / name, database_url.replace(host, str(folder)))
    folder.mkdir()  # noqa: ASYNC240 - local
    server = await asyncio.start_unix_server(wire.accept, str(folder / name))
    try:
        yield wire
    finally:
        server.close()
        for task in wire.tasks:
            task.cancel()
        await asyncio.gather(*wire.tasks, return_exceptions=True)
