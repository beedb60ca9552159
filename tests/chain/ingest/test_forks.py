"""Whatever way the chain takes, the projections say what its present branch says, and nothing else."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.chain.ingest.blocktree import grow_many
from tests.chain.ingest.forknode import ForkNode
from tests.chain.ingest.projections import Followed

from echain.chain.rpc import Rpc
from echain.infra.database import Database

_chain_ids = itertools.count(100_000)

Step = tuple[int, int, int, bool, bool]
STEP = st.tuples(
    st.integers(0, 12),  # how far back the next branch starts
    st.integers(1, 9),  # how many blocks it has
    st.integers(0, 2**32),  # what happens in them
    st.booleans(),  # whether the indexer restarts
    st.booleans(),  # whether it sees the branch at all before the next one
)


def walks(examples: int) -> Callable[[Any], Any]:
    """Return what makes a test run over so many random walks."""

    def decorated(test: Any) -> Any:
        return settings(
            max_examples=examples,
            deadline=None,
            suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
            database=None,
        )(
            given(
                first=st.sampled_from((5, 20, 90)),
                seed=st.integers(0, 2**32),
                steps=st.lists(STEP, max_size=7),
            )(test)
        )

    return decorated


@pytest.mark.timeout(600)
@walks(40)
async def test_after_any_walk_over_forks_the_projections_equal_a_rebuild_and_the_model(
    database: Database, first: int, seed: int, steps: list[Step]
) -> None:
    await _walked(database, first, seed, steps)


@pytest.mark.soak
@pytest.mark.timeout(3_600)
@walks(300)
async def test_after_very_many_walks_they_still_do(
    database: Database, first: int, seed: int, steps: list[Step]
) -> None:
    await _walked(database, first, seed, steps)


async def _walked(database: Database, first: int, seed: int, steps: list[Step]) -> None:
    async with ForkNode(next(_chain_ids)).serving() as node:
        rpc = Rpc([node.url], chain_id=node.chain_id)
        try:
            await _walk(Followed(node, rpc, database), first, seed, steps)
        finally:
            await rpc.close()


async def _walk(followed: Followed, first: int, seed: int, steps: list[Step]) -> None:
    node = followed.node
    node.tip = grow_many(None, first, seed)
    follower = followed.follower()
    await follower.catch_up()
    for back, length, branch_seed, restart, seen in steps:
        node.tip = grow_many(node.tip.up(back), max(length, back), branch_seed)
        if restart:
            follower = followed.follower()
        if seen:
            await follower.catch_up()
            assert await followed.differences(node.tip) == []
    await follower.catch_up()
    walked = await followed.dump()
    assert await followed.differences(node.tip) == []
    assert await followed.rebuilt() == walked
    assert await followed.anew() == walked
