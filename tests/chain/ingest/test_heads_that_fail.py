"""What nobody foresaw ends neither in silence nor in the process's end: it is told, and tried again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from structlog.testing import capture_logs
from tests.chain.ingest.blocktree import grow_many
from tests.chain.ingest.forknode import ForkNode
from tests.chain.ingest.projections import Followed

from echain.chain.heads import Heads
from echain.chain.rpc import Lie, Rpc

UNREADABLE = "Thu, 01 Jan 2026 00:00:00 +99999999999999999999"


@asynccontextmanager
async def refusing(retry_after: str) -> AsyncIterator[str]:
    """Serve an endpoint that is always asked too often."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=429, headers={"Retry-After": retry_after}, text="slow down")

    application = web.Application()
    application.router.add_post("/", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("retry_after", [UNREADABLE, "²", "inf", "-1", ""])
async def test_an_unreadable_retry_after_leaves_the_others_to_be_asked(
    node: ForkNode, retry_after: str
) -> None:
    node.tip = grow_many(None, 5, 1)
    async with refusing(retry_after) as limited:
        rpc = Rpc([limited, node.url], chain_id=node.chain_id, timeout=5)
        async with aclosing(Heads(rpc, ws_urls=[], block_seconds=0.2).newest()) as heads:
            assert (await asyncio.wait_for(anext(heads), 8)).hash == node.tip.block.hash
        await rpc.close()


class Broken(Exception):
    """What nobody foresaw."""


async def test_heads_raise_what_nobody_foresaw(
    node: ForkNode, rpc: Rpc, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.tip = grow_many(None, 5, 1)
    async with aclosing(Heads(rpc, ws_urls=[], block_seconds=0.2).newest()) as heads:
        await anext(heads)

        async def head() -> Any:
            raise Broken

        monkeypatch.setattr(rpc, "head", head)
        with pytest.raises(Broken):
            await asyncio.wait_for(anext(heads), 5)


async def test_a_follower_logs_what_nobody_foresaw_and_goes_on(
    node: ForkNode, rpc: Rpc, followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.tip = grow_many(None, 5, 1)
    honest, failures = rpc.head, 3

    async def head() -> Any:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise Broken
        return await honest()

    monkeypatch.setattr(rpc, "head", head)
    follower = followed.follower()
    with capture_logs() as logged:
        running = asyncio.create_task(follower.run())
        while follower.reached < node.tip.block.number:
            assert not running.done()
            await asyncio.sleep(0.02)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert [entry["event"] for entry in logged].count("following failed") == 3


@pytest.mark.parametrize("field", ["number", "timestamp"])
@pytest.mark.parametrize("value", ["0x8000000000000000", hex(2**64), hex(2**300), "-0x1"])
async def test_a_number_that_no_chain_reaches_is_a_lie(
    node: ForkNode, rpc: Rpc, field: str, value: str
) -> None:
    node.tip = grow_many(None, 5, 1)
    node.fault = lambda method, result: (
        dict(result, **{field: value}) if method == "eth_getBlockByNumber" else result
    )
    with pytest.raises(Lie):
        await rpc.head()
