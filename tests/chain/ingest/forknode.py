"""An EVM node over real HTTP whose chain is a path through a tree of blocks, and that can be told to lie."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiohttp import WSMsgType, web
from tests.chain.ingest.blocktree import Grown

from echain.chain.types import Block, Log

Fault = Callable[[str, Any], Any]
"""Changes a method's result; returns it as it is when it has nothing to change."""


class Refusal(Exception):
    """What the node answers instead of a result."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class ForkNode:
    """Serves the path to `tip`; setting another tip is a reorg."""

    def __init__(self, chain_id: int) -> None:
        self.chain_id = chain_id
        self.fault: Fault = lambda _method, result: result
        self.max_span: int | None = None
        self.max_logs: int | None = None
        self.calls: list[str] = []
        self.subscriptions = 0
        self._path: list[Grown] = []
        self._by_hash: dict[bytes, Grown] = {}
        self._sockets: set[web.WebSocketResponse] = set()
        self.url = ""

    @property
    def tip(self) -> Grown:
        return self._path[-1]

    @tip.setter
    def tip(self, tip: Grown) -> None:
        self._path = tip.path()
        self._by_hash = {bytes(grown.block.hash): grown for grown in self._path}

    @property
    def subscribers(self) -> int:
        return len(self._sockets)

    async def announce(self) -> None:
        """Send the tip to everyone who subscribed to ``newHeads``."""
        params = {"subscription": "0x1", "result": header(self.tip.block)}
        for socket in self._sockets:
            await socket.send_str(_json({"jsonrpc": "2.0", "method": "eth_subscription", "params": params}))

    def result(self, method: str, params: Sequence[Any]) -> Any:
        self.calls.append(method)
        match method:
            case "eth_chainId":
                answer: Any = hex(self.chain_id)
            case "eth_getBlockByNumber":
                number = len(self._path) - 1 if params[0] == "latest" else int(params[0], 16)
                answer = header(self._path[number].block) if number < len(self._path) else None
            case "eth_getLogs":
                answer = [wire(log) for log in self._logs(params[0])]
            case _:
                raise Refusal(-32601, "method not found")
        return self.fault(method, answer)

    def _logs(self, query: dict[str, Any]) -> list[Log]:
        if "blockHash" in query:
            grown = self._by_hash.get(bytes.fromhex(query["blockHash"][2:]))
            if grown is None:
                raise Refusal(-32000, "unknown block")
            blocks = [grown]
        else:
            first, last = int(query["fromBlock"], 16), int(query["toBlock"], 16)
            if self.max_span is not None and last - first + 1 > self.max_span:
                raise Refusal(-32000, f"Exceeded maximum block range: {self.max_span}")
            blocks = self._path[first : last + 1]
        asked = {bytes.fromhex(address[2:]) for address in query.get("address", ())}
        logs = [log for grown in blocks for log in grown.logs if not asked or log.address in asked]
        if self.max_logs is not None and len(logs) > self.max_logs and len(blocks) > 1:
            raise Refusal(-32005, f"query returned more than {self.max_logs} results")
        return logs

    async def _http(self, request: web.Request) -> web.Response:
        body = msgspec.json.decode(await request.read())
        return web.Response(body=msgspec.json.encode(self._answers(body)), content_type="application/json")

    def _answers(self, body: Any) -> Any:
        return [self._answer(call) for call in body] if isinstance(body, list) else self._answer(body)

    def _answer(self, call: dict[str, Any]) -> dict[str, Any]:
        answer = {"jsonrpc": "2.0", "id": call["id"]}
        try:
            return {**answer, "result": self.result(call["method"], call.get("params", ()))}
        except Refusal as refusal:
            return {**answer, "error": {"code": refusal.code, "message": str(refusal)}}

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                call = msgspec.json.decode(message.data)
                if call["method"] == "eth_subscribe":
                    self._sockets.add(socket)
                    self.subscriptions += 1
                    await socket.send_str(_json({"jsonrpc": "2.0", "id": call["id"], "result": "0x1"}))
                else:
                    await socket.send_str(_json(self._answer(call)))
        self._sockets.discard(socket)
        return socket

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[ForkNode]:
        """Answer on a free port of 127.0.0.1."""
        application = web.Application(client_max_size=1 << 24)
        application.router.add_post("/", self._http)
        application.router.add_get("/ws", self._socket)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        assert site._server is not None
        port = site._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        try:
            yield self
        finally:
            for socket in self._sockets:
                await socket.close()
            await runner.cleanup()
            await asyncio.sleep(0)

    @property
    def ws_url(self) -> str:
        return self.url.replace("http", "ws") + "/ws"


def header(block: Block) -> dict[str, str]:
    return {
        "number": hex(block.number),
        "hash": "0x" + block.hash.hex(),
        "parentHash": "0x" + block.parent_hash.hex(),
        "timestamp": hex(block.timestamp),
        "logsBloom": f"0x{block.logs_bloom:0512x}",
    }


def wire(log: Log) -> dict[str, Any]:
    return {
        "address": "0x" + log.address.hex(),
        "topics": ["0x" + topic.hex() for topic in log.topics],
        "data": "0x" + log.data.hex(),
        "blockNumber": hex(log.block_number),
        "blockHash": "0x" + log.block_hash.hex(),
        "transactionHash": "0x" + log.tx_hash.hex(),
        "transactionIndex": hex(log.tx_index),
        "logIndex": hex(log.log_index),
        "removed": False,
    }


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
