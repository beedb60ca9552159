"""Receipts as the sender and the watcher read them, and why a mined transaction failed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from echain.chain.contracts import Revert
from echain.chain.intent import Reverted, explained
from echain.chain.rpc import Rpc, RpcRefused
from echain.kernel.evm import Address, Hash32, checksum, quantity, to_hex
from echain.kernel.money import Wei


class Receipt(msgspec.Struct, frozen=True):
    """What the chain says of a mined transaction.

    ``fee_wei`` is what its sender paid for gas, data fees of rollups included. ``logs`` are as nodes spell
    them.
    """

    hash: Hash32
    block_number: int
    block_hash: Hash32
    succeeded: bool
    fee_wei: Wei
    logs: list[dict[str, Any]]


def receipt_of(wire: Mapping[str, Any]) -> Receipt:
    """Return a receipt that a node gave."""
    # Rollups charge for their data beside the gas; other nodes do not have the field.
    data_fee = int(wire.get("l1Fee") or "0x0", 16)
    return Receipt(
        hash=Hash32(bytes.fromhex(wire["transactionHash"][2:])),
        block_number=int(wire["blockNumber"], 16),
        block_hash=Hash32(bytes.fromhex(wire["blockHash"][2:])),
        succeeded=int(wire["status"], 16) == 1,
        fee_wei=Wei(int(wire["gasUsed"], 16) * int(wire.get("effectiveGasPrice") or "0x0", 16) + data_fee),
        logs=wire["logs"],
    )


async def revert_reason(
    rpc: Rpc, *, sender: Address, to: Address | None, data: bytes, value_wei: int, block_number: int
) -> Revert | None:
    """Return why a call failed in a block, by running it again on the state before that block.

    None when it does not fail there, because other transactions of the block came between, or when the node
    has no state that old.
    """
    call = {"from": checksum(sender), "data": to_hex(data), "value": quantity(value_wei)}
    if to is not None:
        call["to"] = checksum(to)
    try:
        await rpc.call("eth_call", [call, quantity(max(block_number - 1, 0))])
    except RpcRefused as refusal:
        meant = explained(refusal)
        return meant.revert if isinstance(meant, Reverted) else None
    return None
