"""However often and wherever the sending process is killed, each job is mined once."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

NURSERY = Path(__file__).with_name("nursery.py")
PATIENCE_SECONDS = 3.0


class Nursery:
    """Sending processes, one at a time."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            [sys.executable, NURSERY, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.pid = None

    def spawn(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.pid = int(self.process.stdout.readline())

    def kill(self):
        if self.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self.pid = None

    def close(self):
        self.kill()
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


class Gallows:
    """Stands before the node and kills who sends a transaction, before or after the node has it."""

    def __init__(self, url, nursery):
        self.url = url
        self.nursery = nursery
        self.armed = None
        self.killed = asyncio.Event()

    async def answer(self, request):
        body = await request.read()
        armed = self.armed if b"eth_sendRawTransaction" in body else None
        if armed == "before":
            return self.execute()
        json = {"Content-Type": "application/json"}
        async with aiohttp.request("POST", self.url, data=body, headers=json) as answer:
            content = await answer.read()
        if armed == "after":
            return self.execute()
        return web.Response(body=content, content_type="application/json")

    def execute(self):
        self.armed = None
        self.nursery.kill()
        self.killed.set()
        return web.Response(status=500)


async def mining(world, chance):
    """Mine at an uneven pace, sometimes everything, sometimes nothing."""
    while True:
        await asyncio.sleep(chance.uniform(0.02, 0.25))
        world.mine(chance.choice((1, 1, 2)))


async def enqueueing(world, chance, numbers):
    for number in numbers:
        await asyncio.sleep(chance.uniform(0.0, 0.15))
        await world.enqueue(number)


async def kill_once(nursery, gallows, chance):
    """Start a process and kill it at some point, often right around its showing a transaction."""
    gallows.killed.clear()
    gallows.armed = chance.choice((None, "before", "after"))
    nursery.spawn()
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_SECONDS if gallows.armed else chance.uniform(0.0, 0.6)):
            await gallows.killed.wait()
    gallows.armed = None
    nursery.kill()


async def survive(world, database_url, *, kills, jobs, seed):
    chance = random.Random(seed)
    world.anvil.rpc("evm_setAutomine", False)
    nursery = None
    runner = None
    tasks = []
    try:
        gallows = Gallows(world.anvil.url, None)
        server = web.Application(client_max_size=2**20)
        server.router.add_post("/", gallows.answer)
        runner = web.AppRunner(server)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        nursery = Nursery(database_url, f"http://127.0.0.1:{port}", world.COUNTER.hex(), world.COUNT.hex())
        gallows.nursery = nursery
        tasks = [
            asyncio.create_task(mining(world, chance)),
            asyncio.create_task(enqueueing(world, chance, range(jobs))),
        ]
        for _ in range(kills):
            await kill_once(nursery, gallows, chance)
        await tasks[1]
        nursery.spawn()
        await world.until_status("final", seconds=60)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if nursery is not None:
            nursery.close()
        if runner is not None:
            await runner.cleanup()
    assert sorted(world.counted()) == list(range(jobs))
    assert sorted(job["nonce"] for job in (await world.jobs()).values()) == list(range(jobs))


@pytest.mark.timeout(300)
async def test_thirty_kills_lose_and_double_nothing(world, database_url):
    # Takes about 20 s: thirty processes live and die at real points of their work.
    await survive(world, database_url, kills=30, jobs=60, seed=7)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(4))
async def test_many_kills_lose_and_double_nothing(world, database_url, seed):
    await survive(world, database_url, kills=100, jobs=200, seed=seed)
