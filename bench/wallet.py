"""A wallet that signs in."""

from __future__ import annotations

from typing import Final

from coincurve import PrivateKey

from echain.accounts.signature import personal_digest
from echain.kernel.evm import Address, checksum, keccak
from echain.kernel.time import rfc3339, utc_now

CHAIN_ID: Final = 84_532


class Wallet:
    """A key that words and signs sign-in messages."""

    def __init__(self) -> None:
        self._key = PrivateKey()
        self.address = Address(keccak(self._key.public_key.format(compressed=False)[1:])[12:])

    def signed(self, origin: str, nonce: str) -> dict[str, str]:
        """Return the body of a sign-in at ``origin``."""
        message = (
            f"{origin.partition('://')[2]} wants you to sign in with your Ethereum account:\n"
            f"{checksum(self.address)}\n\nSign in to echain.\n\nURI: {origin}\nVersion: 1\n"
            f"Chain ID: {CHAIN_ID}\nNonce: {nonce}\nIssued At: {rfc3339(utc_now())}"
        )
        signature = self._key.sign_recoverable(personal_digest(message), hasher=None)
        return {"message": message, "signature": f"0x{signature.hex()}"}
