"""The load generator sees what its clients see: who joined, who had what when, what was missed or doubled."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from bench import native
from bench.clients import Kind, clients
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

GREETING = '420["subscribe:event","e"]'
RESUMING = '420["subscribe",{"channels":["event:e"],"after":"%s"}]'


class Server:
    """Speaks just enough of both protocols; for one client it may skip a message, or repeat each."""

    def __init__(self) -> None:
        self.joined: list[_Connection] = []
        self.told: list[int] = []
        self.skipping = self.repeating = False
        self.port = 0

    def connection(self, request: WSUpgradeRequest) -> WSListener:
        return _Connection(self, socketio=request.path.startswith(b"/socket.io/"))

    def tell(self, number: int) -> None:
        self.told.append(number)
        for connection in self.joined:
            connection.tell(number)


class _Connection(WSListener):
    def __init__(self, server: Server, *, socketio: bool) -> None:
        self._server, self._socketio = server, socketio

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        if self._socketio:
            transport.send(WSMsgType.TEXT, b'0{"sid":"a"}')

    def on_ws_disconnected(self, _transport: WSTransport) -> None:
        if self in self._server.joined:
            self._server.joined.remove(self)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        text = frame.get_payload_as_utf8_text()
        if text == "40":
            transport.send(WSMsgType.TEXT, b'40{"sid":"b"}')
            return
        asked = json.loads(text.removeprefix("420"))[1] if self._socketio else json.loads(text)
        after = int(asked["after"]) if isinstance(asked, dict) and "after" in asked else None
        self._server.joined.append(self)
        # Never mistaken for a message, though it has an id.
        transport.send(
            WSMsgType.TEXT, b'430[{"data":{"id":"77"}}]' if self._socketio else b'{"data":{"id":"77"}}'
        )
        for number in self._server.told if after is not None else ():
            if number > after:
                self.tell(number)

    def tell(self, number: int) -> None:
        message = b'{"id":"%d","type":"t","data":{}}' % number
        frame = b'42["t",%b]' % message if self._socketio else message
        first = self._server.joined[0] is self
        times = (
            0
            if first and self._server.skipping and number == 4
            else 2
            if first and self._server.repeating
            else 1
        )
        for _ in range(times):
            self._transport.send(WSMsgType.TEXT, frame)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    listening = await ws_create_server(server.connection, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    yield server
    listening.close()


@pytest.fixture(params=["C", "picows"])
def program(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "picows":
        monkeypatch.setattr(native, "built", _no_compiler)
    elif shutil.which("cc") is None:
        pytest.skip("no C compiler here")
    return request.param


def _no_compiler(_name: str) -> None:
    return None


@pytest.mark.parametrize("kind", ["ws", "sio"])
async def test_a_message_is_delivered_when_the_last_client_has_it(
    server: Server, program: str, kind: Kind
) -> None:
    async with _crowd(server, kind) as crowd:
        assert crowd.program.startswith(program)
        await crowd.grow(3)
        await crowd.grow(20)
        assert len(server.joined) == 20
        began = time.monotonic_ns()
        server.tell(1)
        delivered = await crowd.delivered()
    assert delivered.id == 1
    assert began < delivered.first <= delivered.median <= delivered.last <= time.monotonic_ns()


@pytest.mark.parametrize("kind", ["ws", "sio"])
async def test_a_dropped_crowd_that_gets_all_it_missed_missed_nothing(
    server: Server, program: str, kind: Kind
) -> None:
    back = await _dropped(server, kind)
    assert (back.done, back.missed, back.doubled) == (20, 0, 0), program


async def test_one_message_less_at_one_client_is_seen(server: Server, program: str) -> None:
    server.skipping = True
    assert (await _dropped(server, "sio")).missed == 1, program


async def test_one_message_twice_at_one_client_is_seen(server: Server, program: str) -> None:
    back = await _dropped(server, "sio", before_back=lambda: setattr(server, "repeating", True))
    assert back.missed == 0, program
    assert back.doubled >= 1


async def test_a_crowd_that_resumes_nothing_is_back_when_all_have_joined(
    server: Server, program: str
) -> None:
    async with _crowd(server, "sio") as crowd:
        await crowd.grow(20)
        await crowd.drop()
        assert (await crowd.back(0, 0)).done == 20, program
        assert len(server.joined) == 20


async def test_a_server_that_ends_a_connection_ends_the_measurement(server: Server, program: str) -> None:
    async with _crowd(server, "ws") as crowd:
        await crowd.grow(2)
        server.joined[0]._transport.disconnect()
        with pytest.raises(RuntimeError, match="ended"):
            await crowd.delivered()
    assert program


async def _dropped(server: Server, kind: Kind, *, before_back: Callable[[], None] = lambda: None) -> Any:
    async with _crowd(server, kind) as crowd:
        await crowd.grow(20)
        server.tell(1)
        await crowd.delivered()
        await crowd.drop()
        async with asyncio.timeout(10):
            while server.joined:
                await asyncio.sleep(0.01)
        for number in (2, 3, 4, 5):
            server.tell(number)
        before_back()
        return await crowd.back(5, 4)


def _crowd(server: Server, kind: Kind) -> Any:
    if kind == "sio":
        return clients(server.port, kind, GREETING, RESUMING)
    return clients(server.port, kind, '{"op":"subscribe"}', '{"op":"subscribe","after":"%s"}')
