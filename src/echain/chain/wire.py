"""What nodes say over JSON-RPC and what it means: errors, and typed decoding of what is read much."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Generic, TypeVar

import msgspec

from echain.chain.proofs import FullHeader, header_hash
from echain.chain.types import Block, Log
from echain.kernel.errors import EchainError, Kind
from echain.kernel.evm import Address, Hash32

T = TypeVar("T")
Call = tuple[str, Sequence[object]]
_hex = bytes.fromhex


class ChainUnreachable(EchainError):
    """No node of this chain answers; try again in some seconds."""

    kind = Kind.UNAVAILABLE
    code = "chain.unreachable"


class NodesDisagree(ChainUnreachable):
    """This chain's nodes contradict one another and nothing proves one right; add another node."""

    code = "chain.nodes_disagree"


class Lie(EchainError):
    """What a node says cannot be true; another node is asked."""

    kind = Kind.UNAVAILABLE
    code = "chain.lie"


class WrongChain(Lie):
    """The node serves another chain than configured; correct its address."""

    code = "chain.wrong_chain"


class HeaderForged(Lie):
    """A node's header has not the hash that it claims; use another node."""

    code = "chain.header_forged"


class Inconsistent(EchainError):
    """A node's answers do not fit together, as when its chain changes while it is read; read again."""

    kind = Kind.UNAVAILABLE
    code = "chain.inconsistent"


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


class Answer(msgspec.Struct, Generic[T]):
    """One JSON-RPC answer."""

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


_HIGHEST: Final = 2**63 - 1
"""The highest number of a block, or time in seconds that is kept; no chain comes near."""

_LAST_PLACE: Final = 2**31 - 1
"""The same for the place of a log or transaction in its block."""


def _bounded(number: int, highest: int = _HIGHEST) -> int:
    if not 0 <= number <= highest:
        raise Lie("the node tells of a number that no chain reaches")
    return number


def block_of(wire: WireHeader | FullHeader) -> Block:
    """Return a header in our terms.

    Raises:
        ChainUnreachable: its values are not hexadecimal.
        Lie: a number in it is negative or beyond 63 bits.
    """
    try:
        return Block(
            _bounded(int(wire.number, 16)),
            Hash32(_hex(wire.hash[2:])),
            Hash32(_hex(wire.parent_hash[2:])),
            _bounded(int(wire.timestamp, 16)),
            int(wire.logs_bloom, 16) if len(wire.logs_bloom) > len("0x") else 0,
        )
    except ValueError as error:
        raise ChainUnreachable(f"the node's header is not hexadecimal: {error}") from error


def proven_block(wire: FullHeader) -> Block:
    """Return a header whose hash is what it claims.

    Raises:
        HeaderForged: it is not.
        ChainUnreachable: its values are not hexadecimal.
    """
    block = block_of(wire)
    try:
        true = header_hash(wire)
    except ValueError as error:
        raise ChainUnreachable(f"the node's header is not hexadecimal: {error}") from error
    if true != block.hash:
        raise HeaderForged(f"the header of block {block.number} has not the hash that it claims")
    return block


ANY: Final = msgspec.json.Decoder(Answer[Any])
LOGS: Final = msgspec.json.Decoder(Answer[list[WireLog]])
ANY_BATCH: Final = msgspec.json.Decoder(list[Answer[Any]] | Answer[Any])
LOGS_BATCH: Final = msgspec.json.Decoder(list[Answer[list[WireLog]]] | Answer[Any])
HEADERS_BATCH: Final = msgspec.json.Decoder(list[Answer[WireHeader]] | Answer[Any])
FULL_HEADERS_BATCH: Final = msgspec.json.Decoder(list[Answer[FullHeader]] | Answer[Any])


def body(id_: int, method: str, params: Sequence[object]) -> bytes:
    """Return one call as it is sent."""
    return msgspec.json.encode({"jsonrpc": "2.0", "id": id_, "method": method, "params": params})


def decoded(decoder: msgspec.json.Decoder[T], answer: bytes) -> T:
    """Return a node's answer.

    Raises:
        ChainUnreachable: it is not what the protocol says.
    """
    try:
        return decoder.decode(answer)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ChainUnreachable(f"the node's answer is not what the protocol says: {error}") from error


def result_of(answer: Answer[T]) -> T | None:
    """Return what was answered.

    Raises:
        RpcRefused: an error was.
    """
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


def in_order(answers: Sequence[Answer[Any]], expected: int) -> list[Any]:
    """Return the results by their call's place; the protocol allows any order.

    Raises:
        ChainUnreachable: they are not one for each call.
        RpcRefused: the first call in order that was refused.
    """
    by_id = {answer.id: answer for answer in answers}
    if len(answers) != expected or any(place not in by_id for place in range(expected)):
        raise ChainUnreachable(f"the node answered {len(by_id)} of {expected} calls")
    return [result_of(by_id[place]) for place in range(expected)]


class _Bytes(dict[str, bytes]):
    """Hexadecimal texts of one answer that repeat from log to log, each decoded once."""

    def __missing__(self, text: str) -> bytes:
        value = self[text] = _hex(text[2:])
        return value


class _Ints(dict[str, int]):
    """The same for quantities."""

    def __init__(self, highest: int) -> None:
        super().__init__()
        self._highest = highest

    def __missing__(self, text: str) -> int:
        value = self[text] = _bounded(int(text, 16), self._highest)
        return value


def logs_of(wires: Sequence[WireLog]) -> list[Log]:
    """Return logs in our terms.

    Raises:
        ChainUnreachable: their values are not hexadecimal.
        Lie: a number in them is negative or beyond what is kept.
    """
    known, numbers, places = _Bytes(), _Ints(_HIGHEST), _Ints(_LAST_PLACE)
    try:
        return [
            Log(
                numbers[wire.block_number],
                places[wire.log_index],
                Hash32(known[wire.transaction_hash]),
                places[wire.transaction_index],
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
