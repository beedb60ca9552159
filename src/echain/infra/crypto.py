"""Personal data at rest: sealed with keys that rotate, each value bound to the place where it lies."""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from echain.infra.secret import Secret
from echain.kernel.errors import EchainError, Kind

_VERSION: Final = b"\x01"
_KEY_BYTES: Final = 32
_ID_BYTES: Final = 4
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
PREFIX_BYTES: Final = len(_VERSION) + _ID_BYTES
"""How many bytes of a sealed value tell its version and key."""


class Unopenable(EchainError):
    """A sealed value cannot be opened: its key is not among ECHAIN_DATA_KEYS, or it was altered or moved."""

    kind = Kind.INTERNAL
    code = "crypto.unopenable"


class SealedColumn(msgspec.Struct, frozen=True):
    """A column of sealed values.

    ``index_column`` holds their blind indexes where they are looked up; ``normal`` makes values that count as
    the same equal.
    """

    table: str
    column: str = "sealed"
    id_column: str = "id"
    index_column: str | None = None
    normal: Callable[[bytes], bytes] = bytes

    def context(self, row_id: UUID | str) -> str:
        """Return the context of the value in one row: opened anywhere else it does not open."""
        return f"{self.table}.{self.column}:{row_id}"

    def seal(self, keys: DataKeys, row_id: UUID | str, plain: bytes) -> bytes:
        """Return ``plain`` sealed for one row."""
        return keys.seal(plain, context=self.context(row_id))

    def open(self, keys: DataKeys, row_id: UUID | str, sealed: bytes) -> bytes:
        """Return the plain value of one row.

        Raises:
            Unopenable: see `DataKeys.open`.
        """
        return keys.open(sealed, context=self.context(row_id))

    def indexes(self, keys: DataKeys, plain: bytes) -> tuple[bytes, ...]:
        """Return the blind indexes of a value, the one to store first; look up with all of them."""
        return keys.indexes(self.normal(plain), context=f"{self.table}.{self.column}")


class _Key:
    """One data key: the keys derived from it, and the id by which sealed values name it."""

    def __init__(self, material: bytes) -> None:
        if len(material) != _KEY_BYTES:
            raise ValueError(f"a data key has {_KEY_BYTES} bytes")
        self.id = _derived(material, "id")[:_ID_BYTES]
        self.prefix = _VERSION + self.id
        self.cipher = AESGCM(_derived(material, "seal"))
        self.index = _derived(material, "index")


class DataKeys:
    """Seals with the first key and opens with each.

    AES-256-GCM with random nonces (NIST SP 800-38D 8.3: rotate before 2^32 values). What seals, finds and
    names a key is derived from it apart by HKDF (RFC 5869). The context is authenticated, not stored, so a
    value copied into another row or column does not open there.
    """

    def __init__(self, keys: Sequence[Secret]) -> None:
        """Take keys of 64 hexadecimal digits.

        Raises:
            ValueError: none, or one of another length.
        """
        if not keys:
            raise ValueError("at least one data key is needed")
        self._keys = tuple(_Key(bytes.fromhex(key.reveal())) for key in keys)
        self._by_prefix = {key.prefix: key for key in reversed(self._keys)}

    @property
    def current_prefix(self) -> bytes:
        """What every value begins with that the first key sealed."""
        return self._keys[0].prefix

    @property
    def names(self) -> tuple[str, ...]:
        """The ids of the keys, the first first; they tell nothing of the keys."""
        return tuple(key.id.hex() for key in self._keys)

    def seal(self, plain: bytes, *, context: str) -> bytes:
        """Return ``plain`` sealed with the first key; twice gives different bytes."""
        key, nonce = self._keys[0], os.urandom(_NONCE_BYTES)
        return key.prefix + nonce + key.cipher.encrypt(nonce, plain, key.prefix + context.encode())

    def open(self, sealed: bytes, *, context: str) -> bytes:
        """Return what `seal` was given with the same context.

        Raises:
            Unopenable: no key of ours, altered, cut, or sealed with another context.
        """
        prefix, nonce = sealed[:PREFIX_BYTES], sealed[PREFIX_BYTES : PREFIX_BYTES + _NONCE_BYTES]
        key = self._by_prefix.get(prefix)
        if key is None or len(sealed) < PREFIX_BYTES + _NONCE_BYTES + _TAG_BYTES:
            raise Unopenable
        try:
            return key.cipher.decrypt(nonce, sealed[PREFIX_BYTES + _NONCE_BYTES :], prefix + context.encode())
        except InvalidTag:
            raise Unopenable from None

    def indexes(self, plain: bytes, *, context: str) -> tuple[bytes, ...]:
        """Return the 32 bytes a key by which equal values of one context are found: HMACs, the first's first.

        Whoever holds the rows alone learns which are equal, and nothing else, however few values there are.
        Rows are found under each key while a rotation is under way.
        """
        message = context.encode() + b"\x00" + plain
        return tuple(hmac.digest(key.index, message, sha256) for key in self._keys)


def _derived(material: bytes, purpose: str) -> bytes:
    info = f"echain data key: {purpose}".encode()
    return HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=None, info=info).derive(material)
