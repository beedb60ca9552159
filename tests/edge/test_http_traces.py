"""Requests as traces and the access log tell of them: by route, never by path, people or secrets."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from uuid import UUID

import msgspec
import pytest
import structlog
from tests.edge.example import THING, example
from tests.edge.http_client import Client
from tests.infra.collector import collecting
from tests.infra.spans import Memory

from echain.edge.http import Auth, Call, Caller, Nothing, get
from echain.edge.http.body import Disconnected
from echain.infra import log, otlp
from echain.infra.database import Database, DatabaseUnavailable
from echain.infra.metrics import Metrics
from echain.infra.traces import Traces, current

ONE = f"/api/v1/things/{THING.id}"
ROUTE = "/api/v1/things/{id}"
PARENT = f"00-{0xABC:032x}-{0xDEF:016x}-01"
SECRETS = ("planted-token", "planted-cookie", "planted-query", "planted-path", "planted-body", "192.0.2.7")


class ByName(msgspec.Struct, frozen=True):
    name: str


class Word(msgspec.Struct, frozen=True):
    word: str


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture
def client(memory: Memory) -> Client:
    return Client(example(traces=Traces(memory, share=1)))


@pytest.fixture
def lines() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """JSON logs of level info, read back."""
    before = structlog.get_config()
    output = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    log.configure(json=True, level="info", role="api", stream=output)

    def read() -> list[dict[str, Any]]:
        output.flush()
        raw = output.buffer.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
        assert not raw or raw.endswith(b"\n")
        return [json.loads(line) for line in raw.splitlines()]

    yield read
    structlog.configure(**before)


# --- spans ---


async def test_a_request_is_told_of_by_its_route_its_status_and_its_id(
    client: Client, memory: Memory
) -> None:
    await client("GET", f"{ONE}?x=1", headers={"x-request-id": "r1"})
    await client("GET", ONE, headers={"x-request-id": "r2", "traceparent": PARENT})
    await client("GET", "/nowhere")
    refused, answered, nowhere = memory.spans
    assert (answered.name, answered.kind, answered.ended) == (f"GET {ROUTE}", "server", True)
    assert answered.facts == {
        "http.request.method": "GET",
        "http.route": ROUTE,
        "http.response.status_code": 200,
        "echain.request_id": "r2",
    }
    assert (refused.facts["http.response.status_code"], refused.failed) == (422, False)
    assert (nowhere.name, nowhere.facts["http.response.status_code"]) == ("none none", 404)
    assert answered.parent is not None
    assert answered.place.trace_id == 0xABC
    assert refused.parent is None


async def test_what_breaks_and_what_is_given_up_is_told_of_too(memory: Memory) -> None:
    @get("/bug", summary="", tag="t", answer=None)
    async def bug(_: Call[Nothing, Nothing, Nothing]) -> None:
        raise ZeroDivisionError

    @get("/left", summary="", tag="t", answer=None)
    async def left(_: Call[Nothing, Nothing, Nothing]) -> None:
        raise Disconnected

    client = Client(example([bug, left], traces=Traces(memory, share=1)))
    await client("GET", "/bug")
    with pytest.raises(ValueError, match="unpack"):  # nothing was sent
        await client("GET", "/left")
    assert [(one.failed, one.facts["error.type"], one.ended) for one in memory.spans] == [
        (True, "500", True),
        (True, "disconnected", True),
    ]
    assert current() is None
    assert "trace_id" not in structlog.contextvars.get_contextvars(), "the next request is not this one"


async def test_requests_that_are_not_told_of_make_nothing(memory: Memory) -> None:
    chances: list[float] = []
    traces = Traces(memory, share=0.01, chance=lambda: chances.append(0) or 0.5)
    client = Client(example(traces=traces))
    assert [(await client("GET", ONE)).status for _ in range(50)] == [200] * 50
    assert (memory.spans, len(chances)) == ([], 50)


async def test_requests_at_the_same_time_keep_to_their_own_traces(memory: Memory, database: Database) -> None:
    @get("/read", summary="", tag="t", answer=int)
    async def read(_: Call[Nothing, Nothing, Nothing]) -> int:
        await database.fetchval("SELECT 1 FROM users, pg_sleep(0.01)")
        async with database.transaction() as tx:
            await tx.fetch("SELECT 1 FROM events")
        return 1

    client = Client(example([read], traces=Traces(memory, share=1)))
    await asyncio.gather(*(asyncio.create_task(client("GET", "/read")) for _ in range(30)))
    await asyncio.sleep(0)
    roots = memory.named("GET /read")
    assert len(roots) == 30
    for root in roots:
        assert memory.below(root) == ["SELECT users", "BEGIN", "SELECT events", "COMMIT"]


# --- the access log ---


async def test_each_request_is_one_line_by_its_route_with_its_id_and_its_trace(
    lines: Callable[[], list[dict[str, Any]]], memory: Memory
) -> None:
    client = Client(example(traces=Traces(memory, share=0), access_log=True))
    await client("GET", ONE, headers={"x-request-id": "r1", "traceparent": PARENT})
    await client("HEAD", ONE, headers={"x-request-id": "r2"})
    await client("POST", "/nowhere", headers={"x-request-id": "r3"})
    told, plain, nowhere = lines()
    assert told.pop("timestamp")[-1] == "Z"
    assert 0 < told.pop("milliseconds") < 5_000
    assert told == {
        "event": "http.answered",
        "level": "info",
        "method": "GET",
        "route": ROUTE,
        "status": 200,
        "request_id": "r1",
        "trace_id": f"{0xABC:032x}",
        "logger": "echain.http",
        "role": "api",
    }
    assert (plain["method"], plain["request_id"], "trace_id" in plain) == ("HEAD", "r2", False)
    assert (nowhere["route"], nowhere["status"], nowhere["method"]) == ("none", 404, "POST")


async def test_other_lines_of_a_request_carry_both_ids(lines: Callable[[], list[dict[str, Any]]]) -> None:
    @get("/talks", summary="", tag="t", answer=None)
    async def talks(_: Call[Nothing, Nothing, Nothing]) -> None:
        structlog.get_logger().warning("something.odd")

    client = Client(example([talks], traces=Traces(Memory(), share=1), access_log=True))
    await client("GET", "/talks", headers={"x-request-id": "r1"})
    odd, answered = lines()
    assert odd["event"] == "something.odd"
    assert (odd["request_id"], odd["trace_id"]) == (answered["request_id"], answered["trace_id"])


async def test_without_an_access_log_only_what_failed_or_was_slow_is_told(
    lines: Callable[[], list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    @get("/away", summary="", tag="t", answer=None)
    async def away(_: Call[Nothing, Nothing, Nothing]) -> None:
        raise DatabaseUnavailable

    client = Client(example([away]))
    await client("GET", ONE)
    await client("GET", "/away")
    monkeypatch.setattr("echain.edge.http.access_log.SLOW_SECONDS", 0.0)
    await client("GET", ONE)
    assert [(one["route"], one["status"], one["level"]) for one in lines()] == [
        ("/away", 503, "warning"),
        (ROUTE, 200, "warning"),
    ]


async def test_logs_for_people_say_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    before = structlog.get_config()
    try:
        output = io.StringIO()
        log.configure(json=False, level="info", role="api", stream=output)
        await Client(example(access_log=True))("GET", ONE, headers={"x-request-id": "r9"})
    finally:
        structlog.configure(**before)
    (line,) = output.getvalue().splitlines()
    assert "http.answered" in line
    assert f"route={ROUTE}" in line
    assert "request_id=r9" in line


async def test_a_log_of_errors_alone_has_no_lines_of_requests(
    lines: Callable[[], list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = io.StringIO()
    log.configure(json=True, level="error", role="api", stream=output)
    monkeypatch.setattr("echain.edge.http.access_log.SLOW_SECONDS", 0.0)
    await Client(example(access_log=True))("GET", ONE)
    assert output.getvalue() == ""


# --- nothing leaks ---


async def test_neither_spans_nor_lines_hold_secrets_paths_or_people(
    lines: Callable[[], list[dict[str, Any]]], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def authenticate(_headers: Mapping[str, str], _cookies: Mapping[str, str]) -> Caller | None:
        user = await database.fetchval(
            "SELECT gen_random_uuid() FROM pg_class WHERE relname <> $1", "planted-token"
        )
        return Caller("user", UUID(str(user)))

    @get("/x/{name}", summary="", tag="t", answer=None, path_params=ByName, query=Word, auth=Auth.USER)
    async def reads(call: Call[Any, Any, Nothing]) -> None:
        await database.fetchval("SELECT 1 FROM users WHERE id::text = $1", call.path.name + call.query.word)
        raise RuntimeError

    monkeypatch.setattr(otlp, "PAUSE_SECONDS", 0.02)
    headers = {
        "authorization": "Bearer planted-token",
        "cookie": "session=planted-cookie",
        "x-request-id": "r1",
        "user-agent": "planted-body",
    }
    with collecting() as collector:
        async with otlp.recording(collector.url, role="api", metrics=Metrics()) as recorder:
            app = example([reads], traces=Traces(recorder, share=1), access_log=True)
            monkeypatch.setattr(app, "_authenticate", authenticate)
            client = Client(app)
            target = "/x/planted-path?word=planted-query"
            assert (await client("GET", target, headers=headers)).status == 500
            await client("POST", "/api/v1/things", headers=headers, json_body={"title": "planted-body"})
            await asyncio.sleep(0)
        names = {span.name for span in collector.wait(4)}
        raw = collector.raw
    assert {"GET /x/{name}", "POST /api/v1/things", "SELECT pg_class", "SELECT users"} <= names
    text = json.dumps(lines())
    assert '"http.answered"' in text
    for secret in SECRETS:
        assert secret.encode() not in raw, secret
        assert secret not in text, secret
