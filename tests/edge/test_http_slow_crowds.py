"""Hundreds of slow connections at once: others are served, memory stays bounded, and they end."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

import psutil
import pytest
from tests.edge.example import THING
from tests.edge.slowserver import SECONDS

CROWD = 500
MOST_BYTES = 120_000_000
"""What a head (64 KiB) and a body (64 KiB) of each could take, and as much again for all else."""

READ = f"GET /api/v1/things/{THING.id} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
DOCUMENT = b"GET /api/v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: "
BODY = (
    b"POST /api/v1/touch HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Content-Length: 65000\r\n\r\n"
)


class Served:
    """The server's port, and its memory."""

    def __init__(self, port: int, process: psutil.Process) -> None:
        self.port = port
        self._process = process

    @property
    def bytes(self) -> int:
        return self._process.memory_info().rss

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def read_seconds(self) -> float:
        """Return how long an honest read takes."""
        began = time.monotonic()
        reader, writer = await self.connect()
        writer.write(READ)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()
        return time.monotonic() - began


@pytest.fixture
def served() -> Iterator[Served]:
    with subprocess.Popen([sys.executable, "-m", "tests.edge.slowserver"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        yield Served(port, psutil.Process(process.pid))
        process.kill()


async def drip(served: Served, start: bytes, ended: list[float]) -> None:
    """Send much at once, then a little again and again, until the server has had enough."""
    reader, writer = await served.connect()
    began = time.monotonic()
    with suppress(ConnectionError):
        writer.write(start + b" " * 50_000)
        reading = asyncio.create_task(reader.read(-1))
        while not reading.done():
            writer.write(b" ")
            await asyncio.wait([reading], timeout=0.5)
        await reading
    ended.append(time.monotonic() - began)
    writer.close()


async def test_slow_heads_and_bodies_of_a_crowd_end_and_cost_little(served: Served) -> None:
    before, most, slowest = served.bytes, 0, 0.0
    ended: list[float] = []
    crowd = [
        asyncio.create_task(drip(served, HEAD if number % 2 else BODY, ended)) for number in range(CROWD)
    ]
    while not all(one.done() for one in crowd):
        slowest = max(slowest, await served.read_seconds())
        most = max(most, served.bytes - before)
        await asyncio.sleep(0.1)
    await asyncio.gather(*crowd)
    assert len(ended) == CROWD
    assert min(ended) >= SECONDS / 2, "they had been let go at once"
    assert most < MOST_BYTES
    assert slowest < SECONDS


async def unread(served: Served) -> float:
    """Ask for far more than the kernel's buffers take and read nothing; return when the server gives up."""
    reader, writer = await served.connect()
    reader._transport.pause_reading()  # pyright: ignore[reportAttributeAccessIssue] - before anything comes
    began = time.monotonic()
    with suppress(ConnectionError):
        for _ in range(2_000):
            writer.write(DOCUMENT)
            await asyncio.sleep(0)
        while not writer.transport.is_closing():
            # What is written to a connection that was reset says so.
            writer.write(b"\r\n")
            await asyncio.sleep(0.05)
    return time.monotonic() - began


async def test_clients_that_do_not_read_are_let_go(served: Served) -> None:
    before = served.bytes
    async with asyncio.timeout(60):
        seconds = await asyncio.gather(*(unread(served) for _ in range(10)))
    assert min(seconds) >= SECONDS / 2, "they had been let go for something else"
    assert served.bytes - before < MOST_BYTES
    assert await served.read_seconds() < SECONDS
