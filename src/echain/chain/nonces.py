"""Which transaction used a nonce, proven by the chain itself."""

from __future__ import annotations

from typing import Any, Final

from echain.chain.rpc import Rpc
from echain.kernel.evm import Address, Hash32, checksum, quantity

_LEEWAY_BLOCKS: Final = 64
"""A reorg may have mined it in a lower block than the one that was the head when it was signed."""


async def count(rpc: Rpc, sender: Address, block: str = "latest") -> int:
    """Return how many transactions of ``sender`` are mined up to a block: the next nonce there."""
    return int(await rpc.call("eth_getTransactionCount", [checksum(sender), block]), 16)


async def used_by(rpc: Rpc, sender: Address, nonce: int, *, signed_block: int, head: int) -> Hash32 | None:
    """Return the hash of the transaction of ``sender`` that used ``nonce`` up to block ``head``.

    Finds the block in which the count passes the nonce and reads that block. None when it is not there.

    Raises:
        RpcRefused: the node does not keep states that old.
    """
    low, high = max(signed_block - _LEEWAY_BLOCKS, 0), head
    if await count(rpc, sender, quantity(high)) <= nonce:
        return None
    while low < high:
        middle = (low + high) // 2
        if await count(rpc, sender, quantity(middle)) > nonce:
            high = middle
        else:
            low = middle + 1
    block = await rpc.call("eth_getBlockByNumber", [quantity(low), True])
    transactions: list[dict[str, Any]] = [] if block is None else block["transactions"]
    for transaction in transactions:
        if bytes.fromhex(transaction["from"][2:]) == sender and int(transaction["nonce"], 16) == nonce:
            return Hash32(bytes.fromhex(transaction["hash"][2:]))
    return None
