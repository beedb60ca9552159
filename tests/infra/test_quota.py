"""Turns are counted over processes while Redis is there, and go on being counted when it is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from echain.infra.embedded.redis import Redis as RedisServer
from echain.infra.quota import CAPACITY, Quota, Quotas

QUOTA = Quota("tries", 100, 900)


class Clock:
    """Seconds as the test says."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = Redis.from_url(redis_url)
    await client.flushdb()
    yield client
    await client.aclose()


async def given(quotas: Quotas, times: int, subject: str = "ada", quota: Quota = QUOTA) -> int:
    return sum([(await quotas.take(quota, subject)).given for _ in range(times)])


async def test_one_process_gives_as_many_turns_as_there_are(redis: Redis) -> None:
    quotas = Quotas(redis)
    assert await given(quotas, 120) == 100
    turn = await quotas.take(QUOTA, "ada")
    assert (turn.given, turn.left) == (False, 0)
    assert 890 <= turn.seconds <= 900


async def test_what_is_left_falls_by_one_a_turn(redis: Redis) -> None:
    quotas = Quotas(redis)
    assert [(await quotas.take(QUOTA, "ada")).left for _ in range(100)] == list(range(99, -1, -1))


async def test_processes_together_never_give_more_and_hold_back_little(redis: Redis) -> None:
    processes = [Quotas(redis) for _ in range(4)]
    rounds = [await given(process, 1) for _ in range(60) for process in processes]
    assert 85 <= sum(rounds) <= 100


async def test_many_at_once_are_given_exactly_what_there_is(redis: Redis) -> None:
    quotas = Quotas(redis)
    turns = await asyncio.gather(*(quotas.take(QUOTA, "ada") for _ in range(300)))
    assert sum(turn.given for turn in turns) == 100


@pytest.mark.timeout(20)
async def test_who_comes_between_an_answer_and_those_who_wait_for_it_is_not_stuck(redis: Redis) -> None:
    """The answer's turns may be used up by then: a question that is over must not be asked for again."""
    quotas = Quotas(redis)

    async def comes(number: int) -> int:
        for _ in range(number % 17):
            await asyncio.sleep(0)
        return await given(quotas, 3)

    for _ in range(20):
        await redis.flushdb()
        quotas = Quotas(redis)
        assert sum(await asyncio.gather(*map(comes, range(120)))) == 100


async def test_subjects_and_quotas_do_not_share(redis: Redis) -> None:
    quotas = Quotas(redis)
    assert await given(quotas, 100) == 100
    assert await given(quotas, 100, "bob") == 100
    assert await given(quotas, 10, quota=Quota("others", 5, 60)) == 5


async def test_all_turns_come_back_when_the_window_ends(redis: Redis) -> None:
    clock = Clock()
    quotas = Quotas(redis, monotonic=clock)
    short = Quota("short", 3, 900)
    assert await given(quotas, 5, quota=short) == 3
    assert quotas.spent(short, "ada") is not None
    await redis.flushdb()  # as the end of the key's life does
    clock.seconds += 901
    assert quotas.spent(short, "ada") is None
    assert await given(quotas, 5, quota=short) == 3


async def test_a_spent_subject_costs_redis_nothing(redis: Redis) -> None:
    quotas = Quotas(redis)
    await given(quotas, 101)
    before = (await redis.info("stats"))["total_commands_processed"]
    await given(quotas, 500)
    after = (await redis.info("stats"))["total_commands_processed"]
    assert after - before < 5


async def test_a_turn_seldom_asks_redis(redis: Redis) -> None:
    quotas = Quotas(redis)
    many = Quota("reads", 6_000, 60)
    await redis.config_resetstat()
    await given(quotas, 1_000, quota=many)
    assert (await redis.info("commandstats"))["cmdstat_eval"]["calls"] < 20


async def test_without_redis_each_process_counts_for_itself() -> None:
    assert await given(Quotas(None), 150) == 100


async def test_redis_that_dies_takes_no_turn_away_and_adds_none(own_redis: RedisServer) -> None:
    client = Redis.from_url(own_redis.url, socket_connect_timeout=0.2, socket_timeout=0.2)
    quotas = Quotas(client)
    assert await given(quotas, 30) == 30
    own_redis.stop()
    assert await given(quotas, 100) == 70
    assert await given(quotas, 150, "bob") == 100
    await client.aclose()


async def test_what_is_remembered_is_bounded() -> None:
    quotas = Quotas(None)
    for number in range(CAPACITY + 10):
        await quotas.take(QUOTA, str(number))
    assert len(quotas._leases) == CAPACITY


@pytest.mark.parametrize("shared", [True, False])
async def test_a_quota_that_changes_keeps_what_was_used(redis: Redis, shared: bool) -> None:
    """Else whoever may change a limit would have a new window each time."""
    quotas = Quotas(redis if shared else None)
    assert await given(quotas, 30) == 30
    fewer, more = Quota("tries", 40, 900), Quota("tries", 120, 900)
    # Some of what one process had taken for itself may be lost, nothing is given twice.
    assert 8 <= await given(quotas, 50, quota=fewer) <= 10
    assert 76 <= await given(quotas, 150, quota=more) <= 80
    assert await given(quotas, 10, quota=fewer) == 0


async def test_a_changed_quota_counts_in_every_process(redis: Redis) -> None:
    one, other = Quotas(redis), Quotas(redis)
    assert await given(one, 20) + await given(other, 20) == 40
    fewer = Quota("tries", 30, 900)
    assert await given(one, 5, quota=fewer) == await given(other, 5, quota=fewer) == 0
