"""SQL of proofs of attendance: those on chain, and the admissions that wait for theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from echain.infra.database import Connection, Row, Tx
from echain.kernel.evm import Address

_ATTENDED: Final = """
    ($1::bytea IS NULL OR attendee = $1)
    AND ($2::bigint IS NULL OR chain_id = $2) AND ($3::numeric IS NULL OR blockchain_id = $3)
"""


class CheckInChange(msgspec.Struct, frozen=True):
    """What a look at an admission's POAP leaves: ``due`` None when nothing is left to do."""

    admission_id: UUID
    due: datetime | None
    attempts: int
    job: UUID | None


async def poaps(
    connection: Connection,
    *,
    attendee: Address | None,
    event: tuple[int, int] | None,
    limit: int,
    offset: int,
) -> tuple[Sequence[Row], int]:
    """Return POAPs of an attendee, of an event (chain id, number) or both, newest first, and their number."""
    chain_id, blockchain_id = event or (None, None)
    given = (attendee, chain_id, blockchain_id)
    total = await connection.fetchval(f"SELECT count(*) FROM poaps WHERE {_ATTENDED}", *given)  # noqa: S608 -- a constant
    rows = await connection.fetch(
        f"""
        SELECT poaps.*, event.public_id AS event_id
          FROM poaps LEFT JOIN published_events AS event USING (chain_id, blockchain_id)
         WHERE {_ATTENDED}
         ORDER BY mined_at DESC, chain_id, blockchain_id, token_id
         LIMIT $4 OFFSET $5
        """,  # noqa: S608 -- a constant
        *given,
        limit,
        offset,
    )
    return rows, total or 0


async def due_check_ins(
    tx: Tx, relayers: Mapping[int, Address], *, now: datetime, limit: int
) -> Sequence[Row]:
    """Return admissions whose POAPs want a look, longest due first, locked; locked ones are skipped."""
    return await tx.fetch(
        """
        SELECT admissions.id, admissions.chain_id, admissions.ticket_contract, admissions.token_id,
               admissions.admitted_at,
               admissions.check_in_attempts, admissions.check_in_job, events.blockchain_id,
               coalesce(events.cancelled, FALSE) AS cancelled,
               tickets.state AS ticket_state, poaps.block_number AS poap_block, job.status AS job_status,
               coalesce(chain_cursors.finalized_number, -1) AS final_block,
               gate_keys.gate IS NOT NULL AS gate_key_enabled
          FROM admissions
          LEFT JOIN chain_cursors ON chain_cursors.chain_id = admissions.chain_id
          LEFT JOIN chain_transactions AS job ON job.id = admissions.check_in_job
          LEFT JOIN events
            ON events.chain_id = admissions.chain_id AND events.ticket_contract = admissions.ticket_contract
          LEFT JOIN tickets
            ON tickets.chain_id = admissions.chain_id AND tickets.ticket_contract = admissions.ticket_contract
           AND tickets.token_id = admissions.token_id
          LEFT JOIN poaps
            ON poaps.chain_id = admissions.chain_id AND poaps.blockchain_id = events.blockchain_id
           AND poaps.token_id = admissions.token_id
          LEFT JOIN unnest($1::bigint[], $2::bytea[]) AS relayer (chain_id, address)
            ON relayer.chain_id = admissions.chain_id
          LEFT JOIN gate_keys
            ON gate_keys.chain_id = admissions.chain_id AND gate_keys.blockchain_id = events.blockchain_id
           AND gate_keys.gate = relayer.address AND $3 >= valid_from AND $3 < valid_until
         WHERE admissions.check_in_due <= $3
         ORDER BY admissions.check_in_due
         LIMIT $4
           FOR UPDATE OF admissions SKIP LOCKED
        """,
        list(relayers),
        list(relayers.values()),
        now,
        limit,
    )


async def keep_check_ins(tx: Tx, changes: Sequence[CheckInChange]) -> None:
    """Keep when each admission is looked at next, and the transaction that was sent for it."""
    await tx.execute(
        """
        UPDATE admissions
           SET check_in_due = change.due, check_in_attempts = change.attempts, check_in_job = change.job
          FROM unnest($1::uuid[], $2::timestamptz[], $3::integer[], $4::uuid[])
               AS change (id, due, attempts, job)
         WHERE admissions.id = change.id
        """,
        [change.admission_id for change in changes],
        [change.due for change in changes],
        [change.attempts for change in changes],
        [change.job for change in changes],
    )
