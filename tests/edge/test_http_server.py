"""Over a real server: slow and oversized requests, bytes that are no HTTP, connections that stay."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import pytest
from tests.edge.example import THING, example
from tests.edge.serving import served

from echain.edge.http import body, server

JSON = "Content-Type: application/json"
ONE = f"/api/v1/things/{THING.id}"


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A server whose patience is half a second instead of ten."""
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.5)
    monkeypatch.setattr(body, "BODY_SECONDS", 0.5)
    with served(example()) as url:
        yield int(url.rpartition(":")[2])


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def streams(port: int) -> AsyncIterator[Streams]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    yield reader, writer
    writer.close()


def head(method: str, target: str, *headers: str) -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/1.1", "Host: x", *headers, "", ""]).encode()


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes, bytes]:
    raw = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    length = next((line for line in raw.lower().split(b"\r\n") if line.startswith(b"content-length:")), b":0")
    return int(raw.split()[1]), raw, await reader.readexactly(int(length.split(b":")[1]))


async def ends(reader: asyncio.StreamReader) -> float:
    """Return how long it took until the server closed the connection."""
    started = time.monotonic()
    assert await asyncio.wait_for(reader.read(), 5) == b""
    return time.monotonic() - started


async def test_a_connection_serves_many_requests(streams: Streams):
    reader, writer = streams
    for _ in range(3):
        writer.write(head("GET", ONE))
        status, _, answer = await read_answer(reader)
        assert (status, json.loads(answer)["success"]) == (200, True)


async def test_pipelined_requests_are_answered_in_order(streams: Streams):
    reader, writer = streams
    writer.write(b"".join(head("GET", ONE, f"X-Request-Id: r{number}") for number in range(5)))
    for number in range(5):
        _, raw, answer = await read_answer(reader)
        assert f"x-request-id: r{number}\r\n".encode() in raw
        assert json.loads(answer)["meta"]["requestId"] == f"r{number}"


async def test_a_client_that_wants_no_more_is_let_go(streams: Streams):
    reader, writer = streams
    writer.write(head("GET", ONE, "Connection: close"))
    status, raw, _ = await read_answer(reader)
    assert (status, b"connection: close" in raw) == (200, True)
    await ends(reader)


async def test_an_old_client_is_answered_and_let_go(streams: Streams):
    reader, writer = streams
    writer.write(f"GET {ONE} HTTP/1.0\r\n\r\n".encode())
    assert (await read_answer(reader))[0] == 200
    await ends(reader)


async def test_a_client_that_waits_for_100_continue_hears_it(streams: Streams):
    reader, writer = streams
    writer.write(head("POST", "/api/v1/touch", JSON, "Content-Length: 2", "Expect: 100-continue"))
    assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5) == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"{}")
    assert (await read_answer(reader))[0] == 200


async def test_head_and_304_leave_the_connection_in_step(streams: Streams):
    reader, writer = streams
    writer.write(head("HEAD", ONE))
    raw = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    etag = next(line.split(b": ")[1] for line in raw.split(b"\r\n") if line.startswith(b"etag"))
    writer.write(head("GET", ONE, f"If-None-Match: {etag.decode()}"))
    raw = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    assert raw.startswith(b"HTTP/1.1 304")
    writer.write(head("GET", ONE))
    assert (await read_answer(reader))[0] == 200


async def test_a_body_that_comes_drop_by_drop_is_given_up(streams: Streams):
    reader, writer = streams
    writer.write(head("POST", "/api/v1/touch", JSON, "Content-Length: 1000"))

    async def drip() -> None:
        for _ in range(100):
            writer.write(b" ")
            await asyncio.sleep(0.02)

    dripping = asyncio.create_task(drip())
    started = time.monotonic()
    status, raw, answer = await read_answer(reader)
    assert 0.3 < time.monotonic() - started < 2
    assert (status, json.loads(answer)["error"]["code"]) == (408, "request.timeout")
    assert b"connection: close" in raw.lower()
    await ends(reader)
    dripping.cancel()


async def test_an_endless_chunked_body_is_refused_at_its_limit(streams: Streams):
    reader, writer = streams
    writer.write(head("POST", "/api/v1/touch", JSON, "Transfer-Encoding: chunked"))
    for _ in range(80):
        writer.write(b"400\r\n" + b" " * 1024 + b"\r\n")
    with suppress(
        ConnectionError
    ):  # what is still on its way when the server closes may reset the connection
        status, _, answer = await read_answer(reader)
        assert (status, json.loads(answer)["error"]["code"]) == (413, "request.too_large")
        await ends(reader)


async def test_an_announced_huge_body_is_refused_before_it_is_sent(streams: Streams):
    reader, writer = streams
    writer.write(head("POST", "/api/v1/touch", JSON, "Content-Length: 99999999999"))
    assert (await read_answer(reader))[0] == 413
    await ends(reader)


async def test_headers_that_come_drop_by_drop_end_the_connection(streams: Streams):
    reader, writer = streams
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n")
    assert 0.2 < await ends(reader) < 3


async def test_a_connection_that_says_nothing_is_ended(streams: Streams):
    reader, _ = streams
    assert 0.2 < await ends(reader) < 3


async def test_a_second_request_gets_the_same_patience(streams: Streams):
    reader, writer = streams
    writer.write(head("GET", ONE))
    await read_answer(reader)
    writer.write(b"GET / HTTP/1.1\r\n")
    assert 0.2 < await ends(reader) < 3


async def test_an_endless_header_ends_the_connection(streams: Streams):
    _, writer = streams
    writer.write(b"GET / HTTP/1.1\r\nX-Long: ")
    sent = 0
    with suppress(ConnectionError):
        while sent < 64_000_000:
            writer.write(b"a" * 8_192)
            await writer.drain()
            await asyncio.sleep(0)
            sent += 8_192
    assert sent < 48_000_000, "what the kernel's buffers took, up to 4 and 32 MB, is more than the bound"


async def test_a_header_that_is_too_long_ends_the_connection_however_quick_it_comes() -> None:
    with served(example()) as url:  # whose patience is the usual one
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(b"GET / HTTP/1.1\r\nX-Long: " + b"a" * (server.MAX_HEAD_BYTES + 1))
        with suppress(ConnectionError):
            assert await ends(reader) < server.HEAD_SECONDS / 2
        writer.close()


async def test_many_headers_are_answered_with_431(streams: Streams):
    reader, writer = streams
    writer.write(head("GET", ONE, *(f"X-{number}: 1" for number in range(150))))
    assert (await read_answer(reader))[0] == 431


@pytest.mark.parametrize("junk", [b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"\x00" * 100])
async def test_bytes_that_are_no_http_are_answered_with_400(streams: Streams, junk: bytes):
    reader, writer = streams
    writer.write(junk + b"\r\n\r\n")
    assert (await asyncio.wait_for(reader.readuntil(b"\r\n"), 5)).startswith(b"HTTP/1.1 400")


async def test_a_client_that_leaves_in_its_body_hurts_nobody(port: int):
    for _ in range(5):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head("POST", "/api/v1/touch", JSON, "Content-Length: 10") + b"{")
        await writer.drain()
        writer.transport.abort()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head("GET", ONE))
    assert (await read_answer(reader))[0] == 200
    writer.close()
