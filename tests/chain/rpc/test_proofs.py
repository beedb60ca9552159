"""Block hashes prove headers, receipts and logs; an independent node and library say the same."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import pytest
import rlp as reference
from hypothesis import given
from hypothesis import strategies as st

from echain.chain.opinion import proven_logs
from echain.chain.proofs import FullHeader, header_hash, receipts_root, rlp
from echain.chain.wire import HeaderForged, proven_block
from echain.infra.embedded.anvil import Anvil
from echain.kernel.evm import Hash32

EMITS = "0x60ff60005260aa60bb60206000a200"
"""Init code that emits a log with two topics."""

items = st.recursive(st.binary(max_size=80), lambda inner: st.lists(inner, max_size=6), max_leaves=30)


@given(items)
def test_rlp_is_what_the_reference_library_writes(item: Any) -> None:
    assert rlp(item) == reference.encode(item)


@pytest.fixture
def blocks(anvil: Anvil) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Blocks of a real node with so many transactions: each depth and shape of the receipts' tree."""
    accounts = anvil.rpc("eth_accounts")
    anvil.rpc("evm_setAutomine", False)
    found: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
    for count in (0, 1, 2, 3, 16, 17, 127, 128, 129, 260):
        for number in range(count):
            sender = accounts[number % 10]
            if number % 3:
                anvil.rpc("eth_sendTransaction", {"from": sender, "data": EMITS, "gas": "0x20000"})
            else:
                plain = {"from": sender, "to": accounts[1], "value": "0x1", "gas": "0x5208"}
                # Legacy ones too: their receipts have no type byte.
                anvil.rpc("eth_sendTransaction", plain | ({"gasPrice": hex(10**10)} if number % 2 else {}))
        anvil.rpc("evm_mine")
        found.append(_read(anvil))
    anvil.rpc("anvil_reorg", 3, [])
    found.append(_read(anvil))
    return found


def _read(anvil: Anvil) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    block = anvil.rpc("eth_getBlockByNumber", "latest", False)
    return block, anvil.rpc("eth_getBlockReceipts", block["number"])


def test_a_real_nodes_blocks_are_proven(blocks: list[tuple[dict[str, Any], list[dict[str, Any]]]]) -> None:
    for block, receipts in blocks:
        header = msgspec.convert(block, FullHeader)
        block_hash = Hash32(bytes.fromhex(block["hash"][2:]))
        assert header_hash(header) == block_hash
        assert receipts_root(receipts).hex() == block["receiptsRoot"][2:]
        assert len(proven_logs(block_hash, header, receipts)) == sum(len(one["logs"]) for one in receipts)
        assert proven_block(header).hash == block_hash


def test_whatever_is_altered_is_found(blocks: list[tuple[dict[str, Any], list[dict[str, Any]]]]) -> None:
    block, receipts = blocks[5]
    block_hash = Hash32(bytes.fromhex(block["hash"][2:]))
    for field in (
        name for name in msgspec.structs.asdict(msgspec.convert(block, FullHeader)) if name != "hash"
    ):
        name = msgspec.structs.fields(FullHeader)
        wire = next(one.encode_name for one in name if one.name == field)
        text = block[wire]
        altered = block | {wire: text[:-1] + ("0" if text[-1] != "0" else "1") if text != "0x" else "0x01"}
        with pytest.raises(HeaderForged):
            proven_block(msgspec.convert(altered, FullHeader))
    header = msgspec.convert(block, FullHeader)
    for alter in ("address", "topics", "data", "drop", "drop receipt", "status"):
        false = copy.deepcopy(receipts)
        with_log = next(one for one in false if one["logs"])
        match alter:
            case "drop":
                with_log["logs"].clear()
            case "drop receipt":
                false.remove(with_log)
            case "status":
                with_log["status"] = "0x0"
            case "topics":
                with_log["logs"][0]["topics"].pop()
            case field:
                text = with_log["logs"][0][field]
                with_log["logs"][0][field] = text[:-1] + ("0" if text[-1] != "0" else "1")
        with pytest.raises(HeaderForged):
            proven_logs(block_hash, header, false)
