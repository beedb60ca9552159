"""Imports, beside the work, what is only needed later and takes long."""

from __future__ import annotations

import asyncio

from echain.chain.ethaccount import account


async def warm_transactions() -> None:
    """Import what reads and signs transactions: half a second that nobody's first transaction should pay."""
    await asyncio.to_thread(account)
