"""Identifiers: UUIDv7 for own records, derived UUIDs for what the chain already names."""

from __future__ import annotations

import secrets
import time
from hashlib import sha256
from uuid import UUID

_VARIANT = 0b10 << 62


def uuid7() -> UUID:
    """Return a new RFC 9562 UUIDv7: 48 bits of Unix milliseconds, 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    return UUID(
        int=(milliseconds & (1 << 48) - 1) << 80
        | 0x7 << 76
        | secrets.randbits(12) << 64
        | _VARIANT
        | secrets.randbits(62)
    )


def derived_id(*parts: bytes | int) -> UUID:
    """Return the RFC 9562 UUIDv8 that these parts always give.

    Integers count as 32 bytes big-endian, so that a projection can name its rows without a table of names.
    """
    digest = sha256()
    for part in parts:
        digest.update(part if isinstance(part, bytes) else part.to_bytes(32, "big"))
    number = int.from_bytes(digest.digest()[:16], "big")
    low = number & (1 << 62) - 1
    high = number >> 64 & ~0xF000
    return UUID(int=(high | 0x8000) << 64 | _VARIANT | low)
