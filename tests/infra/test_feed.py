"""A feed gives out every message once and in order, whatever becomes of Redis, PostgreSQL and its reader."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta

import pytest
from redis.asyncio import Redis as RedisClient
from redis.exceptions import RedisError
from tests.conftest import psql
from tests.infra.relaying import listening, relayed, relaying, running, said, say, tip, until

from echain.infra import messagestore
from echain.infra.database import Database, DatabaseUnavailable
from echain.infra.embedded.postgres import Postgres
from echain.infra.embedded.redis import Redis
from echain.infra.feed import Feed, MessagesGone
from echain.infra.live import CHANNEL, Batch, Publisher, decoded
from echain.kernel.messages import Message
from echain.kernel.time import utc_now


def data(*numbers: int) -> list[bytes]:
    return [b'{"n":%d}' % n for n in numbers]


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[RedisClient]:
    async with RedisClient.from_url(redis_url, socket_timeout=0.5) as redis:
        yield redis


async def subscribed(client: RedisClient) -> None:
    await until(lambda: subscribed_now(client))


async def test_what_is_said_arrives_through_redis_with_everything_that_was_said_before(
    database: Database, client: RedisClient
) -> None:
    async with relaying(database, client):
        await say(database, said(1), said(2, "user:1"))
        await relayed(database)
        async with listening(Feed(database, client)) as listener:
            await subscribed(client)
            await say(database, said(3))
            await until(lambda: len(listener.heard) == 3)
    assert [message.sequence for message in listener.heard] == [1, 2, 3]
    assert listener.numbers() == data(1, 3)
    assert listener.heard[1].channel == "user:1"


async def test_a_feed_begins_where_it_is_told_or_with_what_is_new(
    database: Database, client: RedisClient
) -> None:
    async with relaying(database, client):
        await say(database, *(said(n) for n in range(1, 11)))
        await relayed(database)
        async with (
            listening(Feed(database, client), 6) as middle,
            listening(Feed(database, client), None) as new,
        ):
            await until(lambda: len(middle.heard) == 4)
            await say(database, said(11))
            await until(lambda: len(middle.heard) == 5 and len(new.heard) == 1)
    assert [message.sequence for message in middle.heard] == [7, 8, 9, 10, 11]
    assert new.numbers() == data(11)


async def test_without_redis_everything_comes_from_postgresql(database: Database) -> None:
    async with relaying(database, None), listening(Feed(database, None)) as listener:
        for n in range(20):
            await say(database, said(n))
        await until(lambda: len(listener.heard) == 20)
    assert listener.numbers() == data(*range(20))


async def test_payloads_that_come_twice_overlap_or_are_missing_change_nothing(
    database: Database, client: RedisClient
) -> None:
    """The relay itself is silent here; the test publishes in its place, and badly."""
    async with relaying(database, None):
        await say(database, *(said(n) for n in range(1, 201)))
        await relayed(database)
    async with database.connection() as connection:
        messages = await messagestore.since(connection, 0, 200)
    rng = random.Random(6)
    async with listening(Feed(database, client)) as listener:
        await subscribed(client)
        for _ in range(60):
            at = rng.randrange(200)
            part = messages[at : at + rng.randint(0, 30)]
            publisher = Publisher(client)
            if part:
                publisher.tell(part)
            else:
                publisher.jump(at)
            async with running(publisher.run()):
                await asyncio.sleep(0.002)
        await until(lambda: len(listener.heard) == 200)
    assert [message.sequence for message in listener.heard] == list(range(1, 201))


async def test_redis_dies_and_comes_back_in_mid_stream(database: Database, own_redis: Redis) -> None:
    async with (
        RedisClient.from_url(own_redis.url, socket_timeout=0.5) as client,
        relaying(database, client),
        listening(Feed(database, client)) as listener,
    ):
        await subscribed(client)
        n = 0
        for round_ in range(6):
            for _ in range(25):
                await say(database, said(n := n + 1))
            if round_ % 2 == 0:
                own_redis.kill()
            else:
                own_redis.start()
        await until(lambda: len(listener.heard) == n)
        await relayed(database)
        # And it is Redis again that brings the news, long before silence makes anybody ask.
        await until(lambda: subscribed_now(client))
        await say(database, said(n + 1))
        async with asyncio.timeout(0.8):
            await until(lambda: len(listener.heard) == n + 1)
    assert listener.numbers() == data(*range(1, n + 2))


async def subscribed_now(client: RedisClient) -> bool:
    with suppress(RedisError):
        ((_, count),) = await client.pubsub_numsub(CHANNEL)
        return count > 0
    return False


async def test_a_redis_that_hangs_holds_up_neither_relay_nor_feed(
    database: Database, own_redis: Redis
) -> None:
    async with (
        RedisClient.from_url(own_redis.url, socket_timeout=0.5) as client,
        relaying(database, client),
        listening(Feed(database, client)) as listener,
    ):
        await subscribed(client)
        assert own_redis._process is not None
        own_redis._process.send_signal(signal.SIGSTOP)
        async with asyncio.timeout(4):
            for n in range(1, 51):
                await say(database, said(n))
            await relayed(database)
            await until(lambda: len(listener.heard) == 50)
        own_redis._process.send_signal(signal.SIGCONT)
        await say(database, said(51))
        await until(lambda: len(listener.heard) == 51)
    assert listener.numbers() == data(*range(1, 52))


async def test_postgresql_dies_and_comes_back_in_mid_stream(own_postgres: Postgres, redis_url: str) -> None:
    # As everywhere but in tests; else a crash of the server takes back what it said was committed.
    psql(own_postgres.url(), "ALTER DATABASE echain SET synchronous_commit = on")
    database = await Database.connect(own_postgres.url(), size=8)
    writer = Database.lazy(own_postgres.url(), size=1)
    said_at_all: list[int] = []
    n = 0

    async def persist() -> None:
        """Say the next number; one whose commit was cut off may have been said or not."""
        nonlocal n
        n += 1
        with suppress(DatabaseUnavailable):
            await say(writer, said(n))
            said_at_all.append(n)

    async with (
        RedisClient.from_url(redis_url, socket_timeout=0.5) as client,
        relaying(database, client),
        listening(Feed(database, client)) as listener,
    ):
        for round_ in range(3):
            for _ in range(20):
                await persist()
            if round_ < 2:
                own_postgres.kill()
                await persist()
                own_postgres.start()
        await until(lambda: {int(one[5:-1]) for one in listener.numbers()} >= set(said_at_all))
    heard = [int(one[5:-1]) for one in listener.numbers()]
    assert heard == sorted(set(heard))
    assert [message.sequence for message in listener.heard] == list(range(1, len(heard) + 1))
    await database.close()
    await writer.close()


async def test_a_reader_that_pauses_misses_nothing_and_fills_no_memory(
    database: Database, client: RedisClient
) -> None:
    feed = Feed(database, client)
    async with relaying(database, client), listening(feed) as listener:
        await subscribed(client)
        listener.go_on.clear()
        for n in range(1_500):
            await say(database, said(n))
        await relayed(database)
        assert len(feed._heard) <= 512
        assert len(listener.heard) < 1_500
        listener.go_on.set()
        await until(lambda: len(listener.heard) == 1_500)
    assert listener.numbers() == data(*range(1_500))


async def test_a_feed_that_was_away_for_too_long_says_so(database: Database, client: RedisClient) -> None:
    async with relaying(database, client):
        await say(database, *(said(n) for n in range(10)))
        await relayed(database)
    await database.execute("UPDATE messages SET created_at = now() - interval '2 days' WHERE sequence < 9")
    async with database.transaction() as tx:
        await messagestore.sweep(tx, before=utc_now() - timedelta(days=1), limit=100)
    feed = Feed(database, client)
    assert await feed.oldest() == 9
    with pytest.raises(MessagesGone):
        await anext(feed.batches(5))
    async with listening(feed, 8) as listener:
        await until(lambda: len(listener.heard) == 2)


async def test_what_is_kept_beyond_its_time_is_no_reason_to_skip_the_rest(database: Database) -> None:
    """A message that had not settled is still there when its neighbours are swept."""
    async with relaying(database, None):
        await say(database, said(1), said(2, block=5), said(3), said(4))
        await relayed(database)
    await database.execute("UPDATE messages SET created_at = now() - interval '2 days' WHERE sequence < 4")
    async with database.transaction() as tx:
        await messagestore.sweep(tx, before=utc_now() - timedelta(days=1), limit=100)
    with pytest.raises(MessagesGone):
        await anext(Feed(database, None).batches(1))


async def test_a_database_whose_numbers_began_anew_is_noticed(
    database: Database, client: RedisClient
) -> None:
    with pytest.raises(MessagesGone):
        await anext(Feed(database, client).batches(5))


async def test_history_is_what_was_said_on_some_channels(database: Database) -> None:
    rng = random.Random(7)
    channels = [f"event:{n}" for n in range(4)]
    feed = Feed(database, None)
    async with relaying(database, None), listening(feed) as listener:
        for n in range(100):
            await say(database, Message((rng.choice(channels),), "test", {"n": n}))
        await until(lambda: len(listener.heard) == 100)
        for _ in range(100):
            sought = [*rng.sample(channels, rng.randint(1, 4)), "user:nobody"]
            after, limit = rng.randint(0, 101), rng.randint(1, 60)
            expected = [m for m in listener.heard if m.channel in sought and m.sequence > after][:limit]
            assert await feed.history([*sought, sought[0]], after, limit) == expected
        assert feed.last == await feed.tip() == 100


async def test_a_payload_of_another_version_is_no_end(database: Database, client: RedisClient) -> None:
    async with relaying(database, client), listening(Feed(database, client)) as listener:
        await subscribed(client)
        await client.publish(CHANNEL, b"\xc1 no such thing")
        await say(database, said(1))
        await until(lambda: len(listener.heard) == 1)
        await say(database, said(2))
        await until(lambda: len(listener.heard) == 2)
    assert listener.numbers() == data(1, 2)


async def test_a_publisher_without_redis_keeps_nothing(database: Database) -> None:
    await say(database, said(1))
    async with database.connection() as connection:
        messages = await messagestore.move(connection, limit=1)
    publisher = Publisher(None)
    for _ in range(1_000):
        publisher.tell(messages)
    assert len(publisher._waiting) == 0
    assert await tip(database) == 1


async def test_a_redis_that_cannot_keep_up_is_told_the_tip_alone(
    database: Database, client: RedisClient
) -> None:
    await say(database, *(said(n) for n in range(300)))
    async with database.connection() as connection:
        messages = await messagestore.move(connection, limit=300)
    publisher = Publisher(client)
    for message in messages:
        publisher.tell([message])
    assert len(publisher._waiting) <= 257
    pubsub = client.pubsub()
    await pubsub.subscribe(CHANNEL)
    async with running(publisher.run()):
        await until(lambda: not publisher._waiting)
    heard: list[Batch] = []
    while (message := await pubsub.get_message(timeout=0.2)) is not None:
        if message["type"] == "message":
            heard.append(decoded(message["data"]))
    assert heard[0] == Batch(257, [])
    assert [m.sequence for batch in heard for m in batch.messages] == list(range(258, 301))
    await pubsub.aclose()
