"""Whoever comes back, whenever, in whatever order things happen: no message is missing, none comes twice."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.live.stage import Told, staged
from websockets.asyncio.client import connect

from echain.edge.live import past as past_module
from echain.edge.live.hub import Hub
from echain.edge.live.past import Follower, Past
from echain.edge.live.recent import Recent
from echain.edge.live.wire import Entry, Wire
from echain.entry.realtime import feeding
from echain.infra.database import DatabaseUnavailable
from echain.infra.feed import Feed, MessagesGone
from echain.infra.messagestore import Relayed

CHANNELS = ("event:a", "event:b", "event:c")


class Ear(Follower):
    """A receiver that notes sequences, and can be slow."""

    def __init__(self, hub: Hub, channels: Sequence[str]) -> None:
        super().__init__(Wire.WEBSOCKET, self._take)
        self.hub = hub
        self.channels = set(channels)
        self.heard: list[int] = []
        self.resyncs: list[str] = []

    def _take(self, data: bytes) -> None:
        self.heard += [int(part.split(b'"', 1)[0]) for part in data.split(b'{"id":"')[1:]]

    def wants(self, channel: str) -> bool:
        return channel in self.channels

    async def drained(self) -> None:
        await asyncio.sleep(0)

    def hear(self, channel: str) -> None:
        self.hub.attach(self, channel)

    def resync(self, channel: str, reason: str) -> None:  # noqa: ARG002 - the channel says enough here
        self.resyncs.append(channel)


def world(recent: Recent) -> tuple[Hub, Told, Past]:
    told = Told()
    hub = Hub(recent, lambda kind: (kind,))
    told.hub = hub
    hub.begin(0)
    hub.start()
    return hub, told, Past(hub, told)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 30), st.sampled_from([0.0, 0.0001]))
def test_any_interleaving_of_telling_and_joining_is_without_gap_and_double(
    seed: int, memory: int, delay: float
) -> None:
    async def play() -> None:
        chance = random.Random(seed)
        hub, told, past = world(Recent(most=memory))
        told.delay_seconds = delay
        waiting: list[Relayed] = []
        ears: list[tuple[Ear, int]] = []
        joining: list[asyncio.Task[None]] = []
        for _ in range(chance.randint(1, 60)):
            match chance.randint(0, 4):
                case 0 | 1:
                    waiting += told.add(
                        *((chance.choice(CHANNELS), "x", {}) for _ in range(chance.randint(1, 12)))
                    )
                case 2:
                    hub.speak(waiting)
                    waiting = []
                case 3:
                    after = chance.randint(0, len(told.rows))
                    ear = Ear(hub, chance.sample(CHANNELS, chance.randint(1, 3)))
                    ears.append((ear, after))
                    joining.append(asyncio.create_task(past.follow(ear, sorted(ear.channels), after)))
                case _:
                    await asyncio.sleep(0)
        hub.speak(waiting)
        await asyncio.gather(*joining)
        told.say(*((channel, "x", {}) for channel in CHANNELS))
        for ear, after in ears:
            due = [row.sequence for row in told.rows if row.channel in ear.channels and row.sequence > after]
            assert ear.heard == due
            assert ear.resyncs == []

    asyncio.run(play())


async def test_a_crowd_whose_messages_left_memory_asks_the_database_once() -> None:
    hub, told, past = world(Recent(most=10))
    told.delay_seconds = 0.05
    told.say(*(("event:a", "x", {}) for _ in range(300)))
    ears = [Ear(hub, ["event:a"]) for _ in range(2_000)]
    await asyncio.gather(*(past.follow(ear, ["event:a"], 100) for ear in ears))
    assert all(ear.heard == list(range(101, 301)) for ear in ears)
    assert len(told.questions) == 1


async def test_a_backlog_of_many_pages_comes_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(past_module, "_QUERY_ROWS", 50)
    hub, told, past = world(Recent(most=10))
    told.say(*((CHANNELS[number % 3], "x", {}) for number in range(1_000)))
    ear = Ear(hub, CHANNELS[:2])
    await past.follow(ear, CHANNELS[:2], 0)
    assert ear.heard == [row.sequence for row in told.rows if row.channel in CHANNELS[:2]]
    again = Ear(hub, CHANNELS[:2])
    asked = len(told.questions)
    await past.follow(again, CHANNELS[:2], 0)
    assert again.heard == ear.heard
    assert len(told.questions) <= asked + 1, "full pages are remembered"


async def test_a_query_that_began_before_a_message_does_not_hide_it_from_who_joins_later() -> None:
    """Two ask for the same page; between them a message is told, which the shared answer cannot hold."""
    hub, told, past = world(Recent(most=1))
    told.say(*(("event:a", "x", {}) for _ in range(5)))
    told.delay_seconds = 0.05
    first, second = Ear(hub, ["event:a"]), Ear(hub, ["event:a"])
    one = asyncio.create_task(past.follow(first, ["event:a"], 0))
    await asyncio.sleep(0.01)
    told.say(("event:a", "x", {}), ("event:b", "x", {}))
    two = asyncio.create_task(past.follow(second, ["event:a"], 0))
    await asyncio.gather(one, two)
    assert first.heard == second.heard == [1, 2, 3, 4, 5, 6]


@dataclass
class Flaky(Told):
    """A database that is away now and then."""

    failures: int = 3
    seen: list[str] = field(default_factory=list)

    async def history(self, channels: Sequence[str], after: int, limit: int) -> list[Relayed]:
        if self.failures:
            self.failures -= 1
            raise DatabaseUnavailable
        return await super().history(channels, after, limit)


async def test_a_database_that_is_away_for_a_moment_only_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(past_module, "_PAUSE_SECONDS", 0.01)
    told = Flaky()
    hub = Hub(Recent(most=1), lambda kind: (kind,))
    told.hub = hub
    hub.begin(0)
    hub.start()
    told.say(*(("event:a", "x", {}) for _ in range(9)))
    past = Past(hub, told)
    ears = [Ear(hub, ["event:a"]) for _ in range(5)]
    await asyncio.gather(*(past.follow(ear, ["event:a"], 2) for ear in ears))
    assert all(ear.heard == [3, 4, 5, 6, 7, 8, 9] for ear in ears)
    told.failures = 10_000
    late = Ear(hub, ["event:a"])
    await past.follow(late, ["event:a"], 1)
    assert late.resyncs == ["event:a"], "who cannot be told reads the state anew"


@dataclass
class Swept(Told):
    """A database whose oldest messages go at one of the moments between our statements."""

    moment: str = ""
    going: int = 61

    def pass_by(self, moment: str) -> None:
        if moment == self.moment:
            self.first = self.going

    async def oldest(self) -> int:
        oldest = await super().oldest()
        self.pass_by("asked")
        return oldest

    async def history(self, channels: Sequence[str], after: int, limit: int) -> list[Relayed]:
        self.pass_by("reading")
        found = await super().history(channels, after, limit)
        self.pass_by("read")
        return found


@pytest.mark.parametrize("moment", ["asked", "reading", "read"])
@pytest.mark.parametrize("rows", [30, 500])
async def test_a_sweep_while_somebody_catches_up_loses_nothing_unsaid(
    monkeypatch: pytest.MonkeyPatch, moment: str, rows: int
) -> None:
    monkeypatch.setattr(past_module, "_QUERY_ROWS", rows)
    told = Swept(moment=moment)
    hub = Hub(Recent(most=5), lambda kind: (kind,))
    told.hub = hub
    hub.begin(0)
    hub.start()
    told.say(*(("event:a", "x", {}) for _ in range(100)))
    past = Past(hub, told)
    ears = [Ear(hub, ["event:a"]) for _ in range(3)]
    await asyncio.gather(*(past.follow(ear, ["event:a"], 10) for ear in ears))
    for ear in ears:
        # A page that may have lost its beginning is not written.
        assert (ear.heard, ear.resyncs) == ([], ["event:a"])
    told.say(("event:a", "x", {}))
    assert all(ear.heard == [101] for ear in ears)
    later = Ear(hub, ["event:a"])
    await past.follow(later, ["event:a"], 60)
    assert (later.heard, later.resyncs) == (list(range(61, 102)), []), "what is kept comes"


async def test_a_connection_that_cannot_be_written_to_takes_the_message_from_nobody() -> None:
    hub, told, _ = world(Recent())

    def broken(_: bytes) -> None:
        raise RuntimeError("the handler is closed")

    ears = [Ear(hub, ["event:a"]) for _ in range(3)]
    ears[1].write = broken
    for ear in ears:
        hub.attach(ear, "event:a")
    told.say(("event:a", "x", {}), ("event:a", "x", {}))
    assert [ear.heard for ear in ears] == [[1, 2], [], [1, 2]]


async def test_who_leaves_while_catching_up_hears_nothing_more() -> None:
    hub, told, past = world(Recent(most=1))
    told.delay_seconds = 0.02
    told.say(*(("event:a", "x", {}) for _ in range(9)))
    ear = Ear(hub, ["event:a"])
    joining = asyncio.create_task(past.follow(ear, ["event:a"], 0))
    await asyncio.sleep(0)
    ear.channels.clear()
    await joining
    told.say(("event:a", "x", {}))
    assert ear.heard == []
    assert hub.channels == 0


@given(st.lists(st.sampled_from(CHANNELS), max_size=80), st.integers(1, 20), st.integers(0, 90))
def test_memory_holds_the_newest_of_each_channel_in_order(told: list[str], most: int, after: int) -> None:
    recent = Recent(most=most)
    recent.begin(0)
    for number, channel in enumerate(told, 1):
        recent.add(Entry(number, channel, ("x",), b"{}", 0))
    assert recent.floor == max(0, len(told) - most)
    kept = [(number, channel) for number, channel in enumerate(told, 1) if number > recent.floor]
    for channels in (CHANNELS[:1], CHANNELS[1:], CHANNELS):
        due = [number for number, channel in kept if channel in channels and number > after]
        assert [entry.sequence for entry in recent.since(channels, after, 1000)] == due
        assert [entry.sequence for entry in recent.since(channels, after, 3)] == due[:3]
    for channel in CHANNELS:
        last = max((number for number, one in kept if one == channel), default=0)
        assert recent.told_since(channel, max(after, recent.floor)) is (last > max(after, recent.floor))


def test_memory_is_bounded_by_bytes_too() -> None:
    recent = Recent(most_bytes=100_000)
    recent.begin(0)
    for number in range(1, 1000):
        recent.add(Entry(number, "event:a", ("x",), b'"' + b"x" * 1000 + b'"', 0))
    kept = recent.since(["event:a"], 0, 10_000)
    assert 10 < len(kept) < 40
    assert kept[-1].sequence == 999
    assert recent.floor == kept[0].sequence - 1


async def test_pages_of_numbers_that_are_over_are_told_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(past_module, "_QUERY_ROWS", 10)
    hub, told, past = world(Recent(most=5))
    told.say(*(("event:a", "x", {}) for _ in range(40)))
    before = Ear(hub, ["event:a"])
    await past.follow(before, ["event:a"], 0)
    told.delay_seconds = 0.02
    asking = asyncio.create_task(past.follow(Ear(hub, ["event:a"]), ["event:a"], 5))
    await asyncio.sleep(0.01)
    # The database is put back to an older state, and other things are told under the same numbers.
    del told.rows[2:]
    hub.begin(2)
    past.forget()
    hub.start()
    told.say(*(("event:b", "x", {}) for _ in range(30)), ("event:a", "x", {}))
    told.delay_seconds = 0.0
    await asking
    for after, due in ((0, [1, 2, 33]), (5, [33])):
        ear = Ear(hub, ["event:a"])
        await past.follow(ear, ["event:a"], after)
        assert ear.heard == due


class Restored(Told):
    """A feed over a database that was put back to an older state once."""

    restored = False

    async def tip(self) -> int:
        return len(self.rows)

    async def batches(self, after: int) -> AsyncIterator[list[Relayed]]:
        if rows := self.rows[after:]:
            yield rows
        if not self.restored:
            self.restored = True
            del self.rows[4:]
            raise MessagesGone
        await asyncio.Event().wait()


async def test_numbers_that_begin_anew_are_told_to_all_and_nothing_old_comes_again() -> None:
    async with staged() as stage:
        feed = Restored()
        feed.hub = stage.desk.hub
        feed.add(*(("event:a", "x", {}) for _ in range(9)))
        async with connect(f"{stage.ws}/ws/events") as client:
            await client.send('{"op":"subscribe","channels":["event:a"]}')
            await client.recv()
            stage.desk.hub.begin(9)
            running = asyncio.create_task(feeding(cast("Feed", feed), stage.desk))
            await stage.until(lambda: feed.restored and stage.desk.hub.started)
            feed.say(("event:a", "x", {}))
            heard = []
            while not heard or heard[-1]["type"] != "x":
                heard.append(json.loads(await client.recv()))
            assert [(one["type"], one["id"]) for one in heard[-2:]] == [("resync", "4"), ("x", "5")]
            assert {one["type"] for one in heard[:-1]} == {"resync"}
            running.cancel()
