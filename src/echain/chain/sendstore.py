"""The queue of the platform's own transactions; all but `enqueue` and `retry` is for who has the turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from echain.infra.database import Connection, Row, Tx
from echain.kernel.evm import Address, Hash32
from echain.kernel.ids import uuid7
from echain.kernel.money import Wei

WAKE_CHANNEL: Final = "chain_send"


class Job(msgspec.Struct, frozen=True):
    """A call that waits for its nonce; ``value_wei`` as the contract sees it."""

    id: UUID
    purpose: str
    to: Address
    data: bytes
    value_wei: Wei
    gas_limit: int
    held: str | None


class Attempt(msgspec.Struct, frozen=True):
    """One signed transaction of a job; ``refusal`` is what the node last said of it."""

    hash: Hash32
    transaction_id: UUID
    nonce: int
    raw: bytes
    gas: int
    max_fee_per_gas: int
    max_priority_fee_per_gas: int
    signed_at: datetime
    signed_block: int
    broadcast_at: datetime | None = None
    refusal: str | None = None


class Flight(msgspec.Struct, frozen=True):
    """A job with a nonce that is not settled, and all that was ever signed for it, oldest first."""

    id: UUID
    purpose: str
    to: Address
    data: bytes
    value_wei: Wei
    nonce: int
    mined: bool
    reserved_wei: int
    block_hash: Hash32 | None
    attempts: tuple[Attempt, ...]

    @property
    def latest(self) -> Attempt:
        """The attempt that offers most."""
        return self.attempts[-1]


class Mined(msgspec.Struct, frozen=True):
    """What a receipt says."""

    hash: Hash32
    block_number: int
    block_hash: Hash32
    succeeded: bool
    spent_wei: Wei


class Assigned(msgspec.Struct, frozen=True):
    """A job with its first signed transaction and the most it may cost."""

    job_id: UUID
    reserved_wei: int
    attempt: Attempt


_ENQUEUE: Final = """
    WITH added AS (
        INSERT INTO chain_transactions (id, chain_id, dedupe, purpose, to_address, data, value_wei, gas_limit)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        ON CONFLICT (dedupe) DO NOTHING
        RETURNING id
    )
    SELECT id, pg_notify('chain_send', $2::text) FROM added
"""
_BY_DEDUPE: Final = "SELECT id FROM chain_transactions WHERE dedupe = $1"

_RETRY: Final = """
    UPDATE chain_transactions
    SET status = 'queued', failure = NULL, held = NULL, updated_at = now()
    WHERE id = $1 AND status = 'failed' AND nonce IS NULL
    RETURNING pg_notify('chain_send', chain_id::text)
"""

_QUEUED: Final = """
    SELECT id, purpose, to_address, data, value_wei, gas_limit, held
    FROM chain_transactions
    WHERE chain_id = $1 AND status = 'queued'
    ORDER BY held IS NOT NULL, position
    LIMIT $2
"""

_FLIGHTS: Final = """
    SELECT id, purpose, to_address, data, value_wei, nonce, status, reserved_wei, block_hash
    FROM chain_transactions
    WHERE chain_id = $1 AND sender = $2 AND status IN ('sent', 'mined')
    ORDER BY nonce
"""
_ATTEMPTS: Final = """
    SELECT hash, transaction_id, nonce, raw, gas, max_fee_per_gas, max_priority_fee_per_gas, signed_at,
           signed_block, broadcast_at, refusal
    FROM chain_attempts
    WHERE transaction_id = ANY($1)
    ORDER BY signed_at, max_fee_per_gas
"""

_SPENT: Final = """
    SELECT sum(COALESCE(spent_wei, reserved_wei))
    FROM chain_transactions
    WHERE chain_id = $1 AND sender = $2 AND nonce IS NOT NULL AND assigned_at > $3
"""

_LOCK_SENDER: Final = """
    INSERT INTO chain_senders AS known (chain_id, sender, next_nonce, genesis)
    VALUES ($1, $2, $3, $4)
    ON CONFLICT (chain_id, sender) DO UPDATE SET next_nonce = GREATEST(known.next_nonce, excluded.next_nonce)
    RETURNING next_nonce
"""
_SENDER: Final = "SELECT next_nonce, genesis FROM chain_senders WHERE chain_id = $1 AND sender = $2"
_MOVE_SENDER: Final = "UPDATE chain_senders SET next_nonce = $3 WHERE chain_id = $1 AND sender = $2"

_ASSIGN: Final = """
    UPDATE chain_transactions AS job
    SET status = 'sent', sender = $1, nonce = given.nonce, reserved_wei = given.reserved_wei, assigned_at =
    $2,
        held = NULL, updated_at = $2
    FROM unnest($3::uuid[], $4::bigint[], $5::numeric[]) AS given (id, nonce, reserved_wei)
    WHERE job.id = given.id AND job.status = 'queued'
"""
_ADD_ATTEMPTS: Final = """
    INSERT INTO chain_attempts (hash, transaction_id, nonce, raw, gas, max_fee_per_gas,
    max_priority_fee_per_gas,
                                signed_at, signed_block)
    SELECT * FROM unnest($1::bytea[], $2::uuid[], $3::bigint[], $4::bytea[], $5::bigint[], $6::numeric[],
                         $7::numeric[], $8::timestamptz[], $9::bigint[])
