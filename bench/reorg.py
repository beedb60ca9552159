"""A reorg of 64 blocks, and a rebuild beside a follower, on 100,000 transfers of 50 events."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Final

import msgspec

from bench import fakechain
from bench.ingest import PROJECTORS, fake_node
from bench.rows import Row
from bench.scan import migrated
from echain.chain.follow import FollowedChain, Follower
from echain.chain.ingest import Projection
from echain.chain.rebuild import Rebuilt, rebuild
from echain.chain.rpc import Rpc
from echain.chain.types import Contract
from echain.infra.database import Database
from echain.infra.embedded.postgres import Postgres
from echain.kernel.evm import Address

RUNS: Final = 7


class _Rebuild(msgspec.Struct, frozen=True):
    done: Rebuilt
    seconds: float


async def measure() -> list[Row]:
    """Return what a reorg takes beside a rebuild, and what a rebuild takes and keeps waiting."""
    with fake_node(0) as node, tempfile.TemporaryDirectory() as folder, Postgres(Path(folder)) as postgres:
        await migrated(postgres.url("postgres"), postgres.url())
        database = await Database.connect(postgres.url(), name="bench")
        rpc = Rpc([node], chain_id=fakechain.CHAIN_ID)
        try:
            reorg = await _reorgs(rpc, database)
            rebuilt = await _rebuilt(database)
        finally:
            await rpc.close()
            await database.close()
    speed = rebuilt.done.logs / rebuilt.seconds
    return [
        Row(
            "reorg64_ms",
            reorg * 1e3,
            "ms",
            None,
            {"rebuild here": rebuilt.seconds * 1e3},
            f"64 blocks of about 40 logs replaced: the new ones read, the old ones taken back, committed; "
            f"median of {RUNS}",
        ),
        Row(
            "rebuild_logs_per_s",
            speed,
            "logs/s",
            None,
            {},
            f"{rebuilt.done.logs:,} stored logs into shadows, and the swap",
        ),
        Row(
            "rebuild_wait_ms",
            rebuilt.done.swap_seconds * 1e3,
            "ms",
            None,
            {},
            "how long the head waits for a rebuild's swap; readers wait for nothing",
        ),
    ]


async def _reorgs(rpc: Rpc, database: Database) -> float:
    """Index the chain, replace its last blocks some times; return the median of the seconds that takes."""
    chain = FollowedChain(
        chain_id=fakechain.CHAIN_ID,
        roots=(
            Contract(Address(fakechain.FACTORY), "factory", 0),
            Contract(Address(fakechain.POAP), "poap", 0),
        ),
        confirmations=fakechain.FORKED,
    )
    follower = Follower(rpc, database, PROJECTORS, chain)
    await follower.catch_up()
    seconds: list[float] = []
    for salt in range(1, RUNS + 1):
        await rpc.call("bench_fork", [salt])
        began = time.perf_counter()
        await follower.reach(await rpc.head())
        seconds.append(time.perf_counter() - began)
        # As between blocks; what the reorg left to the server's background is not counted with the next.
        await asyncio.sleep(0.5)
    return median(seconds)


async def _rebuilt(database: Database) -> _Rebuild:
    async with database.session() as connection:
        began = time.perf_counter()
        done = await rebuild(connection, fakechain.CHAIN_ID, Projection(PROJECTORS))
        if done.changed:
            raise AssertionError(f"after the reorgs {done.changed} rows are not what the logs say")
        return _Rebuild(done, time.perf_counter() - began)
