"""A load generator over raw connections: each sends its next request when it has the last one's answer.

As a program of its own it is one process on one core, so that it takes nothing from the server's:
``python -m bench.load PORT CONNECTIONS SECONDS`` reads the requests from standard input as a msgpack list of
bytes and writes what it found as JSON. With 0 seconds each request is sent once.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, cast

import msgspec
import uvloop

WARM_UP_SECONDS = 0.5


class Load(msgspec.Struct, frozen=True):
    """Answers a second, and latency in milliseconds; ``failed`` counts answers that were no success."""

    rate: float
    p50: float
    p99: float
    failed: int


class _Connection(asyncio.Protocol):
    def __init__(self, requests: Iterator[bytes], run: _Run | _Once) -> None:
        self._requests = requests
        self._run = run
        self._awaited = -1
        self._held = b""
        self._sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._next()

    def _next(self) -> None:
        request = next(self._requests, None)
        if request is not None:
            self._sent = time.perf_counter()
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        if self._awaited < 0:
            self._held += data
            head = self._held.find(b"\r\n\r\n")
            if head < 0:
                return
            at = self._held.find(b"content-length: ", 0, head)
            length = int(self._held[at + 16 : self._held.index(b"\r", at)])
            self._run.failed += self._held[9:10] != b"2"
            self._awaited = head + 4 + length - len(self._held)
            self._held = b""
        else:
            self._awaited -= len(data)
        if self._awaited <= 0:
            self._awaited = -1
            now = time.perf_counter()
            if self._run.answered(now, now - self._sent):
                self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        self._run.lost(exc)


class _Run:
    def __init__(self, seconds: float) -> None:
        self.began = time.perf_counter() + WARM_UP_SECONDS
        self.ends = self.began + seconds
        self.failed = 0
        self.latencies: list[float] = []
        self.over = asyncio.Event()
        self.error: BaseException | None = None

    def answered(self, now: float, latency: float) -> bool:
        """Take one answer in; return whether the run goes on."""
        if now >= self.ends:
            self.over.set()
            return False
        if now >= self.began:
            self.latencies.append(latency)
        return True

    def lost(self, exc: Exception | None) -> None:
        if not self.over.is_set():
            self.error = exc or ConnectionError("the server closed a connection")
            self.over.set()


class _Once:
    """A run that ends with the last answer; the first fifth of them only warms up."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._warm = count // 5
        self._answers = 0
        self.began = self.ended = 0.0
        self.failed = 0
        self.latencies: list[float] = []
        self.over = asyncio.Event()
        self.error: BaseException | None = None

    def answered(self, now: float, latency: float) -> bool:
        """Take one answer in; return whether the run goes on."""
        self._answers += 1
        if self._answers == self._warm:
            self.began = now
        elif self._answers > self._warm:
            self.latencies.append(latency)
        if self._answers == self._count:
            self.ended = now
            self.over.set()
        return self._answers < self._count

    def lost(self, exc: Exception | None) -> None:
        if not self.over.is_set():
            self.error = exc or ConnectionError("the server closed a connection")
            self.over.set()


async def run(port: int, connections: int, seconds: float, requests: Sequence[bytes]) -> Load:
    """Send ``requests`` in turn, over and over, for ``seconds`` after a warm-up of half a second.

    With 0 seconds each is sent once.

    Raises:
        OSError: the server cannot be reached, or ends a connection.
    """
    loop = asyncio.get_running_loop()
    running = _Run(seconds) if seconds else _Once(len(requests))
    turns = itertools.cycle(requests) if seconds else iter(requests)
    made = [
        await loop.create_connection(lambda: _Connection(turns, running), "127.0.0.1", port)
        for _ in range(connections)
    ]
    await running.over.wait()
    for transport, _ in made:
        transport.abort()
    if running.error is not None:
        raise running.error
    ordered = sorted(running.latencies)
    count = len(ordered)
    taken = running.ended - running.began if isinstance(running, _Once) else seconds
    return Load(count / taken, ordered[count // 2] * 1000, ordered[count * 99 // 100] * 1000, running.failed)


async def apply(port: int, requests: Sequence[bytes], *, connections: int = 64, seconds: float = 2.0) -> Load:
    """Run the generator as a process of its own, on the last core where there are several."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.load", str(port), str(connections), str(seconds)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    found, _ = await process.communicate(msgspec.msgpack.encode(list(requests)))
    if process.returncode:
        raise RuntimeError("the load generator failed")
    return msgspec.json.decode(found, type=Load)


def pin(process_id: int, *, last: bool) -> None:
    """Hold a process to the last core, or to all others, where the system lets us and there are several."""
    if not hasattr(os, "sched_setaffinity"):
        return
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        os.sched_setaffinity(process_id, cores[-1:] if last else cores[:-1])


async def limit(answer: bytes, request: bytes) -> float:
    """Return how many answers a second generator and a server that does nothing but write them reach."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.load", "answer", str(listening.fileno())),
        stdin=asyncio.subprocess.PIPE,
        pass_fds=[listening.fileno()],
    )
    assert process.stdin is not None
    process.stdin.write(answer)
    process.stdin.close()
    pin(process.pid, last=False)
    try:
        return (await apply(listening.getsockname()[1], [request])).rate
    finally:
        process.terminate()
        await process.wait()
        listening.close()


async def _answer(listening: socket.socket, answer: bytes) -> None:
    class Writer(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self._transport = cast("asyncio.Transport", transport)

        def data_received(self, data: bytes) -> None:  # noqa: ARG002 - whatever is asked, this is the answer
            self._transport.write(answer)

    server = await asyncio.get_running_loop().create_server(Writer, sock=listening)
    await server.serve_forever()


def main(arguments: Sequence[str]) -> None:
    """Generate load, or be the server that does nothing."""
    if arguments[0] == "answer":
        answer = sys.stdin.buffer.read()
        uvloop.run(_answer(socket.socket(fileno=int(arguments[1])), answer))
        return
    pin(0, last=True)
    requests: list[Any] = msgspec.msgpack.decode(sys.stdin.buffer.read())
    port, connections, seconds = int(arguments[0]), int(arguments[1]), float(arguments[2])
    found = uvloop.run(run(port, connections, seconds, requests))
    sys.stdout.buffer.write(msgspec.json.encode(found))


if __name__ == "__main__":
    main(sys.argv[1:])
