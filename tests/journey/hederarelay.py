"""A relay in front of an EVM node that keeps the rules of Hedera's JSON-RPC relay and counts as it does.

Inside contracts the unit is the tinybar, on the wire the weibar, 10^10 of them to one; the node behind sees
tinybars where it thinks of wei. Signed transactions are sent on as their senders', with scaled values, and
keep their own hashes on the wire.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
from aiohttp import web
from eth_account import Account
from eth_account.typed_transactions import TypedTransaction
from hexbytes import HexBytes

from echain.kernel.evm import keccak

SCALE = 10**10
ZERO_BLOOM = "0x" + "00" * 256

_SCALED = ("value", "gasPrice", "maxFeePerGas", "baseFeePerGas", "effectiveGasPrice")
_MISSING = {
    *("eth_getProof", "eth_createAccessList", "eth_coinbase", "eth_sign", "eth_sendTransaction"),
    *("eth_blobBaseFee", "eth_simulateV1", "eth_subscribe", "eth_newPendingTransactionFilter"),
}


class Refused(Exception):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class HederaRelay:
    """``refused`` counts the refusals by code, ``spans`` notes (blocks, addresses) of each log query."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.refused: Counter[int] = Counter()
        self.methods: Counter[str] = Counter()
        self.spans: list[tuple[int, int]] = []
        self.url = ""
        self._hashes: dict[str, str] = {}
        self._asked: Counter[str] = Counter()
        self._session: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[HederaRelay]:
        self._session = aiohttp.ClientSession()
        application = web.Application(client_max_size=1 << 24)
        application.router.add_post("/api", self._http)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/api"
        # What Hedera charges for gas: 110 tinybars.
        await self._node("anvil_setNextBlockBaseFeePerGas", ["0x6e"])
        try:
            yield self
        finally:
            await runner.cleanup()
            await self._session.close()

    async def _http(self, request: web.Request) -> web.Response:
        text = (await request.read()).decode()
        for outer, inner in self._hashes.items():
            text = text.replace(outer, inner)
        calls = msgspec.json.decode(text)
        if isinstance(calls, list) and len(calls) > 100:
            self.refused[-32203] += 1
            error = {"code": -32203, "message": f"Batch request amount {len(calls)} exceeds max 100"}
            answers: Any = {"jsonrpc": "2.0", "id": None, "error": error}
        elif isinstance(calls, list):
            answers = await asyncio.gather(*(self._answer(call) for call in calls))
        else:
            answers = await self._answer(calls)
        told = msgspec.json.encode(answers).decode()
        for outer, inner in self._hashes.items():
            told = told.replace(inner, outer)
        return web.Response(text=told, content_type="application/json")

    async def _answer(self, call: dict[str, Any]) -> dict[str, Any]:
        method, params = call["method"], list(call.get("params") or ())
        self.methods[method] += 1
        answer = {"jsonrpc": "2.0", "id": call["id"]}
        try:
            return {**answer, "result": await self._result(method, params)}
        except Refused as refusal:
            self.refused[refusal.code] += 1
            return {**answer, "error": {"code": refusal.code, "message": str(refusal)}}
        except NodeError as error:
            return {**answer, "error": error.error}

    async def _result(self, method: str, params: list[Any]) -> Any:
        if method in _MISSING:
            raise Refused(-32601, f"Unsupported JSON-RPC method {method}")
        params = ["latest" if one in ("safe", "finalized", "pending") else one for one in params]
        match method:
            case "eth_accounts":
                return []
            case "eth_maxPriorityFeePerGas":
                return "0x0"
            case "eth_sendRawTransaction":
                return await self._send(params[0])
            case "eth_getLogs":
                await self._logs_rules(params[0])
            case "eth_call" | "eth_estimateGas":
                params[0] = self._scaled_call(params[0])
            case "eth_getTransactionReceipt":
                return await self._receipt(params[0])
            case "anvil_setBalance":
                params[1] = hex(int(params[1], 16) // SCALE)
        return self._seen(method, await self._node(method, params))

    def _scaled_call(self, call: dict[str, Any]) -> dict[str, Any]:
        value = int(call.get("value") or "0x0", 16)
        if 0 < value < SCALE:
            raise Refused(
                -32602, "Value can't be non-zero and less than 10_000_000_000 wei which is 1 tinybar"
            )
        fees = {"maxFeePerGas", "maxPriorityFeePerGas", "gasPrice"}
        return {name: one for name, one in call.items() if name not in fees} | {"value": hex(value // SCALE)}

    def _seen(self, method: str, result: Any) -> Any:
        """Return a result as the relay tells it: in weibars, with headers that prove nothing."""
        if method in ("eth_getBalance", "eth_gasPrice"):
            return hex(int(result, 16) * SCALE)
        if method == "eth_feeHistory":
            fees = [hex(int(fee, 16) * SCALE) for fee in result["baseFeePerGas"]]
            rewards = [["0x0"] * len(reward) for reward in result.get("reward") or ()]
            return result | {"baseFeePerGas": fees, "reward": rewards}
        if isinstance(result, dict):
            told = {
                **result,
                **{name: hex(int(result[name], 16) * SCALE) for name in _SCALED if result.get(name)},
            }
            if "stateRoot" in told:
                told |= {"logsBloom": ZERO_BLOOM, "stateRoot": "0x" + keccak(b"\x80").hex()}
            return told
        return result

    async def _send(self, raw: str) -> str:
        encoded = bytes.fromhex(raw[2:])
        outer = "0x" + keccak(encoded).hex()
        if outer in self._hashes:
            return outer
        if encoded[0] != 2:
            # The deployer's one transaction is older than types; nothing else of ours is.
            raise Refused(-32611, f"Unsupported transaction type {encoded[0]}")
        sent = TypedTransaction.from_bytes(HexBytes(encoded)).as_dict()
        value = int(sent["value"])
        if value % SCALE:
            raise Refused(
                -32602, "Value can't be non-zero and less than 10_000_000_000 wei which is 1 tinybar"
            )
        sender = Account.recover_transaction(encoded)
        await self._node("anvil_impersonateAccount", [sender])
        inner = await self._node(
            "eth_sendTransaction",
            [
                {
                    "from": sender,
                    "to": "0x" + bytes(sent["to"]).hex(),
                    "data": "0x" + bytes(sent["data"]).hex(),
                    "value": hex(value // SCALE),
                    "gas": hex(sent["gas"]),
                    "nonce": hex(sent["nonce"]),
                    "maxFeePerGas": hex(sent["maxFeePerGas"] // SCALE),
                    "maxPriorityFeePerGas": "0x0",
                }
            ],
        )
        self._hashes[outer] = inner
        return outer

    async def _receipt(self, transaction_hash: str) -> Any:
        """Return a receipt as a mirror that lags does: refused at first, then unknown, then there."""
        self._asked[transaction_hash] += 1
        receipt = await self._node("eth_getTransactionReceipt", [transaction_hash])
        if receipt is None or self._asked[transaction_hash] == 2:
            return None
        if self._asked[transaction_hash] == 1:
            raise Refused(-32015, "Dependent service returned immature records")
        return self._seen("", receipt)

    async def _logs_rules(self, query: dict[str, Any]) -> None:
        if "blockHash" in query:
            return
        if "fromBlock" not in query:
            raise Refused(-32011, "Provided toBlock parameter without specifying fromBlock")
        head = int(await self._node("eth_blockNumber", []), 16)
        first = int(query["fromBlock"], 16)
        last = head if query.get("toBlock", "latest") == "latest" else int(query["toBlock"], 16)
        addresses = query.get("address", [])
        named = 1 if isinstance(addresses, str) else len(addresses)
        self.spans.append((last - first + 1, named))
        if named != 1 and last - first + 1 > 1_000:
            raise Refused(-32000, "Exceeded maximum block range: 1000")
        if any(isinstance(topic, list) and len(topic) > 100 for topic in query.get("topics", ())):
            raise Refused(-32000, "Exceeded maximum of 100 topics")
        blocks = [
            await self._node("eth_getBlockByNumber", [hex(min(place, head)), False])
            for place in (first, last)
        ]
        began, ended = (int(block["timestamp"], 16) for block in blocks)
        if ended - began > 7 * 86_400:
            raise Refused(-32004, "The provided fromBlock and toBlock contain timestamps that exceed 7 days")

    async def _node(self, method: str, params: list[Any]) -> Any:
        assert self._session is not None
        call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        async with self._session.post(self.upstream, json=call) as response:
            answer = await response.json()
        if "error" in answer:
            raise NodeError(answer["error"])
        return answer["result"]


class NodeError(Exception):
    """The node behind refuses; passed on as it is."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(str(error))
        self.error = error
