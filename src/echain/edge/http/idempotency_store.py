"""The table ``idempotency_keys``: claims and kept answers of all processes.

A row is one of four things: at work (no answer, expires a minute after its claim), bound (no answer, kept for
a day: the effect committed), answered, or expired, which counts as absent. ``created_at`` fences: a claim
that was taken over no longer finds its row.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from echain.edge.http.idempotency import (
    CLAIM_TERM,
    KEPT_TERM,
    AnswerLost,
    Claim,
    ClaimLost,
    InProgress,
    Kept,
    KeyReused,
)
from echain.infra.database import Database, Row, Tx

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Kept).decode


class StoredIdempotency:
    """Keeps claims and answers in PostgreSQL; a claim costs one statement, and so does its end."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, caller: str, key: str, request_hash: bytes, now: datetime) -> Claim | Kept:
        """See `Idempotency.claim`."""
        claimed = await self._database.fetchval(
            """
            INSERT INTO idempotency_keys AS held (caller, key, request_hash, created_at, expires_at)
            VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT (caller, key) DO UPDATE
               SET request_hash = excluded.request_hash, status = NULL, answer = NULL,
                   created_at = excluded.created_at, expires_at = excluded.expires_at
             WHERE held.expires_at <= excluded.created_at
            RETURNING TRUE
            """,
            caller,
            key,
            request_hash,
            now,
            now + CLAIM_TERM,
        )
        if claimed:
            return _StoredClaim(self._database, caller, key, now)
        return _answer_of(await self._find(caller, key), request_hash, now)

    async def sweep(self, now: datetime, *, limit: int = 10_000) -> int:
        """Delete at most ``limit`` expired rows; return how many went."""
        return await self._database.fetchval(
            """
            WITH gone AS (
                DELETE FROM idempotency_keys
                 WHERE (caller, key) IN (
                       SELECT caller, key FROM idempotency_keys
                        WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)
                   AND expires_at <= $1
                RETURNING 1)
            SELECT count(*) FROM gone
            """,
            now,
            limit,
        )

    async def _find(self, caller: str, key: str) -> Row | None:
        return await self._database.fetchrow(
            "SELECT request_hash, status, answer, created_at, expires_at FROM idempotency_keys"
            " WHERE caller = $1 AND key = $2",
            caller,
            key,
        )


def _answer_of(row: Row | None, request_hash: bytes, now: datetime) -> Kept:
    """Return the kept answer of a row that stood in the way of a claim.

    Raises:
        KeyReused, InProgress, AnswerLost: as the row says.
    """
    if row is None:  # given up between the two statements; the client's next attempt claims it
        raise InProgress
    if row["request_hash"] != request_hash:
        raise KeyReused
    if row["answer"] is not None:
        return _decode(row["answer"])
    if row["created_at"] + CLAIM_TERM <= now:
        raise AnswerLost
    raise InProgress


class _StoredClaim:
    __slots__ = ("_caller", "_created_at", "_database", "_key")

    def __init__(self, database: Database, caller: str, key: str, created_at: datetime) -> None:
        self._database = database
        self._caller = caller
        self._key = key
        self._created_at = created_at

    async def bind(self, tx: Tx) -> None:
        bound = await tx.fetchval(
            "UPDATE idempotency_keys SET expires_at = $4"
            " WHERE caller = $1 AND key = $2 AND created_at = $3 AND status IS NULL RETURNING TRUE",
            self._caller,
            self._key,
            self._created_at,
            self._created_at + KEPT_TERM,
        )
        if not bound:
            raise ClaimLost

    async def complete(self, answer: Kept) -> None:
        await self._database.execute(
            "UPDATE idempotency_keys SET status = $4, answer = $5, expires_at = $6"
            " WHERE caller = $1 AND key = $2 AND created_at = $3",
            self._caller,
            self._key,
            self._created_at,
            answer.status,
            _encode(answer),
            self._created_at + KEPT_TERM,
        )

    async def abandon(self) -> None:
        await self._database.execute(
            "DELETE FROM idempotency_keys"
            " WHERE caller = $1 AND key = $2 AND created_at = $3 AND status IS NULL AND expires_at <= $4",
            self._caller,
            self._key,
            self._created_at,
            self._created_at + CLAIM_TERM,
        )


async def forget_answers(tx: Tx, caller: str) -> None:
    """Drop the keys of a caller with the answers that were kept for them."""
    await tx.execute("DELETE FROM idempotency_keys WHERE caller = $1", caller)
