"""Idempotency-Key: a POST that is sent again has its effect once, and the first answer.

The order of things: claim the key, run the handler, keep the answer. A claim that is neither answered nor
given up (the process died) opens again after a minute, unless the handler bound it to its transaction by
`Call.once`.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Protocol

import msgspec

from echain.infra.database import Tx
from echain.kernel.errors import EchainError, Kind, invalid_field

CLAIM_TERM = timedelta(seconds=60)
"""How long a request may work on its answer before a retry may take over."""
KEPT_TERM = timedelta(hours=24)
"""How long an answer is replayed, from the first request on."""
KEY_PATTERN = r"^[\x21-\x7e]{1,255}$"

_KEY = re.compile(KEY_PATTERN)


class KeyReused(EchainError):
    """This Idempotency-Key was used for another request; take a new key for a new request."""

    kind = Kind.CONFLICT
    code = "idempotency.key_reused"


class InProgress(EchainError):
    """The first request with this Idempotency-Key is still at work; ask again in a second."""

    kind = Kind.CONFLICT
    code = "idempotency.in_progress"


class AnswerLost(EchainError):
    """The first request with this Idempotency-Key took effect, its answer was lost; read what it made."""

    kind = Kind.CONFLICT
    code = "idempotency.answer_lost"


class ClaimLost(EchainError):
    """The request took so long that a retry with the same Idempotency-Key took over; nothing was done."""

    kind = Kind.CONFLICT
    code = "idempotency.claim_lost"


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """An answer as it was sent first, without what belongs to one delivery only (request id, cookies)."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


class Claim(Protocol):
    """The right to run one request; exactly one of `complete` and `abandon` ends it."""

    async def bind(self, tx: Tx) -> None:
        """Make the claim permanent when ``tx`` commits; raises ClaimLost when a retry took over."""
        ...

    async def complete(self, answer: Kept) -> None:
        """Keep the answer for retries."""
        ...

    async def abandon(self) -> None:
        """Free the key, so that a retry runs the request; a bound claim stays."""
        ...


class Idempotency(Protocol):
    """Where claims and answers are kept, for all processes."""

    async def claim(self, caller: str, key: str, request_hash: bytes, now: datetime) -> Claim | Kept:
        """Return the claim of a new request, or the kept answer of a repeated one.

        ``caller`` is the scope of the key, ``request_hash`` 32 bytes that tell requests apart.

        Raises:
            KeyReused: the key stands for another request.
            InProgress: the first request has not answered yet.
            AnswerLost: the first request took effect and died before it answered.
        """
        ...


def checked_key(key: str) -> str:
    """Return the key that the header carries.

    Raises:
        Invalid: empty, over 255 characters, or not visible ASCII.
    """
    if not _KEY.fullmatch(key):
        raise invalid_field(
            "Idempotency-Key", "1 to 255 visible ASCII characters; a random UUID is a good key"
        )
    return key


def request_hash(method: str, raw_path: bytes, query: bytes, body: bytes) -> bytes:
    """Return 32 bytes that differ for different requests; lengths keep the parts apart."""
    digest = sha256(method.encode("ascii"))
    for part in (raw_path, query, body):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()
