"""Thousands of WebSocket or Socket.IO clients in another process, and what they saw.

The program is `bench/native/clients.c`; on a machine without a C compiler it is this module itself, on
picows, with the same commands and answers.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import time
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Final, Literal, cast

import msgspec
import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from bench import native, served

Kind = Literal["ws", "sio"]

WAIT_SECONDS: Final = 60.0
_PER_ADDRESS: Final = 5_000
"""Connections from one source address; its ports end at 28,000."""
_PACE: Final = 200


class Delivered(msgspec.Struct, frozen=True):
    """When the first, the median and the last client received a message, by the monotonic clock."""

    id: int
    first: int
    median: int
    last: int


class Resumed(msgspec.Struct, frozen=True):
    """When all clients had everything again; how many of them missed something, and what came twice."""

    done: int
    ns: int
    missed: int
    doubled: int


class Clients:
    """The process with the clients."""

    def __init__(self, process: asyncio.subprocess.Process, program: str) -> None:
        self._process = process
        self.program = program
        self.process_id = process.pid

    async def grow(self, count: int) -> None:
        """Connect until there are ``count`` clients and all have joined."""
        await self._say(f"grow {count}")
        await self._hear()

    async def delivered(self) -> Delivered:
        """Wait until the last client has a message."""
        return msgspec.convert(await self._hear(), Delivered)

    async def drop(self) -> None:
        """Cut every connection at once."""
        await self._say("drop")
        await self._hear()

    async def back(self, goal: int, expected: int) -> Resumed:
        """Connect all at once; return when each has message ``goal``, of ``expected`` since `drop`.

        With 0 for both, return when all have joined.
        """
        await self._say(f"back {goal} {expected}")
        return msgspec.convert(await self._hear(), Resumed)

    async def _say(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(command.encode() + b"\n")
        await self._process.stdin.drain()

    async def _hear(self) -> object:
        """Return the next answer.

        Raises:
            RuntimeError: the clients ended, or said nothing for a minute.
        """
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise RuntimeError(f"the clients waited for {WAIT_SECONDS:.0f} s in vain") from None
        if not line:
            raise RuntimeError("the clients ended; their last words stand above")
        return msgspec.json.decode(line)


@asynccontextmanager
async def clients(port: int, kind: Kind, greeting: str, resuming: str = "") -> AsyncGenerator[Clients]:
    """Run the clients on the last core; ``greeting`` joins, ``resuming`` does after the id for ``%s``."""
    program = native.built("clients")
    command = [program] if program else [sys.executable, "-m", "bench.clients"]
    async with served.pinned([*command, str(port), kind, greeting, resuming], last=True) as process:
        yield Clients(process, "C, epoll" if program else "picows")


# --- the clients' process where there is no compiler ---


class _Population:
    """All clients of the process, and what they have received."""

    def __init__(self, url: str, kind: Kind, greeting: str, resuming: str) -> None:
        self.url, self.kind, self.greeting, self.resuming = url, kind, greeting, resuming
        self.clients: list[_Client] = []
        self.goal = self.expected = self.done = self.missed = self.doubled = 0
        self._times: dict[int, list[int]] = {}

    async def grow(self, to: int) -> None:
        self.clients += [_Client(self, place) for place in range(len(self.clients), to)]
        await _paced([client.connect() for client in self.clients if client.transport is None], _PACE)
        _tell(ready=len(self.clients))

    def drop(self) -> None:
        for client in self.clients:
            client.forget()
        _tell(dropped=len(self.clients))

    async def back(self, goal: int, expected: int) -> None:
        self.goal, self.expected = goal, expected
        self.done = self.missed = self.doubled = 0
        await asyncio.gather(*(client.connect() for client in self.clients))
        if not goal:
            self._all_back(time.monotonic_ns())

    def received(self, client: _Client, message_id: int) -> None:
        now = time.monotonic_ns()
        if message_id <= client.id:
            self.doubled += 1
            return
        client.id = message_id
        client.received += 1
        if not self.goal:
            times = self._times.setdefault(message_id, [])
            times.append(now)
            if len(times) == len(self.clients):
                del self._times[message_id]
                _tell(id=message_id, first=times[0], median=times[len(times) // 2], last=now)
        elif message_id == self.goal:
            self.missed += client.received != self.expected
            self.done += 1
            if self.done == len(self.clients):
                self._all_back(now)

    def _all_back(self, now: int) -> None:
        self.goal = 0
        _tell(done=len(self.clients), ns=now, missed=self.missed, doubled=self.doubled)


class _Client(WSListener):
    """One client; what it says and when it counts as ready is described in `native/clients.c`."""

    def __init__(self, population: _Population, place: int) -> None:
        self._population = population
        self._source = f"127.0.0.{1 + place // _PER_ADDRESS}"
        self._ready = asyncio.Event()
        self.transport: WSTransport | None = None
        self.id = self.received = 0

    async def connect(self) -> None:
        self._ready.clear()
        self.transport, _ = await ws_connect(
            lambda: self, self._population.url, local_addr=(self._source, 0), websocket_handshake_timeout=60
        )
        if self._population.kind == "ws":
            self._greet()
        await self._ready.wait()

    def forget(self) -> None:
        assert self.transport is not None
        transport, self.transport, self.received = self.transport, None, 0
        transport.underlying_transport.abort()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        if transport is self.transport:
            print("the server ended a connection", file=sys.stderr)
            os._exit(1)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        text = frame.get_payload_as_bytes()
        if self._population.kind == "sio" and self._of_protocol(transport, text):
            return
        if self._population.kind == "sio":
            text = text.partition(b",")[2] if text.startswith(b"42[") else b""
        if text.startswith(b'{"id":"'):
            self._population.received(self, int(text[7:32].partition(b'"')[0]))
        else:
            self._ready.set()

    def _of_protocol(self, transport: WSTransport, text: bytes) -> bool:
        if text == b"2":
            transport.send(WSMsgType.TEXT, b"3")
        elif text.startswith(b"0"):
            transport.send(WSMsgType.TEXT, b"40")
        elif text.startswith(b"40"):
            self.transport = transport
            self._greet()
        else:
            return False
        return True

    def _greet(self) -> None:
        population = self._population
        greeting = population.resuming.replace("%s", str(self.id)) if self.id else population.greeting
        if greeting:
            assert self.transport is not None
            self.transport.send(WSMsgType.TEXT, greeting.encode())
        else:
            self._ready.set()


async def _paced(connecting: Sequence[Coroutine[None, None, None]], pace: int) -> None:
    gate = asyncio.Semaphore(pace)

    async def one(connect: Coroutine[None, None, None]) -> None:
        async with gate:
            await connect

    await asyncio.gather(*map(one, connecting))


def _tell(**answer: int) -> None:
    print(json.dumps(answer), flush=True)


async def _obey(population: _Population) -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    while line := await reader.readline():
        command, *numbers = line.decode().split()
        match command:
            case "grow":
                await population.grow(int(numbers[0]))
            case "back":
                await population.back(int(numbers[0]), int(numbers[1]))
            case _:
                population.drop()


def main(port: str, kind: str, greeting: str, resuming: str) -> None:
    """Be the clients, until the input ends."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    path = "/socket.io/?EIO=4&transport=websocket" if kind == "sio" else "/ws/events"
    url = f"ws://127.0.0.1:{port}{path}"
    uvloop.run(_obey(_Population(url, cast("Kind", kind), greeting, resuming)))


if __name__ == "__main__":
    main(*sys.argv[1:])
