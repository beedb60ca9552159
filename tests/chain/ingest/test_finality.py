"""Final is what depth and, where it means something, the node's own word both say."""

from __future__ import annotations

from typing import Any

from tests.chain.ingest.blocktree import grow_many
from tests.chain.ingest.forknode import ForkNode, Refusal
from tests.chain.ingest.projections import Followed
from tests.chain.rpc.test_circuit import Time

from echain.chain.finality import Finality
from echain.chain.rpc import Rpc


def finalizing(node: ForkNode, number: int | None) -> Any:
    """Return what answers questions for the finalized block; None refuses them."""
    plain = node.result

    def result(method: str, params: Any) -> Any:
        if method == "eth_getBlockByNumber" and params[0] == "finalized":
            if number is None:
                raise Refusal(-32602, "unknown tag")
            return plain(method, [hex(number), False])
        return plain(method, params)

    return result


async def test_the_lower_of_depth_and_the_nodes_word_counts(node: ForkNode, rpc: Rpc) -> None:
    node.tip = grow_many(None, 40, 1)
    time, plain = Time(), node.result
    finality = Finality(rpc, confirmations=10, tag=True, monotonic=time)
    for told, final in ((12, 12), (25, 25), (38, 29), (20, 29), (None, 29)):
        node.result = finalizing(node, told)
        assert await finality.learn()
        assert finality.height(node.tip.block) == final
        node.result = plain
        time.now += 20


async def test_the_word_is_asked_for_only_now_and_then_and_only_where_it_means_something(
    node: ForkNode, rpc: Rpc
) -> None:
    node.tip = grow_many(None, 40, 1)
    time = Time()
    deep = Finality(rpc, confirmations=10, tag=False, monotonic=time)
    await deep.learn()
    assert node.calls == []
    assert deep.height(node.tip.block) == 29
    node.result = finalizing(node, 5)
    told = Finality(rpc, confirmations=10, tag=True, monotonic=time)
    for _ in range(10):
        await told.learn()
    assert node.calls.count("eth_getBlockByNumber") == 1


async def test_a_node_without_the_tag_leaves_depth_alone(node: ForkNode, rpc: Rpc) -> None:
    node.tip = grow_many(None, 40, 1)
    node.result = finalizing(node, None)
    finality = Finality(rpc, confirmations=10, tag=True)
    await finality.learn()
    assert finality.height(node.tip.block) == 29


async def test_a_follower_settles_by_it(node: ForkNode, followed: Followed) -> None:
    node.tip = grow_many(None, 60, 2)
    node.result = finalizing(node, 31)
    await followed.follower(confirmations=3, finalized_tag=True).catch_up()
    final = await followed.database.fetchval(
        "SELECT finalized_number FROM chain_cursors WHERE chain_id = $1", node.chain_id
    )
    assert final == 31
    assert await followed.differences(node.tip) == []