"""
_RESERVE: Final = "UPDATE chain_transactions SET reserved_wei = $2, updated_at = now() WHERE id = $1"

_BROADCAST: Final = """
    UPDATE chain_attempts AS attempt
    SET broadcast_at = $1, refusal = said.refusal
    FROM unnest($2::bytea[], $3::text[]) AS said (hash, refusal)
    WHERE attempt.hash = said.hash
"""

_FAIL: Final = """
    UPDATE chain_transactions SET status = 'failed', failure = $2, held = NULL, updated_at = now() WHERE id
    = $1
"""
_HOLD: Final = "UPDATE chain_transactions SET held = $2, updated_at = now() WHERE id = $1"

_MINED: Final = """
    UPDATE chain_transactions
    SET status = 'mined', hash = $2, block_number = $3, block_hash = $4, succeeded = $5, spent_wei = $6,
        updated_at = now()
    WHERE id = $1
"""
# Shown to the node again at once, not when its turn for that comes.
_UNMINED: Final = """
    WITH reopened AS (
        UPDATE chain_transactions
        SET status = 'sent', hash = NULL, block_number = NULL, block_hash = NULL, succeeded = NULL,
            spent_wei = NULL, failure = NULL, updated_at = now()
        WHERE id = $1 OR (chain_id = $2 AND sender = $3 AND nonce >= $4 AND status IN ('final', 'failed'))
        RETURNING id
    )
    UPDATE chain_attempts AS attempt SET broadcast_at = NULL FROM reopened WHERE transaction_id = reopened.id
"""
_FINAL: Final = "UPDATE chain_transactions SET status = 'final', updated_at = now() WHERE id = $1"

_REQUEUE: Final = """
    UPDATE chain_transactions
    SET status = 'queued', sender = NULL, nonce = NULL, reserved_wei = NULL, assigned_at = NULL, updated_at
    = now() WHERE id = $1 AND status = 'sent'
"""

_BEGIN_ANEW: Final = """
    UPDATE chain_transactions
    SET status = CASE WHEN status IN ('sent', 'mined') THEN 'failed' ELSE status END,
        failure = CASE WHEN status IN ('sent', 'mined') THEN $3::jsonb ELSE failure END,
        sender = NULL, nonce = NULL, reserved_wei = NULL, assigned_at = NULL, updated_at = now()
    WHERE chain_id = $1 AND sender = $2
"""
_FORGET_SENDER: Final = "DELETE FROM chain_senders WHERE chain_id = $1 AND sender = $2"


async def enqueue(
    tx: Tx,
    *,
    chain_id: int,
    to: Address,
    data: bytes,
    value_wei: int,
    gas_limit: int,
    purpose: str,
    dedupe: str,
) -> UUID:
    """Add a job, or return the one that has this ``dedupe`` already."""
    row = await tx.fetchrow(_ENQUEUE, uuid7(), chain_id, dedupe, purpose, to, data, value_wei, gas_limit)
    # A conflicting row is committed by now: its inserter was waited for. A new statement sees it.
    found = row or await tx.fetchrow(_BY_DEDUPE, dedupe)
    assert found is not None, "jobs are never deleted"
    return found["id"]


async def retry(tx: Tx, job_id: UUID) -> bool:
    """Queue a job again that failed before it had a nonce; False when it is not such a one."""
    return await tx.fetchrow(_RETRY, job_id) is not None


async def queued(connection: Connection, chain_id: int, limit: int) -> list[Job]:
    """Return the oldest waiting jobs, those that were held back last."""
    return [
        Job(
            row["id"],
            row["purpose"],
            Address(row["to_address"]),
            row["data"],
            Wei(int(row["value_wei"])),
            row["gas_limit"],
            row["held"],
        )
        for row in await connection.fetch(_QUEUED, chain_id, limit)
    ]


async def flights(connection: Connection, chain_id: int, sender: Address) -> list[Flight]:
    """Return all that has a nonce and is not settled, by nonce."""
    rows = await connection.fetch(_FLIGHTS, chain_id, sender)
    if not rows:
        return []
    attempts: dict[UUID, list[Attempt]] = {row["id"]: [] for row in rows}
    for row in await connection.fetch(_ATTEMPTS, list(attempts)):
        attempts[row["transaction_id"]].append(_attempt(row))
    return [
        Flight(
            row["id"],
            row["purpose"],
            Address(row["to_address"]),
            row["data"],
            Wei(int(row["value_wei"])),
            row["nonce"],
            row["status"] == "mined",
            int(row["reserved_wei"]),
            row["block_hash"],
            tuple(attempts[row["id"]]),
        )
        for row in rows
    ]


async def spent_since(connection: Connection, chain_id: int, sender: Address, since: datetime) -> int:
    """Return what was spent on nonces given out since then; what is not mined yet counts at its most."""
    return int(await connection.fetchval(_SPENT, chain_id, sender, since) or 0)


async def sender_state(connection: Connection, chain_id: int, sender: Address) -> tuple[int, Hash32] | None:
    """Return the next nonce and the genesis block's hash of the chain it belongs to; None at first use."""
    row = await connection.fetchrow(_SENDER, chain_id, sender)
    return None if row is None else (row["next_nonce"], Hash32(row["genesis"]))


