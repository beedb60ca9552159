"""The head is told by whoever is faster: the subscription, or a look when it is silent."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing

from tests.chain.ingest.blocktree import grow, grow_many
from tests.chain.ingest.forknode import ForkNode

from echain.chain.heads import Heads
from echain.chain.rpc import Rpc


async def test_the_present_head_is_told_though_nothing_happens(node: ForkNode, rpc: Rpc) -> None:
    node.tip = grow_many(None, 5, 1)
    async with aclosing(Heads(rpc, ws_urls=[node.ws_url], block_seconds=60).newest()) as heads:
        assert (await asyncio.wait_for(anext(heads), 5)).hash == node.tip.block.hash


async def test_a_subscription_tells_a_head_without_a_look(node: ForkNode, rpc: Rpc) -> None:
    node.tip = grow_many(None, 5, 1)
    async with aclosing(Heads(rpc, ws_urls=[node.ws_url], block_seconds=60).newest()) as heads:
        await anext(heads)
        await _subscribed(node)
        looked = node.calls.count("eth_getBlockByNumber")
        node.tip = grow(node.tip, 2)
        await node.announce()
        began = time.monotonic()
        assert (await asyncio.wait_for(anext(heads), 5)).hash == node.tip.block.hash
        assert time.monotonic() - began < 1
        assert node.calls.count("eth_getBlockByNumber") == looked


async def test_a_silent_subscription_is_doubted(node: ForkNode, rpc: Rpc) -> None:
    node.tip = grow_many(None, 5, 1)
    async with aclosing(Heads(rpc, ws_urls=[node.ws_url], block_seconds=0.2).newest()) as heads:
        await anext(heads)
        await _subscribed(node)
        node.tip = grow(node.tip, 3)
        assert (await asyncio.wait_for(anext(heads), 5)).hash == node.tip.block.hash


async def test_without_a_websocket_the_node_is_asked(node: ForkNode, rpc: Rpc) -> None:
    node.tip = grow_many(None, 5, 1)
    for ws_urls in ([], ["ws://127.0.0.1:1"], ["ws://127.0.0.1:1", node.ws_url]):
        async with aclosing(Heads(rpc, ws_urls=ws_urls, block_seconds=0.2).newest()) as heads:
            await anext(heads)
            node.tip = grow(node.tip, 4)
            assert (await asyncio.wait_for(anext(heads), 5)).hash == node.tip.block.hash


async def test_heads_that_nobody_looked_at_are_left_out(node: ForkNode, rpc: Rpc) -> None:
    node.tip = grow_many(None, 5, 1)
    async with aclosing(Heads(rpc, ws_urls=[node.ws_url], block_seconds=60).newest()) as heads:
        await anext(heads)
        await _subscribed(node)
        for seed in range(5):
            node.tip = grow(node.tip, seed)
            await node.announce()
        await asyncio.sleep(0.2)
        assert (await asyncio.wait_for(anext(heads), 5)).hash == node.tip.block.hash


async def test_a_websocket_of_another_chain_is_not_listened_to(node: ForkNode, rpc: Rpc) -> None:
    node.tip = grow_many(None, 5, 1)
    async with ForkNode(node.chain_id + 500_000).serving() as other:
        other.tip = grow_many(None, 9, 2)
        async with aclosing(Heads(rpc, ws_urls=[other.ws_url], block_seconds=0.5).newest()) as heads:
            await anext(heads)
            await asyncio.sleep(0.3)
            await other.announce()
            node.tip = grow(node.tip, 6)
            assert (await asyncio.wait_for(anext(heads), 5)).hash == node.tip.block.hash


async def test_a_silent_subscription_is_made_anew(node: ForkNode, rpc: Rpc) -> None:
    node.tip = grow_many(None, 5, 1)
    async with aclosing(Heads(rpc, ws_urls=[node.ws_url], block_seconds=0.2).newest()) as heads:
        await anext(heads)
        await _subscribed(node)
        first = node.subscriptions
        for seed in range(20):
            node.tip = grow(node.tip, seed)
            assert (await asyncio.wait_for(anext(heads), 5)).hash == node.tip.block.hash
            if node.subscriptions > first and node.subscribers == 1:
                break
        assert node.subscriptions > first
        while not node.subscribers:
            await asyncio.sleep(0.01)
        node.tip = grow(node.tip, 99)
        await node.announce()
        assert (await asyncio.wait_for(anext(heads), 5)).hash == node.tip.block.hash


async def test_of_several_subscriptions_any_one_is_enough(node: ForkNode, rpc: Rpc) -> None:
    node.tip = grow_many(None, 5, 1)
    async with ForkNode(node.chain_id).serving() as second:
        second.tip = node.tip
        urls = ["ws://127.0.0.1:1", node.ws_url, second.ws_url]
        async with aclosing(Heads(rpc, ws_urls=urls, block_seconds=60).newest()) as heads:
            await anext(heads)
            await _subscribed(node)
            await _subscribed(second)
            looked = node.calls.count("eth_getBlockByNumber")
            for seed, teller in enumerate((second, node, second, node)):
                node.tip = second.tip = grow(node.tip, seed)
                await teller.announce()
                assert (await asyncio.wait_for(anext(heads), 5)).hash == node.tip.block.hash
            assert node.calls.count("eth_getBlockByNumber") == looked


async def test_a_subscription_that_jumps_far_ahead_is_not_taken_at_its_word(node: ForkNode, rpc: Rpc) -> None:
    node.tip = grow_many(None, 5, 1)
    async with ForkNode(node.chain_id).serving() as liar:
        liar.tip = grow_many(None, 300, 2)
        async with aclosing(Heads(rpc, ws_urls=[liar.ws_url], block_seconds=60).newest()) as heads:
            await anext(heads)
            await _subscribed(liar)
            await liar.announce()
            node.tip = grow(node.tip, 3)
            await liar.announce()
            assert (await asyncio.wait_for(anext(heads), 5)).hash == node.tip.block.hash


async def _subscribed(node: ForkNode) -> None:
    while not node.subscribers:
        await asyncio.sleep(0.01)
    # The look that follows a subscription.
    await asyncio.sleep(0.3)
