"""Whoever brings blocks, in whatever order and at once: each log is applied exactly once."""

from __future__ import annotations

import asyncio
import itertools
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.chain.ingest.blocktree import GENESIS_TIME, ROOTS, grow_many
from tests.chain.ingest.devnet import Devnet
from tests.chain.ingest.forknode import ForkNode
from tests.chain.ingest.projections import Followed, projectors

from echain.chain.chains import chain as known_chain
from echain.chain.fees import Fees
from echain.chain.follow import FollowedChain, Follower
from echain.chain.hints import NEAR_BLOCKS, Bringer, StillBehind, bring
from echain.chain.ingest import Projection
from echain.chain.rpc import Rpc
from echain.chain.watch import Network, look_up
from echain.infra.database import Database
from echain.infra.embedded.anvil import Anvil
from echain.kernel.errors import EchainError, Kind
from echain.kernel.evm import parse_hash
from echain.kernel.time import from_unix

HERE = Path(__file__).parent
THEN = from_unix(GENESIS_TIME) + timedelta(hours=1)
_chain_ids = itertools.count(200_000)

TURN = st.tuples(
    st.integers(0, 9),  # how far back the next branch starts
    st.integers(1, 30),  # how many blocks it has
    st.integers(0, 2**32),  # what happens in them
    # Who brings them at the same time: followers as after a restart, and hints so far below the head.
    st.lists(st.none() | st.integers(0, 20), min_size=1, max_size=5),
    st.none() | st.integers(1, 9),  # a fork while they are at it, so deep
)


