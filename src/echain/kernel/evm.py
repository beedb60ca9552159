"""Addresses, hashes and quantities of an EVM chain: bytes inside, hex text at the edges."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NewType

from eth_hash.auto import keccak as _keccak

from echain.kernel.errors import invalid_field

Address = NewType("Address", bytes)
"""20 bytes; EIP-55 text in every output."""

Hash32 = NewType("Hash32", bytes)
"""32 bytes: a block, transaction, metadata or event-signature hash."""

ZERO_ADDRESS = Address(bytes(20))

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_HASH = re.compile(r"0x[0-9a-fA-F]{64}")


def keccak(data: bytes) -> Hash32:
    """Return the Keccak-256 digest of ``data``."""
    return Hash32(_keccak(data))


def parse_address(text: str, *, path: str = "address") -> Address:
    """Return the address that ``text`` spells.

    All-lower and all-upper hex carry no checksum and pass; mixed case must be the EIP-55 spelling.

    Raises:
        Invalid: wrong shape or checksum; ``path`` names the field.
    """
    if not _ADDRESS.fullmatch(text):
        raise invalid_field(path, "an address is 0x and 40 hexadecimal digits")
    address = Address(bytes.fromhex(text[2:]))
    digits = text[2:]
    if digits not in (digits.lower(), digits.upper()) and text != checksum(address):
        raise invalid_field(path, "the EIP-55 checksum is wrong; check the address for a typing error")
    return address


@lru_cache(maxsize=65_536)
def checksum(address: Address) -> str:
    """Return the EIP-55 spelling of a 20-byte address."""
    digits = address.hex()
    nibbles = keccak(digits.encode()).hex()
    return "0x" + "".join(
        digit.upper() if nibble >= "8" else digit for digit, nibble in zip(digits, nibbles, strict=False)
    )


def parse_hash(text: str, *, path: str = "hash") -> Hash32:
    """Return the 32 bytes that ``text`` spells.

    Raises:
        Invalid: not 0x and 64 hexadecimal digits; ``path`` names the field.
    """
    if not _HASH.fullmatch(text):
        raise invalid_field(path, "a hash is 0x and 64 hexadecimal digits")
    return Hash32(bytes.fromhex(text[2:]))


def to_hex(data: bytes) -> str:
    """Return ``data`` as lower-case 0x text."""
    return "0x" + data.hex()


def quantity(value: int) -> str:
    """Return a JSON-RPC quantity: 0x text without leading zeros."""
    return hex(value)
