"""Who is asked, who takes over, who is given back to, on a clock of our own."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.chain.rpc.test_circuit import Time

from echain.chain.circuit import FAILURES, State
from echain.chain.endpoint import FIRST_QUARANTINE_SECONDS, AnswerTooLarge, Endpoint, TooOften
from echain.chain.endpoints import Endpoints, Pace
from echain.chain.types import Block
from echain.chain.wire import ChainUnreachable, Lie, NodesDisagree, RpcRefused, WrongChain
from echain.kernel.evm import Hash32, keccak

PACE = Pace(1.0, 0.02, measures=True)

Behaviour = Callable[[], Awaitable[Any]]


class World:
    """Endpoints of a chain, each behaving as told; ``asked`` lists who was asked in which order."""

    def __init__(self, count: int, **settings: Any) -> None:
        self.time = Time()
        self.asked: list[int] = []
        self.behaves: dict[int, Behaviour] = {}
        self.chain_ids = dict.fromkeys(range(count), 1)
        self.heads = dict.fromkeys(range(count), 100)
        self.branch = dict.fromkeys(range(count), b"")
        self.pool = Endpoints(
            [
                Endpoint(
                    place,
                    f"https://user:secret@node{place}.example/v2/key",
                    batch_limit=100,
                    monotonic=self.time,
                )
                for place in range(count)
            ],
            chain_id=1,
            check=self._check,
            look=self._look,
            **({"patience_seconds": 5.0, "lag_blocks": 3, "settled_blocks": 8} | settings),
            monotonic=self.time,
        )

    async def _check(self, endpoint: Endpoint) -> None:
        if self.chain_ids[endpoint.position] != 1:
            raise WrongChain

    async def _look(self, endpoint: Endpoint, height: int | None) -> tuple[Block, Block | None]:
        if endpoint.position in self.behaves:
            await self.behaves[endpoint.position]()
        head = self.heads[endpoint.position]
        settled = None if height is None or height > head else self.block(endpoint.position, height)
        return self.block(endpoint.position, head), settled

    def block(self, place: int, number: int) -> Block:
        block_hash = Hash32(keccak(self.branch[place] + number.to_bytes(8, "big")))
        return Block(number, block_hash, Hash32(bytes(32)), 0, 0)

    async def attempt(self, endpoint: Endpoint) -> int:
        self.asked.append(endpoint.position)
        if endpoint.position in self.behaves:
            await self.behaves[endpoint.position]()
        return endpoint.position

    async def ask(self, **settings: Any) -> int:
        return (await self.pool.ask(self.attempt, PACE, **settings))[0]

    def statuses(self) -> list[str]:
        return [one.status for one in self.pool.health()]


def raising(error: Exception) -> Behaviour:
    async def behave() -> None:
        raise error

    return behave


async def hang() -> None:
    await asyncio.sleep(3_600)


@pytest.fixture
async def close() -> Any:
    worlds: list[World] = []
    yield worlds
    for world in worlds:
        await world.pool.close()


@pytest.fixture
def world(close: list[World]) -> Callable[..., World]:
    def make(count: int, **settings: Any) -> World:
        close.append(World(count, **settings))
        return close[-1]

    return make


async def test_the_first_serves_while_it_works(world: Callable[..., World]) -> None:
    made = world(3)
    assert [await made.ask() for _ in range(5)] == [0] * 5


async def test_another_takes_over_within_the_same_request(world: Callable[..., World]) -> None:
    made = world(3)
    made.behaves[0] = raising(ChainUnreachable("away"))
    assert await made.ask() == 1
    assert made.asked == [0, 1]


async def test_after_five_failures_an_endpoint_is_left_alone_and_later_given_back_to(
    world: Callable[..., World],
) -> None:
    made = world(2)
    made.behaves[0] = raising(ChainUnreachable("away"))
    while made.pool.all[0].circuit.state is State.CLOSED:
        # Without its successes in surveys, and dearer than the second at first.
        made.pool.all[0].latency_seconds, made.pool.all[1].latency_seconds = 0.001, 0.5
        made.pool.all[0].error_rate = 0
        await made.ask()
    assert made.asked.count(0) <= FAILURES
    made.asked.clear()
    for _ in range(20):
        await made.ask()
    assert made.asked == [1] * 20
    assert made.statuses()[0] == "open"
    # It is well again: the survey finds out, and as the preferred one it serves again.
    del made.behaves[0]
    for one in made.pool.all:
        one.latency_seconds = 0.01
    for _ in range(40):
        made.time.now += 2.1
        await made.pool.survey()
        await made.ask()
    assert made.statuses() == ["ok", "ok"]
    assert made.asked[-1] == 0


async def test_a_hanging_endpoint_costs_little_and_soon_nothing(world: Callable[..., World]) -> None:
    made = world(2)
    made.behaves[0] = hang
    began = asyncio.get_running_loop().time()
    assert await made.ask() == 1
    assert asyncio.get_running_loop().time() - began < 0.5
    # The clock here stands still while it hangs; to the endpoint it looks as if a hedge's time had passed.
    for _ in range(10):
        asking = asyncio.create_task(made.ask())
        await asyncio.sleep(0)
        made.time.now += 0.03
        assert await asking == 1
    made.asked.clear()
    await made.ask()
    assert made.asked == [1]


async def test_a_wrong_chain_is_put_aside_and_checked_again_when_it_comes_back(
    world: Callable[..., World],
) -> None:
    made = world(2)
    made.chain_ids[0] = 5
    assert await made.ask() == 1
    assert made.asked == [1], "it was believed before its chain was known"
    assert made.statuses()[0] == "quarantined"
    made.time.now += FIRST_QUARANTINE_SECONDS + 1
    await made.ask()
    assert made.statuses()[0] == "quarantined"
    made.chain_ids[0] = 1
    made.time.now += 4 * FIRST_QUARANTINE_SECONDS + 1
    assert await made.ask() in (0, 1)
    await made.pool.survey()
    assert made.statuses() == ["ok", "ok"]


async def test_an_endpoint_that_comes_back_as_another_chain_is_not_believed(
    world: Callable[..., World],
) -> None:
    made = world(2)
    assert await made.ask() == 0
    made.behaves[0] = raising(ChainUnreachable("away"))
    for _ in range(FAILURES):
        await made.pool.survey()
    assert made.statuses()[0] == "open"
    del made.behaves[0]
    made.chain_ids[0] = 7
    made.asked.clear()
    for _ in range(30):
        made.time.now += 1
        await made.ask()
    assert 0 not in made.asked


async def test_a_lie_puts_aside_longer_each_time_and_is_told(world: Callable[..., World]) -> None:
    made = world(2)
    away: list[float] = []
    for _ in range(4):
        made.behaves[0] = raising(Lie("the logs of block 7 do not match its header"))
        while made.statuses()[0] != "quarantined":
            made.pool.all[1].latency_seconds = 1.0
            await made.ask()
        assert "block 7" in (made.pool.health()[0].reason or "")
        del made.behaves[0]
        began = made.time.now
        while made.statuses()[0] == "quarantined":
            made.time.now += 1
        away.append(made.time.now - began)
    assert away[0] >= FIRST_QUARANTINE_SECONDS
    assert all(later > 3 * earlier for earlier, later in itertools.pairwise(away[:3]))


async def test_a_lone_endpoint_that_lied_is_asked_again_but_never_believed_for_it(
    world: Callable[..., World],
) -> None:
    made = world(1)
    made.behaves[0] = raising(Lie("no"))
    for _ in range(3):
        with pytest.raises(Lie):
            await made.ask()
    del made.behaves[0]
    assert await made.ask() == 0


async def test_a_lone_endpoint_comes_back_within_seconds_however_long_it_was_away(
    world: Callable[..., World],
) -> None:
    made = world(1)
    made.behaves[0] = raising(ChainUnreachable("away"))
    for _ in range(500):
        made.time.now += 1
        with pytest.raises(ChainUnreachable):
            await made.ask()
    asked = len(made.asked)
    assert asked < 300, "an open circuit lets through as much as a closed one"
    del made.behaves[0]
    made.time.now += 2.1
    assert await made.ask() == 0


async def test_who_stood_in_line_when_the_circuit_opened_is_not_sent_to_a_dead_node(
    world: Callable[..., World],
) -> None:
    made = world(1)
    release = asyncio.Event()

    async def dies() -> None:
        await release.wait()
        raise ChainUnreachable("away")

    made.behaves[0] = dies
    asking = [asyncio.create_task(made.ask()) for _ in range(200)]
    for _ in range(5):
        await asyncio.sleep(0)
    release.set()
    told = await asyncio.gather(*asking, return_exceptions=True)
    assert all(isinstance(one, ChainUnreachable) for one in told)
    assert len(made.asked) < 40


async def test_one_that_lags_is_asked_only_for_what_it_has(world: Callable[..., World]) -> None:
    made = world(2)
    made.heads = {0: 90, 1: 100}
    await made.pool.survey()
    assert made.statuses() == ["lagging", "ok"]
    assert await made.ask() == 1
    assert await made.ask(height=95) == 1
    assert await made.ask(height=90) == 0
    made.heads[0] = 99
    await made.pool.survey()
    assert await made.ask() == 0


async def test_one_on_another_fork_below_what_was_final_is_put_aside(world: Callable[..., World]) -> None:
    made = world(2)
    made.pool.anchor = (50, made.block(0, 50).hash)
    made.branch[1] = b"fork"
    await made.pool.survey()
    assert made.statuses() == ["ok", "quarantined"]


async def test_most_decide_between_forks_and_two_alone_decide_nothing(world: Callable[..., World]) -> None:
    three = world(3)
    three.branch[0] = b"fork"
    for _ in range(4):
        await three.pool.survey()
    assert three.statuses() == ["quarantined", "ok", "ok"]
    three.pool.require_agreement()
    two = world(2)
    two.branch[0] = b"fork"
    await two.pool.survey()
    await two.pool.survey()
    with pytest.raises(NodesDisagree):
        two.pool.require_agreement()
    two.branch[0] = b""
    await two.pool.survey()
    two.pool.require_agreement()


async def test_a_reorg_seen_by_some_only_is_no_fork(world: Callable[..., World]) -> None:
    made = world(3)
    await made.pool.survey()
    made.branch[0] = b"new"
    await made.pool.survey()
    made.branch = dict.fromkeys(range(3), b"new")
    await made.pool.survey()
    assert made.statuses() == ["ok"] * 3


async def test_refusals_for_their_number_are_no_failures_and_others_take_over(
    world: Callable[..., World],
) -> None:
    made = world(2)
    made.behaves[0] = raising(TooOften("429", 30.0))
    for _ in range(10):
        assert await made.ask() == 1
    assert made.asked.count(0) == 1
    assert made.statuses()[0] == "limited"
    assert made.pool.all[0].circuit.state is State.CLOSED


async def test_a_refusal_for_good_is_not_tried_elsewhere(world: Callable[..., World]) -> None:
    made = world(3)
    made.behaves[0] = raising(RpcRefused(3, "execution reverted", b"\x01"))
    with pytest.raises(RpcRefused):
        await made.ask()
    assert made.asked == [0]


async def test_what_one_does_not_know_another_may(world: Callable[..., World]) -> None:
    made = world(2)
    made.behaves[0] = raising(RpcRefused(-32000, "missing trie node"))
    assert await made.ask() == 1
    made.behaves[1] = raising(RpcRefused(-32001, "block not found"))
    with pytest.raises(RpcRefused):
        await made.ask()


async def test_who_floods_is_put_aside_only_if_another_answers_less(world: Callable[..., World]) -> None:
    made = world(2)
    made.behaves[0] = raising(AnswerTooLarge("64 MB"))
    made.behaves[1] = raising(AnswerTooLarge("64 MB"))
    for _ in range(10):
        with pytest.raises(AnswerTooLarge):
            await made.ask()
    assert made.statuses() == ["ok", "ok"]
    del made.behaves[1]
    assert await made.ask() == 1
    assert made.statuses() == ["quarantined", "ok"]


async def test_codes_that_pass_by_themselves_are_asked_again(world: Callable[..., World]) -> None:
    made = world(1, later=(-32015,))
    left = 2

    async def immature() -> None:
        nonlocal left
        if left:
            left -= 1
            raise RpcRefused(-32015, "immature records")

    made.behaves[0] = immature
    assert await made.ask() == 0
    assert made.asked == [0, 0, 0]


async def test_health_names_no_secret(world: Callable[..., World]) -> None:
    made = world(2)
    made.behaves[0] = raising(ChainUnreachable("away"))
    await made.ask()
    told = repr(made.pool.health())
    assert "node0.example" in told
    assert "secret" not in told
    assert "key" not in told
