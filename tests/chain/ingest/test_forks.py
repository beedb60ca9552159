"""Whatever way the chain takes, the projections say what its present branch says, and nothing else."""

from __future__ import annotations

import itertools

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.chain.ingest.blocktree import grow_many
from tests.chain.ingest.forknode import ForkNode
from tests.chain.ingest.projections import Followed

from echain.chain.rpc import Rpc
from echain.infra.database import Database

_chain_ids = itertools.count(100_000)

STEP = st.tuples(
    st.integers(0, 12),  # how far back the next branch starts
    st.integers(1, 9),  # how many blocks it has
    st.integers(0, 2**32),  # what happens in them
    st.booleans(),  # whether the indexer restarts
    st.booleans(),  # whether it sees the branch at all before the next one
)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    database=None,
)
@given(first=st.sampled_from((5, 20, 90)), seed=st.integers(0, 2**32), steps=st.lists(STEP, max_size=7))
async def test_after_any_walk_over_forks_the_projections_equal_a_rebuild_and_the_model(
    database: Database, first: int, seed: int, steps: list[tuple[int, int, int, bool, bool]]
) -> None:
    async with ForkNode(next(_chain_ids)).serving() as node:
        rpc = Rpc([node.url], chain_id=node.chain_id)
        followed = Followed(node, rpc, database)
        try:
            await _walk(followed, first, seed, steps)
        finally:
            await rpc.close()


async def _walk(
    followed: Followed, first: int, seed: int, steps: list[tuple[int, int, int, bool, bool]]
) -> None:
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
