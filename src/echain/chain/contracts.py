"""The platform's contracts as Python calls them: artifacts that come with the package, encoding, decoding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any, Final, cast

import msgspec
from eth_abi.abi import decode as abi_decode
from eth_abi.abi import encode as abi_encode
from eth_abi.exceptions import DecodingError

from echain.kernel.evm import Address, Hash32, checksum, keccak, to_hex

_ARTIFACTS: Final = resources.files("echain.chain") / "artifacts"
_SELECTOR: Final = 4


class Artifact(msgspec.Struct, frozen=True, rename="camel"):
    """What the compiler made of one contract, with the hashes by which drift is seen."""

    abi: list[dict[str, Any]]
    bytecode: str
    storage_layout_hash: str
    source_hash: str


class Revert(msgspec.Struct, frozen=True):
    """Why a call reverted: a custom error with its arguments, or ``Error`` and ``Panic`` of the language."""

    name: str
    args: tuple[Any, ...] = ()
    fields: tuple[str, ...] = ()

    def described(self) -> dict[str, object]:
        """Return the arguments by name as plain JSON: integers as decimal text, bytes as hexadecimal."""
        names = (name or str(place) for place, name in enumerate(self.fields))
        return {name: plain(value) for name, value in zip(names, self.args, strict=True)}


class _Function(msgspec.Struct, frozen=True):
    signature: str
    selector: bytes
    inputs: tuple[Mapping[str, Any], ...]
    input_types: tuple[str, ...]
    output_types: tuple[str, ...]


class ContractAbi:
    """Encodes calls of one contract and decodes its answers; functions go by their whole signature."""

    def __init__(self, name: str, artifact: Artifact) -> None:
        self.name = name
        self.abi: Sequence[Mapping[str, Any]] = artifact.abi
        self.bytecode = bytes.fromhex(artifact.bytecode.removeprefix("0x"))
        self.source_hash = artifact.source_hash
        self._functions = {
            function.signature: function for item in artifact.abi if (function := _function(item)) is not None
        }
        self._errors = dict(_errors(artifact.abi))
        self._constructor = next((item for item in artifact.abi if item["type"] == "constructor"), None)

    def selector(self, signature: str) -> bytes:
        """Return the four bytes that name a function, as in ``transfer(address,uint256)``.

        Raises:
            ValueError: the contract has no such function.
        """
        return self._find(signature).selector

    def encode(self, signature: str, arguments: Sequence[object]) -> bytes:
        """Return the calldata of a call; addresses as 20 bytes or text, structs as sequences or mappings.

        Raises:
            ValueError: the contract has no such function.
            eth_abi.exceptions.EncodingError: an argument is not of its type or out of its range.
        """
        function = self._find(signature)
        values = [_ordered(field, value) for field, value in zip(function.inputs, arguments, strict=True)]
        return function.selector + abi_encode(function.input_types, values)

    def decode_output(self, signature: str, data: bytes) -> tuple[Any, ...]:
        """Return what a function answered: addresses as 20 bytes, structs as tuples.

        Raises:
            ValueError: the contract has no such function.
            eth_abi.exceptions.DecodingError: the answer is not of its types.
        """
        return _decode(self._find(signature).output_types, data)

    def decode_revert(self, data: bytes) -> Revert | None:
        """Return the error that ``data`` holds: this contract's, the language's, or one of those it calls.

        None for empty data and for errors that nothing here declares.
        """
        return _decode_revert(self._errors, data) or decode_revert(data)

    def creation(self, arguments: Sequence[object]) -> bytes:
        """Return the init code that creates this contract with these constructor arguments."""
        inputs = self._constructor["inputs"] if self._constructor is not None else []
        values = [_ordered(field, value) for field, value in zip(inputs, arguments, strict=True)]
        return self.bytecode + abi_encode([type_of(field) for field in inputs], values)

    def has(self, signature: str) -> bool:
        """Return whether the contract has this function."""
        return signature in self._functions

    @property
    def signatures(self) -> Sequence[str]:
        """Every function by its whole signature."""
        return tuple(self._functions)

    def _find(self, signature: str) -> _Function:
        function = self._functions.get(signature)
        if function is None:
            raise ValueError(f"{self.name} has no {signature}; it has {', '.join(sorted(self._functions))}")
        return function


@cache
def contract(name: str) -> ContractAbi:
    """Return a contract of the platform by its name, such as ``EventTicket``.

    Raises:
        ValueError: no artifact of that name comes with the package.
    """
    if name not in contract_names():
        raise ValueError(f"there is no contract {name}; there are {', '.join(contract_names())}")
    return ContractAbi(name, msgspec.json.decode((_ARTIFACTS / f"{name}.json").read_bytes(), type=Artifact))


@cache
def contract_names() -> tuple[str, ...]:
    """Return the names of all contracts that come with the package, sorted."""
    return tuple(sorted(item.name[:-5] for item in _ARTIFACTS.iterdir() if item.name.endswith(".json")))


def decode_revert(data: bytes) -> Revert | None:
    """Return the error that ``data`` holds, whichever of the platform's contracts declares it."""
    return _decode_revert(_all_errors(), data)


