"""One message to 1,000, 5,000 and 10,000 clients: ours, node's `socket.io` and `ws`, the floor, in one run.

Every server runs on the first core and hears of the message by the same Redis; the same clients, on the last
core, say when each had it. What counts is the server's processor time a delivery and the time until the last
client, as ratios to the peers and to the floor.
"""

from __future__ import annotations

import asyncio
import resource
import socket
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Final, Self

import msgspec

from bench import native, npm, realtime, served
from bench.clients import Clients, Kind, clients
from bench.realtime import Realtime, Told, counted
from bench.rows import Row
from echain.infra.embedded.redis import Redis

SIZES: Final = {1_000: 60, 5_000: 40, 10_000: 30}
"""How many messages go to how many clients."""
LARGEST: Final = max(SIZES)
FILES_ASIDE: Final = 300
WARM_UP: Final = 5
AWAY: Final = 20
"""Messages that a dropped crowd has to catch up on."""
PAUSE_SECONDS: Final = 0.03
CHANNEL: Final = "echain:bench"
_SETTLING_SECONDS: Final = 0.5
"""After all have connected, until memory is read."""


class Fan(msgspec.Struct, frozen=True):
    """What one server did with so many clients; processor time is a delivery's."""

    cpu_us: float
    last_ms_p50: float
    last_ms_p99: float
    clients_us: float


class Measured(msgspec.Struct, frozen=True):
    """What one server did, by number of clients; its memory; the time until a dropped crowd was back."""

    fans: Mapping[int, Fan]
    kb_per_connection: float
    back_seconds: float
    clients: str


class Started(msgspec.Struct, frozen=True):
    """A server that runs, what its clients say to join the room, and what makes the next message."""

    port: int
    process_id: int
    greeting: str
    resuming: str
    channel: str
    tell: Callable[[], Awaitable[Told]]


Starting = Callable[[], AbstractAsyncContextManager[Started]]


async def measure() -> list[Row]:
    """Return time and memory a delivery and a connection, of Socket.IO clients and of plain WebSockets."""
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files < LARGEST + FILES_ASIDE:
        raise RuntimeError(f"{LARGEST:,} clients need `ulimit -Hn {LARGEST + FILES_ASIDE}`; it is {files}")
    found: dict[str, Measured] = {}
    missing: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder, Redis(Path(folder) / "redis") as redis:
        async with realtime.realtime(Path(folder), redis) as ours:
            for name, (kind, starting) in _servers(redis, ours).items():
                try:
                    found[name] = await _measured(kind, starting, redis)
                except (npm.PeerMissing, RuntimeError, OSError) as error:
                    if name in OURS:
                        raise
                    missing[name] = str(error)
    return _rows(found, missing)


OURS: Final = ("ours", "ours, WebSocket")
FLOOR: Final = "floor"
PEERS: Final[Mapping[str, Sequence[str]]] = {
    "ours": ("socket.io, here",),
    "ours, WebSocket": ("ws prepared, here", "ws, here"),
}


def _servers(redis: Redis, ours: Realtime) -> dict[str, tuple[Kind, Starting]]:
    return {
        "ours": ("sio", lambda: _ours(ours, "sio")),
        "socket.io, here": ("sio", lambda: _node("socket.io", redis)),
        FLOOR: ("ws", lambda: _floor(redis)),
        "ours, WebSocket": ("ws", lambda: _ours(ours, "ws")),
        "ws prepared, here": ("ws", lambda: _node("prepared", redis)),
        "ws, here": ("ws", lambda: _node("ws", redis)),
    }


# --- one server ---


async def _measured(kind: Kind, starting: Starting, redis: Redis) -> Measured:
    async with starting() as server, clients(server.port, kind, server.greeting, server.resuming) as crowd:
        with _Publisher(redis.port, server.channel) as publisher:
            await asyncio.sleep(_SETTLING_SECONDS)
            before = served.memory_bytes(server.process_id)
            fans: dict[int, Fan] = {}
            held = before
            for size, messages in SIZES.items():
                await crowd.grow(size)
                await asyncio.sleep(_SETTLING_SECONDS)
                held = served.memory_bytes(server.process_id)
                fans[size] = await _fanned(server, crowd, publisher, size, messages)
            back = await _dropped(server, crowd, publisher)
        return Measured(fans, (held - before) / LARGEST / 1024, back, crowd.program)


async def _fanned(server: Started, crowd: Clients, publisher: _Publisher, size: int, messages: int) -> Fan:
    """Publish a message after the other, each once all have the one before."""
    for _ in range(WARM_UP):
        await _one(server, crowd, publisher)
    server_began, clients_began = (served.cpu_seconds(one) for one in (server.process_id, crowd.process_id))
    last = [await _one(server, crowd, publisher) for _ in range(messages)]
    server_took = served.cpu_seconds(server.process_id) - server_began
    clients_took = served.cpu_seconds(crowd.process_id) - clients_began
    deliveries = size * messages
    return Fan(
        server_took / deliveries * 1e6,
        median(last) / 1e6,
        quantiles(last, n=100, method="inclusive")[98] / 1e6,
        clients_took / deliveries * 1e6,
    )


