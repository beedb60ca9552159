"""The short way for answers writes what the stock server writes, byte for byte, and leaves it what is odd."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import pytest
from tests.edge.example import THING, example
from tests.edge.serving import served

from echain.edge.http import Call, Nothing, Raw, Rendered, get, post, server

ONE = f"/api/v1/things/{THING.id}"
TAG = b'"kept"'
LARGE = b'"' + b"x" * 3_000_000 + b'"'


def odd_endpoints() -> list:
    @get("/kept", summary="", tag="t", answer=str)
    async def kept(_: Call[Nothing, Nothing, Nothing]) -> Rendered:
        return Rendered(b'"x"', TAG)

    @get("/large", summary="", tag="t", answer=str)
    async def large(_: Call[Nothing, Nothing, Nothing]) -> Rendered:
        return Rendered(LARGE, TAG)

    @get("/forged", summary="", tag="t", answer=Raw)
    async def forged(_: Call[Nothing, Nothing, Nothing]) -> Raw:
        return Raw(b"x", content_type="text/plain\r\nset-cookie: stolen=1")

    @post("/empty", summary="", tag="t", answer=Raw)
    async def empty(_: Call[Nothing, Nothing, Nothing]) -> Raw:
        return Raw(b"", status=204)

    return [kept, large, forged, empty]


def request(method: str, target: str, *headers: str, body: str = "", version: str = "1.1") -> bytes:
    length = [f"Content-Length: {len(body)}", "Content-Type: application/json"] if body else []
    lines = [f"{method} {target} HTTP/{version}", "Host: x", "X-Request-Id: r1", *headers, *length, "", ""]
    return "\r\n".join(lines).encode() + body.encode()


EXCHANGES = {
    "a read": request("GET", ONE),
    "a head": request("HEAD", ONE) + request("GET", ONE),
    "not modified": request("GET", "/kept", f"If-None-Match: {TAG.decode()}") + request("GET", "/kept"),
    "nothing there": request("GET", "/nowhere"),
    "a wrong method": request("PATCH", ONE),
    "a write": request("POST", "/api/v1/touch", body="{}"),
    "cookies": request("POST", "/api/v1/enter"),
    "no content": request("POST", "/empty") + request("GET", ONE),
    "an origin": request("GET", ONE, "Origin: https://pages.example"),
    "a preflight": request(
        "OPTIONS", ONE, "Origin: https://pages.example", "Access-Control-Request-Method: GET"
    ),
    "an old client": request("GET", ONE, version="1.0"),
    "one that wants no more": request("GET", ONE, "Connection: close"),
    "one that is let go": request("GET", ONE, *(f"X-{number}: 1" for number in range(150))),
    "too large a body": request("POST", "/api/v1/touch", "Content-Length: 99999999"),
    "one that waits to send": request("POST", "/api/v1/touch", "Expect: 100-continue", body="{}"),
    "pipelined ones": request("GET", ONE) * 20,
    "a large answer": request("GET", "/large") * 3,
    "a forged header": request("GET", "/forged"),
}


LAST = request("GET", "/kept", "Connection: close")


def answers(port: int, sent: bytes) -> bytes:
    """Return all that comes until the server closes, as the last request asks; dates are made equal."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(sent + LAST)
        while part := connection.recv(1 << 20):
            received += part
    return re.sub(rb"date: [^\r]*", b"date: now", received)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served(example(odd_endpoints(), origins=["https://pages.example"], https=True)) as url:
        yield url


@pytest.mark.parametrize("name", EXCHANGES)
def test_both_ways_write_the_same(url: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    port, sent = int(url.rpartition(":")[2]), EXCHANGES[name]
    short = answers(port, sent)
    monkeypatch.setattr(server, "_answer_whole", lambda *_: False)
    assert short == answers(port, sent)


def test_a_header_cannot_begin_another(url: str) -> None:
    answer = answers(int(url.rpartition(":")[2]), EXCHANGES["a forged header"])
    assert answer == b"", "the stock server ends the connection"


def test_the_short_way_is_the_usual_one(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[bool] = []
    whole = server._answer_whole
    monkeypatch.setattr(server, "_answer_whole", lambda *given: taken.append(whole(*given)) or taken[-1])
    port = int(url.rpartition(":")[2])
    answers(port, EXCHANGES["pipelined ones"] + EXCHANGES["nothing there"] + EXCHANGES["a write"])
    assert taken == [True] * 22 + [False]  # the last one asks to end
