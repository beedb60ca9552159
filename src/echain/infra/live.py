"""How moved messages reach the processes that serve clients: one payload a batch over one Redis channel.

Redis only makes it fast. Each payload says which message it follows, so whoever misses one reads the gap from
PostgreSQL; a payload without messages says how far the numbers go.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final

import msgspec
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from echain.infra.messagestore import Relayed
from echain.infra.redis_guard import heed_cancellation

CHANNEL: Final = "echain:live"

_PAYLOAD_MESSAGES: Final = 1_000
_WAITING_PAYLOADS: Final = 256
"""A Redis slower than this many is not followed any more; feeds read PostgreSQL then."""

_PATIENCE_SECONDS: Final = 1.0
_RETRY_SECONDS: Final = 0.25

_log = structlog.get_logger(__name__)


class Batch(msgspec.Struct, frozen=True, array_like=True):
    """Messages in order, the first of which follows number ``after``; without any, ``after`` is the tip."""

    after: int
    messages: list[Relayed]


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Batch)


def decoded(payload: bytes) -> Batch:
    """Return the batch of a payload.

    Raises:
        msgspec.DecodeError: it is none of ours, or of another version.
    """
    return _decoder.decode(payload)


class Publisher:
    """Tells Redis in order, in its own time; what Redis misses is replaced by the tip once it is back."""

    def __init__(self, redis: Redis | None) -> None:
        self._redis = redis
        self._waiting: deque[Batch] = deque()
        self._tip = 0
        self._woken = asyncio.Event()

    def tell(self, messages: Sequence[Relayed]) -> None:
        """Have messages published that follow all told before."""
        self._tip = messages[-1].sequence
        if self._redis is None:
            return
        for at in range(0, len(messages), _PAYLOAD_MESSAGES):
            part = list(messages[at : at + _PAYLOAD_MESSAGES])
            self._waiting.append(Batch(part[0].sequence - 1, part))
        if len(self._waiting) > _WAITING_PAYLOADS:
            self.jump(self._tip)
        self._woken.set()

    def jump(self, tip: int) -> None:
        """Say only how far the numbers go, instead of what was to be told."""
        self._tip = tip
        self._waiting.clear()
        self._waiting.append(Batch(tip, []))
        self._woken.set()

    async def run(self) -> None:
        """Publish until cancelled; a Redis that is away is asked again four times a second."""
        if self._redis is None:
            return
        told = False
        while True:
            await self._woken.wait()
            self._woken.clear()
            while self._waiting:
                try:
                    async with asyncio.timeout(_PATIENCE_SECONDS):
                        await self._redis.publish(CHANNEL, _encoder.encode(self._waiting.popleft()))
                except (RedisError, OSError, TimeoutError) as error:
                    heed_cancellation()
                    if not told:
                        _log.warning("relay.redis_gone", reason=str(error) or type(error).__name__)
                    told = True
                    await asyncio.sleep(_RETRY_SECONDS)
                    self.jump(self._tip)
                else:
                    heed_cancellation()
                    if told:
                        _log.info("relay.redis_back")
                    told = False
