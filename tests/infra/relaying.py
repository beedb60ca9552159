"""Relays and feeds for tests, and waiting until they have done what there was to do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from redis.asyncio import Redis

from echain.infra.database import Database
from echain.infra.feed import Feed
from echain.infra.outbox import publish
from echain.infra.relay import Handler, Relay, Relayed
from echain.kernel.messages import Message


def said(number: int, channel: str = "event:1", block: int | None = None, chain_id: int = 7) -> Message:
    """Return a message that carries a number."""
    return Message((channel,), "test", {"n": number}, None if block is None else chain_id, block)


async def say(database: Database, *messages: Message) -> None:
    async with database.transaction() as tx:
        await publish(tx, messages)


@asynccontextmanager
async def running(work: Awaitable[None]) -> AsyncIterator[asyncio.Task[None]]:
    """Run something endless while the block lasts; its failure fails the test."""
    task = asyncio.ensure_future(work)
    try:
        yield task
    finally:
        task.cancel()
        (ended,) = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(ended, asyncio.CancelledError), ended


@asynccontextmanager
async def relaying(
    database: Database,
    redis: Redis | None,
    handlers: Mapping[str, Handler] | None = None,
    settled_handlers: Mapping[str, Handler] | None = None,
) -> AsyncIterator[None]:
    async with running(Relay(database, redis, handlers, settled_handlers).run()):
        yield


class Listener:
    """Collects what a feed gives out."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.heard: list[Relayed] = []
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def listen(self, after: int | None = None) -> None:
        async for batch in self.feed.batches(after):
            self.heard += batch
            await self.go_on.wait()

    def numbers(self, channel: str = "event:1") -> list[bytes]:
        return [message.data for message in self.heard if message.channel == channel]


@asynccontextmanager
async def listening(feed: Feed, after: int | None = 0) -> AsyncIterator[Listener]:
    listener = Listener(feed)
    async with running(listener.listen(after)):
        yield listener


async def until(holds: Callable[[], Awaitable[object] | object], seconds: float = 20) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(seconds):
        while True:
            now = holds()
            if await now if isinstance(now, Awaitable) else now:
                return
            await asyncio.sleep(0.01)


async def relayed(database: Database) -> None:
    """Wait until the outbox is empty."""

    async def empty() -> bool:
        return await database.fetchval("SELECT count(*) FROM outbox") == 0

    await until(empty)


async def tip(database: Database) -> int:
    number: int = await database.fetchval("SELECT tip FROM relay_cursor")
    return number
