"""A screen that hears of sales as a browser would: a Socket.IO client, as the demo plays it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

_PATIENCE_SECONDS = 30.0


@dataclass
class Screen:
    """What was heard on one event's channel: each message, and when by the monotonic clock."""

    heard: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def hear(self, message: dict[str, Any]) -> None:
        self.heard.append((time.monotonic(), message))
        self._news.set()

    async def sales(self, count: int) -> list[tuple[float, dict[str, Any]]]:
        """Return the first ``count`` sales, once they are heard.

        Raises:
            TimeoutError: not within 30 s.
        """
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while True:
                self._news.clear()
                sales = [one for one in self.heard if one[1]["type"] == "ticket_sold"]
                if len(sales) >= count:
                    return sales[:count]
                await self._news.wait()


@asynccontextmanager
async def listening(
    http: aiohttp.ClientSession, realtime_url: str, event_id: str
) -> AsyncGenerator[Screen, None]:
    """Join an event by the name that clients of the existing platform use, and listen while the block lasts.

    Raises:
        ConnectionError: the channel may not be joined.
    """
    screen = Screen()
    async with http.ws_connect(f"{realtime_url}/socket.io/?EIO=4&transport=websocket") as socket:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await socket.receive_str()
            await socket.send_str("40")
            await socket.receive_str()
            await socket.send_str(f"420{json.dumps(['join-event', event_id])}")
            joined = json.loads((await socket.receive_str()).removeprefix("430"))[0]
        if not joined["success"]:
            raise ConnectionError(joined["error"]["message"])
        hearing = asyncio.create_task(_hear(socket, screen))
        try:
            yield screen
        finally:
            hearing.cancel()


async def _hear(socket: aiohttp.ClientWebSocketResponse, screen: Screen) -> None:
    async for message in socket:
        text = str(message.data)
        if text == "2":
            await socket.send_str("3")
        elif text.startswith("42"):
            name, said = json.loads(text[2:])
            if name == said["type"]:
                screen.hear(said)
