"""JSON-RPC over HTTP to a chain's nodes, with typed decoding where there is much to decode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Generic, TypeVar

import aiohttp
import msgspec

from echain.chain.types import Block, Log
from echain.kernel.errors import EchainError, Kind
from echain.kernel.evm import Address, Hash32

BATCH_LIMIT: Final = 100
"""Calls in one HTTP request; the strictest public node allows this many."""

_CONNECTIONS: Final = 16
_ANSWER_LIMIT_BYTES: Final = 256 * 1024 * 1024

T = TypeVar("T")
_hex = bytes.fromhex


class ChainUnreachable(EchainError):
    """No node of this chain answers; try again in some seconds."""

    kind = Kind.UNAVAILABLE
    code = "chain.unreachable"


class WrongChain(EchainError):
    """The node serves another chain than configured; correct its address."""

    kind = Kind.UNAVAILABLE
    code = "chain.wrong_chain"


class RpcRefused(EchainError):
    """The node understood the call and refused it.

    ``rpc_code`` and ``data`` are the node's; ``data`` holds the revert's bytes when a contract reverted.
    """

    kind = Kind.UNAVAILABLE
    code = "chain.refused"

    def __init__(self, rpc_code: int, message: str, data: bytes | None = None) -> None:
        super().__init__(message)
        self.rpc_code = rpc_code
        self.data = data


class _Error(msgspec.Struct):
    code: int
    message: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")


class _Answer(msgspec.Struct, Generic[T]):
    id: int | None = None
    result: T | None = None
    error: _Error | None = None


class WireLog(msgspec.Struct, gc=False, rename="camel"):
    """A log as nodes spell it."""

    address: str
    topics: tuple[str, ...]
    data: str
    block_number: str
    block_hash: str
    transaction_hash: str
    transaction_index: str
    log_index: str


class WireHeader(msgspec.Struct, gc=False, rename="camel"):
    """A header as nodes spell it, in answers and in ``newHeads``."""

    number: str
    hash: str
    parent_hash: str
    timestamp: str
    logs_bloom: str = "0x0"

    def block(self) -> Block:
        """Return the header in our terms.

        Raises:
            ChainUnreachable: its values are not hexadecimal.
        """
        try:
            return Block(
                int(self.number, 16),
                Hash32(_hex(self.hash[2:])),
                Hash32(_hex(self.parent_hash[2:])),
                int(self.timestamp, 16),
                int(self.logs_bloom, 16) if len(self.logs_bloom) > len("0x") else 0,
            )
        except ValueError as error:
            raise ChainUnreachable(f"the node's header is not hexadecimal: {error}") from error


_ANY: Final = msgspec.json.Decoder(_Answer[Any])
_LOGS: Final = msgspec.json.Decoder(_Answer[list[WireLog]])
_HEADER: Final = msgspec.json.Decoder(_Answer[WireHeader])
_ANY_BATCH: Final = msgspec.json.Decoder(list[_Answer[Any]] | _Answer[Any])
_LOGS_BATCH: Final = msgspec.json.Decoder(list[_Answer[list[WireLog]]] | _Answer[Any])
_HEADERS_BATCH: Final = msgspec.json.Decoder(list[_Answer[WireHeader]] | _Answer[Any])

Call = tuple[str, Sequence[object]]


class Rpc:
    """One chain's nodes, used in the order given: the first that works serves until it does not.

    A node's chain id is checked once, before its first answer is believed. Connections are kept alive.
    """

    def __init__(self, urls: Sequence[str], *, chain_id: int, timeout: float = 10.0) -> None:
        """``timeout`` is in seconds and holds for one HTTP exchange."""
        self.chain_id = chain_id
        self._urls = tuple(urls)
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._session: aiohttp.ClientSession | None = None
        self._checked: set[str] = set()
        self._current = 0

    async def close(self) -> None:
        """Close the kept connections; the next call opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def call(self, method: str, params: Sequence[object] = ()) -> Any:
        """Return the result of one call as plain JSON values.

        Raises:
            ChainUnreachable: no node answers in time.
            RpcRefused: the node answered with an error.
            WrongChain: the node serves another chain.
        """
        return _result(_decoded(_ANY, await self._exchange(_body(0, method, params))))

    async def batch(self, calls: Sequence[Call]) -> list[Any]:
        """Return the results of many calls in their order, at most `BATCH_LIMIT` an HTTP request.

        Raises:
            RpcRefused: the first call in order that the node refused.
        """
        return await self._batch(calls, _ANY_BATCH)

    async def head(self) -> Block:
        """Return the header of the node's latest block."""
        block = await self.header("latest")
        if block is None:
            raise ChainUnreachable("the node has no latest block")
        return block

    async def header(self, tag: str) -> Block | None:
        """Return the header at a tag or hexadecimal height; None when the node has none there."""
        answer = await self._exchange(_body(0, "eth_getBlockByNumber", (tag, False)))
        wire = _result(_decoded(_HEADER, answer))
        return None if wire is None else wire.block()

    async def headers(self, numbers: Sequence[int]) -> list[Block | None]:
        """Return the headers at these heights, None where the node has no block."""
        calls: list[Call] = [("eth_getBlockByNumber", (hex(number), False)) for number in numbers]
        return [None if wire is None else wire.block() for wire in await self._batch(calls, _HEADERS_BATCH)]

    async def logs(self, query: Mapping[str, object]) -> list[Log]:
        """Return the answer to one ``eth_getLogs`` in the node's order."""
        wires = _result(_decoded(_LOGS, await self._exchange(_body(0, "eth_getLogs", (query,)))))
        return _logs(wires or ())

    async def logs_of_blocks(self, hashes: Sequence[Hash32]) -> list[list[Log]]:
        """Return every log of each of these blocks, of all contracts; an unknown block is refused."""
        calls: list[Call] = [("eth_getLogs", ({"blockHash": "0x" + block.hex()},)) for block in hashes]
        return [_logs(wires or ()) for wires in await self._batch(calls, _LOGS_BATCH)]

    async def _batch(self, calls: Sequence[Call], decoder: msgspec.json.Decoder[Any]) -> list[Any]:
        results: list[Any] = []
        for start in range(0, len(calls), BATCH_LIMIT):
            part = calls[start : start + BATCH_LIMIT]
            body = b"[" + b",".join(_body(id_, *call) for id_, call in enumerate(part)) + b"]"
            answers = _decoded(decoder, await self._exchange(body))
            if not isinstance(answers, list):
                _result(answers)
                raise ChainUnreachable("the node answered a batch with a single result")
            results.extend(_in_order(answers, len(part)))
        return results

    async def _exchange(self, body: bytes) -> bytes:
        failure: Exception | None = None
        for turn in range(len(self._urls)):
            index = (self._current + turn) % len(self._urls)
            try:
                await self._check(self._urls[index])
                answer = await self._post(self._urls[index], body)
            except (ChainUnreachable, WrongChain) as error:
                failure = error
                continue
            self._current = index
            return answer
        raise failure or ChainUnreachable("no node is configured for this chain")

    async def _check(self, url: str) -> None:
        if url in self._checked:
            return
        answer = await self._post(url, _body(0, "eth_chainId", ()))
        served = int(_result(_decoded(_ANY, answer)) or "0x0", 16)
        if served != self.chain_id:
            raise WrongChain(
                f"the node serves chain {served}, not {self.chain_id}; correct its address",
                expected=self.chain_id,
                served=served,
            )
        self._checked.add(url)

    async def _post(self, url: str, body: bytes) -> bytes:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=self._timeout,
                connector=aiohttp.TCPConnector(limit=_CONNECTIONS),
                headers={"Content-Type": "application/json"},
                read_bufsize=1 << 20,
            )
        try:
            async with self._session.post(url, data=body) as response:
                answer = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # A node that went away may come back as another one.
            self._checked.discard(url)
            raise ChainUnreachable(f"no answer from the node: {type(error).__name__}") from error
        if answer.lstrip()[:1] not in (b"{", b"["):
            raise ChainUnreachable(f"the node answered HTTP {response.status} without JSON")
        return answer


