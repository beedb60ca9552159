"""ETags: a strong tag of an answer's data, and what If-None-Match says to it."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b


def etag_of(data: bytes) -> bytes:
    """Return the quoted strong tag of these bytes: 96 bits of BLAKE2b.

    For enveloped answers these are the bytes of ``data`` alone: time and request id belong to the message,
    not to what it represents.
    """
    return b'"%b"' % blake2b(data, digest_size=12).hexdigest().encode("ascii")


rendered_etag = lru_cache(maxsize=512)(etag_of)
"""The same, remembered for bytes that are sent again and again; at most 512 answers are held."""


def matches(if_none_match: bytes, etag: bytes) -> bool:
    """Return whether If-None-Match names this tag, or any; compared weakly (RFC 9110, section 13.1.2)."""
    if if_none_match == etag:
        return True
    if if_none_match.strip() == b"*":
        return True
    return any(tag.strip().removeprefix(b"W/") == etag for tag in if_none_match.split(b","))