async def _one(server: Started, crowd: Clients, publisher: _Publisher) -> int:
    """Return the nanoseconds from publishing until the last client had it."""
    await asyncio.sleep(PAUSE_SECONDS)
    told = await server.tell()
    began = time.monotonic_ns()
    publisher.publish(told.payload)
    delivered = await crowd.delivered()
    if delivered.id != told.id:
        raise RuntimeError(f"message {delivered.id} came instead of {told.id}")
    return delivered.last - began


async def _dropped(server: Started, crowd: Clients, publisher: _Publisher) -> float:
    """Cut all connections, publish, let all come back at once; return the seconds until they have it all.

    Where nothing is kept for those who were away, the seconds until all have joined again.

    Raises:
        RuntimeError: somebody missed a message or had one twice.
    """
    await crowd.drop()
    told = [await server.tell() for _ in range(AWAY)]
    for one in told:
        publisher.publish(one.payload)
    began = time.monotonic_ns()
    back = await (crowd.back(told[-1].id, AWAY) if server.resuming else crowd.back(0, 0))
    if back.missed or back.doubled:
        raise RuntimeError(f"{back.missed} clients missed messages; {back.doubled} came twice")
    return (back.ns - began) / 1e9


class _Publisher:
    """One connection to Redis without a client's overhead between the clock and the socket."""

    def __init__(self, port: int, channel: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._head = b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%b\r\n" % (len(channel), channel.encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def publish(self, payload: bytes) -> None:
        self._socket.sendall(self._head + b"$%d\r\n%b\r\n" % (len(payload), payload))
        self._socket.recv(64)


# --- the servers ---


@asynccontextmanager
async def _ours(ours: Realtime, kind: Kind) -> AsyncGenerator[Started]:
    async with ours.running() as (port, process_id):
        yield Started(
            port, process_id, realtime.joining(kind), realtime.resuming(kind), ours.channel, ours.tell
        )


@asynccontextmanager
async def _node(kind: str, redis: Redis) -> AsyncGenerator[Started]:
    folder = await asyncio.to_thread(npm.peers)
    command = [npm.node(), str(folder / "fanout.mjs"), kind, redis.url, CHANNEL]
    greeting = realtime.joining("sio") if kind == "socket.io" else ""
    async with served.pinned(command, last=False) as process:
        yield Started(await _port_of(process), process.pid, greeting, "", CHANNEL, counted())


@asynccontextmanager
async def _floor(redis: Redis) -> AsyncGenerator[Started]:
    program = native.built("floor")
    command = [program] if program else [sys.executable, "-m", "bench.rawserver"]
    async with served.pinned([*command, str(redis.port), CHANNEL], last=False) as process:
        yield Started(await _port_of(process), process.pid, "", "", CHANNEL, counted())


async def _port_of(process: asyncio.subprocess.Process) -> int:
    assert process.stdout is not None
    async with asyncio.timeout(10):
        line = await process.stdout.readline()
    if not line:
        raise RuntimeError("it did not start")
    return int(line)


# --- rows ---


def _rows(found: Mapping[str, Measured], missing: Mapping[str, str]) -> list[Row]:
    rows: list[Row] = []
    for name, prefix in zip(OURS, ("", "_ws"), strict=True):
        for size in SIZES:
            suffix = "" if size == LARGEST else f"_{size}"
            cpu = {one: measured.fans[size].cpu_us for one, measured in found.items()}
            last = {one: measured.fans[size].last_ms_p50 for one, measured in found.items()}
            note = _note(found[name], size)
            rows += [
                _row(f"fanout{prefix}_us_per_delivery{suffix}", "µs", name, cpu, note),
                _row(f"fanout{prefix}_last_ms_p50{suffix}", "ms", name, last, note),
            ]
        memory = {one: measured.kb_per_connection for one, measured in found.items() if one != FLOOR}
        rows.append(_row(f"socket{prefix}_kb_per_connection", "KB", name, memory, _MEMORY_NOTE))
        back = {one: measured.back_seconds for one, measured in found.items()}
        rows.append(_row(f"resume{prefix}_10000_s", "s", name, back, _BACK_NOTE))
    return [
        msgspec.structs.replace(row, missing={peer: missing[peer] for peer in peers if peer in missing})
        for row, peers in ((row, PEERS[OURS["_ws_" in row.name]]) for row in rows)
    ]


def _row(row: str, unit: str, name: str, values: Mapping[str, float], note: str) -> Row:
    peers = {peer: values[peer] for peer in PEERS[name] if peer in values}
    return Row(row, values[name], unit, values.get(FLOOR), peers, note)


_MEMORY_NOTE: Final = (
    f"memory of the process with {LARGEST:,} idle connections less that without any; the kernel's not counted"
)


_BACK_NOTE: Final = (
    f"{LARGEST:,} clients, all cut and all back at once: until each has the {AWAY} messages said meanwhile, "
    "none missed, none twice; peers and floor keep nothing for them: until all have joined again"
)


def _note(measured: Measured, size: int) -> str:
    fan = measured.fans[size]
    return (
        f"{size:,} clients, p99 of the last one {fan.last_ms_p99:.0f} ms; messages of 200 bytes; clients in "
        f"{measured.clients}, whose limit is {1e6 / fan.clients_us:,.0f} messages a second"
    )
