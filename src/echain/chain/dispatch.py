"""Takes jobs from the queue: checks them, gives them nonces, signs, stores, and only then shows them."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from echain.chain import sendstore as store
from echain.chain.chainmemory import ChainMemory
from echain.chain.fees import FeeQuote
from echain.chain.hand import Hand
from echain.chain.intent import InsufficientFunds, Reverted, estimate_gas, with_head_room
from echain.chain.nonces import count
from echain.chain.rpc import RpcRefused
from echain.chain.sendrules import Offer, cost, forbidden, offer_of
from echain.chain.sendstore import Assigned, Attempt, Flight, Job
from echain.infra.database import Connection, Tx
from echain.kernel.evm import checksum

_JOBS_A_STEP: Final = 32

_log = structlog.get_logger(__name__)


class _Failure(Exception):
    """A job can never be sent; ``reason`` is kept with it."""

    def __init__(self, reason: dict[str, object]) -> None:
        super().__init__()
        self.reason = reason


class _Held(Exception):
    """A job cannot be sent now."""


class Dispatcher:
    """Sends queued jobs as far as the caps, the funds and the number under way allow."""

    def __init__(self, hand: Hand, memory: ChainMemory) -> None:
        self._hand = hand
        self._memory = memory

    async def send(self, connection: Connection, flights: list[Flight]) -> bool:
        """Sign and send as many jobs as may be under way; return whether any was."""
        room = self._hand.policy.in_flight - sum(not flight.mined for flight in flights)
        limit = min(room, _JOBS_A_STEP)
        jobs = await store.queued(connection, self._hand.chain.chain_id, limit) if room > 0 else []
        if not jobs:
            return False
        head = (await self._hand.rpc.head()).number
        next_mined = await count(self._hand.rpc, self._hand.address)
        if not flights and await self._memory.is_rewound(connection, next_mined):
            return False
        quote = await self._hand.fees.quote()
        fitting = await self._fitting(connection, jobs, flights, quote)
        if not fitting:
            return False
        offer = offer_of(quote)
        async with connection.transaction():
            taken = {flight.nonce for flight in flights}
            attempts = await self._assigned(connection, fitting, offer, (next_mined, head), taken)
        await self._hand.broadcast(connection, attempts)
        return True

    async def _assigned(
        self, tx: Tx, fitting: list[tuple[Job, int]], offer: Offer, at: tuple[int, int], taken: set[int]
    ) -> list[Attempt]:
        """Give the next nonces, but none of ``taken``; ``at`` is the mined count and the height."""
        next_mined, head = at
        nonce = await store.lock_next_nonce(
            tx,
            self._hand.chain.chain_id,
            self._hand.address,
            at_least=next_mined,
            genesis=await self._memory.recognize(tx),
        )
        assigned: list[Assigned] = []
        for job, gas in fitting:
            while nonce in taken:
                nonce += 1
            attempt = self._hand.signed(job, nonce=nonce, gas=gas, offer=offer, head=head)
            assigned.append(Assigned(job.id, cost(self._hand.value_of(job), gas, offer), attempt))
            nonce += 1
        await store.assign(
            tx, self._hand.chain.chain_id, self._hand.address, assigned, now=self._hand.clock()
        )
        for (job, _), one in zip(fitting, assigned, strict=True):
            await self._hand.audit(tx, job, one.attempt, one.reserved_wei)
        return [one.attempt for one in assigned]

    async def _fitting(
        self, connection: Connection, jobs: list[Job], flights: list[Flight], quote: FeeQuote
    ) -> list[tuple[Job, int]]:
        """Return the jobs to send now, each with its gas; the others fail or are held, with the reason."""
        verdicts = await asyncio.gather(*(self._gas(job, quote) for job in jobs), return_exceptions=True)
        balance = int(
            await self._hand.rpc.call("eth_getBalance", [checksum(self._hand.address), "latest"]), 16
        )
        funds = balance - sum(flight.reserved_wei for flight in flights if not flight.mined)
        budget = self._hand.policy.cap_per_hour_wei - await self._hand.spent(connection)
        fitting: list[tuple[Job, int]] = []
        for job, verdict in zip(jobs, verdicts, strict=True):
            if isinstance(verdict, int):
                most = cost(self._hand.value_of(job), verdict, offer_of(quote))
                if most <= funds and most <= budget:
                    fitting.append((job, verdict))
                    funds, budget = funds - most, budget - most
                else:
                    await self._hold(
                        connection, job, "cap_per_hour" if most > budget else "insufficient_funds"
                    )
            elif isinstance(verdict, _Held):
                await self._hold(connection, job, str(verdict))
            elif isinstance(verdict, _Failure):
                _log.error("send.failed", job=str(job.id), purpose=job.purpose, failure=verdict.reason)
                await store.fail(connection, job.id, verdict.reason)
            else:
                raise verdict
        return fitting

    async def _gas(self, job: Job, quote: FeeQuote) -> int:
        """Return the gas limit to sign for a job.

        Raises:
            _Failure, _Held: it can never, or not now, be sent.
        """
        value = self._hand.value_of(job)
        reason = forbidden(self._hand.policy, job.to, job.data, value)
        if reason is not None:
            raise _Failure({"error": reason, "message": "the platform's key is not for this"})
        try:
            needed = await estimate_gas(
                self._hand.rpc, sender=self._hand.address, to=job.to, data=job.data, value_wei=value
            )
        except Reverted as error:
            raise _Failure(error.described()) from error
        except InsufficientFunds as error:
            raise _Held("insufficient_funds") from error
        except RpcRefused as error:
            raise _Held(f"the node refuses: {error}") from error
        limit = min(job.gas_limit, self._hand.policy.gas_cap)
        if needed > limit:
            raise _Failure({"error": "gas_limit", "message": f"needs {needed} gas, may use {limit}"})
        gas = min(with_head_room(needed), limit)
        if cost(value, gas, offer_of(quote)) > self._hand.policy.cap_per_transaction_wei:
            raise _Held("cap_per_transaction")
        return gas

    async def _hold(self, connection: Connection, job: Job, reason: str) -> None:
        if job.held != reason:
            _log.error("send.held", job=str(job.id), purpose=job.purpose, reason=reason)
            await store.hold(connection, job.id, reason)
