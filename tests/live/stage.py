"""A live server in the test's process, with a feed that says what the test wants said."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

from echain.edge.live.access import ChannelPrivate, ChannelUnknown, Grant, Identity, Limits, Origins, Timing
from echain.edge.live.desk import Desk
from echain.edge.live.hub import Hub
from echain.edge.live.past import Past
from echain.edge.live.recent import Recent
from echain.edge.live.server import BACKLOG, Server
from echain.edge.live.verbs import Verbs
from echain.entry.realtime import JOINS, names_of
from echain.infra.messagestore import Relayed
from echain.infra.metrics import Metrics
from echain.kernel.time import Clock, utc_now

ADA = "0x" + "Aa" * 20
BO = "0x" + "Bb" * 20
ORIGIN = "https://tickets.example"
EVENT = "event:one"


@dataclass
class Told:
    """Messages in order as the relay numbers them, kept from ``first`` on; what `Past` asks."""

    rows: list[Relayed] = field(default_factory=list)
    first: int = 1
    delay_seconds: float = 0.0
    questions: list[tuple[tuple[str, ...], int]] = field(default_factory=list)
    hub: Hub | None = None

    def add(self, *said: tuple[str, str, object]) -> list[Relayed]:
        """Number messages and keep them, as a transaction does that no realtime process has heard of yet."""
        new = []
        for channel, kind, data in said:
            number = len(self.rows) + 1
            row = Relayed(number, channel, kind, json.dumps(data).encode(), None, None, 1_700_000_000_000)
            self.rows.append(row)
            new.append(row)
        return new

    def say(self, *said: tuple[str, str, object]) -> list[Relayed]:
        """Number messages, keep them, and have them spoken."""
        new = self.add(*said)
        assert self.hub is not None
        self.hub.speak(new)
        return new

    def sold(self, channel: str = EVENT, count: int = 1) -> list[Relayed]:
        return self.say(*((channel, "ticket_sold", {"n": number}) for number in range(count)))

    async def history(self, channels: Sequence[str], after: int, limit: int) -> list[Relayed]:
        self.questions.append((tuple(channels), after))
        found = [row for row in self.rows[max(after, self.first - 1) :] if row.channel in channels][:limit]
        await asyncio.sleep(self.delay_seconds)
        return found

    async def oldest(self) -> int:
        return self.first


@dataclass
class People:
    """Tokens and whom they stand for, until when by their clock."""

    clock: Clock = utc_now
    known: dict[str, Identity] = field(default_factory=dict)

    def token(self, address: str, *, seconds: float = 3600) -> str:
        token = f"token-{uuid4().hex}"
        until = self.clock() + timedelta(seconds=seconds)
        self.known[token] = Identity(uuid4(), address, until, uuid5(NAMESPACE_URL, address))
        return token

    def session(self, token: str) -> UUID:
        return self.known[token].session

    async def identify(self, token: str) -> Identity | None:
        await asyncio.sleep(0)
        return self.known.get(token)


async def policy(name: str, identity: Identity | None) -> Grant:
    """Allow what starts with event:, and what is named after the one who asks."""
    kind, _, rest = name.partition(":")
    if kind == "event" and rest:
        return Grant("event:one" if rest == "draft" else name, private=False)
    if kind in ("user", "organizer"):
        if identity is None or identity.address != rest:
            raise ChannelPrivate
        return Grant(name, private=True)
    raise ChannelUnknown


@dataclass
class Stage:
    """A server that listens."""

    server: Server
    desk: Desk
    told: Told
    people: People
    metrics: Metrics
    port: int

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    async def until(self, holds, seconds: float = 5) -> None:
        """Wait until ``holds()``; fail when it does not in time."""
        async with asyncio.timeout(seconds):
            while not holds():
                await asyncio.sleep(0.005)


@asynccontextmanager
async def staged(
    *,
    limits: Limits | None = None,
    timing: Timing | None = None,
    recent: Recent | None = None,
    clock: Clock = utc_now,
) -> AsyncIterator[Stage]:
    """Listen on a free port while the block lasts."""
    told, people, metrics = Told(), People(clock), Metrics()
    hub = Hub(recent or Recent(), names_of)
    told.hub = hub
    desk = Desk(
        hub,
        Past(hub, told),
        policy=policy,
        identify=people.identify,
        clock=clock,
        metrics=metrics,
        limits=limits or Limits(),
        timing=timing or Timing(resolution=0.02, closing=0.3),
    )
    server = Server(desk, Verbs(JOINS), Origins([ORIGIN]), cookie="echain_token", ready=lambda: hub.started)
    hub.begin(0)
    hub.start()
    listening = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    turning = asyncio.create_task(desk.wheel.run())
    await server.listen(listening)
    try:
        yield Stage(server, desk, told, people, metrics, listening.getsockname()[1])
    finally:
        await server.close()
        turning.cancel()
        await desk.close()
