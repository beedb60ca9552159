"""Events compiled from their ABI into readers that decode whole batches of logs by slicing.

Everything decoded here was written by strangers: a log that does not have its event's shape decodes to None,
text is made fit for storage, and no length is trusted before it is compared with the bytes that are there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from echain.chain.types import Log
from echain.kernel.evm import keccak

TEXT_LIMIT: Final = 2_000
"""Characters kept of a text from the chain; the contracts allow 512 bytes."""

_WORD: Final = 32
_ARRAY: Final = re.compile(r"(.+)\[\]")

AbiItem = Mapping[str, Any]
_Read = Callable[[bytes], Any]
_Column = Callable[[Sequence[Log]], list[Any]]


class _Malformed(Exception):
    """The data does not have the shape that its event promises."""


class EventAbi:
    """One event of a contract: its name, its signature hash, and a reader for its logs."""

    def __init__(self, item: AbiItem) -> None:
        """Compile an ``"type": "event"`` item of a JSON ABI.

        Raises:
            TypeError: a parameter nests dynamic types, which no followed event does.
        """
        inputs: Sequence[AbiItem] = item["inputs"]
        self.name: str = item["name"]
        self.signature = f"{self.name}({','.join(_canonical(field) for field in inputs)})"
        self.topic0 = bytes(keccak(self.signature.encode()))
        self.fields = tuple(str(field["name"]) for field in inputs)
        self._topics = 1 + sum(bool(field["indexed"]) for field in inputs)
        self._head_bytes = sum(_head_bytes(field) for field in inputs if not field["indexed"])
        self._columns = _columns(inputs)

    def decode(self, logs: Sequence[Log]) -> list[tuple[Any, ...] | None]:
        """Return the values of each log in the order of the ABI, None for a log that is not of this shape.

        Integers are ints, addresses 20 bytes, ``bytesN`` bytes, ``string`` storable text, arrays and structs
        tuples.
        """
        if {len(log.topics) for log in logs} == {self._topics} and (
            self._head_bytes == 0 or min([len(log.data) for log in logs]) >= self._head_bytes
        ):
            try:
                return self._rows(logs)
            except _Malformed:
                pass
        return [self._one(log) for log in logs]

    def _rows(self, logs: Sequence[Log]) -> list[tuple[Any, ...] | None]:
        if not self._columns:
            return [()] * len(logs)
        return list(zip(*(column(logs) for column in self._columns), strict=True))

    def _fits(self, log: Log) -> bool:
        return len(log.topics) == self._topics and len(log.data) >= self._head_bytes

    def _one(self, log: Log) -> tuple[Any, ...] | None:
        if not self._fits(log):
            return None
        try:
            return self._rows((log,))[0]
        except _Malformed:
            return None


def compile_events(abi: Sequence[AbiItem]) -> dict[str, EventAbi]:
    """Return every event of a JSON ABI by its name."""
    return {
        item["name"]: EventAbi(item) for item in abi if item["type"] == "event" and not item.get("anonymous")
    }


def storable_text(data: bytes) -> str:
    """Return chain-given bytes as text that PostgreSQL can hold.

    Invalid UTF-8 becomes U+FFFD, NUL is removed, and at most `TEXT_LIMIT` characters are kept.
    """
    # A character has at most four bytes, so nothing that is kept lies further in than this.
    return data[: 4 * TEXT_LIMIT].decode("utf-8", "replace").replace("\0", "")[:TEXT_LIMIT]


def _canonical(field: AbiItem) -> str:
    kind: str = field["type"]
    if not kind.startswith("tuple"):
        return kind
    return f"({','.join(_canonical(part) for part in field['components'])}){kind[5:]}"


def _is_dynamic(field: AbiItem) -> bool:
    kind: str = field["type"]
    return kind in ("string", "bytes") or kind.endswith("[]")


def _head_bytes(field: AbiItem) -> int:
    if field["type"] == "tuple":
        return sum(_head_bytes(part) for part in field["components"])
    return _WORD


def _columns(inputs: Sequence[AbiItem]) -> tuple[_Column, ...]:
    columns: list[_Column] = []
    topic, offset = 1, 0
    for field in inputs:
        if field["indexed"]:
            # Of a dynamic value only its hash is in the topic.
            columns.append(_topic_column("bytes32" if _is_dynamic(field) else field["type"], topic))
            topic += 1
        else:
            columns.append(_data_column(field, offset))
            offset += _head_bytes(field)
    return tuple(columns)


def _topic_column(kind: str, index: int) -> _Column:
    # The two types of almost every topic are read in place; a call per value would double their cost.
    if kind == "address":
        return lambda logs: [log.topics[index][12:] for log in logs]
    if kind.startswith("uint"):
        return lambda logs: [int.from_bytes(log.topics[index], "big") for log in logs]
    read = _word_reader(kind)
    return lambda logs: [read(log.topics[index]) for log in logs]


def _data_column(field: AbiItem, offset: int) -> _Column:
    read = _dynamic_reader(field, offset) if _is_dynamic(field) else _static_reader(field, offset)
    return lambda logs: [read(log.data) for log in logs]


def _static_reader(field: AbiItem, offset: int) -> _Read:
    if field["type"] != "tuple":
        word = _word_reader(field["type"])
        return lambda data: word(data[offset : offset + _WORD])
    parts: list[_Read] = []
    for part in field["components"]:
        if _is_dynamic(part):
            raise TypeError(f"{_canonical(field)}: a struct with dynamic members is not read here")
        parts.append(_static_reader(part, offset))
        offset += _head_bytes(part)
    return lambda data: tuple(read(data) for read in parts)


def _dynamic_reader(field: AbiItem, offset: int) -> _Read:
    kind: str = field["type"]
    if kind == "string":
        return lambda data: storable_text(_tail(data, offset, 1))
    if kind == "bytes":
        return lambda data: _tail(data, offset, 1)
    array = _ARRAY.fullmatch(kind)
    if array is None or "[" in array[1] or array[1] in ("string", "bytes", "tuple"):
        raise TypeError(f"{_canonical(field)}: arrays of dynamic values are not read here")
    word = _word_reader(array[1])

    def read(data: bytes) -> tuple[Any, ...]:
        words = _tail(data, offset, _WORD)
        return tuple(word(words[at : at + _WORD]) for at in range(0, len(words), _WORD))

    return read


def _tail(data: bytes, offset: int, unit: int) -> bytes:
    """Return the bytes of the dynamic value whose place stands at ``offset``: a count, then the units."""
    start = int.from_bytes(data[offset : offset + _WORD], "big")
    if start + _WORD > len(data):
        raise _Malformed
    length = int.from_bytes(data[start : start + _WORD], "big") * unit
    if start + _WORD + length > len(data):
        raise _Malformed
    return data[start + _WORD : start + _WORD + length]


def _word_reader(kind: str) -> _Read:
    if "[" in kind:
        raise TypeError(f"{kind}: arrays of a fixed length are not read here")
    if kind == "address":
        return lambda word: word[12:]
    if kind.startswith("uint"):
        return lambda word: int.from_bytes(word, "big")
    if kind.startswith("int"):
        return lambda word: int.from_bytes(word, "big", signed=True)
    if kind == "bool":
        return any
    if kind.startswith("bytes"):
        size = int(kind[5:])
        return lambda word: word[:size]
    raise TypeError(f"{kind}: not a type of one word")


INT4_MAX: Final = (1 << 31) - 1
INT8_MAX: Final = (1 << 63) - 1
"""What columns hold. Quantities from the chain are held to these; a key beyond them is no key of ours."""
