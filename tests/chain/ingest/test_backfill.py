"""A backfill goes on where it was, whenever it was ended; its work done ahead is never believed blindly."""

from __future__ import annotations

import asyncio
import io
import random
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from rich.console import Console
from tests.chain.ingest.blocktree import ROOTS, grow_many
from tests.chain.ingest.forknode import ForkNode
from tests.chain.ingest.projections import Followed, projectors

from echain.chain.follow import FollowedChain, Progress
from echain.chain.ingest import Outcome, Projection, ingest, prepare, register
from echain.chain.rebuild import Rebuilding
from echain.chain.types import Segment
from echain.entry.progress import folding, shown
from echain.kernel.time import utc_now

LIVES = 6
PROGRAM = Path(__file__).with_name("indexer_process.py")


@pytest.mark.timeout(300)
async def test_a_backfill_killed_at_any_moment_ends_as_one_that_was_not(
    node: ForkNode, followed: Followed, shared_database_url: str
) -> None:
    """Many short lives; each goes on from the last transaction that was whole."""
    node.tip = grow_many(None, 300, 41)
    node.max_span = 6
    chain = FollowedChain(
        chain_id=node.chain_id, roots=ROOTS, confirmations=3, block_seconds=0.2, resettable=True
    )
    rng, reached = random.Random(42), [-1]
    for _ in range(LIVES):
        with indexer(shared_database_url, node.url, chain) as process:
            before = reached[-1]
            while await height(followed) == before and before < node.tip.block.number:
                await asyncio.sleep(0.005)
            await asyncio.sleep(rng.uniform(0, 0.1))
            process.kill()
        reached.append(await height(followed))
        assert reached == sorted(reached), "a death took back what was whole"
    await followed.follower().catch_up()
    in_between = {block for block in reached if 0 <= block < node.tip.block.number}
    assert len(in_between) >= 3, "none of them was killed half way"
    killed = await followed.dump()
    assert await followed.differences(node.tip) == []
    assert await followed.rebuilt() == killed
    assert await followed.anew() == killed


def indexer(database_url: str, node_url: str, chain: FollowedChain) -> subprocess.Popen[bytes]:
    arguments = [database_url, node_url, msgspec.json.encode(chain).decode(), "backfill"]
    return subprocess.Popen([sys.executable, PROGRAM, *arguments], stdout=subprocess.PIPE)


async def height(followed: Followed) -> int:
    number = await followed.database.fetchval(
        "SELECT block_number FROM chain_cursors WHERE chain_id = $1", followed.node.chain_id
    )
    return -1 if number is None else number


@pytest.mark.parametrize("belief", ["nothing", "all", "another kind"])
async def test_work_done_ahead_on_a_wrong_belief_is_done_again(
    node: ForkNode, followed: Followed, belief: str
) -> None:
    """What is followed may have changed between the reading and the writing."""
    tip = grow_many(None, 40, 43)
    path, projection, now = tip.path(), Projection(projectors()), utc_now()
    async with followed.database.transaction() as tx:
        await register(tx, node.chain_id, from_block=0, roots=ROOTS, projection=projection)
    first, second = segment(path[:30]), segment(path[30:])
    assert second.logs
    async with followed.database.transaction() as tx:
        await ingest(tx, node.chain_id, first, projection, now=now)
    kinds = {
        "nothing": {},
        "all": {log.address: "ticket" for grown in path for log in grown.logs},
        "another kind": {log.address: "poap" for grown in path for log in grown.logs},
    }[belief]
    ahead = await prepare(node.chain_id, second, kinds, projection, now=now)
    async with followed.database.transaction() as tx:
        outcome = await ingest(tx, node.chain_id, second, projection, now=now, prepared=ahead)
    assert outcome is Outcome.EXTENDED
    assert await followed.differences(tip) == []


async def test_work_done_ahead_of_known_blocks_is_cut_to_the_new_ones(
    node: ForkNode, followed: Followed
) -> None:
    tip = grow_many(None, 40, 44)
    path, projection, now = tip.path(), Projection(projectors()), utc_now()
    roots = {root.address: root.kind for root in ROOTS}
    async with followed.database.transaction() as tx:
        await register(tx, node.chain_id, from_block=0, roots=ROOTS, projection=projection)
    whole = segment(path)
    ahead = await prepare(node.chain_id, whole, roots, projection, now=now)
    async with followed.database.transaction() as tx:
        await ingest(tx, node.chain_id, segment(path[:17]), projection, now=now)
    async with followed.database.transaction() as tx:
        outcome = await ingest(tx, node.chain_id, whole, projection, now=now, prepared=ahead)
    assert outcome is Outcome.EXTENDED
    assert await followed.differences(tip) == []


def segment(path: list) -> Segment:
    return Segment([grown.block for grown in path], [log for grown in path for log in grown.logs], -1)


def test_a_terminal_sees_blocks_speed_and_the_time_left() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100)
    tell = shown("Base Sepolia", console)
    for reached in (999, 4_999, 9_999):
        tell(Progress(first=0, reached=reached, target=9_999, logs=reached * 40, seconds=reached / 1_000))
    seen = re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", screen.getvalue())
    assert "Reading Base Sepolia" in seen
    assert "1000/10000 blocks  40,000 logs/s" in seen
    assert "10000/10000 blocks  40,000 logs/s 0:00:00" in seen


def test_a_rebuild_shows_logs_speed_and_the_time_left() -> None:
    screen = io.StringIO()
    with folding("Base Sepolia", Console(file=screen, force_terminal=True, width=100)) as tell:
        tell(Rebuilding(logs=50_000, total=100_000, seconds=2))
    seen = re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", screen.getvalue())
    assert "Folding Base Sepolia" in seen
    assert " 50000/100000 logs  25,000 logs/s" in seen
