"""Judging tickets at the door: by their codes, or by hand."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from hashlib import sha256
from typing import Final
from uuid import UUID

import asyncpg
import msgspec

from echain.admission import codes, store
from echain.admission.types import (
    MESSAGES,
    Counts,
    FirstAdmission,
    GateSecretInvalid,
    Operator,
    ScanAnswer,
    ScannedTicket,
    ScanReused,
    Verdict,
)
from echain.infra import audit
from echain.infra.database import Connection, Row
from echain.kernel.evm import Address, checksum
from echain.kernel.ids import derived_id, uuid7
from echain.tickets.types import TicketKey, TicketNotFound

COUNT_SECONDS: Final = 1.0
_COUNTED_EVENTS: Final = 10_000
_SAME_SCAN: Final = frozenset({"scans_pkey", "admissions_scan_id_key"})
"""The constraints at which a second delivery of one scan stops, whichever it meets first."""


class Tally:
    """Knows how many tickets of an event stand admitted, at most a second late.

    Counting is linear in the admissions, so it is done once a second an event and process, by one of those
    who ask; the others take the last count, plus what this process admitted since.
    """

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._now = monotonic
        self._counts: dict[tuple[int, Address], tuple[int, float]] = {}

    async def admitted(self, connection: Connection, chain_id: int, ticket_contract: Address) -> int:
        """Return the number; asks ``connection`` when the last count is over a second old."""
        event = chain_id, ticket_contract
        count, counted_at = self._counts.get(event, (0, float("-inf")))
        now = self._now()
        if now - counted_at < COUNT_SECONDS:
            return count
        if counted_at > float("-inf"):
            self._counts[event] = count, now
        count = await store.admitted_count(connection, chain_id, ticket_contract)
        if len(self._counts) >= _COUNTED_EVENTS:
            self._counts.clear()
        self._counts[event] = count, now
        return count

    def note(self, chain_id: int, ticket_contract: Address) -> None:
        """Count one more, admitted just now."""
        count, counted_at = self._counts.get((chain_id, ticket_contract), (0, float("-inf")))
        if counted_at > float("-inf"):
            self._counts[chain_id, ticket_contract] = count + 1, counted_at


async def scan(
    connection: Connection,
    tally: Tally,
    operator: Operator,
    *,
    key: codes.CodeKey,
    code: str,
    scan_id: UUID | None,
    mark: audit.Mark,
    now: datetime,
) -> ScanAnswer:
    """Judge a code at a gate and keep the scan; each statement on ``connection`` commits by itself.

    A ``scan_id`` that the gate used before answers the first verdict again and changes nothing.

    Raises:
        GateSecretInvalid: the gate was revoked.
        ScanReused: ``scan_id`` stands for another code.
    """
    reading = codes.read(key, code, now=now)
    showing = _Showing(
        claim=reading if isinstance(reading, codes.Claim) else None,
        refusal=reading if isinstance(reading, Verdict) else None,
        code_hash=sha256(code.encode()).digest(),
    )
    return await _judged(connection, tally, operator, showing, scan_id=scan_id, mark=mark, now=now)


async def check_in(
    connection: Connection,
    tally: Tally,
    operator: Operator,
    ticket: TicketKey,
    *,
    scan_id: UUID | None,
    mark: audit.Mark,
    now: datetime,
) -> ScanAnswer:
    """Judge a ticket by hand, without a code, as `scan` does; who shows it is for people to see.

    Raises:
        GateSecretInvalid: the gate was revoked.
        TicketNotFound: the ticket's event is not one of the desk's organizer.
        ScanReused: ``scan_id`` stands for another ticket.
    """
    showing = _Showing(ticket=ticket)
    return await _judged(connection, tally, operator, showing, scan_id=scan_id, mark=mark, now=now)


class _Showing(msgspec.Struct, frozen=True):
    """What was shown: a genuine code, a refused one, or a ticket by hand."""

    claim: codes.Claim | None = None
    refusal: Verdict | None = None
    ticket: TicketKey | None = None
    code_hash: bytes | None = None


async def _judged(
    connection: Connection,
    tally: Tally,
    operator: Operator,
    showing: _Showing,
    *,
    scan_id: UUID | None,
    mark: audit.Mark,
    now: datetime,
) -> ScanAnswer:
    kept_id, admission_id = _kept_id(operator, scan_id), uuid7()
    try:
        row = await store.judge(
            connection,
            operator,
            scan_id=kept_id,
            admission_id=admission_id,
            code_hash=showing.code_hash,
            claim=showing.claim,
            refusal=showing.refusal,
            ticket=_triple(showing.ticket),
            mark=mark,
            now=now,
        )
    except asyncpg.UniqueViolationError as error:
        if getattr(error, "constraint_name", None) not in _SAME_SCAN:
            raise
        row = await _repeated(connection, kept_id, showing)
        return await _answer(connection, tally, row, scan_id or kept_id, row["admission_id"])
    if row is None:
        raise GateSecretInvalid.over() if operator.gate is not None else TicketNotFound()
    if row["verdict"] == Verdict.ADMITTED.value:
        tally.note(row["chain_id"], row["ticket_contract"])
        return await _answer(connection, tally, row, scan_id or kept_id, admission_id)
    return await _answer(connection, tally, row, scan_id or kept_id, None)


def _kept_id(operator: Operator, scan_id: UUID | None) -> UUID:
    """Return the key of the scan's row; clients' ids are told apart by who chose them."""
    if scan_id is None:
        return uuid7()
    if operator.gate is not None:
        return derived_id(operator.gate.bytes, scan_id.bytes)
    return derived_id(operator.desk.by if operator.desk else b"", scan_id.bytes)


def _triple(ticket: TicketKey | None) -> tuple[int, Address, int] | None:
    return None if ticket is None else (ticket.chain_id, ticket.ticket_contract, ticket.token_id)


async def _repeated(connection: Connection, kept_id: UUID, showing: _Showing) -> Row:
    """Return the scan that was kept under this id. A code is the same though it has expired since."""
    row = await store.stored_scan(connection, kept_id)
    if row is None or row["code_hash"] != showing.code_hash:
        raise ScanReused
    if showing.ticket is not None and (
        (row["scan_contract"], row["token_id"]) != (showing.ticket.ticket_contract, showing.ticket.token_id)
    ):
        raise ScanReused
    return row


async def _answer(
    connection: Connection, tally: Tally, row: Row, scan_id: UUID, admission_id: UUID | None
) -> ScanAnswer:
    verdict = Verdict(row["verdict"])
    standing = row
    if verdict is Verdict.ALREADY_ADMITTED and row["standing_id"] is None:
        # Lost a race: the winner committed after this statement's snapshot was taken.
        standing = await store.standing_admission(
            connection, row["chain_id"], row["ticket_contract"], row["token_id"]
        )
    admitted = 0
    if row["chain_id"] is not None:
        admitted = await tally.admitted(connection, row["chain_id"], row["ticket_contract"])
    return ScanAnswer(
        scan_id=scan_id,
        verdict=verdict,
        message=MESSAGES[verdict],
        counts=Counts(admitted=admitted, sold=row["sold_tickets"] or 0),
        admission_id=admission_id,
        ticket=_scanned(row, verdict),
        first_admission=_first(standing) if verdict is Verdict.ALREADY_ADMITTED else None,
    )


def _scanned(row: Row, verdict: Verdict) -> ScannedTicket | None:
    if row["owner"] is None or verdict is Verdict.WRONG_EVENT:
        return None
    owner = checksum(row["owner"])
    return ScannedTicket(token_id=row["token_id"], tier=row["tier_id"], holder=f"{owner[:6]}…{owner[-4:]}")


def _first(row: Row | None) -> FirstAdmission | None:
    """Return the standing admission; None when it was undone in the very moment."""
    if row is None or row["standing_id"] is None:
        return None
    return FirstAdmission(
        id=row["standing_id"],
        at=row["standing_at"],
        gate=row["standing_gate"],
        gate_name=row["standing_gate_name"],
    )
