"""Who has seen message n never reads what was true before n, in any process, however its listener lags."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis as RedisClient
from tests.infra.relaying import listening as feeding
from tests.infra.relaying import relayed, relaying, said, say, until

from echain.infra.cache import Cache, Kept, invalidate
from echain.infra.database import Database
from echain.infra.feed import Feed, Relayed
from echain.infra.metrics import Metrics
from echain.infra.outbox import publish
from echain.kernel.messages import Message


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[RedisClient]:
    async with RedisClient.from_url(redis_url) as redis:
        yield redis


@pytest.fixture
async def counters(database: Database) -> Database:
    await database.execute("CREATE TABLE counters (name TEXT PRIMARY KEY, value BIGINT)")
    await database.execute("INSERT INTO counters SELECT 'c' || n, 0 FROM generate_series(0, 3) AS n")
    return database


async def raise_counter(database: Database, name: str) -> None:
    """Change a fact, drop its rendering and tell of it, as a projector does."""
    async with database.transaction() as tx:
        value = await tx.fetchval(
            "UPDATE counters SET value = value + 1 WHERE name = $1 RETURNING value", name
        )
        await invalidate(tx, [name])
        await publish(tx, [Message((name,), "test", {"n": value})])


class Reader:
    """Reads through a cache of its own, as a process does."""

    def __init__(self, database: Database, cache: Cache) -> None:
        self.database = database
        self.cache = cache
        self.renderings = 0

    async def read(self, name: str, seen: int) -> int:
        async def render() -> Kept:
            self.renderings += 1
            value = await self.database.fetchval("SELECT value FROM counters WHERE name = $1", name)
            await asyncio.sleep(random.random() * 0.005)
            return Kept(b"%d" % value, b'"%d"' % value)

        return int((await self.cache.get_or_render(name, render, seen=seen)).data)


class DelayedCache(Cache):
    """Hears every notification late, each by another time, but in order."""

    def _hear(self, payload: str) -> None:
        loop = asyncio.get_running_loop()
        due = max(getattr(self, "_due", 0.0), loop.time() + random.random() * 0.03)
        self._due = due
        loop.call_at(due, super()._hear, payload)


class Crowd:
    """Writers who change, and readers who demand what a feed told them."""

    def __init__(self, database: Database, heard: list[Relayed]) -> None:
        self.database = database
        self.heard = heard
        self.stop = asyncio.Event()
        self.reads = 0

    async def write(self, name: str) -> None:
        while not self.stop.is_set():
            await raise_counter(self.database, name)
            await asyncio.sleep(random.random() * 0.1)

    async def demand(self, reader: Reader) -> None:
        while not self.stop.is_set():
            await asyncio.sleep(0)
            if self.heard:
                message = random.choice(self.heard[-3:] if random.random() < 0.5 else self.heard)
                told = int(message.data[5:-1])
                assert await reader.read(message.channel, message.sequence) >= told
                self.reads += 1


async def test_whoever_has_seen_a_message_reads_nothing_older(
    counters: Database, database_url: str, client: RedisClient
) -> None:
    """Four writers and nine readers at three processes, two of which hear late."""
    async with (
        relaying(counters, client),
        feeding(Feed(counters, client)) as listener,
        Cache(database_url, client) as prompt,
        DelayedCache(database_url, client) as late,
        DelayedCache(database_url, None) as alone,
    ):
        crowd = Crowd(counters, listener.heard)
        readers = [Reader(counters, cache) for cache in (prompt, late, alone)]
        async with asyncio.TaskGroup() as group:
            for name in ("c0", "c1", "c2", "c3"):
                group.create_task(crowd.write(name))
            for reader in readers * 3:
                group.create_task(crowd.demand(reader))
            await asyncio.sleep(3)
            crowd.stop.set()
        assert crowd.reads > 1_000
        assert min(cache.reads["memory"] for cache in (prompt, late, alone)) > 50
        assert late.reads["past"] > 50


async def test_a_process_that_has_not_heard_yet_renders_what_is_true_now(
    counters: Database, database_url: str, client: RedisClient
) -> None:
    class Deaf(Cache):
        deaf = False

        def _hear(self, payload: str) -> None:
            if not self.deaf:
                super()._hear(payload)

    cache = Deaf(database_url, client)
    async with cache, relaying(counters, client):
        await until(lambda: cache.listening)
        reader = Reader(counters, cache)
        assert await reader.read("c0", 0) == 0
        cache.deaf = True
        await raise_counter(counters, "c0")
        await relayed(counters)
        assert await reader.read("c0", 0) == 0, "who has seen nothing may still read the old"
        assert await reader.read("c0", 1) == 1
        assert cache.reads["past"] == 1


async def test_what_was_told_before_a_process_began_is_known_to_it(
    counters: Database, database_url: str, client: RedisClient
) -> None:
    async with relaying(counters, client):
        for _ in range(3):
            await raise_counter(counters, "c0")
        await relayed(counters)
        async with Cache(database_url, client) as cache:
            reader = Reader(counters, cache)
            await until(lambda: cache._heard == 3)
            assert [await reader.read("c0", 3) for _ in range(5)] == [3] * 5
            assert reader.renderings == 1


async def test_a_lost_connection_forgets_how_far_it_had_heard(
    counters: Database, database_url: str, client: RedisClient
) -> None:
    async with relaying(counters, client), Cache(database_url, client) as cache:
        await until(lambda: cache.listening)
        await raise_counter(counters, "c0")
        await until(lambda: cache._heard == 1)
        await counters.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'echain cache' AND datname = current_database()"
        )
        await until(lambda: not cache.listening)
        assert cache._heard == 0
        await until(lambda: cache._heard == 1)


async def test_a_flood_of_numbers_from_the_future_renders_one_after_the_other(
    counters: Database, database_url: str
) -> None:
    async with Cache(database_url, None) as cache:
        await until(lambda: cache.listening)
        reader = Reader(counters, cache)
        answers = await asyncio.gather(*(reader.read("c0", 10**18) for _ in range(500)))
        assert answers == [0] * 500
        assert reader.renderings <= 3


async def test_one_of_a_flood_gets_no_rendering_that_began_before_it_asked(
    counters: Database, database_url: str
) -> None:
    async with Cache(database_url, None) as cache:
        await until(lambda: cache.listening)
        reader, far = Reader(counters, cache), 10**18
        for value in range(1, 40):
            flood = [asyncio.create_task(reader.read("c0", far)) for _ in range(random.randint(1, 4))]
            await asyncio.sleep(random.random() * 0.004)
            await counters.execute("UPDATE counters SET value = $1 WHERE name = 'c0'", value)
            assert await reader.read("c0", far) == value
            await asyncio.gather(*flood)


async def test_an_error_past_the_cache_reaches_all_who_share_it(database_url: str) -> None:
    async def fail() -> Kept:
        await asyncio.sleep(0.005)
        raise LookupError

    async with Cache(database_url, None) as cache:
        await until(lambda: cache.listening)
        errors = await asyncio.gather(
            *(cache.get_or_render("c0", fail, seen=9) for _ in range(20)), return_exceptions=True
        )
        assert [type(error) for error in errors] == [LookupError] * 20


async def test_time_alone_drops_what_it_makes_untrue(database_url: str, client: RedisClient) -> None:
    """In this process's memory, and in Redis where another looks it up."""
    renderings = 0

    async def until_ten() -> Kept:
        nonlocal renderings
        renderings += 1
        return Kept(b"upcoming", b'"u"', until=10.0)

    async def over() -> Kept:
        return Kept(b"past", b'"p"')

    async with Cache(database_url, client) as one, Cache(database_url, client) as two:
        await until(lambda: one.listening and two.listening)
        assert (await one.get_or_render("page", until_ten, at=9.0)).data == b"upcoming"
        assert (await one.get_or_render("page", until_ten, at=9.9)).data == b"upcoming"
        assert renderings == 1
        assert one.kept("page", at=9.9) is not None
        assert one.kept("page", at=10.0) is None
        assert (await two.get_or_render("page", over, at=10.0)).data == b"past"
        assert (await one.get_or_render("page", over, at=10.0)).data == b"past"


async def test_reads_are_counted_by_what_answered_them(database_url: str, client: RedisClient) -> None:
    metrics = Metrics()

    async def render() -> Kept:
        return Kept(b"page", b'"t"')

    async with Cache(database_url, client) as other, Cache(database_url, client, metrics) as cache:
        await until(lambda: cache.listening and other.listening)
        await other.get_or_render("theirs", render)
        await cache.get_or_render("theirs", render)
        for _ in range(7):
            await cache.get_or_render("ours", render)
        for _ in range(2):
            await metrics.refresh()
    page = metrics.render().decode()
    for answered, count in (("redis", 1), ("rendered", 1), ("memory", 6)):
        assert f'echain_cache_reads_total{{answered="{answered}"}} {count}.0' in page


async def test_a_mark_is_no_key_and_a_key_no_mark(counters: Database, database_url: str) -> None:
    async with Cache(database_url, None) as cache, relaying(counters, None):
        await until(lambda: cache.listening)
        await say(counters, said(1))
        await until(lambda: cache._heard == 1)
        assert not cache._dropping
