"""An endpoint that judges its body byte for byte: it gets the bytes as they came, or a reason why not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256

import pytest
from tests.edge.example import example
from tests.edge.http_client import Client
from tests.edge.serving import served
from tests.edge.test_http_server import ends, head, read_answer

from echain.edge.http import Call, Disconnected, Endpoint, Nothing, RawBody, post
from echain.edge.http import body as bodies
from echain.kernel.errors import EchainError

MAX_BYTES = 1_000
PATH = "/hooks/raw"


def raw_endpoint(outcomes: list[str]) -> Endpoint:
    @post(PATH, summary="Raw", tag="hooks", answer=str, body=RawBody, max_body_bytes=MAX_BYTES)
    async def take(call: Call[Nothing, Nothing, RawBody]) -> str:
        try:
            body = await call.body.read()
        except Disconnected:
            outcomes.append("disconnected")
            raise
        except EchainError as error:
            outcomes.append(error.code)
            raise
        outcomes.append("read")
        return sha256(body).hexdigest()

    return take


@pytest.fixture
def outcomes() -> list[str]:
    return []


@pytest.fixture
def client(outcomes: list[str]) -> Client:
    return Client(example([raw_endpoint(outcomes)]))


@pytest.fixture
def port(outcomes: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.5)
    with served(example([raw_endpoint(outcomes)])) as url:
        yield int(url.rpartition(":")[2])


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "image/png", ""])
@pytest.mark.parametrize("body", [b"", b"{", b'{"a":1, "a": 1.0}', bytes(range(256))])
async def test_the_bytes_arrive_as_they_were_sent_whatever_they_are_called(
    client: Client, body: bytes, content_type: str
):
    headers = {"content-type": content_type} if content_type else {}
    answer = await client("POST", PATH, body=body, headers=headers)
    assert (answer.status, answer.data) == (200, sha256(body).hexdigest())


@pytest.mark.parametrize("announced", [5, 7])
async def test_a_body_of_another_length_than_announced_is_truncated(
    client: Client, outcomes: list[str], announced: int
):
    answer = await client("POST", PATH, body=b"123456", headers={"content-length": str(announced)})
    assert (answer.status, answer.error["code"]) == (400, "request.truncated")
    assert outcomes == ["request.truncated"]


async def test_ten_megabytes_are_refused_by_their_announcement(port: int, outcomes: list[str]):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head("POST", PATH, "Content-Length: 10485760"))
    status, _, answer = await read_answer(reader)
    assert (status, json.loads(answer)["error"]["code"]) == (413, "request.too_large")
    await ends(reader)
    assert outcomes == ["request.too_large"]
    writer.close()


async def test_ten_megabytes_that_nobody_announced_are_refused_at_the_cap(port: int, outcomes: list[str]):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head("POST", PATH, "Transfer-Encoding: chunked"))
    with suppress(ConnectionError):  # what is on its way when the server closes may reset the connection
        for _ in range(160):
            writer.write(b"10000\r\n" + bytes(65_536) + b"\r\n")
            await writer.drain()
        await read_answer(reader)
    writer.close()
    assert outcomes == ["request.too_large"]


async def test_a_body_that_stops_halfway_is_given_up(port: int, outcomes: list[str]):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head("POST", PATH, "Content-Length: 100") + b"half")
    status, _, answer = await read_answer(reader)
    assert (status, json.loads(answer)["error"]["code"]) == (408, "request.timeout")
    assert outcomes == ["request.timeout"]
    writer.close()


async def test_a_sender_that_leaves_halfway_is_noticed(port: int, outcomes: list[str]):
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head("POST", PATH, "Content-Length: 100") + b"half")
    await writer.drain()
    writer.close()
    async with asyncio.timeout(5):
        while not outcomes:
            await asyncio.sleep(0.01)
    assert outcomes == ["disconnected"]


def test_a_raw_body_has_no_idempotency_key():
    async def handler(_: Call[Nothing, Nothing, RawBody]) -> None:
        return None

    with pytest.raises(ValueError, match="exclude each other"):
        post("/x", summary="x", tag="x", answer=None, body=RawBody, idempotent=True)(handler)
