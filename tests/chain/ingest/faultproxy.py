"""A proxy in front of a real node, over HTTP and WebSocket, that misbehaves as a seed decides."""

from __future__ import annotations

import asyncio
import functools
import random
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import msgspec
from aiohttp import WSMsgType, web

from echain.chain.proofs import FullHeader, header_hash

SILENT = ("drop", "hang", "delay", "http 500", "http 429", "html", "cut", "garbage", "flood", "bomb")
"""Faults that anyone sees for what they are."""

LIES = (
    *(
        "truncate logs",
        "drop a log",
        "invent a log",
        "alter a log",
        "alter an amount in a log",
        "wrong chain",
        "rewind",
        "forge a header",
    ),
    *("forge a bloom", "unlink", "corrupt hex", "duplicate", "null", "refuse", "far head", "forge heads"),
)
"""Faults in answers that look right."""

FLOOD_MB = 400
EMPTY_ROOT = "0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421"
"""The root of a tree without entries."""


@functools.cache
def bomb() -> bytes:
    """Return some kilobytes that unpack to `FLOOD_MB`."""
    packing = zlib.compressobj(1, wbits=31)
    return b"".join([*(packing.compress(b" " * (1 << 20)) for _ in range(FLOOD_MB)), packing.flush()])


class FaultProxy:
    """Passes calls on, each with ``rate`` as the chance of a fault; ``faults`` are those to choose from."""

    def __init__(self, upstream: str, *, seed: int, faults: Sequence[str] = (), rate: float = 0.0) -> None:
        self.upstream = upstream
        self.faults = list(faults)
        self.rate = rate
        self.done: Counter[str] = Counter()
        self.methods: Counter[str] = Counter()
        self.url = ""
        self.ws_url = ""
        self._rng = random.Random(seed)
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None
        self._port = 0
        self._sockets: set[web.WebSocketResponse] = set()
        self._forged: dict[int, dict[str, Any]] = {}

    # --- life ---

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[FaultProxy]:
        self._session = aiohttp.ClientSession()
        await self.restore()
        try:
            yield self
        finally:
            await self.kill()
            await self._session.close()

    async def kill(self) -> None:
        """Stop listening and drop every connection, as a machine that dies."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def restore(self) -> None:
        """Listen again at the same address."""
        application = web.Application(client_max_size=1 << 26)
        application.router.add_post("/", self._http)
        application.router.add_get("/", self._ws)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.05)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True)
        await site.start()
        self._port = self._runner.addresses[0][1]
        self.url, self.ws_url = f"http://127.0.0.1:{self._port}", f"ws://127.0.0.1:{self._port}"

    # --- HTTP ---

    async def _http(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        calls = msgspec.json.decode(body)
        many = calls if isinstance(calls, list) else [calls]
        self.methods.update(call["method"] for call in many)
        fault = self._choice()
        if fault in SILENT and (early := await self._before(fault, request)) is not None:
            return early
        answers = await self._answers(many)
        if fault in LIES:
            answers = [
                await self._lied(fault, call, answer) for call, answer in zip(many, answers, strict=True)
            ]
        text = msgspec.json.encode(answers if isinstance(calls, list) else answers[0])
        if fault == "cut":
            text = text[: self._rng.randrange(len(text))]
            self.done[fault] += 1
        return web.Response(body=text, content_type="application/json")

    def _choice(self) -> str:
        return self._rng.choice(self.faults) if self.faults and self._rng.random() < self.rate else ""

    async def _before(  # noqa: PLR0911 - a return a fault
        self, fault: str, request: web.Request
    ) -> web.StreamResponse | None:
        self.done[fault] += fault != "cut"
        match fault:
            case "drop":
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
            case "hang":
                await asyncio.sleep(3_600)
            case "delay":
                await asyncio.sleep(self._rng.uniform(0.05, 0.6))
            case "http 500":
                return web.Response(status=500, text="internal error")
            case "http 429":
                return web.Response(status=429, headers={"Retry-After": "0.2"}, text="slow down")
            case "html":
                return web.Response(text="<html>Bad gateway</html>", content_type="text/html")
            case "garbage":
                return web.Response(
                    body=b'{"jsonrpc":"2.0","id":0,"result":[[[[', content_type="application/json"
                )
            case "flood":
                return await self._flood(request)
            case "bomb":
                return web.Response(
                    body=bomb(), content_type="application/json", headers={"Content-Encoding": "gzip"}
                )
        return None

    async def _flood(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        with suppress(ConnectionError):
            for _ in range(FLOOD_MB):
                await response.write(b" " * (1 << 20))
        return response

    async def _answers(self, calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
        assert self._session is not None
        async with self._session.post(self.upstream, json=calls) as response:
            answers: list[dict[str, Any]] = msgspec.json.decode(await response.read())
        by_id = {answer["id"]: answer for answer in answers}
        return [by_id[call["id"]] for call in calls]

    # --- lies ---

    async def _lied(self, fault: str, call: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
        result = answer.get("result")
        told = await self._lie(fault, call, result)
        if told is result:
            return answer
        self.done[fault] += 1
        if fault == "refuse":
            return {
                "jsonrpc": "2.0",
                "id": answer["id"],
                "error": {"code": -32603, "message": "internal error"},
            }
        return {"jsonrpc": "2.0", "id": answer["id"], "result": told}

    async def _lie(  # noqa: PLR0911 - a return a fault
        self, fault: str, call: dict[str, Any], result: Any
    ) -> Any:
        method = call["method"]
        match fault:
            case "wrong chain" if method == "eth_chainId":
                return hex(int(result, 16) + 1)
            case "null" if result is not None and method != "eth_chainId":
                return None
            case "refuse":
                return []
            case "forge heads" if method == "eth_getBlockByNumber":
                if call["params"][0] == "latest":
                    return self._forged_onto(result)
                return self._forged.get(int(call["params"][0], 16), result)
        if method == "eth_getLogs" and result:
            return self._about_logs(fault, result)
        if method.startswith("eth_getBlockBy") and result:
            return await self._about_header(fault, call, result)
        return result

    def _about_logs(  # noqa: PLR0911 - a return a fault
        self, fault: str, logs: list[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        place = self._rng.randrange(len(logs))
        log = logs[place]
        match fault:
            case "truncate logs":
                return logs[:place]
            case "drop a log":
                return logs[:place] + logs[place + 1 :]
            case "duplicate":
                return [*logs, log]
            case "invent a log":
                return [*logs, log | {"logIndex": hex(int(logs[-1]["logIndex"], 16) + 1)}]
            case "corrupt hex":
                return [*logs[:place], log | {"data": "0xzz" + log["data"][4:]}, *logs[place + 1 :]]
            case "alter a log":
                owner = [*log["topics"][:-1], "0x" + self._rng.randbytes(32).hex()]
                return [*logs[:place], log | {"topics": owner}, *logs[place + 1 :]]
            case "alter an amount in a log":
                # What no filter covers.
                return [one | {"data": _altered(one["data"])} for one in logs]
            case _:
                return logs

    async def _about_header(  # noqa: PLR0911 - a return a fault
        self, fault: str, call: dict[str, Any], header: dict[str, Any]
    ) -> Any:
        latest = call["params"][0] == "latest"
        match fault:
            case "rewind" if latest:
                older = max(0, int(header["number"], 16) - self._rng.randint(1, 40))
                return (await self._answers([call | {"params": [hex(older), False]}]))[0]["result"]
            case "far head" if latest:
                return hashed(header | {"number": hex(int(header["number"], 16) + 10_000)})
            case "forge a header":
                return header | {"hash": "0x" + self._rng.randbytes(32).hex()}
            case "forge a bloom":
                return header | {"logsBloom": "0x" + "00" * 256}
            case "unlink":
                return header | {"parentHash": "0x" + self._rng.randbytes(32).hex()}
            case "corrupt hex":
                return header | {"hash": "0xzz" + header["hash"][4:]}
            case _:
                return header

    def _forged_onto(self, tip: dict[str, Any]) -> dict[str, Any]:
        """Return an empty block of its own onto the last one told, whose hash is right."""
        parent = self._forged[max(self._forged)] if self._forged else tip
        number = int(parent["number"], 16) + 1
        self._forged[number] = hashed(
            parent
            | {
                "number": hex(number),
                "parentHash": parent["hash"],
                "timestamp": hex(int(parent["timestamp"], 16) + 1),
                "logsBloom": "0x" + "00" * 256,
                "transactionsRoot": EMPTY_ROOT,
                "receiptsRoot": EMPTY_ROOT,
            }
        )
        return self._forged[number]

    # --- WebSocket ---

    def _forged_notice(self, text: str) -> str:
        notice = msgspec.json.decode(text)
        if "params" in notice:
            self.done["ws forged"] += 1
            notice["params"]["result"] = self._forged_onto(notice["params"]["result"])
        return msgspec.json.encode(notice).decode()

    async def _ws(self, request: web.Request) -> web.WebSocketResponse:
        assert self._session is not None
        downstream = web.WebSocketResponse()
        await downstream.prepare(request)
        self._sockets.add(downstream)
        async with self._session.ws_connect(self.upstream.replace("http", "ws")) as upstream:

            async def up() -> None:
                async for message in downstream:
                    if message.type is WSMsgType.TEXT:
                        await upstream.send_str(message.data)
                await upstream.close()

            pump = asyncio.create_task(up())
            try:
                async for message in upstream:
                    fault = self._choice()
                    if fault in ("drop", "cut"):
                        self.done["ws closed"] += 1
                        break
                    if fault == "forge heads":
                        await downstream.send_str(self._forged_notice(message.data))
                        continue
                    if fault:
                        # Silence: the head is never told.
                        self.done["ws silent"] += 1
                        continue
                    await downstream.send_str(message.data)
            except ConnectionError:
                pass
            finally:
                pump.cancel()
                await asyncio.gather(pump, return_exceptions=True)
                self._sockets.discard(downstream)
        with suppress(ConnectionError):
            await downstream.close()
        return downstream


def hashed(header: dict[str, Any]) -> dict[str, Any]:
    """Return a header with the hash of what it says: anybody can work that out."""
    return header | {"hash": "0x" + header_hash(msgspec.convert(header, FullHeader)).hex()}


def _altered(data: str) -> str:
    return data[:-1] + ("0" if data[-1] != "0" else "1") if len(data) > len("0x") else data
