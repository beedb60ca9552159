"""Rendered bytes are shared, and never older than the last commit that changed them."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from redis.asyncio import Redis as RedisClient

from echain.infra.cache import Cache, Kept, invalidate, payloads
from echain.infra.cache_redis import RedisLayer
from echain.infra.database import Database
from echain.infra.embedded.postgres import Postgres
from echain.infra.embedded.redis import Redis

Render = Callable[[], Awaitable[Kept]]


def kept(data: bytes) -> Kept:
    return Kept(data, b'"tag of %b"' % data)


async def listening(cache: Cache, *, yes: bool = True) -> None:
    async with asyncio.timeout(10):
        while cache.listening is not yes:
            await asyncio.sleep(0.005)


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[RedisClient]:
    async with RedisClient.from_url(redis_url) as redis:
        yield redis


@pytest.fixture
async def cache(database_url: str, client: RedisClient) -> AsyncIterator[Cache]:
    async with Cache(database_url, client) as one:
        await listening(one)
        yield one


@pytest.fixture
async def counter(database: Database) -> Database:
    await database.execute("CREATE TABLE counter (value BIGINT)")
    await database.execute("INSERT INTO counter VALUES (0)")
    return database


def reading(database: Database, *, slow: bool = False) -> Render:
    async def render() -> Kept:
        value = await database.fetchval("SELECT value FROM counter")
        if slow:
            await asyncio.sleep(random.random() * 0.005)
        return kept(str(value).encode())

    return render


async def read(cache: Cache, key: str, render: Render, seen: int = 0) -> bytes:
    return (await cache.get_or_render(key, render, seen=seen)).data


async def raise_counter(database: Database, key: str = "counter") -> int:
    async with database.transaction() as tx:
        value = await tx.fetchval("UPDATE counter SET value = value + 1 RETURNING value")
        await invalidate(tx, [key])
    return int(value)


async def becomes(cache: Cache, render: Render, expected: bytes) -> None:
    async with asyncio.timeout(5):
        while await read(cache, "counter", render) != expected:
            await asyncio.sleep(0.002)


async def test_those_who_ask_together_share_one_rendering(cache: Cache) -> None:
    calls = 0

    async def render() -> Kept:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0.05)
        return kept(b"page")

    answers = await asyncio.gather(*(read(cache, "page", render) for _ in range(50)))
    assert answers == [b"page"] * 50
    assert calls == 1


async def test_one_who_gives_up_takes_nothing_from_the_others(cache: Cache) -> None:
    async def render() -> Kept:
        await asyncio.sleep(0.05)
        return kept(b"page")

    first = asyncio.create_task(cache.get_or_render("page", render))
    second = asyncio.create_task(cache.get_or_render("page", render))
    await asyncio.sleep(0.01)
    first.cancel()
    assert (await second).data == b"page"


async def test_an_error_reaches_all_who_wait_and_is_not_kept(cache: Cache) -> None:
    async def fail() -> Kept:
        await asyncio.sleep(0.01)
        raise LookupError

    async def render() -> Kept:
        return kept(b"page")

    errors = await asyncio.gather(
        *(cache.get_or_render("page", fail) for _ in range(3)), return_exceptions=True
    )
    assert [type(error) for error in errors] == [LookupError] * 3
    assert await read(cache, "page", render) == b"page"


async def test_a_commit_drops_the_key_in_every_process(
    database_url: str, client: RedisClient, cache: Cache, counter: Database
) -> None:
    async with Cache(database_url, client) as other:
        await listening(other)
        render = reading(counter)
        for each in (cache, other):
            assert await read(each, "counter", render) == b"0"
        await raise_counter(counter)
        for each in (cache, other):
            await becomes(each, render, b"1")


async def test_a_rollback_drops_nothing(cache: Cache, counter: Database) -> None:
    await cache.get_or_render("counter", reading(counter))

    async def fail() -> None:
        async with counter.transaction() as tx:
            await invalidate(tx, ["counter"])
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    await asyncio.sleep(0.05)

    async def never() -> Kept:
        raise AssertionError("it was kept")

    assert await read(cache, "counter", never) == b"0"


async def test_a_slow_rendering_that_began_before_a_commit_is_not_kept(
    cache: Cache, counter: Database
) -> None:
    began = asyncio.Event()
    go_on = asyncio.Event()

    async def slow() -> Kept:
        value = await counter.fetchval("SELECT value FROM counter")
        began.set()
        await go_on.wait()
        return kept(str(value).encode())

    old = asyncio.create_task(cache.get_or_render("counter", slow))
    await began.wait()
    await raise_counter(counter)
    await asyncio.sleep(0.05)
    newcomer = await read(cache, "counter", reading(counter))
    go_on.set()
    assert (await old).data == b"0"
    assert newcomer == b"1"
    assert await read(cache, "counter", reading(counter)) == b"1"


async def test_a_stale_value_cannot_come_back_through_redis(
    database_url: str, client: RedisClient, counter: Database
) -> None:
    """Two processes render and drop in every order; once both heard of a commit neither shows older facts."""
    async with Cache(database_url, client) as one, Cache(database_url, client) as two:
        await listening(one)
        await listening(two)
        stop = asyncio.Event()

        async def read_on(cache: Cache) -> None:
            while not stop.is_set():
                await cache.get_or_render("counter", reading(counter, slow=True))
                await asyncio.sleep(0)

        readers = [asyncio.create_task(read_on(cache)) for cache in (one, two) for _ in range(3)]
        for _ in range(60):
            value = await raise_counter(counter)
            if value % 3 == 0:
                await asyncio.sleep(0.02)
                for cache in (one, two):
                    assert int(await read(cache, "counter", reading(counter))) >= value
        stop.set()
        await asyncio.gather(*readers)


async def test_what_redis_kept_while_nobody_listened_is_not_believed(
    database_url: str, client: RedisClient, counter: Database
) -> None:
    render = reading(counter)
    async with Cache(database_url, client) as first:
        await listening(first)
        assert await read(first, "counter", render) == b"0"
    assert await client.keys("echain:cache:*")
    await raise_counter(counter)
    async with Cache(database_url, client) as second:
        await listening(second)
        assert await read(second, "counter", render) == b"1"


async def test_a_process_takes_over_what_another_rendered(database_url: str, client: RedisClient) -> None:
    async def render() -> Kept:
        return kept(b"page")

    async def never() -> Kept:
        raise AssertionError("it is in Redis")

    async with Cache(database_url, client) as one, Cache(database_url, client) as two:
        await listening(one)
        await listening(two)
        assert await read(one, "page", render) == b"page"
        assert await read(two, "page", never) == b"page"


async def test_a_process_that_begins_keeps_what_another_vouches_for(
    database_url: str, client: RedisClient, counter: Database
) -> None:
    async def never() -> Kept:
        raise AssertionError("it is in Redis")

    async with Cache(database_url, client) as one:
        await listening(one)
        await read(one, "page", reading(counter))
        await read(one, "counter", reading(counter))
        # Even what changed in this very moment is dropped before anybody vouches.
        await raise_counter(counter)
        async with Cache(database_url, client) as two:
            await listening(two)
            assert await read(two, "page", never) == b"0"
            assert await read(two, "counter", reading(counter)) == b"1"


async def test_nobody_vouches_who_does_not_listen_or_could_not_drop(
    database_url: str, client: RedisClient, counter: Database
) -> None:
    async with Cache(database_url, client) as deaf, Cache(database_url, client) as stale:
        await listening(deaf)
        await listening(stale)
        await read(stale, "page", reading(counter))
        deaf._listening = False
        assert stale._shared is not None
        stale._shared._stale = True
        async with Cache(database_url, client) as new:
            await listening(new)
            assert await client.keys("echain:cache:{page}*") == []


async def test_processes_that_begin_together_vouch_for_nothing(
    database_url: str, client: RedisClient, counter: Database
) -> None:
    async with Cache(database_url, client) as first:
        await listening(first)
        await read(first, "counter", reading(counter))
    await raise_counter(counter)
    async with Cache(database_url, client) as one, Cache(database_url, client) as two:
        await listening(one)
        await listening(two)
        for cache in (one, two):
            assert await read(cache, "counter", reading(counter)) == b"1"


async def test_only_whoever_still_holds_the_lease_may_store(client: RedisClient) -> None:
    slow, other = RedisLayer(client), RedisLayer(client)
    assert await slow.look_up("page", b"a") is None
    await other.drop(["page"])
    await slow.store("page", b"a", b"old")
    assert await other.look_up("page", b"b") is None
    await slow.store("page", b"a", b"old")
    await other.store("page", b"b", b"new")
    assert await slow.look_up("page", b"c") == b"new"


async def test_a_writer_that_forgets_a_key_reads_its_own_change(cache: Cache, counter: Database) -> None:
    render = reading(counter)
    for _ in range(50):
        await cache.get_or_render("counter", render)
        value = await raise_counter(counter)
        cache.forget("counter")
        assert int(await read(cache, "counter", render)) == value


async def test_redis_may_vanish_and_come_back_at_any_time(
    database_url: str, own_redis: Redis, counter: Database
) -> None:
    render = reading(counter)
    async with RedisClient.from_url(own_redis.url) as client, Cache(database_url, client) as cache:
        await listening(cache)
        assert await read(cache, "counter", render) == b"0"
        own_redis.kill()
        await raise_counter(counter)
        await becomes(cache, render, b"1")
        own_redis.start()
        await raise_counter(counter)
        await becomes(cache, render, b"2")
        await asyncio.sleep(1.1)
        await raise_counter(counter)
        await becomes(cache, render, b"3")
        cache.forget("counter")
        assert await read(cache, "counter", render) == b"3"


async def test_what_redis_kept_through_a_missed_drop_is_not_believed(
    database_url: str, own_redis: Redis, counter: Database
) -> None:
    render = reading(counter)
    async with RedisClient.from_url(own_redis.url) as client, Cache(database_url, client) as cache:
        await listening(cache)
        await cache.get_or_render("counter", render)
        assert own_redis._process is not None
        own_redis._process.send_signal(signal.SIGSTOP)
        await raise_counter(counter)
        await becomes(cache, render, b"1")
        own_redis._process.send_signal(signal.SIGCONT)
        await asyncio.sleep(1.1)
        async with Cache(database_url, client) as restarted:
            await listening(restarted)
            assert await read(restarted, "counter", render) == b"1"
        cache.forget("counter")
        assert await read(cache, "counter", render) == b"1"


async def test_a_lost_listening_connection_drops_everything_and_is_made_anew(
    cache: Cache, counter: Database
) -> None:
    render = reading(counter)
    await cache.get_or_render("counter", render)
    await counter.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name = 'echain cache' AND datname = current_database()"
    )
    await raise_counter(counter)
    await becomes(cache, render, b"1")
    await listening(cache)
    await cache.get_or_render("counter", render)
    await raise_counter(counter)
    await becomes(cache, render, b"2")


async def test_nothing_is_kept_while_the_database_is_away(own_postgres: Postgres) -> None:
    async def old() -> Kept:
        return kept(b"old")

    async def new() -> Kept:
        return kept(b"new")

    async with Cache(own_postgres.url(), None) as cache:
        await listening(cache)
        assert await read(cache, "page", old) == b"old"
        assert await read(cache, "page", new) == b"old"
        own_postgres.stop()
        await listening(cache, yes=False)
        assert await read(cache, "page", new) == b"new"
        assert await read(cache, "page", old) == b"old"
        own_postgres.start()
        await listening(cache)
        assert await read(cache, "page", new) == b"new"
        assert await read(cache, "page", old) == b"new"


async def test_thousands_of_keys_are_dropped_by_one_call(cache: Cache, database: Database) -> None:
    async def one() -> Kept:
        return kept(b"1")

    async def two() -> Kept:
        return kept(b"2")

    keys = [f"event:{number:036d}" for number in range(2000)]
    for key in keys:
        await cache.get_or_render(key, one)
    async with database.transaction() as tx:
        await invalidate(tx, keys)
    async with asyncio.timeout(5):
        while await read(cache, keys[-1], two) != b"2":
            await asyncio.sleep(0.01)
    assert {await read(cache, key, two) for key in keys} == {b"2"}


def test_notifications_stay_below_what_postgresql_carries() -> None:
    keys = [f"event:{number}" for number in range(9_000)]
    packed = payloads(keys)
    assert all(len(payload) < 8000 for payload in packed)
    assert [key for payload in packed for key in payload.split("\n")] == keys
    assert payloads([f"event:{number}" for number in range(10_001)]) == ["*"]
