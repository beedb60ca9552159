"""Crowds of clients at `echain realtime`, while what they hang on is killed: nobody misses a message."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest
from tests.live.role import Role, all_heard, due, fans, relaying, say

from echain.infra.database import Database
from echain.infra.embedded.redis import Redis


async def test_nobody_misses_a_message_while_processes_are_killed(
    database: Database, own_redis: Redis, role: Callable[..., Role]
) -> None:
    one, two = role(), role()
    for each in (one, two):
        each.start()
    async with relaying(database, own_redis):
        for each in (one, two):
            await each.until_ready()
        async with fans(100, one, two) as crowd:
            chance = random.Random(3)
            for turn in range(6):
                for _ in range(20):
                    await say(database, chance.randint(1, 4))
                    await asyncio.sleep(0.005)
                victim = (one, two)[turn % 2]
                victim.kill()
                await say(database, 3)
                victim.start()
                await asyncio.sleep(0.3)
            await say(database)
            await all_heard(crowd, await due(database))


async def test_nobody_misses_a_message_while_redis_is_killed_and_comes_back(
    database: Database, own_redis: Redis, role: Callable[..., Role]
) -> None:
    one = role()
    one.start()
    async with relaying(database, own_redis):
        await one.until_ready()
        async with fans(50, one) as crowd:
            await say(database, 5)
            own_redis.kill()
            for _ in range(30):
                await say(database, 2)
                await asyncio.sleep(0.02)
            own_redis.start()
            for _ in range(30):
                await say(database, 2)
                await asyncio.sleep(0.02)
            await all_heard(crowd, await due(database))


async def dropped_at_once(count: int, database: Database, own_redis: Redis, one: Role) -> float:
    """Cut everybody off at once while messages are told; return how often the database was asked for them."""
    one.start()
    async with relaying(database, own_redis):
        await one.until_ready()
        async with fans(count, one) as crowd:
            await say(database, 3)
            await all_heard(crowd, await due(database))
            for fan in crowd:
                fan.drop()
            for _ in range(20):
                await say(database, 2)
                await asyncio.sleep(0.01)
            await all_heard(crowd, await due(database), seconds=60)
            return await asyncio.to_thread(one.metric, "echain_live_history_queries_total")


async def test_two_thousand_clients_dropped_at_once_miss_nothing(
    database: Database, own_redis: Redis, role: Callable[..., Role]
) -> None:
    assert await dropped_at_once(2_000, database, own_redis, role()) == 0, "memory answers all of them"


@pytest.mark.soak
async def test_ten_thousand_clients_dropped_at_once_miss_nothing(
    database: Database, own_redis: Redis, role: Callable[..., Role]
) -> None:
    assert await dropped_at_once(10_000, database, own_redis, role()) == 0
