"""Reads headers that provably follow one another."""

from __future__ import annotations

from echain.chain.rpc import ChainUnreachable, Rpc
from echain.chain.types import Block
from echain.kernel.errors import EchainError, Kind


class ChainMoved(EchainError):
    """The node's chain changed while it was read; read again."""

    kind = Kind.UNAVAILABLE
    code = "chain.moved"


async def linked(rpc: Rpc, first: int, last: int) -> list[Block]:
    """Return the headers from ``first`` to ``last``, each the parent of the next.

    Raises:
        ChainMoved: a header is missing or does not follow the one before it.
        ChainUnreachable: the node answers headers of other heights than it was asked for.
    """
    numbers = range(first, last + 1)
    blocks: list[Block] = []
    for number, block in zip(numbers, await rpc.headers(numbers), strict=True):
        if block is None:
            raise ChainMoved(f"the node has no block {number} any more")
        if block.number != number:
            raise ChainUnreachable(f"the node answered block {block.number} when asked for {number}")
        if blocks and block.parent_hash != blocks[-1].hash:
            raise ChainMoved(f"block {number} does not follow block {number - 1}")
        blocks.append(block)
    return blocks
