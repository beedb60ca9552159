"""Which blocks will not change any more, by the chain's own word and by depth."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import structlog

from echain.chain.rpc import ChainUnreachable, Lie, Rpc, RpcRefused
from echain.chain.types import Block

_RENEWED_SECONDS: Final = 15.0

_log = structlog.get_logger(__name__)


class Finality:
    """The height up to which a chain is final: the lower, so the safer, of two.

    One is ``confirmations`` blocks below the head. The other, on chains where it means something (``tag``),
    is the node's ``finalized`` block: a rollup's is what its first layer will not take back. It never goes
    down. A node that has no such block leaves the first alone; its word alone finalizes nothing.
    """

    def __init__(
        self, rpc: Rpc, *, confirmations: int, tag: bool, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._rpc = rpc
        self._confirmations = confirmations
        self._tag = tag
        self._now = monotonic
        self._told: int | None = None
        self._asked_at = float("-inf")

    async def learn(self) -> bool:
        """Ask for the ``finalized`` block if that is due; return whether it was.

        Raises:
            ChainUnreachable: it was never told, and no node answers.
        """
        if self._now() - self._asked_at < _RENEWED_SECONDS:
            return False
        try:
            block = await self._rpc.header("finalized") if self._tag else None
        except RpcRefused as refusal:
            _log.warning("chain.no_finalized_block", chain_id=self._rpc.chain_id, reason=str(refusal))
            block = None
        except (ChainUnreachable, Lie):
            if self._told is None:
                raise
            block = None
        self._asked_at = self._now()
        if block is not None:
            self._told = max(block.number, self._told or 0)
        return True

    def height(self, head: Block) -> int:
        """Return the height of the last final block below ``head``; -1 when none is."""
        by_depth = max(-1, head.number - self._confirmations)
        return by_depth if self._told is None else min(by_depth, self._told)
