"""A chain with contracts that count, and senders to break."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest

from echain.chain.chains import Chain, chain
from echain.chain.fees import Fees
from echain.chain.keys import DEVNET_KEY, Key
from echain.chain.rpc import Rpc
from echain.chain.send import Policy, Sender, enqueue
from echain.infra.database import Database
from echain.infra.embedded.anvil import Anvil
from echain.kernel.evm import Address, checksum, keccak
from echain.kernel.time import utc_now

DEVNET: Chain = chain(84532, devnet=True)
KEY = Key(DEVNET_KEY)
ETHER = 10**18

SOLD_OUT = bytes(keccak(b"EventTicket_SoldOut(uint256,uint256)")[:4])

COUNTER = Address(b"\xc0" * 20)
COUNT = bytes.fromhex("c0c0c0c0")
COUNTER_CODE = "0x60043560006000a100"
"""Emits a log whose only topic is the call's first argument: what was done, and how often."""

REFUSER = Address(b"\xee" * 20)
REFUSER_CODE = "0x366000600037366000fd"
"""Reverts with its own calldata."""


def sold_out(tier: int, remaining: int) -> bytes:
    """Return what a sold-out tier reverts with; also the call that makes the refuser say so."""
    return SOLD_OUT + tier.to_bytes(32, "big") + remaining.to_bytes(32, "big")


@dataclass
class World:
    """One chain, one database, and what it takes to send."""

    COUNTER = COUNTER
    COUNT = COUNT
    REFUSER = REFUSER
    KEY = KEY
    DEVNET = DEVNET
    COUNTER_CODE = COUNTER_CODE
    REFUSER_CODE = REFUSER_CODE
    sold_out = staticmethod(sold_out)

    anvil: Anvil
    rpc: Rpc
    database: Database

    async def enqueue(self, number: int, *, dedupe: str | None = None, **more: Any) -> UUID:
        """Queue a call that makes the counter log ``number``."""
        async with self.database.transaction() as tx:
            return await enqueue(
                tx,
                **{
                    "chain_id": 84532,
                    "to": COUNTER,
                    "data": COUNT + number.to_bytes(32, "big"),
                    "gas_limit": 100_000,
                    "purpose": "count",
                    "dedupe": dedupe or f"count:{number}",
                }
                | more,
            )

    def sender(self, *, rpc: Rpc | None = None, on: Chain = DEVNET, **policy: Any) -> Sender:
        settings = {
            "allowed": {(COUNTER, COUNT), (REFUSER, SOLD_OUT)},
            "cap_per_transaction_wei": ETHER,
            "cap_per_hour_wei": 100 * ETHER,
        }
        client = rpc or self.rpc
        return Sender(
            client,
            self.database,
            KEY,
            on,
            fees=Fees(client, on),
            policy=Policy(**(settings | policy)),
            clock=utc_now,
        )

    @asynccontextmanager
    async def sending(self, **settings: Any) -> AsyncIterator[Sender]:
        """Run a sender meanwhile."""
        sender = self.sender(**settings)
        task = asyncio.create_task(sender.run())
        try:
            yield sender
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def counted(self) -> list[int]:
        """Return every number that the counter logged on the chain as it is, in its order."""
        logs = self.anvil.rpc(
            "eth_getLogs", {"address": checksum(COUNTER), "fromBlock": "0x0", "toBlock": "latest"}
        )
        return [int(log["topics"][0], 16) for log in logs]

    async def jobs(self) -> dict[str, Any]:
        rows = await self.database.fetch("SELECT * FROM chain_transactions ORDER BY position")
        return {row["dedupe"]: row for row in rows}

    async def job(self, dedupe: str) -> Any:
        return (await self.jobs())[dedupe]

    async def attempts(self) -> Sequence[Any]:
        return await self.database.fetch("SELECT * FROM chain_attempts ORDER BY signed_at, max_fee_per_gas")

    async def until(self, holds: Callable[[], Any], *, seconds: float = 20.0) -> None:
        """Wait until an awaitable or plain condition holds."""
        async with asyncio.timeout(seconds):
            while True:
                seen = holds()
                if asyncio.iscoroutine(seen):
                    seen = await seen
                if seen:
                    return
                await asyncio.sleep(0.02)

    async def until_status(self, status: str, *dedupes: str, seconds: float = 20.0) -> None:
        async def reached() -> bool:
            jobs = await self.jobs()
            return all(jobs[one]["status"] == status for one in dedupes or jobs)

        await self.until(reached, seconds=seconds)

    def mine(self, blocks: int = 1) -> None:
        self.anvil.rpc("anvil_mine", hex(blocks))

    def pool(self) -> list[dict[str, Any]]:
        """Return the node's pending transactions."""
        content = self.anvil.rpc("txpool_content")
        return [one for part in content.values() for nonces in part.values() for one in nonces.values()]


@pytest.fixture
async def world(anvil: Anvil, database: Database) -> AsyncIterator[World]:
    anvil.rpc("anvil_setCode", checksum(COUNTER), COUNTER_CODE)
    anvil.rpc("anvil_setCode", checksum(REFUSER), REFUSER_CODE)
    async with AsyncExitStack() as stack:
        rpc = Rpc([anvil.url], chain_id=84532)
        stack.push_async_callback(rpc.close)
        yield World(anvil, rpc, database)
