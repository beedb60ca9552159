"""Engine.IO 4 and Socket.IO 5 on the wire, case by case as the protocols' own test suites go about it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import websockets
from tests.live.stage import ADA, EVENT, Stage, staged
from websockets.asyncio.client import ClientConnection, connect

from echain.edge.live.access import Limits, Timing
from echain.edge.live.engine import EngineSession
from echain.kernel.messages import SCHEMA

FAST = Timing(ping_interval=0.3, ping_timeout=0.2, resolution=0.02, closing=0.2)


@pytest.fixture
async def fast() -> AsyncIterator[Stage]:
    async with staged(timing=FAST) as stage:
        yield stage


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def url(stage: Stage, **query: str) -> str:
    fields = "&".join(
        f"{name}={value}" for name, value in ({"EIO": "4", "transport": "polling"} | query).items()
    )
    return f"{stage.http}/socket.io/?{fields}"


async def begun(stage: Stage, http: aiohttp.ClientSession) -> str:
    """Open a polling session and return its id."""
    async with http.get(url(stage)) as answer:
        text = await answer.text()
        assert (answer.status, text[0]) == (200, "0")
        return str(json.loads(text[1:])["sid"])


async def poll(stage: Stage, http: aiohttp.ClientSession, sid: str) -> tuple[int, str]:
    async with asyncio.timeout(5), http.get(url(stage, sid=sid)) as answer:
        return answer.status, await answer.text()


async def post(stage: Stage, http: aiohttp.ClientSession, sid: str, body: str | bytes) -> tuple[int, str]:
    async with http.post(url(stage, sid=sid), data=body) as answer:
        return answer.status, await answer.text()


async def admitted(stage: Stage, http: aiohttp.ClientSession) -> str:
    """Open a polling session in the default namespace and return its id."""
    sid = await begun(stage, http)
    assert await post(stage, http, sid, "40") == (200, "ok")
    assert (await poll(stage, http, sid))[1].startswith('40{"sid":"')
    return sid


@asynccontextmanager
async def socket(stage: Stage, *, admit: bool = True) -> AsyncIterator[ClientConnection]:
    async with connect(f"{stage.ws}/socket.io/?EIO=4&transport=websocket", ping_interval=None) as client:
        assert (await text(client)).startswith("0{")
        if admit:
            await client.send("40")
            assert (await text(client)).startswith('40{"sid":"')
        yield client


async def text(client: ClientConnection) -> str:
    async with asyncio.timeout(5):
        message = await client.recv()
    assert isinstance(message, str)
    return message


async def ended(client: ClientConnection) -> int:
    """Wait for the end of a connection and return its close code."""
    async with asyncio.timeout(5):
        await client.wait_closed()
    return client.close_code or 0


async def test_polling_opens_with_a_handshake(stage: Stage, http: aiohttp.ClientSession) -> None:
    async with http.get(url(stage)) as answer:
        assert answer.content_type == "text/plain"
        said = json.loads((await answer.text())[1:])
    assert sorted(said) == ["maxPayload", "pingInterval", "pingTimeout", "sid", "upgrades"]
    assert said["upgrades"] == ["websocket"]
    assert (said["pingInterval"], said["pingTimeout"], said["maxPayload"]) == (25_000, 20_000, 100_000)


@pytest.mark.parametrize(
    ("method", "query", "code"),
    [
        ("GET", "transport=polling", 5),
        ("GET", "EIO=abc&transport=polling", 5),
        ("GET", "EIO=3&transport=polling", 5),
        ("GET", "EIO=4", 0),
        ("GET", "EIO=4&transport=abc", 0),
        ("POST", "EIO=4&transport=polling", 2),
        ("PUT", "EIO=4&transport=polling", 3),
        ("GET", "EIO=4&transport=polling&sid=unknown", 1),
        ("POST", "EIO=4&transport=polling&sid=unknown", 1),
    ],
)
async def test_wrong_queries_are_refused(
    stage: Stage, http: aiohttp.ClientSession, method: str, query: str, code: int
) -> None:
    async with http.request(method, f"{stage.http}/socket.io/?{query}") as answer:
        assert answer.status == 400
        assert (await answer.json())["code"] == code


@pytest.mark.parametrize(
    "query", ["transport=websocket", "EIO=abc&transport=websocket", "EIO=4&transport=websocket&sid=x"]
)
async def test_wrong_websockets_are_refused(stage: Stage, query: str) -> None:
    with pytest.raises(websockets.InvalidStatus) as refused:
        await connect(f"{stage.ws}/socket.io/?{query}")
    assert refused.value.response.status_code == 400


async def test_polling_pings_and_gives_up_who_does_not_answer(
    fast: Stage, http: aiohttp.ClientSession
) -> None:
    sid = await admitted(fast, http)
    for _ in range(3):
        assert await poll(fast, http, sid) == (200, "2")
        assert await post(fast, http, sid, "3") == (200, "ok")
    await fast.until(lambda: not fast.desk.sessions)
    assert (await poll(fast, http, sid))[0] == 400
    assert fast.desk.hub.channels == 0


async def test_websocket_pings_and_gives_up_who_does_not_answer(fast: Stage) -> None:
    async with socket(fast) as client:
        for _ in range(3):
            assert await text(client) == "2"
            await client.send("3")
        assert await text(client) == "2"
        await ended(client)
    await fast.until(lambda: not fast.desk.sessions and not fast.desk.places.taken)


async def test_who_opens_but_never_connects_is_given_up() -> None:
    async with (
        staged(timing=Timing(hello=0.2, resolution=0.02, closing=0.2)) as stage,
        socket(stage, admit=False) as client,
    ):
        await ended(client)


async def test_a_closed_polling_session_ends_its_poll(stage: Stage, http: aiohttp.ClientSession) -> None:
    sid = await begun(stage, http)
    waiting = asyncio.create_task(poll(stage, http, sid))
    await asyncio.sleep(0.05)
    assert await post(stage, http, sid, "1") == (200, "ok")
    assert await waiting == (200, "6")
    assert (await poll(stage, http, sid))[0] == 400


async def test_a_closed_websocket_session_ends(stage: Stage) -> None:
    async with socket(stage) as client:
        await client.send("1")
        assert await ended(client) == 1000


async def test_packets_of_a_payload_are_taken_in_order(stage: Stage, http: aiohttp.ClientSession) -> None:
    sid = await admitted(stage, http)
    body = '421["subscribe:event","one"]\x1e422["leave-event","one"]\x1e423["nonsense"]'
    assert await post(stage, http, sid, body) == (200, "ok")
    answered: list[str] = []
    while len(answered) < 3:
        answered += (await poll(stage, http, sid))[1].split("\x1e")
    assert answered[0] == '431[{"success":true,"data":{"id":"0","channel":"event:one","schema":1}}]'
    assert answered[1] == '432[{"success":true,"data":{"channels":["event:one"]}}]'
    assert answered[2].startswith('433[{"success":false,"error":{"code":"live.operation_unknown"')


@pytest.mark.parametrize(
    "body", ["", "abc", "4", "4abc", "42{}", '42abc["x"]', "\x1e", "7", '4"', "2probe", "b", b"4\xff\xfe"]
)
async def test_an_invalid_payload_ends_the_polling_session(
    stage: Stage, http: aiohttp.ClientSession, body: str | bytes
) -> None:
    sid = await admitted(stage, http)
    assert (await post(stage, http, sid, body))[0] == 400
    assert (await poll(stage, http, sid))[0] == 400


@pytest.mark.parametrize(
    "packet",
    [
        "abc",
        "4",
        "4abc",
        "42{}",
        '42abc["x"]',
        "42[]",
        "42[1]",
        '42["connect"]',
        "0",
        "2",
        '42/other,["x"]',
        "40",
        "43",
        "451-",
        '49["x"]',
        "42" + "[" * 60_000,
    ],
)
async def test_an_invalid_packet_ends_the_websocket(stage: Stage, packet: str) -> None:
    async with socket(stage) as client:
        await client.send(packet)
        assert await ended(client) == 1002


async def test_an_event_before_the_namespace_ends_the_websocket(stage: Stage) -> None:
    async with socket(stage, admit=False) as client:
        await client.send('42["ping"]')
        assert await ended(client) == 1002


async def test_an_aborted_poll_ends_the_session(stage: Stage, http: aiohttp.ClientSession) -> None:
    sid = await begun(stage, http)
    waiting = asyncio.create_task(poll(stage, http, sid))
    await asyncio.sleep(0.05)
    waiting.cancel()
    await stage.until(lambda: not stage.desk.sessions)
    assert (await poll(stage, http, sid))[0] == 400


async def test_a_second_poll_at_once_ends_the_session(stage: Stage, http: aiohttp.ClientSession) -> None:
    sid = await begun(stage, http)
    first = asyncio.create_task(poll(stage, http, sid))
    await asyncio.sleep(0.05)
    assert (await poll(stage, http, sid))[0] == 400
    assert await first == (200, "1")
    assert not stage.desk.sessions


async def test_a_polling_session_moves_to_a_websocket_and_misses_nothing(
    stage: Stage, http: aiohttp.ClientSession
) -> None:
    sid = await admitted(stage, http)
    await post(stage, http, sid, '420["join-event","one"]')
    assert (await poll(stage, http, sid))[1].startswith("430[")
    waiting = asyncio.create_task(poll(stage, http, sid))
    await asyncio.sleep(0.05)
    async with connect(f"{stage.ws}/socket.io/?EIO=4&transport=websocket&sid={sid}") as client:
        await client.send("2probe")
        assert await text(client) == "3probe"
        assert await waiting == (200, "6"), "the waiting poll is set free"
        stage.told.sold(EVENT, 2)
        await client.send("5")
        stage_heard = [await text(client) for _ in range(4)]
        assert [json.loads(one[2:])[0] for one in stage_heard] == ["ticket_sold", "ticket-purchased"] * 2
        stage.told.sold(EVENT)
        assert json.loads((await text(client))[2:])[1]["id"] == "3"
        assert (await poll(stage, http, sid))[0] == 400, "requests of a session that moved are refused"
        with pytest.raises(websockets.InvalidStatus):
            await connect(f"{stage.ws}/socket.io/?EIO=4&transport=websocket&sid={sid}")
        (session,) = stage.desk.sessions
        assert isinstance(session, EngineSession)
        assert session.address == "", "the session's own place was given back"
    await stage.until(lambda: not stage.desk.sessions)


async def test_an_upgrade_that_fails_leaves_the_session_with_polling(
    stage: Stage, http: aiohttp.ClientSession
) -> None:
    sid = await admitted(stage, http)
    async with connect(f"{stage.ws}/socket.io/?EIO=4&transport=websocket&sid={sid}") as client:
        await client.send("2probe")
        assert await text(client) == "3probe"
        assert await poll(stage, http, sid) == (200, "6")
    async with connect(f"{stage.ws}/socket.io/?EIO=4&transport=websocket&sid={sid}") as client:
        await client.send("5")
        assert await ended(client) == 1002, "not without a probe"
    await post(stage, http, sid, '420["subscribe:event","one"]')
    assert (await poll(stage, http, sid))[1].startswith("430[")


async def test_an_upgrade_that_is_never_completed_is_given_up(http: aiohttp.ClientSession) -> None:
    async with staged(timing=Timing(upgrade=0.1, resolution=0.02, closing=0.2)) as stage:
        sid = await admitted(stage, http)
        async with connect(f"{stage.ws}/socket.io/?EIO=4&transport=websocket&sid={sid}") as client:
            await client.send("2probe")
            assert await text(client) == "3probe"
            assert await ended(client) == 1008
        assert (await post(stage, http, sid, "3"))[0] == 200


async def test_a_namespace_that_does_not_exist_is_refused_and_the_default_one_still_opens(
    stage: Stage,
) -> None:
    async with socket(stage, admit=False) as client:
        await client.send('40/admin,{"token":"x"}')
        assert json.loads((await text(client)).removeprefix("44/admin,"))["message"] == "Invalid namespace"
        await client.send("40")
        assert (await text(client)).startswith("40{")


async def test_a_wrong_token_is_a_connect_error(stage: Stage) -> None:
    async with socket(stage, admit=False) as client:
        await client.send('40{"token":"nobody"}')
        refused = json.loads((await text(client)).removeprefix("44"))
        assert refused["data"] == {"code": "live.token_invalid"}
        await client.send(f'40{{"token":"{stage.people.token(ADA)}"}}')
        assert (await text(client)).startswith("40{")
        await client.send(f'421["join-user","{ADA}"]')
        assert json.loads((await text(client)).removeprefix("431"))[0]["data"]["channel"] == f"user:{ADA}"


async def test_binary_events_are_refused_with_their_attachments_and_the_connection_stays(
    stage: Stage,
) -> None:
    async with socket(stage) as client:
        await client.send('452-7["upload",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]')
        assert (
            json.loads((await text(client)).removeprefix("437"))[0]["error"]["code"]
            == "live.binary_unsupported"
        )
        await client.send(b"\x01")
        await client.send(b"\x02")
        await client.send('421["subscribe:event","one"]')
        assert (await text(client)).startswith("431[")
        await client.send(b"\x03")
        assert await ended(client) == 1003


async def test_a_message_is_heard_under_its_name_and_its_aliases(stage: Stage) -> None:
    async with socket(stage) as client:
        await client.send('420["subscribe",{"channels":["event:draft","event:two"],"after":"0"}]')
        joined = json.loads((await text(client)).removeprefix("430"))[0]
        assert joined["success"] is True
        assert joined["data"]["channels"][0] == {"asked": "event:draft", "channel": EVENT}
        stage.told.say(
            (EVENT, "ticket_transferred", {"to": "x"}),
            ("event:two", "price_update", {}),
            (EVENT, "unheard_of", {}),
        )
        heard = [json.loads((await text(client))[2:]) for _ in range(5)]
        assert [name for name, _ in heard] == [
            "ticket_transferred",
            "ticket-transferred",
            "nft:transferred",
            "price_update",
            "unheard_of",
        ]
        assert heard[0][1] == heard[1][1] == heard[2][1]
        assert heard[0][1]["data"] == {"to": "x"}


@pytest.mark.parametrize(
    ("event", "channel"),
    [
        ('"join-event","one"', "event:one"),
        ('"join-event",{"eventId":"one"}', "event:one"),
        ('"subscribe:event",{"id":"one","after":"0"}', "event:one"),
        ('"subscribe:event","one",{"after":"0"}', "event:one"),
        (f'"join-user","{ADA}"', f"user:{ADA}"),
        (f'"join-user",{{"address":"{ADA}"}}', f"user:{ADA}"),
    ],
)
async def test_the_older_names_join_and_leave(stage: Stage, event: str, channel: str) -> None:
    async with socket(stage, admit=False) as client:
        await client.send(f'40{{"token":"{stage.people.token(ADA)}"}}')
        await text(client)
        await client.send(f"421[{event}]")
        assert json.loads((await text(client)).removeprefix("431"))[0] == {
            "success": True,
            "data": {"id": "0", "channel": channel, "schema": SCHEMA},
        }
        stage.told.sold(channel)
        assert json.loads((await text(client))[2:])[1]["channel"] == channel
        await text(client)
        left = event.replace("join-", "leave-").replace('"subscribe:', '"unsubscribe:')
        await client.send(f"422[{left}]")
        assert json.loads((await text(client)).removeprefix("432"))[0]["data"]["channels"] == [channel]
        assert stage.desk.hub.channels == 0


@pytest.mark.parametrize(
    "event",
    [
        '"join-event"',
        '"join-event",{}',
        '"join-event",true',
        '"subscribe"',
        '"subscribe",{"channels":"x"}',
        '"subscribe",{"channels":[1]}',
        '"auth",{}',
        '"unsubscribe",1',
    ],
)
async def test_a_malformed_question_is_acknowledged_with_the_reason(stage: Stage, event: str) -> None:
    async with socket(stage) as client:
        await client.send(f"429[{event}]")
        assert json.loads((await text(client)).removeprefix("439"))[0]["error"]["code"] == "live.malformed"


async def test_a_polling_client_that_does_not_poll_loses_its_backlog_and_is_told() -> None:
    limits = Limits(backlog_bytes=2_000)
    async with staged(limits=limits) as stage, aiohttp.ClientSession() as http:
        sid = await admitted(stage, http)
        await post(stage, http, sid, '420["join-event","one"]')
        await poll(stage, http, sid)
        for _ in range(50):
            stage.told.sold()
        first = (await poll(stage, http, sid))[1].split("\x1e")
        assert 0 < len(first) < 50
        said = json.loads((await poll(stage, http, sid))[1][2:])
        assert (said[0], said[1]["channel"], said[1]["id"]) == ("resync", EVENT, "50")
        stage.told.sold()
        assert json.loads((await poll(stage, http, sid))[1].split("\x1e")[0][2:])[1]["id"] == "51"


async def test_a_body_that_is_too_large_is_refused(http: aiohttp.ClientSession) -> None:
    async with staged(limits=Limits(message_bytes=1_000)) as stage:
        sid = await admitted(stage, http)
        async with http.post(url(stage, sid=sid), data=b"4" * 5_000) as answer:
            assert answer.status == 413


async def test_pages_of_allowed_origins_may_poll_and_others_not(
    stage: Stage, http: aiohttp.ClientSession
) -> None:
    headers = {"Origin": "https://tickets.example", "Access-Control-Request-Headers": "content-type"}
    async with http.options(url(stage), headers=headers) as answer:
        assert answer.status == 204
        assert answer.headers["access-control-allow-methods"] == "GET, POST"
    async with http.get(url(stage), headers={"Origin": "https://tickets.example"}) as answer:
        assert answer.headers["access-control-allow-origin"] == "https://tickets.example"
    for origin in ("https://evil.example", "null", "https://tickets.example.evil", "http://tickets.example"):
        async with http.get(url(stage), headers={"Origin": origin}) as answer:
            assert answer.status == 403
            assert "access-control-allow-origin" not in answer.headers


async def test_health_is_told(stage: Stage, http: aiohttp.ClientSession) -> None:
    for path in ("live", "ready"):
        async with http.get(f"{stage.http}/health/{path}") as answer:
            assert (answer.status, await answer.json()) == (200, {"status": "ok"})
    stage.desk.hub.begin(0)
    async with http.get(f"{stage.http}/health/ready") as answer:
        body: Any = await answer.json()
        assert (answer.status, body) == (503, {"status": "down"})
    async with http.head(f"{stage.http}/health/live") as answer:
        assert answer.status == 200
