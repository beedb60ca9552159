"""Stock clients, unchanged: socket.io-client from npm in each of its modes, and Node's EventSource."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.live.stage import ADA, EVENT, Stage, staged

from echain.edge.live.access import Timing
from echain.kernel.messages import SCHEMA

ROOT = Path(__file__).parents[2]
NODE = ROOT / ".venv" / "bin" / "node"
CLIENTS = Path(__file__).parent / "clients"


@dataclass
class Client:
    """A client in a process of its own, which tells what happens to it."""

    process: asyncio.subprocess.Process

    async def happened(self, *keys: str) -> Any:
        """Return the next thing that happened which has one of these keys."""
        assert self.process.stdout is not None
        async with asyncio.timeout(15):
            while line := await self.process.stdout.readline():
                said = json.loads(line)
                if not keys or any(key in said for key in keys):
                    return said
        raise AssertionError("the client ended")

    async def emit(self, *arguments: object) -> Any:
        """Emit an event and return its acknowledgement."""
        self.say("emit", *arguments)
        return (await self.happened("ack"))["ack"]

    def say(self, *command: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command).encode() + b"\n")


@asynccontextmanager
async def running(script: str, *arguments: str, options: tuple[str, ...] = ()) -> AsyncIterator[Client]:
    process = await asyncio.create_subprocess_exec(
        NODE,
        *options,
        CLIENTS / script,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    try:
        yield Client(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(5):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


def socketio(stage: Stage, transports: str, token: str = "-"):
    return running("socketio.mjs", stage.http, transports, token)


def eventsource(stage: Stage, query: str):
    url = f"{stage.http}/sse/events?{query}"
    return running("eventsource.mjs", url, options=("--experimental-eventsource", "--no-warnings"))


@pytest.mark.parametrize("transports", ["default", "websocket", "polling"])
async def test_socketio_client_joins_and_hears_both_names(stage: Stage, transports: str) -> None:
    async with socketio(stage, transports) as client:
        first = "websocket" if transports == "websocket" else "polling"
        assert await client.happened("open") == {"open": first}
        if transports == "default":
            assert await client.happened("upgrade") == {"upgrade": "websocket"}
        else:
            await client.happened("connect")
        assert await client.emit("join-event", "draft") == {
            "success": True,
            "data": {"id": "0", "channel": EVENT, "schema": SCHEMA},
        }
        stage.told.say((EVENT, "ticket_sold", {"buyer": "ü € \U0001f3ab"}))
        heard = [await client.happened("event") for _ in range(2)]
        assert [one["event"] for one in heard] == ["ticket_sold", "ticket-purchased"]
        assert heard[0]["message"]["data"] == {"buyer": "ü € \U0001f3ab"}
        assert await client.emit("leave-event", "one") == {"success": True, "data": {"channels": [EVENT]}}


@pytest.mark.parametrize("transports", ["default", "websocket", "polling"])
async def test_socketio_client_stays_over_many_pings(transports: str) -> None:
    timing = Timing(ping_interval=0.2, ping_timeout=0.5, resolution=0.02, closing=0.2)
    async with staged(timing=timing) as stage, socketio(stage, transports) as client:
        await client.happened("connect")
        await client.emit("subscribe:event", "one")
        for number in range(1, 6):
            await asyncio.sleep(0.25)
            stage.told.sold()
            said = await client.happened("event", "disconnect")
            assert said["message"]["id"] == str(number)
            await client.happened("event")


@pytest.mark.parametrize("transports", ["default", "websocket", "polling"])
async def test_nothing_is_lost_while_a_client_changes_transport(stage: Stage, transports: str) -> None:
    async with socketio(stage, transports) as client:
        await client.happened("connect")
        await client.emit("subscribe", {"channels": [EVENT], "after": "0"})
        for _ in range(300):
            stage.told.say((EVENT, "price_update", {}))
            await asyncio.sleep(0.001)
        ids = [int((await client.happened("event"))["message"]["id"]) for _ in range(300)]
        assert ids == list(range(1, 301))


async def test_a_token_in_the_handshake_opens_private_channels_until_it_is_revoked(stage: Stage) -> None:
    token = stage.people.token(ADA)
    async with socketio(stage, "default", token) as client:
        await client.happened("connect")
        assert (await client.emit("join-user", ADA))["success"] is True
        stage.told.say((f"user:{ADA}", "notification", {"title": "hello"}))
        assert (await client.happened("event"))["message"]["data"] == {"title": "hello"}
        stage.desk.revoke([stage.people.session(token)])
        lost = await client.happened("event")
        assert (lost["event"], lost["message"]["data"]["channels"]) == ("unauthorized", [f"user:{ADA}"])
        assert (await client.emit("join-user", ADA))["error"]["code"] == "live.channel_private"
        assert (await client.emit("auth", {"token": stage.people.token(ADA)}))["data"]["address"] == ADA
        assert (await client.emit("join-user", ADA))["success"] is True


async def test_a_wrong_token_is_a_connect_error_of_the_stock_client(stage: Stage) -> None:
    async with socketio(stage, "default", "token-of-nobody") as client:
        said = await client.happened("connect", "connect_error")
        assert said["data"] == {"code": "live.token_invalid"}


@pytest.mark.parametrize("transports", ["default", "polling"])
async def test_socketio_client_comes_back_by_itself_when_it_is_dropped(stage: Stage, transports: str) -> None:
    async with socketio(stage, transports) as client:
        await client.happened("upgrade" if transports == "default" else "connect")
        await client.emit("subscribe", {"channels": [EVENT]})
        for session in list(stage.desk.sessions):
            session.end(1012, "restarting")
        reason = (await client.happened("disconnect"))["disconnect"]
        assert reason in ("transport close", "transport error"), "not one after which a client stays away"
        stage.told.say((EVENT, "price_update", {}))
        await client.happened("connect")
        await client.emit("subscribe", {"channels": [EVENT], "after": "0"})
        assert (await client.happened("event"))["message"]["id"] == "1"


async def test_eventsource_hears_and_resumes_by_itself(stage: Stage) -> None:
    stage.told.sold()
    async with eventsource(stage, f"channel={EVENT}") as client:
        assert (await client.happened("subscribed"))["subscribed"]["id"] == "1"
        stage.told.say((EVENT, "ticket_sold", {"n": 1}))
        said = await client.happened("id")
        assert (said["id"], said["message"]["type"]) == ("2", "ticket_sold")
        for session in list(stage.desk.sessions):
            session.end(1012, "restarting")
        await client.happened("error")
        stage.told.sold(EVENT, 2)
        assert (await client.happened("subscribed"))["subscribed"]["id"] == "2"
        assert [(await client.happened("id"))["id"] for _ in range(2)] == ["3", "4"]


async def test_eventsource_resumes_from_the_beginning_of_a_silent_stream(stage: Stage) -> None:
    async with eventsource(stage, f"channel={EVENT}") as client:
        await client.happened("subscribed")
        for session in list(stage.desk.sessions):
            session.end(1012, "restarting")
        await client.happened("error")
        stage.told.sold()
        assert (await client.happened("id"))["id"] == "1"
