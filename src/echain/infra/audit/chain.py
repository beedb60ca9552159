"""What a chain of entries is made of: the bytes that stand for an entry, and the keys that seal them."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from echain.infra.secret import Secret

VERSION: Final = 1
PLATFORM: Final = UUID(int=0)
"""The chain of what belongs to no organization."""

FIRST: Final = bytes(32)
"""What stands for the hash before the first entry."""

_KEY_BYTES: Final = 32
_ID_BYTES: Final = 4
_DOMAIN: Final = b"echain audit entry\x00"
_MISSING: Final = b"\xff\xff\xff\xff"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Entry(msgspec.Struct, frozen=True):
    """An entry as it is stored; `record` says what the fields mean."""

    position: int
    id: UUID
    organization_id: UUID | None
    at: datetime
    actor_kind: str
    actor_id: str
    actor_address: bytes | None
    credential: str
    action: str
    resource: str
    request_id: str
    client: bytes | None
    diff: str

    @property
    def chain(self) -> UUID:
        return PLATFORM if self.organization_id is None else self.organization_id


COLUMNS: Final = ", ".join(f"entry.{name}" for name in Entry.__struct_fields__)
"""In the order of `Entry`, of a table that the statement calls ``entry``."""


class Seal(msgspec.Struct, frozen=True):
    """Where an entry stands in its chain, since when, and by which key."""

    number: int
    key_id: bytes
    sealed_at: datetime


def canonical(entry: Entry, seal: Seal) -> bytes:
    r"""Return the bytes that stand for an entry in its chain, by version 1 of the encoding.

    ``"echain audit entry\0"``, the version as one byte, and then these sixteen fields, each as its length
    (four bytes, big-endian) and its bytes; a NULL is the length ``ffffffff`` and nothing more::

        key id (4 bytes) · chain (16) · number (8) · sealed at (8) · position (8) · id (16) · at (8)
        · actor kind · actor id · actor address (20, or NULL) · credential · action · resource
        · request id · client (32, or NULL) · diff

    Numbers are big-endian, times signed microseconds since 1970 UTC, texts UTF-8 as stored. The chain is the
    organization's id, or sixteen zero bytes. No two entries, and no entry at two places, have the same bytes.
    """
    fields = (
        seal.key_id,
        entry.chain.bytes,
        seal.number.to_bytes(8),
        _moment(seal.sealed_at),
        entry.position.to_bytes(8),
        entry.id.bytes,
        _moment(entry.at),
        entry.actor_kind.encode(),
        entry.actor_id.encode(),
        entry.actor_address,
        entry.credential.encode(),
        entry.action.encode(),
        entry.resource.encode(),
        entry.request_id.encode(),
        entry.client,
        entry.diff.encode(),
    )
    parts = [_DOMAIN, VERSION.to_bytes(1)]
    for field in fields:
        if field is None:
            parts.append(_MISSING)
        else:
            parts += (len(field).to_bytes(4), field)
    return b"".join(parts)


def _moment(at: datetime) -> bytes:
    return ((at - _EPOCH) // _MICROSECOND).to_bytes(8, signed=True)


class AuditKeys:
    """Seals with the first key and knows each; keys are listed from the newest to the oldest.

    A hash is HMAC-SHA256 over the hash before it and the entry's canonical bytes, so whoever has only the
    database can make none. What seals and what names a key are derived from it apart (HKDF, RFC 5869).
    """

    def __init__(self, keys: Sequence[Secret]) -> None:
        """Take keys of 64 hexadecimal digits.

        Raises:
            ValueError: none, or one of another length.
        """
        if not keys:
            raise ValueError("at least one audit key is needed")
        materials = [bytes.fromhex(key.reveal()) for key in keys]
        if any(len(material) != _KEY_BYTES for material in materials):
            raise ValueError(f"an audit key has {_KEY_BYTES} bytes")
        self._seals = {
            _derived(material, "id")[:_ID_BYTES]: _derived(material, "seal") for material in materials
        }
        self.ids = tuple(self._seals)

    @property
    def current(self) -> bytes:
        """Return the id of the key that seals."""
        return self.ids[0]

    def age(self, key_id: bytes) -> int | None:
        """Return a key's place, 0 for the newest; None for one that is not known."""
        return self.ids.index(key_id) if key_id in self._seals else None

    def hash(self, previous: bytes, entry: Entry, seal: Seal) -> bytes:
        """Return the hash that links an entry to the one before it.

        Raises:
            KeyError: the key is not known.
        """
        return hmac.digest(self._seals[seal.key_id], previous + canonical(entry, seal), sha256)


def _derived(material: bytes, purpose: str) -> bytes:
    info = f"echain audit key: {purpose}".encode()
    return HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=None, info=info).derive(material)