def _body(id_: int, method: str, params: Sequence[object]) -> bytes:
    return msgspec.json.encode({"jsonrpc": "2.0", "id": id_, "method": method, "params": params})


def _decoded(decoder: msgspec.json.Decoder[T], answer: bytes) -> T:
    try:
        return decoder.decode(answer)
    except msgspec.DecodeError as error:
        raise ChainUnreachable(f"the node's answer is not what the protocol says: {error}") from error


def _result(answer: _Answer[T]) -> T | None:
    if answer.error is None:
        return answer.result
    raise RpcRefused(answer.error.code, answer.error.message, _revert_data(answer.error.data))


def _revert_data(raw: msgspec.Raw) -> bytes | None:
    """Return the bytes of an error's ``data``, which nodes give as hex text or inside an object."""
    value = msgspec.json.decode(raw)
    if isinstance(value, dict):
        value = value.get("data") or value.get("result")
    if not isinstance(value, str) or not value.startswith("0x"):
        return None
    try:
        return _hex(value[2:])
    except ValueError:
        return None


def _in_order(answers: list[_Answer[Any]], expected: int) -> list[Any]:
    """Return the results by their call's place; the protocol allows any order."""
    by_id = {answer.id: answer for answer in answers}
    if len(by_id) != expected:
        raise ChainUnreachable(f"the node answered {len(by_id)} of {expected} calls")
    return [_result(by_id[place]) for place in range(expected)]


class _Bytes(dict[str, bytes]):
    """Hexadecimal texts of one answer that repeat from log to log, each decoded once."""

    def __missing__(self, text: str) -> bytes:
        value = self[text] = _hex(text[2:])
        return value


class _Ints(dict[str, int]):
    """The same for quantities."""

    def __missing__(self, text: str) -> int:
        value = self[text] = int(text, 16)
        return value


def _logs(wires: Sequence[WireLog]) -> list[Log]:
    known, numbers = _Bytes(), _Ints()
    try:
        return [
            Log(
                numbers[wire.block_number],
                numbers[wire.log_index],
                Hash32(known[wire.transaction_hash]),
                numbers[wire.transaction_index],
                Address(known[wire.address]),
                # Signature hashes, holders and small token ids: most topics repeat as well.
                tuple([known[topic] for topic in wire.topics]),
                _hex(wire.data[2:]),
                Hash32(known[wire.block_hash]),
            )
            for wire in wires
        ]
    except ValueError as error:
        raise ChainUnreachable(f"the node's log is not hexadecimal: {error}") from error
