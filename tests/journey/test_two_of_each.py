"""Two of every role at once, behind a proxy that hands each connection to the other API."""

import asyncio
import itertools
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec

from echain.chain import deploy
from echain.chain.rpc import Rpc
from echain.entry.journey import Journey
from echain.entry.settings import read
from echain.entry.up import ROLES, Platform, running
from echain.infra.config import environment_of
from echain.infra.database import Database
from echain.infra.embedded import child
from echain.infra.embedded.child import free_port


@asynccontextmanager
async def proxy(port: int, targets: Sequence[int]) -> AsyncIterator[None]:
    """Pass each new connection to the next of ``targets``."""
    turns = itertools.cycle(targets)

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", next(turns))
        await asyncio.gather(pump(reader, back), pump(there, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    try:
        yield
    finally:
        server.close()


async def answers(url: str) -> None:
    async with aiohttp.ClientSession() as http, asyncio.timeout(30):
        while True:
            try:
                async with http.get(url) as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.05)


async def seconds(platform: Platform, stack: AsyncExitStack, port: int, logs: Path) -> None:
    """Start a second process of every role, which ``stack`` stops."""
    environment = os.environ | environment_of(
        msgspec.structs.replace(platform.config, port=port, realtime_port=free_port())
    )
    for role in ROLES:
        log = stack.enter_context((logs / f"second-{role}.log").open("ab"))
        command = [sys.executable, "-m", "echain.entry.cli", role]
        process = child.spawn(command, environment=environment, output=log, parting=signal.SIGTERM)
        stack.callback(child.stop, process, signal.SIGTERM)
    await answers(f"http://127.0.0.1:{port}/health/ready")


async def test_the_journey_holds_over_two_processes_of_every_role(tmp_path: Path) -> None:
    first, second, front = free_port(), free_port(), free_port()
    config = read(
        {
            "ECHAIN_HOME": str(tmp_path / "home"),
            "ECHAIN_PORT": str(first),
            "ECHAIN_REALTIME_PORT": str(free_port()),
            "ECHAIN_PUBLIC_URL": f"http://127.0.0.1:{front}",
            "ECHAIN_DEVNET_PORT": str(free_port()),
        }
    )
    async with AsyncExitStack() as stack:
        platform = await stack.enter_async_context(running(config, logs=tmp_path))
        await seconds(platform, stack, second, tmp_path)
        await stack.enter_async_context(proxy(front, (first, second)))
        # No kept connections: every request may go to either process.
        connector = aiohttp.TCPConnector(force_close=True)
        jar = aiohttp.CookieJar(unsafe=True)
        http = await stack.enter_async_context(aiohttp.ClientSession(connector=connector, cookie_jar=jar))
        chain = platform.config.chains[0]
        database = await Database.connect(platform.database_url, size=1, name="test")
        deployment = await deploy.recorded(database, chain.chain_id)
        await database.close()
        assert deployment is not None
        rpc = Rpc(chain.rpc_urls, chain_id=chain.chain_id)
        stack.push_async_callback(rpc.close)
        journey = Journey(
            http, f"http://127.0.0.1:{front}", platform.realtime_url, rpc, chain.chain_id, deployment
        )
        steps = [step async for step in journey.run()]
    assert [step.failure for step in steps] == [None] * 16
