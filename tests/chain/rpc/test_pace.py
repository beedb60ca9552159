"""How fast an endpoint may be asked is learnt from its refusals, and unlearnt when they end."""

from __future__ import annotations

import asyncio

import pytest
from tests.chain.rpc.test_circuit import Time

from echain.chain.pace import Bucket, Window


def served(bucket: Bucket, time: Time, seconds: float, *, bears: float) -> tuple[int, int]:
    """Ask as fast as the bucket allows an endpoint that bears so many a second; return answers, refusals."""
    end, answered, refused = time.now + seconds, 0, 0
    recent: list[float] = []
    while time.now < end:
        wait = bucket.wait_seconds()
        if wait:
            time.now += wait
            continue
        bucket.spend(1)
        recent = [when for when in recent if when > time.now - 1]
        if len(recent) >= bears:
            refused += 1
            bucket.refused(None)
        else:
            recent.append(time.now)
            answered += 1
        time.now += 0.002
    return answered, refused


def test_nothing_is_held_back_before_the_first_refusal() -> None:
    bucket = Bucket(Time())
    for _ in range(10_000):
        assert bucket.wait_seconds() == 0
        bucket.spend(1)
    assert bucket.per_second is None


@pytest.mark.parametrize("bears", [5, 20, 100])
def test_the_rate_settles_near_what_the_endpoint_bears(bears: int) -> None:
    time = Time()
    bucket = Bucket(time)
    served(bucket, time, 30, bears=bears)
    answered, refused = served(bucket, time, 120, bears=bears)
    assert answered > 0.6 * bears * 120
    assert refused < 0.05 * answered


def test_a_pause_that_was_named_is_kept() -> None:
    time = Time()
    bucket = Bucket(time)
    bucket.spend(1)
    bucket.refused(7.0)
    assert bucket.wait_seconds() == pytest.approx(7.0)
    time.now += 6.9
    assert bucket.wait_seconds() > 0
    # And never longer than a minute, whatever an endpoint says.
    bucket.refused(86_400.0)
    assert bucket.wait_seconds() < 60.1


def test_refusals_again_and_again_make_the_pauses_longer() -> None:
    time = Time()
    bucket = Bucket(time)
    pauses: list[float] = []
    for _ in range(6):
        bucket.spend(1)
        bucket.refused(None)
        pauses.append(bucket.wait_seconds())
        time.now += pauses[-1] + 0.01
    assert pauses == sorted(pauses)
    assert pauses[-1] > 8 * pauses[0]


def test_refusals_of_requests_sent_together_count_once() -> None:
    time = Time()
    bucket = Bucket(time)
    for _ in range(40):
        bucket.spend(1)
    for _ in range(40):
        bucket.refused(None)
    assert bucket.per_second == pytest.approx(30)


def test_a_batch_counts_as_its_calls() -> None:
    time = Time()
    bucket = Bucket(time)
    bucket.spend(100)
    bucket.refused(None)
    assert bucket.per_second == pytest.approx(75)
    spent = 0
    for _ in range(40):
        time.now += bucket.wait_seconds(50)
        bucket.spend(50)
        spent += 50
    assert 60 < spent / (time.now - 1_000) < 100


def test_the_bound_is_lifted_after_ten_quiet_minutes() -> None:
    time = Time()
    bucket = Bucket(time)
    bucket.spend(1)
    bucket.refused(None)
    time.now += 601
    assert bucket.wait_seconds() == 0
    assert bucket.per_second is None


async def test_no_more_are_under_way_than_the_window_has_room_for() -> None:
    window = Window()
    most = 0
    release = asyncio.Event()

    async def one() -> None:
        nonlocal most
        async with window.place():
            most = max(most, window.under_way)
            await release.wait()

    tasks = [asyncio.create_task(one()) for _ in range(100)]
    for _ in range(5):
        await asyncio.sleep(0)
    assert window.under_way == int(window.size)
    # Those who give up while they wait, or hold a place, keep nobody else out.
    for task in tasks[:30]:
        task.cancel()
    release.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(not task.cancelled() for task in tasks) == 70
    assert most == int(Window().size)
    assert window.under_way == 0


def test_the_window_grows_by_one_a_round_and_halves_when_overloaded() -> None:
    window = Window()
    first = window.size
    for _ in range(int(first)):
        window.answered()
    assert first + 0.9 < window.size < first + 1.1
    window.overloaded()
    assert window.size < 0.6 * first
    for _ in range(20):
        window.overloaded()
    assert window.has_room, "one is always allowed"
    for _ in range(100_000):
        window.answered()
    assert window.size <= 64
