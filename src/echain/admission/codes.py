"""The code that a ticket's holder shows at the door: what it says, how it is written, signed and checked.

A code lives for one slot of 30 seconds and is 85 bytes:

    version 1 | event tag 4 | token id 4 | holder tag 8 | slot 4 | Ed25519 signature 64

The signature stands over ``echain/qr2`` and the first 21 bytes, so that what is forged is told apart from
what is for another event without looking anything up. A gate knows its own event, hence a tag of it is
enough; the holder's tag is compared with whoever owns the ticket when the code is shown. Base45 (RFC 9285)
keeps the text within the alphanumeric alphabet of QR codes: 128 characters, version 6 at level M.

Nothing here reads a clock or a table.
"""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256
from struct import Struct as Layout
from typing import Final, Self

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from echain.admission.types import Verdict
from echain.kernel.evm import Address
from echain.kernel.time import from_unix, to_unix

SLOT_SECONDS: Final = 30
SLOT_SKEW: Final = 1
"""How many slots a code may be away from the present one, because clocks and hands are slow."""
VERSION: Final = 2
"""Codes that the server signs; the number and the signed prefix leave room for codes that a device signs."""
MAX_TOKEN_ID: Final = 2**32 - 1
"""The contract counts tickets in 32 bits."""

_DOMAIN: Final = b"echain/qr2"
_TAG_BYTES: Final = 4
_HOLDER_BYTES: Final = 8
_SIGNATURE_BYTES: Final = 64
_PAYLOAD: Final = Layout(f">B{_TAG_BYTES}sI{_HOLDER_BYTES}sI")
_CODE_BYTES: Final = _PAYLOAD.size + _SIGNATURE_BYTES

_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"
_TWO_BYTES: Final = 0xFFFF
_ONE_BYTE: Final = 0xFF
_DIGIT: Final = {character: digit for digit, character in enumerate(_ALPHABET)}


class Claim(msgspec.Struct, frozen=True):
    """What a genuine code of the present says; whether it admits is for the door to decide."""

    event_tag: bytes
    token_id: int
    holder_tag: bytes


class Code(msgspec.Struct, frozen=True):
    """A code to show: fetch the next at ``refresh_after``; gates refuse this one from ``valid_until`` on."""

    text: str
    refresh_after: datetime
    valid_until: datetime


class CodeKey:
    """The platform's key for ticket codes; its seed is secret and never printed."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self._public = private.public_key()

    @classmethod
    def from_seed(cls, seed: str | bytes) -> Self:
        """Return the key that a secret always gives; the secret may be of any length and form."""
        secret = seed.encode() if isinstance(seed, str) else seed
        return cls(Ed25519PrivateKey.from_private_bytes(sha256(b"echain/qr2/key" + secret).digest()))

    def sign(self, payload: bytes) -> bytes:
        """Return the 64-byte signature that binds ``payload`` to this use."""
        return self._private.sign(_DOMAIN + payload)

    def signed(self, payload: bytes, signature: bytes) -> bool:
        """Return whether this key signed ``payload``."""
        try:
            self._public.verify(signature, _DOMAIN + payload)
        except InvalidSignature:
            return False
        return True


def event_tag(chain_id: int, ticket_contract: Address) -> bytes:
    """Return the 4 bytes by which a gate tells its own event from others.

    Two events may share a tag; the holder of the ticket is checked in the gate's own event all the same.
    """
    return sha256(chain_id.to_bytes(32, "big") + ticket_contract).digest()[:_TAG_BYTES]


def holder_tag(holder: Address) -> bytes:
    """Return the first 8 bytes of an address; to have the same, one must try 2^64 keys."""
    return bytes(holder[:_HOLDER_BYTES])


def issue(
    key: CodeKey, *, chain_id: int, ticket_contract: Address, token_id: int, holder: Address, now: datetime
) -> Code:
    """Return the holder's code for the slot that ``now`` falls into.

    Raises:
        ValueError: ``token_id`` is outside 32 bits; no such ticket is ever sold.
    """
    if not 0 <= token_id <= MAX_TOKEN_ID:
        raise ValueError("a token id has 32 bits")
    slot = to_unix(now) // SLOT_SECONDS
    payload = _PAYLOAD.pack(VERSION, event_tag(chain_id, ticket_contract), token_id, holder_tag(holder), slot)
    return Code(
        text=base45_encode(payload + key.sign(payload)),
        refresh_after=from_unix((slot + 1) * SLOT_SECONDS),
        valid_until=from_unix((slot + 1 + SLOT_SKEW) * SLOT_SECONDS),
    )


def read(key: CodeKey, text: str, *, now: datetime) -> Claim | Verdict:
    """Return what a code says, or why it says nothing: `MALFORMED`, `FORGED` or `EXPIRED`, in this order.

    A slot that lies too far ahead counts as expired: the clock that it was signed by is wrong.
    """
    try:
        code = base45_decode(text)
    except ValueError:
        return Verdict.MALFORMED
    if len(code) != _CODE_BYTES or code[0] != VERSION:
        return Verdict.MALFORMED
    if not key.signed(code[: _PAYLOAD.size], code[_PAYLOAD.size :]):
        return Verdict.FORGED
    _, tag, token_id, holder, slot = _PAYLOAD.unpack(code[: _PAYLOAD.size])
    if abs(slot - to_unix(now) // SLOT_SECONDS) > SLOT_SKEW:
        return Verdict.EXPIRED
    return Claim(event_tag=tag, token_id=token_id, holder_tag=holder)


def base45_encode(data: bytes) -> str:
    """Return ``data`` in Base45 (RFC 9285): three characters for two bytes, two for an odd last one."""
    digits: list[str] = []
    for start in range(0, len(data) - 1, 2):
        high, rest = divmod(data[start] << 8 | data[start + 1], 2025)
        middle, low = divmod(rest, 45)
        digits += (_ALPHABET[low], _ALPHABET[middle], _ALPHABET[high])
    if len(data) % 2:
        middle, low = divmod(data[-1], 45)
        digits += (_ALPHABET[low], _ALPHABET[middle])
    return "".join(digits)


def base45_decode(text: str) -> bytes:
    """Return the bytes that a Base45 text spells; each byte string has exactly one spelling.

    Raises:
        ValueError: a character outside the alphabet, a length or a value that no bytes encode to.
    """
    try:
        digits = [_DIGIT[character] for character in text]
    except KeyError as error:
        raise ValueError("a character outside the Base45 alphabet") from error
    data = bytearray()
    whole = len(digits) // 3 * 3
    for start in range(0, whole, 3):
        value = digits[start] + 45 * digits[start + 1] + 2025 * digits[start + 2]
        if value > _TWO_BYTES:
            raise ValueError("a value that no two bytes encode to")
        data += value.to_bytes(2, "big")
    match digits[whole:]:
        case []:
            return bytes(data)
        case [low, middle] if low + 45 * middle <= _ONE_BYTE:
            data.append(low + 45 * middle)
            return bytes(data)
        case _:
            raise ValueError("a length or value that no bytes encode to")
