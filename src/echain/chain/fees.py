"""What gas costs now: one EIP-1559 quote a chain, asked for once by however many need it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from statistics import median
from typing import Any, Final

import msgspec

from echain.chain.chains import Chain
from echain.chain.rpc import ChainUnreachable, Rpc, RpcRefused, WrongChain

STALE_SECONDS: Final = 60.0
"""How old a quote may be when no node answers."""

PATIENCE_SECONDS: Final = 2.0
"""How long a caller waits for a node before an older quote must do."""

_FRESH_BLOCKS: Final = 3
"""A quote so many blocks old still serves while a new one is on its way; the base fee's reserve covers it."""

_HISTORY_BLOCKS: Final = 5
_TYPICAL_TIP: Final = 50


class FeeQuote(msgspec.Struct, frozen=True):
    """Fees that a transaction signed now should offer.

    ``max_fee_per_gas`` is twice the next base fee plus the tip, enough for six full blocks in a row.
    """

    block_number: int
    base_fee_wei: int
    max_fee_per_gas: int
    max_priority_fee_per_gas: int


class Fees:
    """Keeps one chain's quote.

    It is at most a block old (never asked for more than once a second) in steady use, up to three blocks
    when the next one is on its way, and up to `STALE_SECONDS` while no node answers.
    """

    def __init__(self, rpc: Rpc, chain: Chain, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.chain = chain
        self._rpc = rpc
        self._now = monotonic
        self._renew_after = max(1.0, chain.block_seconds)
        self._quote: FeeQuote | None = None
        self._taken_at = float("-inf")
        self._asked_at = float("-inf")
        self._asking: asyncio.Task[FeeQuote] | None = None

    async def quote(self) -> FeeQuote:
        """Return what to offer now; usually without any waiting.

        Raises:
            ChainUnreachable: no node answers and the last quote is older than `STALE_SECONDS`.
        """
        age = self._now() - self._taken_at
        if self._quote is not None and age < self._renew_after:
            return self._quote
        # One refused attempt speaks for the next second: a dead node costs one caller a second its patience.
        if self._quote is not None and age < STALE_SECONDS and self._now() - self._asked_at < 1.0:
            return self._quote
        asking = self._ask()
        if self._quote is not None and age < _FRESH_BLOCKS * self._renew_after:
            return self._quote
        return await self._answered(asking)

    async def close(self) -> None:
        """Give up the question under way, if any."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    def _ask(self) -> asyncio.Task[FeeQuote]:
        if self._asking is None or self._asking.done():
            self._asked_at = self._now()
            self._asking = asyncio.get_running_loop().create_task(self._fetch())
            self._asking.add_done_callback(_seen)
        return self._asking

    async def _answered(self, asking: asyncio.Task[FeeQuote]) -> FeeQuote:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await asyncio.shield(asking)
        except (TimeoutError, ChainUnreachable, WrongChain, RpcRefused) as error:
            if self._quote is not None and self._now() - self._taken_at < STALE_SECONDS:
                return self._quote
            raise ChainUnreachable(
                "no node quotes the fees of this chain; try again in some seconds"
            ) from error

    async def _fetch(self) -> FeeQuote:
        history = await self._rpc.call("eth_feeHistory", [hex(_HISTORY_BLOCKS), "latest", [_TYPICAL_TIP]])
        quote = quote_of(history, self.chain)
        self._quote, self._taken_at = quote, self._now()
        return quote


def quote_of(history: dict[str, Any], chain: Chain) -> FeeQuote:
    """Return the quote that an ``eth_feeHistory`` answer gives.

    The tip is the median over the blocks of what half of each block's gas paid, at least the chain's minimum.
    """
    base_fees = [int(fee, 16) for fee in history["baseFeePerGas"]]
    tips = [int(reward[0], 16) for reward in history.get("reward") or () if reward]
    tip = max(int(median(tips)) if tips else 0, chain.minimum_priority_fee_wei)
    return FeeQuote(
        block_number=int(history["oldestBlock"], 16) + len(base_fees) - 2,
        base_fee_wei=base_fees[-1],
        max_fee_per_gas=2 * base_fees[-1] + tip,
        max_priority_fee_per_gas=tip,
    )


def _seen(asking: asyncio.Task[FeeQuote]) -> None:
    """Take note of a failure that nobody waits for any more; whoever asks next learns of it anew."""
    if not asking.cancelled():
        asking.exception()
