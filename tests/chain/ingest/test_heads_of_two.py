"""A head counts once a second endpoint has it: forged blocks and far heads of one liar move nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.chain.ingest.blocktree import Scene, grow, grow_many, grown
from tests.chain.ingest.forknode import ForkNode, header
from tests.chain.ingest.projections import Followed

from echain.chain import witnesses
from echain.chain.follow import Follower
from echain.chain.rpc import Rpc
from echain.chain.types import Block
from echain.infra.database import Database
from echain.kernel.evm import Hash32

DEPTH = 3


@asynccontextmanager
async def two(node: ForkNode, *, first: bool = False) -> AsyncGenerator[tuple[ForkNode, Rpc]]:
    """Yield a second endpoint of the same chain, and a client of both; ``first``: the second is preferred."""
    async with ForkNode(node.chain_id).serving() as second:
        second.tip = node.tip
        urls = [second.url, node.url] if first else [node.url, second.url]
        rpc = Rpc(urls, chain_id=node.chain_id, timeout=5, confirmations=DEPTH)
        try:
            yield second, rpc
        finally:
            await rpc.close()


@asynccontextmanager
async def following(follower: Follower) -> AsyncGenerator[None]:
    running = asyncio.create_task(follower.run())
    try:
        yield
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def reached(follower: Follower, number: int) -> None:
    async with asyncio.timeout(15):
        while follower.reached < number:
            await asyncio.sleep(0.02)


async def finalized(database: Database, node: ForkNode) -> int:
    return await database.fetchval(
        "SELECT finalized_number FROM chain_cursors WHERE chain_id = $1", node.chain_id
    )


@pytest.mark.parametrize("liar_first", [True, False])
async def test_forged_heads_are_not_ingested_and_who_tells_them_is_put_aside(
    node: ForkNode, database: Database, liar_first: bool
) -> None:
    node.tip = grow_many(None, 20, 1)
    async with two(node, first=liar_first) as (liar, rpc):
        followed = Followed(node, rpc, database)
        follower = followed.follower(resettable=False, blooms=False)
        async with following(follower):
            await reached(follower, 19)
            for _ in range(10):
                liar.tip = grown(liar.tip, (), Scene())
                await asyncio.sleep(0.1)
            assert follower.reached == 19
            assert await finalized(database, node) <= 19 - DEPTH
            for seed in range(20):
                node.tip = grow(node.tip, seed)
                await asyncio.sleep(0.15)
            await reached(follower, 39)
        assert await followed.differences(node.tip) == []
        assert {one.status for one in rpc.health()} == {"quarantined", "ok"}
        # Nothing is proven: what the other one says alone makes nothing final.
        assert await finalized(database, node) <= 19


async def test_forged_heads_from_a_subscription_are_not_ingested(node: ForkNode, database: Database) -> None:
    node.tip = grow_many(None, 20, 1)
    async with two(node) as (liar, _):
        rpc = Rpc([node.url], chain_id=node.chain_id, timeout=5)
        followed = Followed(node, rpc, database)
        follower = followed.follower(resettable=False, ws_urls=(node.ws_url, liar.ws_url))
        async with following(follower):
            while not (liar.subscribers and node.subscribers):
                await asyncio.sleep(0.02)
            await reached(follower, 19)
            for _ in range(8):
                liar.tip = grown(liar.tip, (), Scene())
                await liar.announce()
                await asyncio.sleep(0.05)
            assert follower.reached == 19
            for seed in range(6):
                node.tip = grow(node.tip, seed)
                await node.announce()
                await asyncio.sleep(0.05)
            await reached(follower, 25)
        await rpc.close()
        assert await followed.differences(node.tip) == []
        assert await finalized(database, node) == 25 - DEPTH


async def test_two_honest_ones_outvote_a_liar_and_finality_goes_on(
    node: ForkNode, database: Database
) -> None:
    node.tip = grow_many(None, 20, 1)
    async with two(node) as (liar, _), two(node) as (third, _):
        rpc = Rpc([liar.url, node.url, third.url], chain_id=node.chain_id, timeout=5, confirmations=DEPTH)
        follower = Followed(node, rpc, database).follower(resettable=False, blooms=False)
        async with following(follower):
            await reached(follower, 19)
            for seed in range(12):
                liar.tip = grown(liar.tip, (), Scene())
                node.tip = third.tip = grow(node.tip, seed)
                await asyncio.sleep(0.1)
            await reached(follower, 31)
        assert await finalized(database, node) == 31 - DEPTH
        await rpc.close()


class Far(ForkNode):
    """Tells of a head that it cannot show any block before."""

    ahead = 5_000

    def result(self, method: str, params: Any) -> Any:
        if method == "eth_getBlockByNumber" and params[0] == "latest":
            number = self.tip.block.number + self.ahead
            return header(Block(number, Hash32(b"\xab" * 32), Hash32(b"\xcd" * 32), 1_700_000_000, 0))
        return super().result(method, params)


@pytest.mark.parametrize("ahead", [4, 5_000, 2**40, 2**64])
@pytest.mark.parametrize("liar_first", [True, False])
async def test_a_far_head_that_cannot_be_shown_makes_nobody_look_late(
    node: ForkNode, database: Database, ahead: int, liar_first: bool
) -> None:
    node.tip = grow_many(None, 20, 1)
    liar = Far(node.chain_id)
    liar.tip, liar.ahead = node.tip, ahead
    async with liar.serving():
        urls = [liar.url, node.url] if liar_first else [node.url, liar.url]
        rpc = Rpc(urls, chain_id=node.chain_id, timeout=5, confirmations=DEPTH)
        follower = Followed(node, rpc, database).follower(resettable=False)
        async with following(follower):
            await reached(follower, 19)
            for seed in range(10):
                node.tip = liar.tip = grow(node.tip, seed)
                await reached(follower, node.tip.block.number)
                honest = rpc.health()[1 if liar_first else 0]
                assert honest.status == "ok"
            for _ in range(4):
                await rpc._endpoints.survey()  # pyright: ignore[reportPrivateUsage] - else it comes every 2 s
            assert rpc.health()[0 if liar_first else 1].status == "quarantined"
        await rpc.close()


async def test_a_second_that_is_a_moment_late_is_waited_for(node: ForkNode, database: Database) -> None:
    node.tip = grow_many(None, 20, 1)
    async with two(node) as (late, rpc):
        follower = Followed(node, rpc, database).follower()
        await follower.catch_up()
        node.tip = grow(node.tip, 5)
        catching_up = asyncio.create_task(follower.catch_up())
        await asyncio.sleep(0.05)
        assert follower.reached == 19
        late.tip = node.tip
        await catching_up
        assert follower.reached == 20


async def test_what_both_have_is_ingested_of_one_that_stays_behind(
    node: ForkNode, database: Database
) -> None:
    node.tip = grow_many(None, 20, 1)
    async with two(node) as (behind, rpc):
        follower = Followed(node, rpc, database).follower()
        node.tip = grow_many(node.tip, 2, 5)
        await follower.catch_up()
        assert follower.reached == 19
        assert [one.status for one in rpc.health()] == ["ok", "ok"]
        behind.tip = node.tip
        await follower.catch_up()
        assert follower.reached == 21


async def test_one_that_is_stuck_holds_nobody_up_for_long(
    node: ForkNode, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(witnesses, "STUCK_SECONDS", 0.5)
    node.tip = grow_many(None, 20, 1)
    async with two(node) as (_, rpc):
        follower = Followed(node, rpc, database).follower()
        async with following(follower):
            await reached(follower, 19)
            for seed in range(10):
                node.tip = grow(node.tip, seed)
                await asyncio.sleep(0.1)
            await reached(follower, 29)
        assert rpc.health()[0].status == "ok"


async def test_what_a_head_costs_with_one_endpoint_and_with_two(node: ForkNode, database: Database) -> None:
    node.tip = grow_many(None, 20, 1)
    async with two(node) as (second, both):
        alone = Rpc([node.url], chain_id=node.chain_id, timeout=5)
        asked = {alone: 0, both: 0}
        for rpc in asked:
            follower = Followed(node, rpc, database).follower()
            await follower.catch_up()
            # The survey that begins with the first question.
            await asyncio.sleep(0.1)
            for _ in range(5):
                node.tip = second.tip = grown(node.tip, (), Scene())
                head = await rpc.head()
                before = len(node.calls) + len(second.calls)
                await follower.reach(head)
                asked[rpc] += len(node.calls) + len(second.calls) - before
                assert follower.reached == head.number
        assert (asked[alone], asked[both]) == (0, 5)
        await alone.close()
