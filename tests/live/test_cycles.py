"""A connection that has ended is freed at once, so that the role may look for garbage rarely."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest
from tests.live.stage import EVENT, Stage, staged

from echain.edge.live.access import Timing
from echain.edge.live.door import Door
from echain.edge.live.session import Session
from echain.edge.live.socket import Socket

UPGRADE = (
    "GET {} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
JOIN = f'420["subscribe:event","{EVENT.removeprefix("event:")}"]'
TIMING = Timing(
    ping_interval=1, ping_timeout=1, upgrade=1, hello=1, request=1, keep_alive=1, resolution=0.02, closing=0.3
)
"""Soon: until its time comes, the wheel of clocks holds what has ended."""

SUBSCRIBE = f'{{"op":"subscribe","channels":["{EVENT}"]}}'


@pytest.fixture
def uncollected() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize(
    ("request_text", "steps"),
    [
        (UPGRADE.format("/socket.io/?EIO=4&transport=websocket"), [("40", b"40{"), (JOIN, b"430[")]),
        (UPGRADE.format("/ws/events"), [(SUBSCRIBE, b"subscribed")]),
        (f"GET /sse/events?channel={EVENT} HTTP/1.1\r\nHost: a\r\n\r\n", []),
        ("GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n", []),
    ],
    ids=["Socket.IO", "WebSocket", "SSE", "HTTP"],
)
async def test_a_connection_leaves_no_cycles_behind(
    request_text: str, steps: list[tuple[str, bytes]]
) -> None:
    async with staged(timing=TIMING) as stage:
        before = alive()
        async with AsyncExitStack() as stack:
            clients = [await opened(stage, stack, request_text, steps) for _ in range(5)]
            hearing = 0 if "/health/" in request_text else len(clients)
            await stage.until(lambda: stage.desk.hub.hearers(EVENT) == hearing)
            assert alive() >= before + len(clients)
            stage.told.sold(count=3)
        await stage.until(lambda: alive() == before)


async def opened(
    stage: Stage, stack: AsyncExitStack, request_text: str, steps: list[tuple[str, bytes]]
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect, ask, say texts as masked frames and wait for what each is answered with."""
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
    stack.callback(writer.transport.abort)
    writer.write(request_text.encode())
    await reader.readuntil(b"\r\n\r\n")
    for text, answer in steps:
        assert len(text) < 126
        writer.write(bytes((0x81, 0x80 | len(text))) + bytes(4) + text.encode())
        await reader.readuntil(answer)
    return reader, writer


def alive() -> int:
    """Return how many objects of connections there are."""
    return sum(isinstance(one, Session | Socket | Door) for one in gc.get_objects())
