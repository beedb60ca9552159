"""Readers compiled from an ABI read what eth-abi writes, and nothing else makes them fail."""

from __future__ import annotations

from typing import Any

import pytest
from eth_abi.abi import encode
from hypothesis import given
from hypothesis import strategies as st

from echain.chain.abi import TEXT_LIMIT, EventAbi, compile_events, storable_text
from echain.chain.contracts import contract
from echain.chain.types import Log
from echain.kernel.evm import Address, Hash32

WORDS: dict[str, st.SearchStrategy[Any]] = {
    "address": st.binary(min_size=20, max_size=20),
    "uint256": st.integers(0, 2**256 - 1),
    "uint96": st.integers(0, 2**96 - 1),
    "uint8": st.integers(0, 255),
    "int256": st.integers(-(2**255), 2**255 - 1),
    "bool": st.booleans(),
    "bytes32": st.binary(min_size=32, max_size=32),
    "bytes4": st.binary(min_size=4, max_size=4),
}
DYNAMIC: dict[str, st.SearchStrategy[Any]] = {
    "bytes": st.binary(max_size=100),
    "uint256[]": st.lists(WORDS["uint256"], max_size=6).map(tuple),
    "address[]": st.lists(WORDS["address"], max_size=6).map(tuple),
}
TUPLE = ("uint96", "bool", "bytes32")


@st.composite
def events(draw: st.DrawFn) -> tuple[EventAbi, Log, tuple[Any, ...]]:
    """Draw an event, a log of it and its values."""
    inputs: list[dict[str, Any]] = []
    values: list[Any] = []
    for place in range(draw(st.integers(0, 6))):
        kind = draw(st.sampled_from((*WORDS, *DYNAMIC, "tuple")))
        indexed = kind in WORDS and sum(part["indexed"] for part in inputs) < 3 and draw(st.booleans())
        item: dict[str, Any] = {"name": f"f{place}", "type": kind, "indexed": indexed}
        if kind == "tuple":
            item["components"] = [{"name": part, "type": part} for part in TUPLE]
            values.append(tuple(draw(WORDS[part]) for part in TUPLE))
        else:
            values.append(draw((WORDS | DYNAMIC)[kind]))
        inputs.append(item)
    event = EventAbi({"type": "event", "name": "Drawn", "inputs": inputs})
    topics = [event.topic0]
    plain: list[tuple[str, Any]] = []
    for item, value in zip(inputs, values, strict=True):
        kind = f"({','.join(TUPLE)})" if item["type"] == "tuple" else item["type"]
        if item["indexed"]:
            topics.append(encode([kind], [value]))
        else:
            plain.append((kind, value))
    data = encode([kind for kind, _ in plain], [value for _, value in plain])
    return event, log_of(tuple(topics), data), tuple(values)


def log_of(topics: tuple[bytes, ...], data: bytes) -> Log:
    return Log(1, 0, Hash32(bytes(32)), 0, Address(bytes(20)), topics, data, Hash32(bytes(32)))


@given(events())
def test_what_eth_abi_writes_is_read(drawn: tuple[EventAbi, Log, tuple[Any, ...]]) -> None:
    event, log, values = drawn
    assert event.decode([log, log]) == [values, values]


@given(events(), st.data())
def test_any_bytes_read_as_values_or_as_none(
    drawn: tuple[EventAbi, Log, tuple[Any, ...]], data: st.DataObject
) -> None:
    event, log, values = drawn
    wild = log_of(
        tuple(data.draw(st.lists(st.binary(min_size=32, max_size=32), max_size=4))),
        data.draw(st.one_of(st.binary(max_size=300), st.just(log.data[: data.draw(st.integers(0, 300))]))),
    )
    read = event.decode([log, wild, log])
    assert read[0] == read[2] == values
    assert read[1] is None or len(read[1]) == len(values)


@given(st.binary(max_size=9_000))
def test_any_bytes_become_text_that_postgresql_holds(data: bytes) -> None:
    text = storable_text(data)
    assert "\0" not in text
    assert len(text) <= TEXT_LIMIT
    text.encode()


def test_a_shape_that_is_not_read_is_refused_when_it_is_compiled() -> None:
    for kind in ("string[]", "uint256[][]", "uint256[3]"):
        with pytest.raises(TypeError):
            EventAbi({"name": "X", "inputs": [{"name": "a", "type": kind, "indexed": False}]})


@pytest.mark.parametrize("name", ["EventFactory", "EventTicket", "Poap"])
def test_every_event_of_our_contracts_compiles(name: str) -> None:
    abi = contract(name).abi
    assert set(compile_events(abi)) == {item["name"] for item in abi if item["type"] == "event"}
