"""Sends the platform's own transactions: each job is mined exactly once, whatever dies in between.

A job's transaction is signed and stored before anybody sees it. Whoever comes after a crash sends the very
same bytes again, and a nonce takes only one transaction. A job gets another nonce only after the chain has
proven that something else used its first one for good.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final
from uuid import UUID

import asyncpg

from echain.chain import sendstore as store
from echain.chain.chainmemory import ChainMemory
from echain.chain.chains import Chain
from echain.chain.dispatch import Dispatcher
from echain.chain.fees import Fees
from echain.chain.flights import FlightWatch
from echain.chain.hand import Hand
from echain.chain.keys import Key
from echain.chain.rpc import ChainUnreachable, Rpc, RpcRefused, WrongChain
from echain.chain.sendrules import Policy
from echain.chain.turn import turn
from echain.infra.database import Connection, Database, DatabaseUnavailable, Tx
from echain.kernel.evm import Address
from echain.kernel.money import Wei
from echain.kernel.time import Clock

__all__ = ["Policy", "Sender", "enqueue", "retry"]

POLL_SECONDS: Final = 1.0
"""How often the queue is looked at when no notification comes."""

_SENT_PAUSE_SECONDS: Final = 0.05
_FAILED_PAUSE_SECONDS: Final = 1.0
_NOTHING: Final = Wei(0)


async def enqueue(
    tx: Tx,
    *,
    chain_id: int,
    to: Address,
    data: bytes,
    value_wei: Wei = _NOTHING,
    gas_limit: int,
    purpose: str,
    dedupe: str,
) -> UUID:
    """Have the platform send a call once ``tx`` commits, and return the job's id.

    ``value_wei`` is what the contract sees. ``gas_limit``, at least 21_000, is the most that it may use.
    ``purpose`` (1 to 100 characters) is for people. A second call with the same ``dedupe`` (1 to 200
    characters, unique over all chains) changes nothing and returns the first one's id.
    """
    return await store.enqueue(
        tx,
        chain_id=chain_id,
        to=to,
        data=data,
        value_wei=value_wei,
        gas_limit=gas_limit,
        purpose=purpose,
        dedupe=dedupe,
    )


async def retry(tx: Tx, job_id: UUID) -> bool:
    """Queue a job again that failed before it was sent; False for any other."""
    return await store.retry(tx, job_id)


class Sender:
    """Sends the jobs of one chain with one key; of all that run, one at a time does."""

    def __init__(
        self,
        rpc: Rpc,
        database: Database,
        key: Key,
        chain: Chain,
        *,
        fees: Fees,
        policy: Policy,
        clock: Clock,
    ) -> None:
        self._database = database
        self._hand = Hand(rpc, key, chain, fees=fees, policy=policy, clock=clock)
        self._memory = ChainMemory(self._hand)
        self._dispatcher = Dispatcher(self._hand, self._memory)
        self._flights = FlightWatch(self._hand, self._memory)

    async def run(self) -> None:
        """Send until cancelled; a database or node that is gone is waited for."""
        while True:
            try:
                async with turn(self._database, self._hand.chain.chain_id, self._hand.address) as connection:
                    await self._lead(connection)
            except DatabaseUnavailable as error:
                self._hand.say("database", error)
                await asyncio.sleep(_FAILED_PAUSE_SECONDS)

    async def _lead(self, connection: Connection) -> None:
        woken = asyncio.Event()

        def wake(*said: object) -> None:
            if said[-1] == str(self._hand.chain.chain_id):
                woken.set()

        await connection.add_listener(store.WAKE_CHANNEL, wake)
        self._memory.forget()
        self._flights.resume()
        try:
            while True:
                woken.clear()
                pause = await self._step_or_wait(connection)
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await woken.wait()
        finally:
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                await connection.remove_listener(store.WAKE_CHANNEL, wake)

    async def _step_or_wait(self, connection: Connection) -> float:
        try:
            pause = await self._step(connection)
        except (ChainUnreachable, WrongChain, RpcRefused) as error:
            self._hand.say("node", error)
            return _FAILED_PAUSE_SECONDS
        self._hand.is_well()
        return pause

    async def _step(self, connection: Connection) -> float:
        """Look after what is under way, send what waits, and return after how many seconds to look again."""
        await self._memory.recognize(connection)
        flights = await store.flights(connection, self._hand.chain.chain_id, self._hand.address)
        if flights:
            await self._flights.watch(connection, flights)
        if await self._dispatcher.send(connection, flights):
            return _SENT_PAUSE_SECONDS
        if any(not flight.mined for flight in flights):
            return min(POLL_SECONDS, max(_SENT_PAUSE_SECONDS, self._hand.chain.block_seconds / 4))
        return POLL_SECONDS