@pytest.mark.timeout(300)
@settings(
    max_examples=15,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(first=st.sampled_from((3, 40, 150)), turns=st.lists(TURN, min_size=1, max_size=4))
async def test_each_log_is_applied_once_by_whoever_comes(
    database: Database, first: int, turns: list[Any]
) -> None:
    async with ForkNode(next(_chain_ids)).serving() as node:
        rpc = Rpc([node.url], chain_id=node.chain_id)
        try:
            await _interleave(Followed(node, rpc, database), first, turns)
        finally:
            await rpc.close()


async def _interleave(followed: Followed, first: int, turns: list[Any]) -> None:
    node = followed.node
    node.tip = grow_many(None, first, 1)
    everybody = _everybody(followed)
    for back, length, seed, who, fork in turns:
        node.tip = grow_many(node.tip.up(back), max(length, back), seed)
        height = node.tip.block.number
        coming = [everybody(None if below is None else max(0, height - below)) for below in who]
        if fork is not None:
            coming.append(_fork(node, fork, seed))
        for result in await asyncio.gather(*coming, return_exceptions=True):
            # A chain that moves while it is read is read again by whoever comes next.
            assert result is None or (isinstance(result, EchainError) and result.kind is Kind.UNAVAILABLE)
    await _follower(followed).catch_up()
    assert await followed.differences(node.tip) == []
    assert await _told(followed) == await _to_tell(followed)
    walked = await followed.dump()
    assert await followed.rebuilt() == walked


def _everybody(followed: Followed) -> Callable[[int | None], Awaitable[None]]:
    """Return what brings the head by a follower of its own (None), or a block by a hint."""
    shared = Bringer(followed.rpc, followed.database, Projection(projectors()), _chain(followed), clock=_then)

    async def come(block_number: int | None) -> None:
        if block_number is None:
            await _follower(followed).catch_up()
        elif block_number % 2:
            await shared.bring(block_number)
        else:
            await bring(
                followed.rpc,
                followed.database,
                Projection(projectors()),
                _chain(followed),
                block_number=block_number,
                clock=_then,
            )

    return come


def _then() -> Any:
    return THEN


def _chain(followed: Followed) -> FollowedChain:
    return FollowedChain(
        chain_id=followed.node.chain_id, roots=ROOTS, confirmations=12, block_seconds=0.2, resettable=True
    )


def _follower(followed: Followed) -> Follower:
    return Follower(followed.rpc, followed.database, projectors(), _chain(followed), clock=_then)


async def _fork(node: ForkNode, depth: int, seed: int) -> None:
    await asyncio.sleep(random.Random(seed).uniform(0, 0.05))
    node.tip = grow_many(node.tip.up(depth), depth + 1, seed + 1)


async def _told(followed: Followed) -> Counter[tuple[str, int]]:
    rows = await followed.database.fetch(
        "SELECT type, block_number FROM outbox WHERE chain_id = $1"
        " AND type IN ('ticket_sold', 'ticket_transferred')",
        followed.node.chain_id,
    )
    return Counter((row["type"], row["block_number"]) for row in rows)


async def _to_tell(followed: Followed) -> Counter[tuple[str, int]]:
    rows = await followed.database.fetch(
        """
        SELECT 'ticket_sold' AS type, block_number FROM sales WHERE chain_id = $1
        UNION ALL SELECT 'ticket_sold', block_number FROM grants WHERE chain_id = $1
        UNION ALL SELECT 'ticket_transferred', block_number FROM transfers
        WHERE chain_id = $1 AND from_address <> decode(repeat('00', 20), 'hex')
        """,
        followed.node.chain_id,
    )
    return Counter((row["type"], row["block_number"]) for row in rows)


async def test_a_hint_of_a_block_that_no_node_has_is_for_later(node: ForkNode, followed: Followed) -> None:
    node.tip = grow_many(None, 10, 2)
    with pytest.raises(StillBehind):
        await bring(
            followed.rpc, followed.database, Projection(projectors()), _chain(followed), block_number=11
        )


async def test_a_hint_does_not_read_history(node: ForkNode, followed: Followed) -> None:
    node.tip = grow_many(None, NEAR_BLOCKS + 20, 3, acts=1)
    with pytest.raises(StillBehind):
        await bring(
            followed.rpc, followed.database, Projection(projectors()), _chain(followed), block_number=9
        )
    assert not any((await followed.dump(("chain_logs",))).values())


async def test_a_hint_of_a_block_that_is_ours_reads_nothing(node: ForkNode, followed: Followed) -> None:
    node.tip = grow_many(None, 40, 4)
    await _follower(followed).catch_up()
    node.calls.clear()
    await bring(followed.rpc, followed.database, Projection(projectors()), _chain(followed), block_number=39)
    assert [call for call in node.calls if call == "eth_getLogs"] == []


async def test_a_hint_of_a_block_that_forked_follows_the_fork(node: ForkNode, followed: Followed) -> None:
    tip = node.tip = grow_many(None, 40, 5)
    await _follower(followed).catch_up()
    node.tip = grow_many(tip.up(5), 5, 6)
    await bring(followed.rpc, followed.database, Projection(projectors()), _chain(followed), block_number=38)
    assert await followed.differences(node.tip) == []


@pytest.fixture
async def devnet(anvil: Anvil, fresh: Database) -> Devnet:
    return await Devnet.start(anvil, fresh)


@pytest.fixture
async def fresh(database_url: str) -> Any:
    """The devnets share a chain id, so each has its own database."""
    pool = await Database.connect(database_url, size=10, name="test")
    yield pool
    await pool.close()


async def test_a_receipt_that_is_looked_up_brings_its_block_with_no_indexer_running(
    devnet: Devnet, fresh: Database
) -> None:
    rpc = Rpc([devnet.anvil.url], chain_id=devnet.anvil.chain_id)
    chain = known_chain(devnet.anvil.chain_id, devnet=True)
    fees = Fees(rpc, chain)
    bringer = Bringer(rpc, fresh, Projection(projectors()), devnet.followed())
    networks = {chain.chain_id: Network(chain, rpc, fees, bringer.bring)}
    try:
        for sale in range(5):
            transaction = parse_hash(devnet.buy(1, 2))
            found = await _mined(fresh, networks, transaction)
            assert found.indexed
            assert await devnet.differences(fresh) == [], f"sale {sale}"
            # The event of the ticket contract is told by name, for which its contract had to be known.
            assert {effect.event for effect in found.effects} >= {"TicketsPurchased"}
    finally:
        await fees.close()
        await rpc.close()


async def _mined(database: Database, networks: Any, transaction: Any) -> Any:
    while (found := await look_up(database, networks, transaction)).status == "pending":
        await asyncio.sleep(0.02)
    return found


@pytest.mark.timeout(120)
async def test_an_indexer_and_hints_in_other_processes_lose_and_double_nothing(
    devnet: Devnet, fresh: Database, database_url: str
) -> None:
    chain = msgspec.json.encode(devnet.followed()).decode()
    programs = ("indexer_process.py", "hint_process.py", "hint_process.py")
    processes = [
        await asyncio.to_thread(
            subprocess.Popen,
            [sys.executable, HERE / program, database_url, devnet.anvil.url, chain],
            stdout=subprocess.PIPE,
        )
        for program in programs
    ]
    rng = random.Random(6)
    try:
        for process in processes:
            assert process.stdout is not None
            await asyncio.to_thread(process.stdout.readline)
        for _ in range(8):
            for _ in range(rng.randint(1, 6)):
                await asyncio.to_thread(devnet.buy, rng.randrange(1, 6), rng.randint(1, 3))
            await asyncio.to_thread(devnet.reorg, rng.randint(1, 4))
            await asyncio.to_thread(devnet.buy, 1, 1)
        began = time.monotonic()
        while differences := await devnet.differences(fresh):
            assert time.monotonic() - began < 30, differences
            await asyncio.sleep(0.1)
        assert all(process.poll() is None for process in processes)
    finally:
        for process in processes:
            with suppress(ProcessLookupError):
                process.kill()
            process.communicate()
