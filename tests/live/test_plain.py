"""Plain WebSocket at /ws/events, spoken to by the `websockets` package."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
import websockets
from tests.accounts.people import Clock
from tests.live.stage import ADA, BO, EVENT, Stage, staged
from websockets.asyncio.client import ClientConnection, connect

from echain.edge.live import desk
from echain.edge.live.access import Limits, Timing
from echain.kernel.messages import SCHEMA


async def ask(client: ClientConnection, **op: Any) -> Any:
    await client.send(json.dumps(op))
    return await hear(client)


async def hear(client: ClientConnection) -> Any:
    async with asyncio.timeout(5):
        return json.loads(await client.recv())


async def ids(client: ClientConnection, count: int) -> list[int]:
    return [int((await hear(client))["id"]) for _ in range(count)]


async def test_a_subscriber_hears_what_is_told_from_then_on(stage: Stage) -> None:
    stage.told.sold()
    async with connect(f"{stage.ws}/ws/events") as client:
        answer = await ask(client, op="subscribe", channels=[EVENT], ref=7)
        assert (answer["type"], answer["ref"]) == ("subscribed", 7)
        joined = [{"asked": EVENT, "channel": EVENT}]
        assert answer["data"] == {"id": "1", "channels": joined, "refused": [], "schema": SCHEMA}
        stage.told.say((EVENT, "ticket_sold", {"price": "5"}), ("event:two", "ticket_sold", {}))
        stage.told.say((EVENT, "reverted", {"ids": ["2"]}))
        sold, reverted = await hear(client), await hear(client)
        assert sold == {
            "id": "2",
            "type": "ticket_sold",
            "channel": EVENT,
            "timestamp": 1_700_000_000_000,
            "data": {"price": "5"},
        }
        assert (reverted["id"], reverted["type"], reverted["data"]) == ("4", "reverted", {"ids": ["2"]})


async def test_the_answer_names_the_channel_that_messages_name(stage: Stage) -> None:
    async with connect(f"{stage.ws}/ws/events") as client:
        answer = await ask(client, op="subscribe", channels=["event:draft", "nonsense"])
        assert answer["data"]["channels"] == [{"asked": "event:draft", "channel": EVENT}]
        assert [one["code"] for one in answer["data"]["refused"]] == ["live.channel_unknown"]
        stage.told.sold()
        assert (await hear(client))["channel"] == EVENT


async def test_what_was_left_is_heard_no_more(stage: Stage) -> None:
    async with connect(f"{stage.ws}/ws/events") as client:
        await ask(client, op="subscribe", channels=[EVENT, "event:two"])
        answer = await ask(client, op="unsubscribe", channels=["event:draft", "event:unheard"])
        assert answer["data"] == {"channels": [EVENT]}
        stage.told.sold(EVENT)
        stage.told.sold("event:two")
        assert (await hear(client))["channel"] == "event:two"
        assert stage.desk.hub.hearers(EVENT) == 0


async def test_who_comes_back_receives_what_was_missed_and_then_what_comes(stage: Stage) -> None:
    stage.told.sold(EVENT, 5)
    stage.told.sold("event:two", 3)
    async with connect(f"{stage.ws}/ws/events") as client:
        answer = await ask(client, op="subscribe", channels=[EVENT, "event:two"], after="3")
        assert answer["data"]["id"] == "3"
        assert await ids(client, 5) == [4, 5, 6, 7, 8]
        stage.told.sold(EVENT)
        assert await ids(client, 1) == [9]
    assert stage.told.questions == [], "memory knew it all"


async def test_each_channel_may_have_a_beginning_of_its_own(stage: Stage) -> None:
    stage.told.sold(EVENT, 3)
    stage.told.sold("event:two", 3)
    async with connect(f"{stage.ws}/ws/events") as client:
        after = {EVENT: "1", "event:two": "5"}
        answer = await ask(client, op="subscribe", channels=[EVENT, "event:two", "event:three"], after=after)
        assert answer["data"]["id"] == "1"
        assert await ids(client, 3) == [2, 3, 6]


async def test_what_is_kept_no_more_becomes_resync(stage: Stage) -> None:
    stage.told.add(*((EVENT, "ticket_sold", {}) for _ in range(10)))
    stage.told.first = 6
    stage.desk.hub.begin(10)
    stage.desk.hub.start()
    async with connect(f"{stage.ws}/ws/events") as client:
        await ask(client, op="subscribe", channels=[EVENT], after="4")
        lost = await hear(client)
        assert (lost["type"], lost["channel"], lost["id"]) == ("resync", EVENT, "10")
        stage.told.sold()
        assert await ids(client, 1) == [11]
    async with connect(f"{stage.ws}/ws/events") as client:
        await ask(client, op="subscribe", channels=[EVENT], after="5")
        assert await ids(client, 6) == [6, 7, 8, 9, 10, 11]


async def test_an_id_that_nobody_gave_becomes_resync(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("echain.edge.live.past._AHEAD_SECONDS", 0.05)
    async with connect(f"{stage.ws}/ws/events") as client:
        await ask(client, op="subscribe", channels=[EVENT], after="999")
        assert (await hear(client))["type"] == "resync"


async def test_who_knows_more_than_this_process_waits_for_it(stage: Stage) -> None:
    new = stage.told.add((EVENT, "ticket_sold", {}), (EVENT, "ticket_sold", {}), (EVENT, "ticket_sold", {}))
    async with connect(f"{stage.ws}/ws/events") as client:
        await ask(client, op="subscribe", channels=[EVENT], after="2")
        stage.desk.hub.speak(new)
        assert await ids(client, 1) == [3], "1 and 2 came from the process that was ahead"


async def test_a_token_opens_the_channel_of_its_wallet_and_no_other(stage: Stage) -> None:
    token = stage.people.token(ADA)
    async with connect(f"{stage.ws}/ws/events") as client:
        refused = await ask(client, op="subscribe", channels=[f"user:{ADA}"])
        assert refused["data"]["refused"][0]["code"] == "live.channel_private"
        known = await ask(client, op="auth", token=token)
        assert (known["type"], known["data"]["address"]) == ("authenticated", ADA)
        answer = await ask(client, op="subscribe", channels=[f"user:{ADA}", f"user:{BO}"])
        assert [one["channel"] for one in answer["data"]["channels"]] == [f"user:{ADA}"]
        assert [one["asked"] for one in answer["data"]["refused"]] == [f"user:{BO}"]
        wrong = await ask(client, op="auth", token="token-of-nobody")
        assert (wrong["type"], wrong["data"]["code"]) == ("error", "live.token_invalid")
        stage.told.sold(f"user:{ADA}")
        assert (await hear(client))["channel"] == f"user:{ADA}", "a wrong token takes nothing away"


async def test_a_token_that_is_renewed_in_time_keeps_private_channels_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks: list[float | None] = []
    look = desk._Expiry.due

    def looked(expiry: desk._Expiry, now: float) -> float | None:
        looks.append(look(expiry, now))
        return looks[-1]

    monkeypatch.setattr(desk._Expiry, "due", looked)
    clock = Clock()
    async with staged(clock=clock) as stage, connect(f"{stage.ws}/ws/events") as client:
        await ask(client, op="auth", token=stage.people.token(ADA, seconds=0.3))
        await ask(client, op="subscribe", channels=[f"user:{ADA}"])
        await ask(client, op="auth", token=stage.people.token(ADA, seconds=1.0))
        clock.pass_by(seconds=0.5)
        before = len(looks)
        await stage.until(lambda: len(looks) > before)
        assert looks[-1] is not None, "the second token still holds when the first is over"
        stage.told.sold(f"user:{ADA}")
        assert (await hear(client))["channel"] == f"user:{ADA}"
        await ask(client, op="auth", token=stage.people.token(ADA, seconds=0.1))
        clock.pass_by(seconds=0.2)
        lost = await hear(client)
        assert (lost["type"], lost["data"]) == (
            "unauthorized",
            {"reason": "expired", "channels": [f"user:{ADA}"]},
        )
        waiting = stage.desk.wheel._slots
        await stage.until(
            lambda: not any(isinstance(one, desk._Expiry) for slot in waiting.values() for one in slot)
        )
        assert (await ask(client, op="ping"))["type"] == "pong", (
            "told once, though its first deadline came, too"
        )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"op":"dance"}',
        '{"op":"subscribe"}',
        '{"op":"subscribe","channels":[]}',
        '{"op":"subscribe","channels":["event:one"],"after":"-1"}',
        '{"op":"subscribe","channels":["event:one"],"after":"9999999999999999999999"}',
        '{"op":"subscribe","channels":["event:one"],"extra":1}',
        '{"op":"auth"}',
        "[" * 50_000,
    ],
)
async def test_what_is_no_operation_is_answered_with_an_error(stage: Stage, text: str) -> None:
    async with connect(f"{stage.ws}/ws/events") as client:
        await client.send(text)
        answer = await hear(client)
        assert (answer["type"], answer["data"]["code"]) == ("error", "live.malformed")
        assert (await ask(client, op="ping", ref="x"))["type"] == "pong"


async def test_fragments_and_pings_between_them_are_one_message(stage: Stage) -> None:
    async with connect(f"{stage.ws}/ws/events") as client:
        await client.send(['{"op":', '"pi', 'ng"}'])
        assert (await hear(client))["type"] == "pong"
        await asyncio.wait_for(await client.ping(), 5)


async def test_too_many_channels_are_refused(stage: Stage) -> None:
    names = [f"event:{number}" for number in range(stage.desk.limits.channels + 2)]
    async with connect(f"{stage.ws}/ws/events") as client:
        answer = await ask(client, op="subscribe", channels=names)
        assert len(answer["data"]["channels"]) == stage.desk.limits.channels
        assert {one["code"] for one in answer["data"]["refused"]} == {"live.too_many_channels"}
        again = await ask(client, op="subscribe", channels=["event:0"])
        assert again["data"]["refused"] == [], "what is heard already takes no room"


async def test_who_asks_too_fast_is_told_and_shut_out() -> None:
    limits = Limits(ops_per_second=1, ops_burst=5)
    async with staged(limits=limits) as stage, connect(f"{stage.ws}/ws/events") as client:
        for _ in range(6):
            await client.send('{"op":"ping"}')
        kinds = [json.loads(message)["type"] async for message in until_closed(client)]
        assert kinds.count("error") == 1
        assert (client.close_code, client.close_reason) == (1008, "live.too_fast")


async def until_closed(client: ClientConnection) -> AsyncIterator[str | bytes]:
    """Yield what comes until the server closes the connection."""
    async with asyncio.timeout(5):
        with suppress(websockets.ConnectionClosed):
            while True:
                yield await client.recv()


@pytest.mark.parametrize(("message", "code"), [(b"\x00\x01", 1003), ("x" * 2_000, 1009)])
async def test_what_may_not_be_sent_ends_the_connection(message: str | bytes, code: int) -> None:
    async with staged(limits=Limits(message_bytes=1_000)) as stage:
        async with connect(f"{stage.ws}/ws/events") as client:
            await client.send(message)
            with pytest.raises(websockets.ConnectionClosedError) as closed:
                await hear(client)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == code
        await stage.until(lambda: not stage.desk.sessions and not stage.desk.places.taken)


async def test_many_small_fragments_are_not_collected_for_ever() -> None:
    limits = Limits(message_bytes=1_000)
    async with staged(limits=limits) as stage, connect(f"{stage.ws}/ws/events") as client:
        with suppress(websockets.ConnectionClosed):
            await client.send(["x" * 90] * 30)
        assert [message async for message in until_closed(client)] == []
        assert client.close_code == 1009


async def test_a_connection_that_answers_no_ping_is_given_up() -> None:
    timing = Timing(ping_interval=0.1, ping_timeout=0.1, resolution=0.02, closing=0.2)
    async with staged(timing=timing) as stage:
        reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
        writer.write(
            b"GET /ws/events HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"101 Switching" in head
        assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
        async with asyncio.timeout(3):
            assert await reader.read() == b"\x89\x00"
        writer.close()
        # One that answers stays, for many intervals.
        async with connect(f"{stage.ws}/ws/events", ping_interval=None) as client:
            await asyncio.sleep(0.6)
            assert (await ask(client, op="ping"))["type"] == "pong"


async def test_everybody_hears_the_same_bytes_made_once(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    spoken = "echain.edge.live.wire.spoken"
    from echain.edge.live import wire

    original = wire.spoken
    monkeypatch.setattr(spoken, lambda *a, **k: made.append(a[0]) or original(*a, **k))
    clients = [await connect(f"{stage.ws}/ws/events") for _ in range(20)]
    for client in clients:
        await ask(client, op="subscribe", channels=[EVENT])
    stage.told.sold()
    assert {await client.recv() for client in clients} == {
        stage.desk.hub.recent.since([EVENT], 0, 9)[0].payload.decode()
    }
    assert made == [wire.Wire.WEBSOCKET]
    for client in clients:
        await client.close()
