"""All messages in order, for a process that serves clients: from Redis if it is there, else from PostgreSQL.

Numbers have no gaps and become visible in their order, so a number tells whether anything was missed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from typing import Final

import msgspec
import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from echain.infra import messagestore
from echain.infra.database import Database, DatabaseUnavailable
from echain.infra.live import CHANNEL, Batch, decoded
from echain.infra.messagestore import Relayed
from echain.infra.redis_guard import heed_cancellation
from echain.kernel.errors import EchainError, Kind

__all__ = ["Feed", "MessagesGone", "Relayed"]

_SILENCE_SECONDS: Final = 1.0
"""After so much silence PostgreSQL is asked whether it is true."""

_WITHOUT_REDIS_SECONDS: Final = 0.1
_PING_SECONDS: Final = 5.0
_RETRY_SECONDS: Final = 0.2
_FILLED: Final = 1_000
_HEARD_BATCHES: Final = 512
"""What waits for a consumer that pauses; beyond that it is read again when it goes on."""

_log = structlog.get_logger(__name__)


class MessagesGone(EchainError):
    """Messages that are needed are kept no more; read the present state and start from there."""

    kind = Kind.UNAVAILABLE
    code = "messages.gone"


class Feed:
    """Hears every message once; also tells what was said before."""

    def __init__(self, database: Database, redis: Redis | None) -> None:
        self._database = database
        self._redis = redis
        self._heard: deque[Batch] = deque()
        self._woken = asyncio.Event()
        self._listening = False
        self._last = 0

    @property
    def last(self) -> int:
        """The number of the last message that `batches` gave out."""
        return self._last

    async def tip(self) -> int:
        """Return the number of the newest message there is, 0 before the first."""
        async with self._database.connection() as connection:
            return await messagestore.tip(connection)

    async def oldest(self) -> int:
        """Return the number of the oldest message that is kept; who needs an older one must read afresh."""
        async with self._database.connection() as connection:
            return await messagestore.oldest(connection)

    async def history(self, channels: Sequence[str], after: int, limit: int) -> list[Relayed]:
        """Return the next messages after a number on any of these channels, in order, at most ``limit``.

        Raises:
            DatabaseUnavailable: PostgreSQL does not answer.
        """
        async with self._database.connection() as connection:
            return await messagestore.on_channels(connection, channels, after, limit)

    async def batches(self, after: int | None = None) -> AsyncGenerator[Sequence[Relayed], None]:
        """Yield all messages after a number, by default those to come: each once, in order, without end.

        Outages of Redis and PostgreSQL only delay. One iteration at a time. Whoever takes long between two
        batches slows nobody and misses nothing.

        Raises:
            MessagesGone: this feed was away for longer than messages are kept, or the numbers began anew.
        """
        self._last = await self._persisting_tip() if after is None else after
        self._heard.clear()
        listening = asyncio.create_task(self._listen_forever())
        try:
            while True:
                batch = await self._next_heard()
                if batch is None or batch.after > self._last:
                    async for filled in self._missed(None if batch is None else batch.after):
                        yield filled
                if batch is not None and (fresh := batch.messages[max(0, self._last - batch.after) :]):
                    yield self._given(fresh)
        finally:
            listening.cancel()
            with suppress(asyncio.CancelledError):
                await listening

    async def _next_heard(self) -> Batch | None:
        """Return what Redis says next; None after silence, and whenever Redis has come back."""
        if not self._heard:
            self._woken.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(_SILENCE_SECONDS if self._listening else _WITHOUT_REDIS_SECONDS):
                    await self._woken.wait()
        return self._heard.popleft() if self._heard else None

    async def _missed(self, upto: int | None) -> AsyncGenerator[Sequence[Relayed], None]:
        """Yield what PostgreSQL has after the last message, at least up to a number when one is given."""
        while True:
            try:
                async with self._database.connection() as connection:
                    oldest, tip = await messagestore.bounds(connection)
                    messages = await messagestore.since(connection, self._last, _FILLED)
            except DatabaseUnavailable:
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            if tip < self._last or oldest > self._last + 1:
                raise MessagesGone(last=self._last, oldest=oldest, tip=tip)
            if messages and messages[0].sequence != self._last + 1:
                # Swept in this very moment.
                continue
            if messages:
                yield self._given(messages)
            if self._last >= max(tip, upto or 0):
                return

    async def _persisting_tip(self) -> int:
        while True:
            try:
                return await self.tip()
            except DatabaseUnavailable:
                await asyncio.sleep(_RETRY_SECONDS)

    def _given(self, messages: Sequence[Relayed]) -> Sequence[Relayed]:
        self._last = messages[-1].sequence
        return messages

    # --- Redis ---

    async def _listen_forever(self) -> None:
        if self._redis is None:
            return
        told = False
        while True:
            pubsub = self._redis.pubsub()
            try:
                await pubsub.subscribe(CHANNEL)
                await self._listen(pubsub)
            except (RedisError, OSError, TimeoutError) as error:
                heed_cancellation()
                if not told and not self._listening:
                    _log.warning("feed.redis_gone", reason=str(error) or type(error).__name__)
                told = not self._listening
            finally:
                self._listening = False
                with suppress(RedisError, OSError, TimeoutError):
                    await pubsub.aclose()
            await asyncio.sleep(_RETRY_SECONDS)

    async def _listen(self, pubsub: PubSub) -> None:
        """Take in batches until the connection fails."""
        waiting_for_pong = False
        while True:
            message = await pubsub.get_message(timeout=_PING_SECONDS)
            heed_cancellation()
            if message is None:
                if waiting_for_pong:
                    raise TimeoutError
                await pubsub.ping()
                waiting_for_pong = True
                continue
            waiting_for_pong = False
            if message["type"] == "subscribe":
                # What was said before is found in PostgreSQL, which silence up to now makes us ask.
                self._listening = True
                self._woken.set()
            elif message["type"] == "message":
                payload = message["data"]
                assert isinstance(payload, bytes), "the client decodes nothing"
                try:
                    self._hear(decoded(payload))
                except msgspec.DecodeError:
                    # From a relay of another version, as in a rolling update: PostgreSQL says the same.
                    self._woken.set()

    def _hear(self, batch: Batch) -> None:
        if len(self._heard) >= _HEARD_BATCHES:
            self._heard.clear()
        self._heard.append(batch)
        self._woken.set()
