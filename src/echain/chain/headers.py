"""Reads headers that provably follow one another."""

from __future__ import annotations

from collections.abc import Sequence

from echain.chain.rpc import ChainUnreachable, Inconsistent, Rpc
from echain.chain.types import Block


class ChainMoved(Inconsistent):
    """The node's chain changed while it was read; read again."""

    code = "chain.moved"


async def linked(rpc: Rpc, first: int, last: int) -> list[Block]:
    """Return the headers from ``first`` to ``last``, each the parent of the next.

    Raises:
        ChainMoved: a header is missing, or no node has headers that follow one another.
        ChainUnreachable: the nodes answer headers of other heights than they were asked for.
    """
    blocks = await rpc.headers(range(first, last + 1), accept=lambda found: _follow(first, found))
    there = [block for block in blocks if block is not None]
    if len(there) < len(blocks):
        raise ChainMoved(f"the node has no block {first + blocks.index(None)} any more")
    return there


async def shown_by_two(rpc: Rpc, block: Block) -> None:
    """Return when a second node has this block too, and so all that it hangs on; or when there is no other.

    Raises:
        ChainMoved: the others have not.
    """
    standing = await rpc.common(block, 0.0)
    if standing is None or standing.block.hash != block.hash:
        raise ChainMoved(f"no other node has block {block.number} as it was told")


def _follow(first: int, blocks: Sequence[Block | None]) -> None:
    for number, block in enumerate(blocks, first):
        if block is None:
            continue
        if block.number != number:
            raise ChainUnreachable(f"the node answered block {block.number} when asked for {number}")
        before = blocks[number - first - 1] if number > first else None
        if before is not None and block.parent_hash != before.hash:
            raise ChainMoved(f"block {number} does not follow block {number - 1}")
