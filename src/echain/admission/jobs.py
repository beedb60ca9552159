"""Mints the POAPs of those admitted: admissions are the queue, watched until their POAPs are final."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final
from uuid import UUID

import structlog

from echain.admission import poapstore, rules
from echain.admission.poapstore import CheckInChange
from echain.admission.service import Relay, poap_contract
from echain.chain import send
from echain.chain.contracts import contract
from echain.infra.database import Database, DatabaseUnavailable, Row, Tx
from echain.kernel.evm import Address
from echain.kernel.time import Clock

CHECK_IN: Final = "checkInAttendee(uint256,uint256)"
CHECK_IN_GAS: Final = 250_000
"""Measured 165k for a holder's first POAP; what is not used is not paid."""

BATCH: Final = 200
_IDLE_SECONDS: Final = 0.5
_AWAY_SECONDS: Final = 2.0

_JOBS: Final = {
    "queued": rules.JobState.OPEN,
    "sent": rules.JobState.OPEN,
    "mined": rules.JobState.OPEN,
    "final": rules.JobState.MINED,
    "failed": rules.JobState.FAILED,
}

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("echain.admission")


class CheckInSweep:
    """Looks after admissions without a final POAP; any number of processes may do so at once.

    A check-in is sent once the organizer has enabled the platform's key, again when its transaction failed or
    its POAP was reorged away, and never while an earlier one is open.
    """

    def __init__(self, database: Database, clock: Clock, relays: Mapping[int, Relay]) -> None:
        self._database = database
        self._clock = clock
        self._relays = relays

    async def run(self) -> None:
        """Sweep until cancelled: at once while there is much to do, else twice a second."""
        while True:
            try:
                seen = await self.sweep()
            except DatabaseUnavailable as error:
                _log.warning("admission.sweep_waits", reason=error.message)
                await asyncio.sleep(_AWAY_SECONDS)
                continue
            if seen < BATCH:
                await asyncio.sleep(_IDLE_SECONDS)

    async def sweep(self) -> int:
        """Look at up to `BATCH` admissions that are due, in one transaction; return how many there were."""
        poaps = {
            chain_id: poap
            for chain_id, relay in self._relays.items()
            if (poap := await poap_contract(self._database, relay, chain_id)) is not None
        }
        senders = {chain_id: self._relays[chain_id].sender for chain_id in poaps}
        now = self._clock()
        async with self._database.transaction() as tx:
            rows = await poapstore.due_check_ins(tx, senders, now=now, limit=BATCH)
            changes: list[CheckInChange] = []
            for row in rows:
                step = rules.next_step(_known(row), now=now)
                attempts, job = row["check_in_attempts"], row["check_in_job"]
                if isinstance(step, rules.Mint):
                    attempts += 1
                    job = await _send(tx, row, poaps[row["chain_id"]], attempts)
                due = None if isinstance(step, rules.Settled) else step.until
                changes.append(CheckInChange(row["id"], due, attempts, job))
            if changes:
                await poapstore.keep_check_ins(tx, changes)
        return len(rows)


def _known(row: Row) -> rules.CheckIn:
    return rules.CheckIn(
        admitted_at=row["admitted_at"],
        attempts=row["check_in_attempts"],
        ticket_state=row["ticket_state"],
        poap_block=row["poap_block"],
        final_block=row["final_block"],
        gate_key_enabled=row["gate_key_enabled"],
        cancelled=row["cancelled"],
        job=_JOBS[row["job_status"]] if row["job_status"] is not None else None,
    )


async def _send(tx: Tx, row: Row, poap: Address, attempt: int) -> UUID:
    """Queue the check-in of a ticket; each attempt once, whoever sweeps and however often it was admitted."""
    ticket = f"{row['chain_id']}:{row['ticket_contract'].hex()}:{row['token_id']}"
    return await send.enqueue(
        tx,
        chain_id=row["chain_id"],
        to=poap,
        data=contract("Poap").encode(CHECK_IN, [int(row["blockchain_id"]), row["token_id"]]),
        gas_limit=CHECK_IN_GAS,
        purpose="admission.check_in",
        dedupe=f"check-in:{ticket}:{attempt}",
    )
