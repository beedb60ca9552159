"""Deaths of the indexer times depths of forks times faults of a node, on real contracts.

Whatever the cell: what was followed equals what a rebuild folds, what a fresh reading of the past gives, and
what the contracts themselves answer.
"""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from tests.chain.ingest.devnet import Devnet
from tests.chain.ingest.faultproxy import LIES, SILENT, FaultProxy
from tests.chain.ingest.projections import PROJECTIONS, STORE, projectors

from echain.chain.follow import Follower
from echain.chain.ingest import Projection
from echain.chain.rebuild import rebuild
from echain.chain.rpc import Rpc
from echain.infra.database import Database
from echain.infra.embedded.anvil import Anvil

PROGRAM = Path(__file__).with_name("indexer_process.py")
FINALITY = 12
EVERY_FAULT = tuple(fault for fault in (*SILENT, *LIES) if fault not in ("flood", "bomb"))
"""Those that only cost time and memory are another test's."""


class Ground:
    """A devnet with an event on sale, a database that is indexed into, and the URL of an empty one."""

    def __init__(self, devnet: Devnet, database: Database, url: str, other_url: str) -> None:
        self.devnet = devnet
        self.database = database
        self.url = url
        self.other_url = other_url


@pytest.fixture
async def ground(anvil: Anvil, database_url: str, fresh_database: Callable[[], str]) -> AsyncIterator[Ground]:
    database = await Database.connect(database_url, size=6, name="test")
    devnet = await Devnet.start(anvil, database)
    # No reorg shall undo the contracts themselves.
    devnet.anvil.rpc("anvil_mine", hex(FINALITY + 1))
    yield Ground(devnet, database, database_url, fresh_database())
    await database.close()


@pytest.mark.parametrize(
    ("kills", "depth", "faults"),
    [(0, 11, ("drop a log", "rewind")), (1, 1, ("drop", "forge a bloom")), (2, 6, ("cut", "truncate logs"))],
)
async def test_a_cell_of_deaths_forks_and_faults_changes_nothing(
    ground: Ground, kills: int, depth: int, faults: Sequence[str]
) -> None:
    rng = random.Random(depth)
    for fault in faults:
        await _cell(ground, rng, kills=kills, depth=depth, fault=fault)
    await _all_are_equal(ground)


@pytest.mark.soak
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize(("kills", "depth"), [(0, 11), (3, 1), (3, 6)])
async def test_every_fault_times_deaths_and_forks_changes_nothing(
    ground: Ground, kills: int, depth: int
) -> None:
    rng = random.Random(time.time_ns())
    for fault in EVERY_FAULT:
        await _cell(ground, rng, kills=kills, depth=depth, fault=fault)
        await _all_are_equal(ground)


async def _cell(ground: Ground, rng: random.Random, *, kills: int, depth: int, fault: str) -> None:
    """Trade and fork while the node that the indexer prefers is faulty and the indexer dies and dies."""
    devnet, seed = ground.devnet, rng.randrange(1 << 30)
    async with FaultProxy(devnet.anvil.url, seed=seed, faults=[fault], rate=0.4).serving() as proxy:
        for life in range(kills + 1):
            async with _indexer(devnet, ground.url, proxy):
                await _trade(devnet, rng, depth)
                if life < kills:
                    await asyncio.sleep(rng.uniform(0, 0.4))
                    continue
                await asyncio.to_thread(devnet.buy, 1, 1)
                await _settled(devnet, ground.database, fault)


@asynccontextmanager
async def _indexer(devnet: Devnet, database_url: str, proxy: FaultProxy) -> AsyncIterator[None]:
    """An indexer in a process of its own, that dies by a kill -9 at the end."""
    chain = msgspec.json.encode(devnet.followed(confirmations=FINALITY, ws_urls=(proxy.ws_url,))).decode()
    process = await asyncio.to_thread(
        subprocess.Popen,
        [
            sys.executable,
            PROGRAM,
            database_url,
            f"{proxy.url},{devnet.anvil.url}",
            chain,
            "matrix",
            "ethereum",
        ],
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == b"working\n"
        yield
    finally:
        process.kill()
        process.communicate()


async def _trade(devnet: Devnet, rng: random.Random, depth: int) -> None:
    for _ in range(rng.randint(1, 4)):
        await asyncio.to_thread(devnet.buy, rng.randrange(1, 6), rng.randint(1, 3))
    await asyncio.to_thread(devnet.anvil.rpc, "anvil_mine", hex(rng.randint(1, depth)))
    await asyncio.sleep(rng.uniform(0, 0.3))
    await asyncio.to_thread(devnet.reorg, depth)
    await asyncio.to_thread(devnet.buy, rng.randrange(1, 6), 1)


async def _settled(devnet: Devnet, database: Database, fault: str) -> None:
    """Wait until the projections say what the contracts say."""
    began = time.monotonic()
    while differences := await devnet.differences(database):
        assert time.monotonic() - began < 60, (fault, differences)
        await asyncio.sleep(0.05)


async def _all_are_equal(ground: Ground) -> None:
    """Compare what was followed with a rebuild, and with the past as read into the other database."""
    devnet, followed = ground.devnet, await _dump(ground.database)
    async with ground.database.session() as connection:
        done = await rebuild(connection, devnet.anvil.chain_id, Projection(projectors()))
    assert done.changed == 0, "a rebuild says something else"
    assert await _dump(ground.database) == followed
    other = await Database.connect(ground.other_url, size=3, name="test")
    rpc = Rpc([devnet.anvil.url], chain_id=devnet.anvil.chain_id)
    try:
        for table in (*STORE, *PROJECTIONS, "chain_blocks", "chain_cursors"):
            await other.execute(f"TRUNCATE {table}")
        await Follower(rpc, other, projectors(), devnet.followed(confirmations=FINALITY)).catch_up()
        assert await _dump(other) == followed, "history says something else"
    finally:
        await rpc.close()
        await other.close()


async def _dump(database: Database) -> dict[str, list[str]]:
    return {
        table: [row[0] for row in await database.fetch(f"SELECT t::text FROM {table} t ORDER BY 1")]
        for table in (*STORE, *PROJECTIONS)
    }
