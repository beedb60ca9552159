"""Signed transactions that people hand in: read, checked, and their sender recovered."""

from __future__ import annotations

import re
from typing import Any, Final, cast

import msgspec
import rlp
from hexbytes import HexBytes

from echain.chain.ethaccount import account
from echain.kernel.errors import invalid_field
from echain.kernel.evm import Address, Hash32, keccak

MAX_BYTES: Final = 30_000
_HEX: Final = re.compile(r"0x(?:[0-9a-fA-F]{2})+")
_LEGACY_FIELDS: Final = 9
_LEGACY_FROM: Final = 0xC0
_EIP155: Final = 35
_TYPES: Final = (1, 2)


class RawTransaction(msgspec.Struct, frozen=True):
    """A signed transaction, and what its signature proves."""

    raw: bytes
    hash: Hash32
    chain_id: int
    sender: Address
    nonce: int


def parse_raw(text: str, *, path: str = "raw") -> RawTransaction:
    """Return the signed transaction that ``text`` spells in hexadecimal.

    Legacy transactions that name their chain (EIP-155) and types 1 and 2 are taken, at most `MAX_BYTES` of
    them.

    Raises:
        Invalid: anything else; ``path`` names the field.
    """
    raw = _bytes(text, path)
    # The library's parsers were not written for strangers' bytes: whatever they raise means "no transaction".
    try:
        chain_id, nonce = _legacy(raw) if raw[0] >= _LEGACY_FROM else _typed(raw)
        sender = Address(bytes.fromhex(account().recover_transaction(raw)[2:]))
    except Exception as error:
        raise invalid_field(path, f"this is no signed transaction: {_reason(error)}") from error
    return RawTransaction(raw, keccak(raw), chain_id, sender, nonce)


class _Refused(Exception):
    """A transaction of a shape that is not taken here."""


def _bytes(text: str, path: str) -> bytes:
    if len(text) > 2 * MAX_BYTES + 2:
        raise invalid_field(path, f"a transaction has at most {MAX_BYTES} bytes")
    if not _HEX.fullmatch(text):
        raise invalid_field(path, "a signed transaction is 0x and an even number of hexadecimal digits")
    return bytes.fromhex(text[2:])


def _typed(raw: bytes) -> tuple[int, int]:
    if raw[0] not in _TYPES:
        raise _Refused(f"transactions of type {raw[0]} are not taken")
    account()  # comes first, so that this import finds everything there
    from eth_account.typed_transactions.typed_transaction import TypedTransaction

    fields = cast("list[Any]", rlp.decode(raw[1:]))
    TypedTransaction.from_bytes(HexBytes(raw))
    return int.from_bytes(fields[0], "big"), int.from_bytes(fields[1], "big")


def _legacy(raw: bytes) -> tuple[int, int]:
    fields = cast("list[bytes]", rlp.decode(raw))
    if len(fields) != _LEGACY_FIELDS:
        raise _Refused("a legacy transaction has nine fields")
    v = int.from_bytes(fields[6], "big")
    if v < _EIP155:
        raise _Refused("it does not name its chain (EIP-155)")
    return (v - _EIP155) // 2, int.from_bytes(fields[0], "big")


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, _Refused) else "its encoding or its signature is wrong"
