"""Asks a chain what a ticket contract holds, at the very block up to which we have counted."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog

from echain.chain.contracts import contract
from echain.chain.rpc import ChainUnreachable, Rpc, RpcRefused, WrongChain
from echain.insights.types import Audit, Books
from echain.kernel.evm import Address, Hash32, checksum, to_hex

PATIENCE_SECONDS: Final = 2.0
AWAY_SECONDS: Final = 5.0
"""How long a node that did not answer is not asked again."""

_KEPT: Final = 10_000
_ESCROW: Final = "escrow()"

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("echain.insights")


class Auditor:
    """Reads contracts' books and balances.

    What a contract holds at a block never changes, so each is asked for once and the last 10,000 are kept.
    """

    def __init__(
        self,
        rpcs: Mapping[int, Rpc],
        unit_scales: Mapping[int, int],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``unit_scales`` says by chain id how many wei of a node's balance are one unit in contracts."""
        self._rpcs = rpcs
        self._unit_scales = unit_scales
        self._now = monotonic
        self._away_until: dict[int, float] = {}
        self._known: OrderedDict[tuple[int, Address, Hash32], Audit] = OrderedDict()

    async def at(self, chain_id: int, ticket_contract: Address, block: Hash32 | None) -> Audit:
        """Return what a contract says at a block, within 2 s; a doubt instead when nobody says it.

        Blocks go by their hash (EIP-1898): after a reorg the node must not answer for another block.
        """
        if chain_id not in self._rpcs:
            return Audit(doubt="not_served")
        if block is None:
            return Audit(doubt="not_indexed")
        key = chain_id, ticket_contract, block
        known = self._known.get(key)
        if known is not None:
            self._known.move_to_end(key)
            return known
        if self._now() < self._away_until.get(chain_id, 0.0):
            return Audit(doubt="node_away")
        audit = await self._asked(chain_id, ticket_contract, block)
        if audit.doubt is None:
            self._known[key] = audit
            if len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return audit

    async def _asked(self, chain_id: int, ticket_contract: Address, block: Hash32) -> Audit:
        at = {"blockHash": to_hex(block)}
        address = checksum(ticket_contract)
        call = {"to": address, "data": to_hex(contract("EventTicket").encode(_ESCROW, []))}
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                balance, escrow = await self._rpcs[chain_id].batch(
                    [("eth_getBalance", (address, at)), ("eth_call", (call, at))]
                )
            return self._audit(chain_id, balance, escrow)
        except RpcRefused as refusal:
            _log.info("insights.block_unknown", chain_id=chain_id, reason=refusal.message)
            return Audit(doubt="block_unknown")
        except (ChainUnreachable, WrongChain, TimeoutError) as error:
            self._away_until[chain_id] = self._now() + AWAY_SECONDS
            _log.info("insights.node_away", chain_id=chain_id, reason=str(error))
            return Audit(doubt="node_away")

    def _audit(self, chain_id: int, balance: Any, escrow: Any) -> Audit:
        """Return the node's answers in units of the contract.

        Raises:
            RpcRefused: they are not what the contract says; there is none at this block.
        """
        try:
            [books] = contract("EventTicket").decode_output(_ESCROW, bytes.fromhex(escrow[2:]))
            held = int(balance, 16) // self._unit_scales[chain_id]
        except (ValueError, TypeError) as error:
            raise RpcRefused(0, f"no ticket contract answers: {error}") from error
        return Audit(books=Books(*books), balance_wei=held)
