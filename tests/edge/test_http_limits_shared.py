"""Limits hold over all processes while Redis is there, and in each of them when it is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from redis.asyncio import Redis
from tests.edge.example import example
from tests.edge.http_client import Client
from tests.edge.test_http_limits import KNOWN, PROXY, authenticate, me, touch

from echain.edge.http import limits as limits_module
from echain.edge.http.limits import Allowance, Limits
from echain.infra.embedded.redis import Redis as RedisServer
from echain.infra.metrics import Metrics
from echain.infra.quota import Quotas

Start = Callable[..., Client]


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = Redis.from_url(redis_url)
    yield client
    await client.aclose()


@pytest.fixture
def start(redis: Redis) -> Start:
    """Call it for another process of the API, as far as limits can tell."""

    def process(allowance: Allowance | None = None, *, proxies: tuple[str, ...] = ()) -> Client:
        limits = Limits(Quotas(redis), allowance or Allowance(), proxies=proxies, metrics=Metrics())
        return Client(example(limits=limits, authenticate=authenticate))

    return process


async def test_a_stranger_has_a_hundred_writes_in_fifteen_minutes_wherever_they_go(start: Start) -> None:
    first, second, third = (start() for _ in range(3))
    answers = [await touch(client) for _ in range(60) for client in (first, second, third)]
    given = [answer for answer in answers if answer.status == 200]
    # A few of the last turns may lie unused in one process when another asks.
    assert 85 <= len(given) <= 100
    assert answers[-1].status == 429
    assert {answer.header("ratelimit-policy") for answer in given} == {'"anonymous-writes";q=100;w=900'}


@pytest.mark.parametrize("token", ["user", "gate", "key"])
async def test_a_user_a_gate_and_a_key_have_their_turns_once_over_all_processes(
    start: Start, token: str
) -> None:
    allowance = Allowance(reads=12)
    clients = [start(allowance) for _ in range(2)]
    path = "/api/v1/either"
    headers = {"authorization": f"Bearer {token}"}
    statuses = [(await client("GET", path, headers=headers)).status for _ in range(20) for client in clients]
    assert 10 <= statuses.count(200) <= 12
    assert statuses[-1] == 429
    for other in KNOWN.keys() - {f"Bearer {token}"}:
        answer = await clients[0]("GET", path, headers={"authorization": other})
        assert answer.status == 200, f"{other} has turns of its own"


async def test_the_address_behind_a_trusted_proxy_is_one_at_all_processes(start: Start) -> None:
    clients = [start(Allowance(anonymous_writes=10), proxies=(f"{PROXY}/32",)) for _ in range(2)]

    async def wrote(hop: str) -> int:
        return sum(
            [(await touch(c, **{"x-forwarded-for": hop})).status == 200 for _ in range(10) for c in clients]
        )

    assert 8 <= await wrote("198.51.100.1") <= 10
    assert 8 <= await wrote("198.51.100.2") <= 10


async def test_who_guesses_at_one_process_is_shut_out_at_each_other(start: Start) -> None:
    allowance = Allowance(refusals=10)
    first, second = start(allowance), start(allowance)
    assert [(await me(first, f"guess{n}")).status for n in range(12)] == [401] * 10 + [429] * 2
    assert [(await me(second, f"guess{n}")).status for n in range(3)] == [429] * 3
    assert (await touch(second)).error["code"] == "auth.shut_out"
    assert (await me(second, "user")).status == 200


async def test_many_guesses_at_once_are_no_way_around(start: Start) -> None:
    clients = [start(Allowance(refusals=10)) for _ in range(2)]
    for client in clients:
        await asyncio.gather(*(me(client, f"guess{n}") for n in range(40)))
    assert [(await touch(client)).status for client in clients] == [429, 429]


async def test_a_block_ends_by_itself(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits_module, "WINDOW_SECONDS", 2)
    client = start(Allowance(refusals=3))
    for number in range(4):
        await me(client, f"guess{number}")
    refused = await touch(client)
    assert (refused.status, refused.error["code"]) == (429, "auth.shut_out")
    assert 1 <= int(refused.header("retry-after") or 0) <= 2
    async with asyncio.timeout(30):
        while (await touch(client)).status == 429:
            await asyncio.sleep(0.05)


async def test_without_redis_each_process_holds_everybody_to_the_limit_itself(
    own_redis: RedisServer,
) -> None:
    redis = Redis.from_url(own_redis.url, socket_connect_timeout=0.2, socket_timeout=0.2)

    def process() -> Client:
        limits = Limits(Quotas(redis), Allowance(anonymous_writes=10, refusals=5), metrics=Metrics())
        return Client(example(limits=limits, authenticate=authenticate))

    own_redis.stop()
    for client in (process(), process()):
        assert [(await touch(client)).status for _ in range(12)] == [200] * 10 + [429] * 2
        assert [(await me(client, f"guess{n}")).status for n in range(6)] == [401] * 5 + [429]
    own_redis.start()
    first, second = process(), process()
    async with asyncio.timeout(30):
        # Redis is left alone for a second after it failed.
        while not await redis.exists("echain:quota:anonymous-writes:192.0.2.7"):
            await redis.ping()
            await touch(process())
            await asyncio.sleep(0.05)
    given = sum([(await touch(client)).status == 200 for _ in range(12) for client in (first, second)])
    assert given <= 10
    await redis.aclose()
