"""On a real node with the real contracts: forks of every depth, silence, sudden deaths of the indexer."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
import pytest
from tests.chain.ingest.devnet import Devnet
from tests.chain.ingest.projections import projectors

from echain.chain.follow import FollowedChain, Follower
from echain.chain.rpc import Rpc
from echain.infra.database import Database
from echain.infra.embedded.anvil import Anvil
from echain.infra.relay import Relay

KILLS = 50
PROGRAM = Path(__file__).with_name("indexer_process.py")


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """These tests share a chain id, so each has its own database."""
    pool = await Database.connect(database_url, size=10, name="test")
    yield pool
    await pool.close()


@pytest.fixture
async def devnet(anvil: Anvil, database: Database) -> Devnet:
    return await Devnet.start(anvil, database)


@asynccontextmanager
async def following(devnet: Devnet, database: Database, chain: FollowedChain) -> AsyncIterator[None]:
    rpc = Rpc([devnet.anvil.url], chain_id=chain.chain_id)
    follower = asyncio.create_task(Follower(rpc, database, projectors(), chain).run())
    try:
        yield
    finally:
        follower.cancel()
        with suppress(asyncio.CancelledError):
            await follower
        await rpc.close()


def indexer_process(database_url: str, devnet: Devnet) -> subprocess.Popen[bytes]:
    chain = msgspec.json.encode(devnet.followed()).decode()
    return subprocess.Popen(
        [sys.executable, PROGRAM, database_url, devnet.anvil.url, chain], stdout=subprocess.PIPE
    )


async def at_work(process: subprocess.Popen[bytes]) -> None:
    """Wait until the process says that it is about to index."""
    assert process.stdout is not None
    assert await asyncio.to_thread(process.stdout.readline) == b"working\n"


async def settled(devnet: Devnet, database: Database) -> None:
    """Wait until the projections say what the contracts say."""
    began = time.monotonic()
    while differences := await devnet.differences(database):
        assert time.monotonic() - began < 30, differences
        await asyncio.sleep(0.05)


async def test_sales_are_seen_over_websocket_and_by_polling(devnet: Devnet, database: Database) -> None:
    for ws_urls in ((devnet.anvil.ws_url,), (), ("ws://127.0.0.1:1",)):
        async with following(devnet, database, devnet.followed(ws_urls=ws_urls)):
            devnet.buy(1, 2)
            await settled(devnet, database)
            token = max(devnet.owners())
            devnet.give(1, 2, token)
            await settled(devnet, database)


async def test_a_chain_that_stands_still_is_seen_at_once(devnet: Devnet, database: Database) -> None:
    for _ in range(5):
        devnet.buy(1, 1)
    async with following(devnet, database, devnet.followed()):
        await settled(devnet, database)


async def test_reorgs_of_every_depth_leave_what_the_contracts_say(devnet: Devnet, database: Database) -> None:
    rng = random.Random(5)
    relay = asyncio.create_task(Relay(database, None).run())
    async with following(devnet, database, devnet.followed()):
        for depth in range(1, 11):
            for _ in range(depth + 2):
                devnet.buy(rng.randrange(1, 6), rng.randint(1, 3))
            await settled(devnet, database)
            height = int(devnet.anvil.rpc("eth_blockNumber"), 16)
            kept = devnet.anvil.rpc("eth_getBlockByNumber", hex(height - depth), False)["hash"]
            gone = devnet.anvil.rpc("eth_getBlockByNumber", hex(height - depth + 1), False)["hash"]
            devnet.reorg(depth)
            assert devnet.anvil.rpc("eth_getBlockByNumber", hex(height - depth), False)["hash"] == kept
            assert devnet.anvil.rpc("eth_getBlockByNumber", hex(height - depth + 1), False)["hash"] != gone
            if depth % 2:
                devnet.buy(rng.randrange(1, 6), 1)
            await settled(devnet, database)
    relay.cancel()
    await asyncio.gather(relay, return_exceptions=True)
    reverted = await database.fetchval("SELECT count(*) FROM messages WHERE type = 'reverted'")
    assert reverted >= 10


async def test_a_wiped_node_starts_the_projections_anew(
    devnet: Devnet, database: Database, anvil: Anvil
) -> None:
    async with following(devnet, database, devnet.followed()):
        for _ in range(4):
            devnet.buy(1, 2)
        await settled(devnet, database)
        anvil.rpc("anvil_reset")
        again = await Devnet.start(anvil, database)
        again.buy(2, 1)
        await settled(again, database)
        assert len(again.owners()) == 1


@pytest.mark.timeout(400)
async def test_an_indexer_killed_at_any_moment_loses_and_doubles_nothing(
    devnet: Devnet, database: Database, database_url: str
) -> None:
    """Fifty deaths: each indexer lives some moments while sales, gifts and forks go on."""
    rng = random.Random(9)
    reached, busy = await _reached(database), 0
    for kill in range(KILLS):
        process = indexer_process(database_url, devnet)
        with process:
            try:
                await at_work(process)
                await _trade(devnet, rng, seconds=rng.uniform(0, 0.5))
            finally:
                os.kill(process.pid, signal.SIGKILL)
        before, reached = reached, await _reached(database)
        busy += reached != before
        if kill % 7 == 6:
            devnet.reorg(rng.randint(1, 3))
    async with following(devnet, database, devnet.followed()):
        await settled(devnet, database)
    assert len(devnet.owners()) > KILLS
    assert busy > KILLS // 4, "most of them died before they did anything"


async def _reached(database: Database) -> int | None:
    return await database.fetchval("SELECT block_number FROM chain_cursors")


async def _trade(devnet: Devnet, rng: random.Random, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        await asyncio.to_thread(devnet.buy, rng.randrange(1, 6), rng.randint(1, 3))
        await asyncio.sleep(rng.uniform(0, 0.2))


async def test_two_indexers_on_one_chain_lose_and_double_nothing(devnet: Devnet, database: Database) -> None:
    """Without a leader, as when an advisory lock is lost: both read and both ingest."""
    chain = devnet.followed()
    rpc = Rpc([devnet.anvil.url], chain_id=chain.chain_id)
    followers = [Follower(rpc, database, projectors(), chain) for _ in range(3)]
    rng = random.Random(3)
    try:
        for turn in range(12):
            await _trade(devnet, rng, seconds=0.2)
            if turn % 3 == 2:
                devnet.reorg(rng.randint(1, 4))
            await asyncio.gather(*(follower.catch_up() for follower in followers))
            assert await devnet.differences(database) == []
    finally:
        await rpc.close()


async def standing_by(database: Database) -> None:
    """Wait until one session leads, and another one has asked for the lead in vain."""
    async with asyncio.timeout(10):
        while not await database.fetchval(
            """
            SELECT count(*) FILTER (WHERE lock.pid IS NULL AND activity.query LIKE '%pg_try_advisory_lock%')
                       > 0 AND count(lock.pid) > 0
            FROM pg_stat_activity AS activity
            LEFT JOIN pg_locks AS lock ON lock.pid = activity.pid AND lock.locktype = 'advisory'
            WHERE activity.datname = current_database() AND activity.pid <> pg_backend_pid()
            """
        ):
            await asyncio.sleep(0.02)


async def test_a_standby_takes_over_when_the_leader_dies(
    devnet: Devnet, database: Database, database_url: str
) -> None:
    chain = devnet.followed()
    leader = indexer_process(database_url, devnet)
    try:
        devnet.buy(1, 1)
        await settled(devnet, database)
        async with following(devnet, database, chain):
            await standing_by(database)
            os.kill(leader.pid, signal.SIGKILL)
            leader.wait()
            devnet.buy(2, 2)
            began = time.monotonic()
            await settled(devnet, database)
            assert time.monotonic() - began < 5
    finally:
        leader.kill()
        leader.communicate()
