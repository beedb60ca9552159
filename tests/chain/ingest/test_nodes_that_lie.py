"""Nodes leave logs out, lag, answer of another chain or another branch; they are never believed."""

from __future__ import annotations

from typing import Any

import pytest
from tests.chain.ingest.blocktree import grow, grow_many
from tests.chain.ingest.forknode import ForkNode, Refusal
from tests.chain.ingest.projections import Followed

from echain.chain.follow import FinalityBroken
from echain.chain.headers import ChainMoved
from echain.chain.logs import LogsMissing
from echain.chain.rpc import ChainUnreachable, Rpc, RpcRefused, WrongChain
from echain.kernel.errors import EchainError


def without_some(result: list[dict[str, Any]], how: str) -> list[dict[str, Any]]:
    """Return an answer to ``eth_getLogs`` that is not complete."""
    numbers = sorted({int(log["blockNumber"], 16) for log in result})
    if how == "cut short":
        return [log for log in result if int(log["blockNumber"], 16) <= numbers[len(numbers) // 2]]
    if how == "blocks":
        return [log for log in result if int(log["blockNumber"], 16) % 3]
    last = {log["blockNumber"]: log["logIndex"] for log in result}
    every = int(how)
    return [
        log
        for place, log in enumerate(result)
        if place % every or last[log["blockNumber"]] == log["logIndex"]
    ]


def dropping(how: str, *, whole_blocks: bool) -> Any:
    """Return a fault that leaves logs out of answers about ranges, or about blocks too."""

    def fault(method: str, result: Any) -> Any:
        ranged = method == "eth_getLogs" and len({log["blockNumber"] for log in result}) > 1
        return without_some(result, how) if ranged or (method == "eth_getLogs" and whole_blocks) else result

    return fault


@pytest.mark.parametrize("how", ["2", "3", "7", "blocks", "cut short"])
async def test_logs_left_out_of_a_range_are_found_by_the_headers(
    node: ForkNode, followed: Followed, how: str
) -> None:
    node.tip = grow_many(None, 150, 21)
    node.fault = dropping(how, whole_blocks=False)
    await followed.follower().catch_up()
    assert await followed.differences(node.tip) == []


async def test_a_node_that_leaves_logs_out_of_blocks_too_is_not_believed(
    node: ForkNode, followed: Followed
) -> None:
    node.tip = grow_many(None, 20, 1)
    await followed.follower().catch_up()
    before = await followed.dump()
    node.tip = grow_many(node.tip, 3, 2, acts=12)
    node.fault = dropping("2", whole_blocks=True)
    with pytest.raises(LogsMissing):
        await followed.follower().catch_up()
    assert await followed.dump() == before
    node.fault = lambda _method, result: result
    await followed.follower().catch_up()
    assert await followed.differences(node.tip) == []


async def test_logs_made_up_by_a_node_are_not_believed(node: ForkNode, followed: Followed) -> None:
    node.tip = grow_many(None, 10, 3, acts=12)
    spare = next(grown for grown in grow_many(None, 9, 77, acts=12).path() if grown.logs)
    invented = next(iter(spare.logs))

    def fault(method: str, result: Any) -> Any:
        if method != "eth_getLogs" or not result:
            return result
        forged = dict(result[-1], address="0x" + invented.address.hex(), logIndex="0xff")
        return [*result, forged]

    node.fault = fault
    with pytest.raises(EchainError):
        await followed.follower().catch_up()


async def test_a_wrong_chain_is_refused_before_anything_is_read(node: ForkNode, followed: Followed) -> None:
    node.tip = grow_many(None, 5, 4)
    other = Rpc([node.url], chain_id=node.chain_id + 1)
    try:
        with pytest.raises(WrongChain):
            await other.head()
    finally:
        await other.close()
    assert node.calls == ["eth_chainId"]


async def test_headers_that_do_not_follow_one_another_are_refused(node: ForkNode, followed: Followed) -> None:
    node.tip = grow_many(None, 30, 5)

    def fault(method: str, result: Any) -> Any:
        if method == "eth_getBlockByNumber" and result and result["number"] == "0x7":
            return {**result, "parentHash": "0x" + "00" * 32}
        return result

    node.fault = fault
    with pytest.raises(ChainMoved):
        await followed.follower().catch_up()
    assert not any((await followed.dump(("chain_logs", "tickets"))).values())


async def test_a_node_that_lags_is_no_reorg(node: ForkNode, followed: Followed) -> None:
    tip = grow_many(None, 40, 6)
    node.tip = tip
    follower = followed.follower()
    await follower.catch_up()
    before = await followed.dump()
    for behind in (1, 5, 20, 39):
        node.tip = tip.up(behind)
        await follower.catch_up()
        await followed.follower().catch_up()
        assert await followed.dump() == before
    node.tip = grow(tip, 1)
    await follower.catch_up()
    assert await followed.differences(node.tip) == []


async def test_a_shorter_chain_that_differs_is_a_reorg(node: ForkNode, followed: Followed) -> None:
    tip = grow_many(None, 40, 7)
    node.tip = tip
    follower = followed.follower()
    await follower.catch_up()
    node.tip = grow_many(tip.up(6), 2, 8)
    await follower.catch_up()
    assert await followed.differences(node.tip) == []


@pytest.mark.parametrize("length", [1, 3, 30, 200])
async def test_a_wiped_devnet_is_a_reorg_to_the_root(node: ForkNode, followed: Followed, length: int) -> None:
    node.tip = grow_many(None, 150, 9)
    follower = followed.follower()
    await follower.catch_up()
    node.tip = grow_many(None, length, 10)
    await follower.catch_up()
    assert await followed.differences(node.tip) == []
    assert await followed.dump() == await followed.anew()


async def test_a_fork_below_finality_stops_a_chain_that_cannot_be_wiped(
    node: ForkNode, followed: Followed
) -> None:
    tip = grow_many(None, 60, 11)
    node.tip = tip
    await followed.follower(resettable=False).catch_up()
    before = await followed.dump()
    node.tip = grow_many(tip.up(10), 12, 12)
    with pytest.raises(FinalityBroken):
        await followed.follower(resettable=False).catch_up()
    assert await followed.dump() == before
    node.tip = grow_many(tip.up(3), 4, 13)
    await followed.follower(resettable=False).catch_up()
    assert await followed.differences(node.tip) == []


async def test_a_node_that_forks_while_it_is_read_is_read_again(node: ForkNode, followed: Followed) -> None:
    ours = grow_many(None, 120, 14)
    theirs = grow_many(ours.up(20), 25, 15)
    node.tip = ours
    turns = 0

    def fault(_method: str, result: Any) -> Any:
        nonlocal turns
        turns += 1
        if turns == 40:
            node.tip = theirs
        return result

    node.fault = fault
    for _ in range(5):
        try:
            await followed.follower().catch_up()
        except (ChainMoved, RpcRefused, EchainError):
            continue
    assert await followed.differences(theirs) == []


@pytest.mark.parametrize(("max_span", "max_logs"), [(7, None), (1, None), (None, 12), (20, 30)])
async def test_ranges_shrink_to_what_the_node_allows(
    node: ForkNode, followed: Followed, max_span: int | None, max_logs: int | None
) -> None:
    node.tip = grow_many(None, 120, 16)
    node.max_span, node.max_logs = max_span, max_logs
    await followed.follower().catch_up()
    assert await followed.differences(node.tip) == []


async def test_an_interrupted_backfill_goes_on_where_it_was(node: ForkNode, followed: Followed) -> None:
    node.tip = grow_many(None, 150, 17)
    node.max_span = 10
    answered = 0

    def fault(method: str, result: Any) -> Any:
        nonlocal answered
        answered += method == "eth_getLogs"
        if answered > 12:
            raise Refusal(-32603, "out of order")
        return result

    node.fault = fault
    with pytest.raises((RpcRefused, ChainUnreachable)):
        await followed.follower().catch_up()
    row = await followed.database.fetchrow(
        "SELECT block_number FROM chain_cursors WHERE chain_id = $1", node.chain_id
    )
    assert row is not None
    assert 0 < row["block_number"] < 149
    node.fault = lambda _method, result: result
    node.calls.clear()
    await followed.follower().catch_up()
    assert await followed.differences(node.tip) == []


async def test_a_dead_node_is_told_apart_from_one_that_refuses(node: ForkNode) -> None:
    rpc = Rpc(["http://127.0.0.1:1"], chain_id=node.chain_id, timeout=1)
    with pytest.raises(ChainUnreachable):
        await rpc.head()
    await rpc.close()
    working = Rpc(["http://127.0.0.1:1", node.url], chain_id=node.chain_id, timeout=1)
    with pytest.raises(RpcRefused) as refused:
        await working.call("eth_nothing")
    await working.close()
    assert refused.value.rpc_code == -32601
