"""The addresses that requests came from: sealed beside the log, bound to it by a commitment, erasable."""

from __future__ import annotations

import os
from hashlib import sha256
from typing import Final
from uuid import UUID

from echain.infra.audit.entries import Client
from echain.infra.crypto import DataKeys, SealedColumn

ADDRESSES: Final = SealedColumn(table="audit_clients", id_column="entry_id")
_SALT_BYTES: Final = 16


class ClientSeals:
    """Seals client addresses; who has none of it keeps no addresses.

    The commitment is SHA-256 of 16 random bytes and the address. The random bytes are sealed with the address
    and nowhere else: once that is erased, nobody can find the address by trying all there are.
    """

    def __init__(self, keys: DataKeys) -> None:
        self._keys = keys

    def seal(self, entry_id: UUID, address: str) -> Client:
        salted = os.urandom(_SALT_BYTES) + address.encode()
        return Client(sha256(salted).digest(), ADDRESSES.seal(self._keys, entry_id, salted))

    def open(self, entry_id: UUID, sealed: bytes, commitment: bytes) -> str | None:
        """Return the address of an entry; None when it is not the one that the entry commits to.

        Raises:
            Unopenable: see `DataKeys.open`.
        """
        salted = ADDRESSES.open(self._keys, entry_id, sealed)
        return salted[_SALT_BYTES:].decode() if sha256(salted).digest() == commitment else None
