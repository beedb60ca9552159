"""SQL of what others told us: the inbox and the payments."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, Literal, TypeAlias
from uuid import UUID

import msgspec

from echain.infra.database import Database, Row, Tx
from echain.webhooks.adapter import ChargeTold
from echain.webhooks.coinbase import Signed
from echain.webhooks.types import Charge, ChargeStatus

Outcome: TypeAlias = Literal["ignored", "confirmed", "contradicted", "unseen", "foreign", "recorded", "late"]
"""``ignored``: nothing of ours. ``confirmed``: the log stands in our store. ``contradicted``: our own node
says otherwise. ``unseen``: our node knows nothing of it. ``foreign``: it happened, in a contract that is not
ours. ``recorded``: the payment moved. ``late``: the payment was further already."""

_SWEPT: Final = 5_000


class Inbox(msgspec.Struct, frozen=True):
    """A webhook to work on."""

    source: str
    type: str
    body: bytes
    received_at: datetime


async def insert(tx: Tx, inbox_id: UUID, signed: Signed, body: bytes, now: datetime) -> bool:
    """Keep a webhook; return whether it is the first with this id of its source."""
    written: UUID | None = await tx.fetchval(
        """
        INSERT INTO webhook_inbox (id, source, source_id, type, body, received_at)
        VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (source, source_id) DO NOTHING
        RETURNING id
        """,
        *(inbox_id, signed.source, signed.source_id, signed.type, body, now),
    )
    return written is not None


async def open_one(database: Database, inbox_id: UUID) -> Inbox | None:
    """Return a webhook that has no outcome yet."""
    row = await database.fetchrow(
        "SELECT source, type, body, received_at FROM webhook_inbox WHERE id = $1 AND outcome IS NULL",
        inbox_id,
    )
    return None if row is None else Inbox(*row)


async def close(tx: Tx, inbox_id: UUID, outcome: Outcome, reason: str | None, now: datetime) -> None:
    """Write down what came of a webhook; the first word stands."""
    await tx.execute(
        """
        UPDATE webhook_inbox SET outcome = $2, reason = $3, processed_at = $4
        WHERE id = $1 AND outcome IS NULL
        """,
        *(inbox_id, outcome, reason, now),
    )


async def forget_bodies(tx: Tx, before: datetime) -> int:
    """Empty what was worked on before a moment, some thousand at a time; the ids stay, against replays."""
    tag = await tx.execute(
        """
        UPDATE webhook_inbox SET body = NULL WHERE id IN (
            SELECT id FROM webhook_inbox WHERE body IS NOT NULL AND processed_at < $1
            ORDER BY processed_at LIMIT $2 FOR UPDATE SKIP LOCKED
        )
        """,
        before,
        _SWEPT,
    )
    return int(tag.rpartition(" ")[2])


async def move_charge(tx: Tx, source: str, told: ChargeTold, inbox_id: UUID, now: datetime) -> bool:
    """Bring a payment to a status that lies further on; return False where it is there or beyond already."""
    moved: str | None = await tx.fetchval(
        """
        INSERT INTO payment_charges AS charge
            (source, charge_id, status, code, amount, currency, metadata, told_by, told_at)
        VALUES ($1, $2, $3::charge_status, $4, $5, $6, $7, $8, $9)
        ON CONFLICT (source, charge_id) DO UPDATE SET
            status = excluded.status, code = coalesce(excluded.code, charge.code),
            amount = coalesce(excluded.amount, charge.amount),
            currency = coalesce(excluded.currency, charge.currency),
            metadata = CASE WHEN excluded.metadata = '{}' THEN charge.metadata ELSE excluded.metadata END,
            told_by = excluded.told_by, told_at = excluded.told_at
        WHERE excluded.status > charge.status
        RETURNING charge_id
        """,
        *(source, told.charge_id, told.status.value, told.code, told.amount, told.currency),
        *(dict(told.metadata), inbox_id, now),
    )
    return moved is not None


async def charge(database: Database, source: str, charge_id: str) -> Charge | None:
    """Return a payment as its provider told of it."""
    row: Row | None = await database.fetchrow(
        """
        SELECT source, charge_id, status::text, code, amount, currency, metadata, told_at
        FROM payment_charges WHERE source = $1 AND charge_id = $2
        """,
        *(source, charge_id),
    )
    if row is None:
        return None
    fields: dict[str, Any] = dict(row)
    fields["status"] = ChargeStatus(fields["status"])
    return Charge(**fields)


async def oldest_open(database: Database) -> datetime | None:
    """Return when the webhook that waits longest came in."""
    return await database.fetchval("SELECT min(received_at) FROM webhook_inbox WHERE outcome IS NULL")


class StoredLog(msgspec.Struct, frozen=True):
    """A log that stands in the log store, read from our own nodes."""

    tx_hash: bytes
    block_hash: bytes
    address: bytes
    topics: bytes


async def stored_log(
    database: Database, chain_id: int, block_number: int, log_index: int
) -> StoredLog | None:
    """Return what stands at a place of a chain."""
    row = await database.fetchrow(
        """
        SELECT log.tx_hash, block.hash AS block_hash, log.address, log.topics
        FROM chain_logs AS log
        JOIN chain_blocks AS block ON block.chain_id = log.chain_id AND block.number = log.block_number
        WHERE log.chain_id = $1 AND log.block_number = $2 AND log.log_index = $3
        """,
        *(chain_id, block_number, log_index),
    )
    return None if row is None else StoredLog(*row)


async def is_followed(database: Database, chain_id: int, address: bytes) -> bool:
    """Return whether a contract's logs are ours to store."""
    return await database.fetchval(
        "SELECT EXISTS (SELECT FROM chain_contracts WHERE chain_id = $1 AND address = $2)", chain_id, address
    )
