"""Looks after transactions that have a nonce until their effect stands for good, or never will."""

from __future__ import annotations

from uuid import UUID

import structlog

from echain.chain import sendstore as store
from echain.chain.chainmemory import ChainMemory
from echain.chain.hand import Hand
from echain.chain.intent import Reverted
from echain.chain.nonces import count, used_by
from echain.chain.receipts import Receipt, receipt_of, revert_reason
from echain.chain.sendrules import Offer, Refusal, cost, meaning, raised
from echain.chain.sendstore import Attempt, Flight, Mined
from echain.infra.database import Connection
from echain.kernel.evm import Hash32, checksum, to_hex
from echain.kernel.money import Wei

_log = structlog.get_logger(__name__)


class FlightWatch:
    """Reads receipts, follows reorgs, sends again and replaces."""

    def __init__(self, hand: Hand, memory: ChainMemory) -> None:
        self._hand = hand
        self._memory = memory
        self._resuming = True
        self._seen_head: Hash32 | None = None
        self._examined: dict[UUID, int] = {}

    def resume(self) -> None:
        """Send everything again that is not mined: nobody knows what the last process got to."""
        self._resuming = True

    async def watch(self, connection: Connection, flights: list[Flight]) -> None:
        """Take note of what became of ``flights``, which are in the order of their nonces."""
        block = await self._hand.rpc.head()
        head = block.number
        # What is mined changes with the head only.
        looked_at = [flight for flight in flights if not flight.mined or block.hash != self._seen_head]
        receipts = await self._receipts(looked_at)
        for flight in looked_at:
            receipt = receipts.get(flight.id)
            if receipt is not None:
                await self._note(connection, flight, receipt, head)
            elif flight.mined:
                _log.warning("send.reorganized", job=str(flight.id), nonce=flight.nonce)
                await store.unmined(connection, flight.id)
        waiting = [flight for flight in looked_at if flight.id not in receipts]
        if waiting:
            await self._push(connection, waiting, flights, head)
        self._resuming, self._seen_head = False, block.hash

    async def _receipts(self, flights: list[Flight]) -> dict[UUID, Receipt]:
        attempts = [attempt for flight in flights for attempt in flight.attempts]
        wires = await self._hand.rpc.batch(
            [("eth_getTransactionReceipt", (to_hex(attempt.hash),)) for attempt in attempts]
        )
        return {
            attempt.transaction_id: receipt_of(wire)
            for attempt, wire in zip(attempts, wires, strict=True)
            if wire is not None
        }

    async def _note(self, connection: Connection, flight: Flight, receipt: Receipt, head: int) -> None:
        if flight.block_hash != receipt.block_hash:
            value = self._hand.value_of(flight) if receipt.succeeded else 0
            mined = Mined(
                receipt.hash,
                receipt.block_number,
                receipt.block_hash,
                receipt.succeeded,
                Wei(receipt.fee_wei + value),
            )
            await store.mined(connection, flight.id, mined)
        if head - receipt.block_number < self._hand.chain.confirmations:
            return
        if receipt.succeeded:
            await store.settle(connection, flight.id)
            return
        revert = await revert_reason(
            self._hand.rpc,
            sender=self._hand.address,
            to=flight.to,
            data=flight.data,
            value_wei=self._hand.value_of(flight),
            block_number=receipt.block_number,
        )
        failure = Reverted(revert).described()
        _log.error("send.reverted", job=str(flight.id), purpose=flight.purpose, failure=failure)
        await store.fail(connection, flight.id, failure)

    async def _push(
        self, connection: Connection, waiting: list[Flight], flights: list[Flight], head: int
    ) -> None:
        """Send again, replace or give up the nonce of what is not mined."""
        next_mined = await count(self._hand.rpc, self._hand.address)
        if waiting[0].nonce > next_mined and all(flight.nonce != next_mined for flight in flights):
            await self._memory.rewound(connection, next_mined)
        else:
            self._memory.is_whole()
        due: list[Attempt] = []
        for flight in waiting:
            if flight.nonce < next_mined:
                await self._settle_used(connection, flight, head)
                continue
            attempt = flight.latest
            if flight.nonce == next_mined and self._is_stuck(attempt):
                attempt = await self._replaced(connection, flight, head)
            if flight.mined or self._is_due(attempt):
                due.append(attempt)
        await self._hand.broadcast(connection, due)

    def _is_stuck(self, attempt: Attempt) -> bool:
        if attempt.refusal is not None and meaning(attempt.refusal) is Refusal.UNDERPRICED:
            return True
        return (self._hand.clock() - attempt.signed_at).total_seconds() > self._hand.policy.stuck_seconds

    def _is_due(self, attempt: Attempt) -> bool:
        if self._resuming or attempt.broadcast_at is None:
            return True
        age = (self._hand.clock() - attempt.broadcast_at).total_seconds()
        return age > self._hand.policy.rebroadcast_seconds

    async def _replaced(self, connection: Connection, flight: Flight, head: int) -> Attempt:
        """Return an attempt that offers more, stored; the last one when the caps leave no room."""
        last = flight.latest
        offer = raised(
            Offer(last.max_fee_per_gas, last.max_priority_fee_per_gas), await self._hand.fees.quote()
        )
        most = cost(self._hand.value_of(flight), last.gas, offer)
        spent = await self._hand.spent(connection)
        if most > self._hand.policy.cap_per_transaction_wei:
            self._hand.say("replacement", "cap_per_transaction")
            return last
        if spent + most - flight.reserved_wei > self._hand.policy.cap_per_hour_wei:
            self._hand.say("replacement", "cap_per_hour")
            return last
        attempt = self._hand.signed(flight, nonce=flight.nonce, gas=last.gas, offer=offer, head=head)
        async with connection.transaction():
            await store.add_attempts(connection, [attempt])
            await store.reserve(connection, flight.id, most)
            await self._hand.audit(connection, flight, attempt, most)
        _log.info("send.replaced", job=str(flight.id), nonce=flight.nonce, hash=to_hex(attempt.hash))
        return attempt

    async def _settle_used(self, connection: Connection, flight: Flight, head: int) -> None:
        """Queue a job again whose nonce another transaction has used for good.

        Its own transactions can then never be mined. Without the proof it goes on waiting for its receipt.
        """
        settled = head - self._hand.chain.confirmations
        if self._examined.get(flight.id) == head or settled < 0:
            return
        self._examined[flight.id] = head
        culprit = await used_by(
            self._hand.rpc,
            self._hand.address,
            flight.nonce,
            signed_block=flight.attempts[0].signed_block,
            head=settled,
        )
        if culprit is None or culprit in {attempt.hash for attempt in flight.attempts}:
            return
        _log.error(
            "send.key_used_elsewhere",
            sender=checksum(self._hand.address),
            nonce=flight.nonce,
            job=str(flight.id),
            by=to_hex(culprit),
        )
        await store.requeue(connection, flight.id)
        self._examined.pop(flight.id, None)