async def lock_next_nonce(tx: Tx, chain_id: int, sender: Address, *, at_least: int, genesis: Hash32) -> int:
    """Lock the sender's row until ``tx`` ends and return the next nonce."""
    row = await tx.fetchrow(_LOCK_SENDER, chain_id, sender, at_least, genesis)
    assert row is not None, "an upsert returns its row"
    return row["next_nonce"]


async def rewind(tx: Tx, chain_id: int, sender: Address, next_nonce: int) -> None:
    """Take back nonces that were given out and that nothing of ours holds."""
    await tx.execute(_MOVE_SENDER, chain_id, sender, next_nonce)


async def assign(
    tx: Tx, chain_id: int, sender: Address, assigned: Sequence[Assigned], *, now: datetime
) -> None:
    """Give jobs their nonces, keep what was signed for them, and move the next nonce past the last."""
    attempts = [one.attempt for one in assigned]
    await tx.execute(
        _ASSIGN,
        sender,
        now,
        [one.job_id for one in assigned],
        [attempt.nonce for attempt in attempts],
        [one.reserved_wei for one in assigned],
    )
    await add_attempts(tx, attempts)
    await tx.execute(_MOVE_SENDER, chain_id, sender, attempts[-1].nonce + 1)


async def add_attempts(tx: Tx, attempts: Sequence[Attempt]) -> None:
    """Keep what was signed, before anybody else sees it."""
    # A commit that a crash of the server undoes would have the job signed again with another nonce: this one
    # waits for the disk, whatever the server's setting.
    await tx.execute("SET LOCAL synchronous_commit = on")
    await tx.execute(
        _ADD_ATTEMPTS,
        [attempt.hash for attempt in attempts],
        [attempt.transaction_id for attempt in attempts],
        [attempt.nonce for attempt in attempts],
        [attempt.raw for attempt in attempts],
        [attempt.gas for attempt in attempts],
        [attempt.max_fee_per_gas for attempt in attempts],
        [attempt.max_priority_fee_per_gas for attempt in attempts],
        [attempt.signed_at for attempt in attempts],
        [attempt.signed_block for attempt in attempts],
    )


async def reserve(tx: Tx, job_id: UUID, reserved_wei: int) -> None:
    """Note the most that a job may cost now."""
    await tx.execute(_RESERVE, job_id, reserved_wei)


async def note_broadcast(connection: Connection, said: Mapping[Hash32, str | None], *, now: datetime) -> None:
    """Note that these were sent and what the node said, None when it took them."""
    await connection.execute(_BROADCAST, now, list(said), list(said.values()))


async def fail(connection: Connection, job_id: UUID, failure: Mapping[str, object]) -> None:
    """Settle a job that has no effect and will have none."""
    await connection.execute(_FAIL, job_id, failure)


async def hold(connection: Connection, job_id: UUID, reason: str | None) -> None:
    """Say why a job waits."""
    await connection.execute(_HOLD, job_id, reason)


async def mined(connection: Connection, job_id: UUID, receipt: Mined) -> None:
    """Note the block that has the job."""
    await connection.execute(
        _MINED,
        job_id,
        receipt.hash,
        receipt.block_number,
        receipt.block_hash,
        receipt.succeeded,
        receipt.spent_wei,
    )


async def unmined(connection: Connection, job_id: UUID) -> None:
    """Note that the block that had the job is gone."""
    await connection.execute(_UNMINED, job_id, None, None, None)


async def unmined_from(connection: Connection, chain_id: int, sender: Address, nonce: int) -> bool:
    """Bring back settled jobs from a nonce on, which the chain has forgotten; False when there are none."""
    tag = await connection.execute(_UNMINED, None, chain_id, sender, nonce)
    return tag != "UPDATE 0"


async def settle(connection: Connection, job_id: UUID) -> None:
    """Note that the job's effect stands for good."""
    await connection.execute(_FINAL, job_id)


async def requeue(connection: Connection, job_id: UUID) -> None:
    """Take back a nonce that something else has used for good."""
    await connection.execute(_REQUEUE, job_id)


async def begin_anew(tx: Tx, chain_id: int, sender: Address, failure: Mapping[str, object]) -> None:
    """Give up all nonces of a chain that is no more; what was under way there has failed."""
    await tx.execute(_BEGIN_ANEW, chain_id, sender, failure)
    await tx.execute(_FORGET_SENDER, chain_id, sender)


def _attempt(row: Row) -> Attempt:
    return Attempt(
        Hash32(row["hash"]),
        row["transaction_id"],
        row["nonce"],
        row["raw"],
        row["gas"],
        int(row["max_fee_per_gas"]),
        int(row["max_priority_fee_per_gas"]),
        row["signed_at"],
        row["signed_block"],
        row["broadcast_at"],
        row["refusal"],
    )
