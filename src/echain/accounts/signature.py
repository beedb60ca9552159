"""Who signed a text with a plain wallet: EIP-191 personal messages, secp256k1 recovery."""

from __future__ import annotations

import re
from typing import Final

from coincurve import PublicKey

from echain.accounts.types import SignatureInvalid, SignatureMalformed
from echain.chain.contractwallet import LONGEST_SIGNATURE
from echain.kernel.evm import Address, Hash32, keccak

_ORDER: Final = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
_WORD: Final = 32
_COMPACT: Final = 64
_PLAIN: Final = 65
_SIGNATURE: Final = re.compile(r"0x(?:[0-9a-fA-F]{2})*")
_PARITY: Final = {0: 0, 1: 1, 27: 0, 28: 1}


def parse_signature(text: str) -> bytes:
    """Return the bytes that 0x and pairs of hexadecimal digits spell, whoever's signature they are.

    Raises:
        SignatureMalformed: they are something else, or over 8,192 bytes.
    """
    if not _SIGNATURE.fullmatch(text):
        raise SignatureMalformed.because("a signature is 0x and pairs of hexadecimal digits")
    signature = bytes.fromhex(text[2:])
    if len(signature) > LONGEST_SIGNATURE:
        raise SignatureMalformed.because(f"a signature has at most {LONGEST_SIGNATURE} bytes")
    return signature


def personal_digest(text: str) -> Hash32:
    """Return what a wallet signs for ``text`` (EIP-191, version 0x45), over the bytes as they were sent."""
    data = text.encode()
    return keccak(b"\x19Ethereum Signed Message:\n%d" % len(data) + data)


def require_signed_by(address: Address, digest: Hash32, signature: bytes) -> None:
    """Check that the key of ``address`` signed ``digest``.

    Takes 65 bytes r ‖ s ‖ v with v of 0, 1, 27 or 28, or 64 bytes as EIP-2098 packs them. It comes before
    any question to a chain: right for delegated accounts (EIP-7702) whatever code they carry, where asking
    the code first would lock them out. Longer signatures are no key's; a contract's code may take them.

    Raises:
        SignatureMalformed: shorter than any signature, another v, or an r or s outside its range, which
            for s is the lower half of the order (EIP-2).
        SignatureInvalid: another key, or no key, gives this signature.
    """
    if recover(digest, signature) != address:
        raise SignatureInvalid


def recover(digest: Hash32, signature: bytes) -> Address | None:
    """Return the address whose key made ``signature``, None when no key can have made it.

    Raises:
        SignatureMalformed: as `require_signed_by` says.
    """
    if len(signature) > _PLAIN:
        return None
    r, s, parity = _split(signature)
    if not 0 < r < _ORDER or not 0 < s <= _ORDER // 2:
        raise SignatureMalformed.because("r or s is out of range; s belongs in the lower half of the order")
    packed = r.to_bytes(_WORD, "big") + s.to_bytes(_WORD, "big") + bytes((parity,))
    try:
        key = PublicKey.from_signature_and_message(packed, digest, hasher=None)
    except ValueError:
        return None
    return Address(keccak(key.format(compressed=False)[1:])[12:])


def _split(signature: bytes) -> tuple[int, int, int]:
    if len(signature) < _COMPACT:
        raise SignatureMalformed.because("a signature has 65 bytes, or 64 as EIP-2098 packs them")
    r = int.from_bytes(signature[:_WORD], "big")
    s = int.from_bytes(signature[_WORD:_COMPACT], "big")
    if len(signature) == _COMPACT:
        return r, s & ~(1 << 255), s >> 255
    parity = _PARITY.get(signature[_COMPACT])
    if parity is None:
        raise SignatureMalformed.because("v is 0, 1, 27 or 28")
    return r, s, parity