def type_of(field: Mapping[str, Any]) -> str:
    """Return the canonical type of an ABI parameter: structs as their members in parentheses."""
    kind: str = field["type"]
    if not kind.startswith("tuple"):
        return kind
    return f"({','.join(type_of(part) for part in field['components'])}){kind[5:]}"


def plain(value: object) -> object:
    """Return a decoded value as JSON shows it: addresses EIP-55, bytes as hexadecimal, integers as text."""
    if isinstance(value, bytes):
        return checksum(Address(value)) if len(value) == len(Address(bytes(20))) else to_hex(value)
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return str(value)
    if isinstance(value, tuple | list):
        return [plain(part) for part in cast("Sequence[object]", value)]
    return value


_LANGUAGE_ERRORS: Final[list[dict[str, Any]]] = [
    {"type": "error", "name": "Error", "inputs": [{"name": "message", "type": "string"}]},
    {"type": "error", "name": "Panic", "inputs": [{"name": "code", "type": "uint256"}]},
]

_ErrorTable = Mapping[bytes, tuple[str, tuple[str, ...], tuple[str, ...]]]


@cache
def _all_errors() -> _ErrorTable:
    table = dict(_errors(_LANGUAGE_ERRORS))
    for name in contract_names():
        table.update(_errors(contract(name).abi))
    return table


def _errors(
    abi: Sequence[Mapping[str, Any]],
) -> Iterator[tuple[bytes, tuple[str, tuple[str, ...], tuple[str, ...]]]]:
    for item in abi:
        if item["type"] == "error":
            types = tuple(type_of(field) for field in item["inputs"])
            fields = tuple(str(field["name"]) for field in item["inputs"])
            yield _hash(item["name"], types)[:_SELECTOR], (item["name"], types, fields)


def _decode_revert(errors: _ErrorTable, data: bytes) -> Revert | None:
    known = errors.get(data[:_SELECTOR])
    if known is None:
        return None
    name, types, fields = known
    try:
        return Revert(name, _decode(types, data[_SELECTOR:]), fields)
    except (DecodingError, UnicodeDecodeError, OverflowError):
        # Reverts are written by whoever was called; one that only looks like ours has no arguments to show.
        return None


def _function(item: Mapping[str, Any]) -> _Function | None:
    if item["type"] != "function":
        return None
    input_types = tuple(type_of(field) for field in item["inputs"])
    return _Function(
        signature=f"{item['name']}({','.join(input_types)})",
        selector=_hash(item["name"], input_types)[:_SELECTOR],
        inputs=tuple(item["inputs"]),
        input_types=input_types,
        output_types=tuple(type_of(field) for field in item["outputs"]),
    )


def _hash(name: str, types: Sequence[str]) -> Hash32:
    return keccak(f"{name}({','.join(types)})".encode())


def _ordered(field: Mapping[str, Any], value: Any) -> Any:
    """Return ``value`` with every struct given as a mapping put into the order of its members."""
    kind: str = field["type"]
    if not kind.startswith("tuple"):
        return value
    if kind.endswith("]"):
        part = {**field, "type": kind[: kind.rindex("[")]}
        return [_ordered(part, item) for item in value]
    components: Sequence[Mapping[str, Any]] = field["components"]
    values = [value[part["name"]] for part in components] if isinstance(value, Mapping) else value
    return tuple(_ordered(part, item) for part, item in zip(components, values, strict=True))


def _decode(types: Sequence[str], data: bytes) -> tuple[Any, ...]:
    values = abi_decode(types, data)
    if not any("address" in kind for kind in types):
        return values
    return tuple(_with_bytes(kind, value) for kind, value in zip(types, values, strict=True))


def _with_bytes(kind: str, value: Any) -> Any:
    """Return a decoded value with its addresses, which eth-abi gives as text, as 20 bytes."""
    if kind == "address":
        return Address(bytes.fromhex(value[2:]))
    if kind.endswith("]"):
        inner = kind[: kind.rindex("[")]
        return tuple(_with_bytes(inner, item) for item in value)
    if kind.startswith("("):
        return tuple(_with_bytes(part, item) for part, item in zip(_members(kind), value, strict=True))
    return value


def _members(kind: str) -> list[str]:
    """Return the top-level members of a struct's canonical type ``(a,(b,c)[],d)``."""
    members: list[str] = []
    depth, start = 0, 1
    for place, letter in enumerate(kind):
        depth += (letter == "(") - (letter == ")")
        if (letter == "," and depth == 1) or (letter == ")" and depth == 0):
            members.append(kind[start:place])
            start = place + 1
    return members
