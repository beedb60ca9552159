"""Receivers of every kind on loopback: good ones, hanging, resetting, redirecting, flooding ones."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

Behaviour = Callable[["Request", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Request:
    """What came over the wire."""

    line: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """A raw HTTP server whose answers a test decides; ``requests`` is what it was sent, in order."""

    behave: Behaviour
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    serving: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self.serve(reader, writer))
        self.serving.add(task)
        task.add_done_callback(self.serving.discard)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self.answer(reader, writer)
        finally:
            writer.transport.abort() if writer.transport.is_closing() else writer.close()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {
                name.lower(): value.strip()
                for name, _, value in (line.partition(":") for line in head[1:] if line)
            }
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            request = Request(head[0], headers, body)
            self.requests.append(request)
            await self.behave(request, reader, writer)


@asynccontextmanager
async def receiving(
    behave: Behaviour, *, tls: ssl.SSLContext | None = None
) -> AsyncGenerator[Receiver, None]:
    """Serve while the block lasts, in the clear unless ``tls`` is given."""
    receiver = Receiver(behave)
    server = await asyncio.start_server(receiver.accept, "127.0.0.1", 0, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for task in tuple(receiver.serving):
            task.cancel()
        await asyncio.gather(*receiver.serving, return_exceptions=True)


def answering(status: int, *headers: str, body: bytes = b"") -> Behaviour:
    """Answer always the same."""
    head = "\r\n".join([f"HTTP/1.1 {status} X", *headers, f"Content-Length: {len(body)}", "", ""]).encode()

    async def behave(_: Request, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head + body)
        await writer.drain()

    return behave


async def hanging(_: Request, reader: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
    """Take the request and never answer."""
    await reader.read()


async def resetting(_: Request, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Break the connection instead of answering."""
    writer.transport.abort()


async def flooding(_: Request, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer 200 and then never stop talking."""
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
        await writer.drain()


async def flooding_headers(_: Request, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer with headers that never end."""
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-More: " + b"x" * 1_000 + b"\r\n")
        await writer.drain()


async def dripping(_: Request, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer 200 at once and its body a byte at a time, for ever."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        writer.write(b".")
        await writer.drain()
        await asyncio.sleep(0.02)


async def babbling(_: Request, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer what is no HTTP."""
    writer.write(b"SSH-2.0-OpenSSH_9.9\r\n")
    await writer.drain()
