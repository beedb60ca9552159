"""How often somebody may do something, counted over all processes by Redis, by each for itself without it.

A process takes a few turns at a time and hands them out itself, so that most requests ask nobody. Never more
turns are handed out than there are, while Redis is there; a few may lie unused in another process.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import msgspec
from redis.asyncio import Redis

from echain.infra.redis_guard import RedisGuard

CAPACITY: Final = 50_000
"""Subjects that one process remembers; those seen longest ago are asked for again."""

_PREFIX: Final = "echain:quota:"
_SHARE: Final = 20
"""A process takes this part of what is left at most, and at least one turn."""

_TAKE: Final = """
local used = tonumber(redis.call('GET', KEYS[1]) or '0')
local left = math.max(0, tonumber(ARGV[1]) - used)
local took = math.min(left, math.max(1, math.floor(left / tonumber(ARGV[3]))))
if took > 0 then redis.call('INCRBY', KEYS[1], took) end
local ends = redis.call('PTTL', KEYS[1])
if ends < 0 then
    ends = tonumber(ARGV[2])
    redis.call('PEXPIRE', KEYS[1], ends)
end
return {took, left - took, ends}
"""
"""Take turns of the window that the first of them began; its end forgets the count."""


class Quota(msgspec.Struct, frozen=True):
    """At most ``most`` turns in ``window_seconds``, counted from the first."""

    name: str
    most: int
    window_seconds: int


class Turn(msgspec.Struct, frozen=True, gc=False):
    """Whether a turn was given, how many are left as far as this process knows, and when all come back."""

    given: bool
    left: int
    seconds: int


class _Lease:
    """Turns that this process holds of a window which has ``most``."""

    __slots__ = ("elsewhere", "ends", "held", "most")

    def __init__(self, held: int, elsewhere: int, ends: float, most: int) -> None:
        self.held = held
        self.elsewhere = elsewhere
        self.ends = ends
        self.most = most

    def allow(self, most: int) -> None:
        """Have another number of turns in this window from now on; those that were used stay used."""
        self.held = max(0, self.held + most - self.most)
        self.most = most


class Quotas:
    """Gives turns; one object a process."""

    def __init__(self, redis: Redis | None, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._redis = redis
        self._monotonic = monotonic
        self._guard = RedisGuard("quota")
        self._leases: OrderedDict[str, _Lease] = OrderedDict()
        self._asking: dict[str, asyncio.Task[None]] = {}

    async def take(self, quota: Quota, subject: str) -> Turn:
        """Use one of the turns that ``subject`` has; never fails, and waits for Redis 250 ms at most.

        A subject whose quota changes keeps its window and what it used of it.
        """
        key = f"{quota.name}:{subject}"
        while True:
            now = self._monotonic()
            lease = self._leases.get(key)
            if (
                lease is None
                or lease.most != quota.most
                or now >= lease.ends
                or (not lease.held and lease.elsewhere)
            ):
                await self._renewed(key, quota)
                continue
            given = lease.held > 0
            if given:
                lease.held -= 1
            return Turn(given, lease.held + lease.elsewhere, max(0, round(lease.ends - now)))

    def spent(self, quota: Quota, subject: str) -> Turn | None:
        """Return the refusal that `take` would give, as far as this process knows; None when it may not."""
        lease = self._leases.get(f"{quota.name}:{subject}")
        now = self._monotonic()
        if lease is None or lease.held or lease.elsewhere or now >= lease.ends:
            return None
        return Turn(given=False, left=0, seconds=max(1, round(lease.ends - now)))

    async def _renewed(self, key: str, quota: Quota) -> None:
        """Take more turns; those who need them at the same time wait for one question to Redis."""
        asking = self._asking.get(key)
        if asking is None:
            asking = self._asking[key] = asyncio.create_task(self._renew(key, quota))
        # One who gives up must not take the answer away from the others.
        await asyncio.shield(asking)

    async def _renew(self, key: str, quota: Quota) -> None:
        try:
            took = await self._take(key, quota)
        finally:
            # Not when the task is over: whoever came between would wait for what is over, which is no waiting
            # at all, and find the same again for ever.
            del self._asking[key]
        now = self._monotonic()
        known = self._leases.get(key)
        if took is not None:
            held, left, milliseconds = took
            self._leases[key] = _Lease(held, left, now + max(milliseconds, 1) / 1000, quota.most)
        elif known is not None and now < known.ends:
            # Redis is away: what it said was left elsewhere is now this process's own to give.
            known.held, known.elsewhere = known.held + known.elsewhere, 0
            known.allow(quota.most)
        else:
            self._leases[key] = _Lease(quota.most, 0, now + quota.window_seconds, quota.most)
        self._leases.move_to_end(key)
        if len(self._leases) > CAPACITY:
            self._leases.popitem(last=False)

    async def _take(self, key: str, quota: Quota) -> tuple[int, int, int] | None:
        redis = self._redis
        if redis is None:
            return None
        return await self._guard.ask(
            lambda: redis.eval(_TAKE, 1, _PREFIX + key, quota.most, quota.window_seconds * 1000, _SHARE)
        )
