"""Server-sent events at /sse/events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from tests.live.stage import ADA, EVENT, ORIGIN, Stage, staged

from echain.edge.live.access import Timing
from echain.kernel.messages import SCHEMA


class Reader:
    """Reads events as the standard says: fields line by line, an event at each empty line."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.answer = answer
        self.retry = 0

    async def event(self) -> dict[str, str]:
        fields: dict[str, str] = {}
        async with asyncio.timeout(5):
            while line := (await self.answer.content.readline()).decode():
                if line == "\n":
                    if "data" in fields:
                        return fields
                    continue
                name, _, value = line.rstrip("\n").partition(":")
                if name == "retry":
                    self.retry = int(value)
                elif name:
                    fields[name] = value.removeprefix(" ")
        raise EOFError


@asynccontextmanager
async def stream(stage: Stage, query: str, **headers: str) -> AsyncIterator[Reader]:
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"{stage.http}/sse/events?{query}", headers=headers) as answer,
    ):
        assert answer.status == 200, await answer.text()
        assert answer.headers["content-type"] == "text/event-stream"
        yield Reader(answer)


async def test_a_stream_begins_with_its_position_and_brings_messages_with_ids(stage: Stage) -> None:
    stage.told.sold(EVENT, 3)
    async with stream(stage, f"channel={EVENT}") as reader:
        first = await reader.event()
        assert (first["event"], first["id"]) == ("subscribed", "3")
        began = json.loads(first["data"])
        assert (began["channels"], began["schema"]) == ([{"asked": EVENT, "channel": EVENT}], SCHEMA)
        stage.told.say((EVENT, "ticket_sold", {"text": "a\nb\r\n\u2028"}))
        message = await reader.event()
        assert message["id"] == "4"
        assert "event" not in message, "an EventSource's onmessage hears it"
        assert json.loads(message["data"])["data"] == {"text": "a\nb\r\n\u2028"}


async def test_last_event_id_resumes_over_several_channels(stage: Stage) -> None:
    stage.told.say(
        *((f"event:{name}", "ticket_sold", {}) for name in ("one", "two", "one", "three", "two", "one"))
    )
    async with stream(
        stage, "channel=event:one,event:two&channel=event:four", **{"Last-Event-ID": "2"}
    ) as reader:
        assert (await reader.event())["id"] == "2"
        assert [(await reader.event())["id"] for _ in range(3)] == ["3", "5", "6"]
    async with stream(stage, "channel=event:one&after=3") as reader:
        await reader.event()
        assert (await reader.event())["id"] == "6"


async def test_a_stream_that_ends_is_forgotten(stage: Stage) -> None:
    async with stream(stage, f"channel={EVENT}") as reader:
        await reader.event()
        assert stage.desk.hub.hearers(EVENT) == 1
    await stage.until(lambda: not stage.desk.sessions and not stage.desk.places.taken)
    assert stage.desk.hub.hearers(EVENT) == 0


async def test_a_bearer_token_opens_private_channels_and_its_end_closes_the_stream(stage: Stage) -> None:
    token = stage.people.token(ADA)
    async with stream(stage, f"channel=user:{ADA}", Authorization=f"Bearer {token}") as reader:
        await reader.event()
        stage.told.sold(f"user:{ADA}")
        assert (await reader.event())["id"] == "1"
        stage.desk.revoke([stage.people.session(token)])
        said = json.loads((await reader.event())["data"])
        assert (said["type"], said["data"]["reason"]) == ("unauthorized", "revoked")
        with pytest.raises(EOFError):
            await reader.event()


@pytest.mark.parametrize(
    ("query", "headers", "status", "code"),
    [
        ("", {}, 400, "live.malformed"),
        ("channel=", {}, 400, "live.malformed"),
        ("channel=nothing", {}, 404, "live.channel_unknown"),
        (f"channel=user:{ADA}", {}, 403, "live.channel_private"),
        (f"channel={EVENT}&after=x", {}, 400, "live.malformed"),
        (f"channel={EVENT}", {"Last-Event-ID": "1 2"}, 400, "live.malformed"),
        (f"channel={EVENT}", {"Authorization": "Bearer nobody"}, 401, "live.token_invalid"),
        (f"channel={EVENT}", {"Origin": "https://evil.example"}, 403, "live.origin"),
    ],
)
async def test_what_cannot_be_heard_is_refused_before_the_stream(
    stage: Stage, query: str, headers: dict[str, str], status: int, code: str
) -> None:
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"{stage.http}/sse/events?{query}", headers=headers) as answer,
    ):
        assert answer.status == status
        body: Any = await answer.json()
        assert (body["success"], body["error"]["code"]) == (False, code)
    await stage.until(lambda: not stage.desk.sessions)


async def test_an_own_page_may_read_the_stream(stage: Stage) -> None:
    async with stream(stage, f"channel={EVENT}", Origin=ORIGIN) as reader:
        assert reader.answer.headers["access-control-allow-origin"] == ORIGIN
        assert reader.answer.headers["access-control-allow-credentials"] == "true"


async def test_comments_keep_a_silent_stream_alive() -> None:
    timing = Timing(ping_interval=0.1, resolution=0.02, closing=0.2)
    async with staged(timing=timing) as stage, stream(stage, f"channel={EVENT}") as reader:
        await reader.event()
        async with asyncio.timeout(3):
            assert await reader.answer.content.readline() == b":\n"
            assert await reader.answer.content.readline() == b"\n"
            assert await reader.answer.content.readline() == b":\n"


async def test_a_restart_ends_streams_cleanly_and_spreads_their_return() -> None:
    query = f"channel={EVENT}"
    async with staged() as stage, stream(stage, query) as one, stream(stage, query) as two:
        await one.event()
        await two.event()
        await stage.server.close()
        for reader in (one, two):
            with pytest.raises(EOFError):
                await reader.event()
        assert 500 <= one.retry < 5000
        assert one.retry != two.retry
