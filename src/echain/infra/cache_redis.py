"""The layer of the cache that processes share; whatever fails there means: nothing is there now."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from redis.asyncio import Redis

from echain.infra.redis_guard import RedisGuard

_KEPT_SECONDS: Final = 300
_LEASE_MILLISECONDS: Final = 10_000
_SWEEP_BATCH: Final = 1000
_VOUCHED_SECONDS: Final = 0.3
_VOUCHED_PAUSE_SECONDS: Final = 0.01
_PREFIX: Final = "echain:cache:"

_LOOK_UP: Final = """
local value = redis.call('GET', KEYS[1])
if value then return value end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return false
"""
"""Read, or take the lease: whoever renders may store only while the lease is still its own."""

_STORE: Final = """
if redis.call('GET', KEYS[2]) == ARGV[1] then
    redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
    redis.call('DEL', KEYS[2])
end
return 1
"""


class RedisLayer:
    """Values under leases, so that a slow writer cannot put back what was dropped meanwhile.

    A failure pauses the layer for a second, and is logged once until it works again. When a key could not be
    dropped, everything is dropped before anything is read.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._guard = RedisGuard("cache")
        self._stale = False

    async def look_up(self, key: str, lease: bytes) -> bytes | None:
        """Return what is kept; else None, and ``lease`` is what allows to `store`."""
        if self._stale:
            await self.drop_everything()
        if self._stale:
            return None
        return await self._guard.ask(
            lambda: self._redis.eval(_LOOK_UP, 2, *_names(key), lease, _LEASE_MILLISECONDS)
        )

    async def store(self, key: str, lease: bytes, value: bytes) -> None:
        """Keep ``value`` unless the key was dropped, or leased again, since `look_up`."""
        await self._guard.ask(lambda: self._redis.eval(_STORE, 2, *_names(key), lease, value, _KEPT_SECONDS))

    async def drop(self, keys: Sequence[str]) -> None:
        """Drop values and leases."""
        names = [name for key in keys for name in _names(key)]
        if await self._guard.ask(lambda: self._redis.unlink(*names)) is None:
            self._stale = True

    async def drop_everything(self) -> None:
        """Drop all values and leases of every key."""
        self._stale = (await self._guard.ask(self._sweep)) is None

    async def vouch(self, nonce: str) -> None:
        """Say that everything that was to be dropped by now is; nothing when that is not known."""
        if not self._stale:
            name = f"{_PREFIX}vouched:{nonce}"
            await self._guard.ask(lambda: self._redis.set(name, b"1", ex=_LEASE_MILLISECONDS // 1000))

    async def vouched(self, nonce: str) -> bool:
        """Return whether another process vouches for what is kept, waiting a moment for its word."""
        name, loop = f"{_PREFIX}vouched:{nonce}", asyncio.get_running_loop()
        until = loop.time() + _VOUCHED_SECONDS
        while loop.time() < until:
            if await self._guard.ask(lambda: self._redis.get(name)) is not None:
                return True
            await asyncio.sleep(_VOUCHED_PAUSE_SECONDS)
        return False

    async def _sweep(self) -> bool:
        batch: list[Any] = []
        async for name in self._redis.scan_iter(match=_PREFIX + "*", count=_SWEEP_BATCH):
            batch.append(name)
            if len(batch) == _SWEEP_BATCH:
                await self._redis.unlink(*batch)
                batch.clear()
        if batch:
            await self._redis.unlink(*batch)
        return True


def _names(key: str) -> tuple[str, str]:
    # Braces keep both on one node of a cluster.
    return f"{_PREFIX}{{{key}}}", f"{_PREFIX}{{{key}}}:lease"
