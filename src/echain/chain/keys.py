"""The key that the platform signs with; it leaves here only as signatures and in encrypted files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final, Never, cast

import msgspec
from coincurve import PrivateKey

from echain.chain.ethaccount import account
from echain.infra.secret import Secret
from echain.kernel.errors import EchainError, Kind
from echain.kernel.evm import Address, Hash32, checksum, keccak
from echain.kernel.money import Wei

DEVNET_KEY: Final = Secret("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
"""The first of the accounts that every local node funds; known to everybody, so worth nothing elsewhere."""

_SCALAR_BYTES: Final = 32


class KeyUnusable(EchainError):
    """The platform has no key to sign with; set ECHAIN_PLATFORM_KEY, or ECHAIN_KEYSTORE with its password."""

    kind = Kind.PRECONDITION
    code = "chain.key_unusable"


class Unsigned(msgspec.Struct, frozen=True):
    """An EIP-1559 transaction before its signature; amounts in wei of the RPC interface."""

    chain_id: int
    nonce: int
    to: Address
    data: bytes
    value_wei: Wei
    gas: int
    max_fee_per_gas: int
    max_priority_fee_per_gas: int


class Signed(msgspec.Struct, frozen=True):
    """A transaction as nodes take it."""

    hash: Hash32
    raw: bytes


class Key:
    """A private key that signs transactions and does not print."""

    __slots__ = ("_private", "address")

    def __init__(self, secret: Secret) -> None:
        """Take 32 bytes of hexadecimal text.

        Raises:
            KeyUnusable: the text is no private key; it is not shown.
        """
        try:
            self._private = _scalar(secret.reveal())
            public = PrivateKey(self._private).public_key.format(compressed=False)
        except ValueError:
            raise KeyUnusable("what was given is not a private key; it is not shown") from None
        self.address = Address(keccak(public[1:])[12:])

    def sign(self, transaction: Unsigned) -> Signed:
        """Return the signed transaction; the same input always gives the same bytes (RFC 6979)."""
        signed = account().sign_transaction(
            {
                "type": 2,
                "chainId": transaction.chain_id,
                "nonce": transaction.nonce,
                "to": bytes(transaction.to),
                "data": transaction.data,
                "value": transaction.value_wei,
                "gas": transaction.gas,
                "maxFeePerGas": transaction.max_fee_per_gas,
                "maxPriorityFeePerGas": transaction.max_priority_fee_per_gas,
            },
            self._private,
        )
        return Signed(Hash32(bytes(signed.hash)), bytes(signed.raw_transaction))

    def save(self, path: Path, password: Secret) -> None:
        """Write an encrypted key file (Web3 Secret Storage 3, scrypt) that only its owner may read.

        Raises:
            FileExistsError: there is a file already; a key is never overwritten.
        """
        content = json.dumps(account().encrypt(self._private, password.reveal()))
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(content)

    def __repr__(self) -> str:
        return f"Key({checksum(self.address)})"

    def __reduce__(self) -> Never:
        raise TypeError("a key does not travel")


def _scalar(text: str) -> bytes:
    scalar = bytes.fromhex(text.removeprefix("0x"))
    if len(scalar) != _SCALAR_BYTES:
        raise ValueError("a private key has 32 bytes")
    return scalar


def load_keystore(path: Path, password: Secret) -> Key:
    """Return the key of an encrypted key file (Web3 Secret Storage 3); takes about a second by design.

    Raises:
        KeyUnusable: the file cannot be read, is of another shape, or the password is wrong.
    """
    try:
        content = cast("dict[str, Any]", json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise KeyUnusable(f"the key file {path} cannot be read: {type(error).__name__}") from None
    try:
        private_key = account().decrypt(content, password.reveal())
    except (ValueError, TypeError, KeyError):
        raise KeyUnusable(f"the key file {path} does not open with this password") from None
    return Key(Secret(bytes(private_key).hex()))


def platform_key(
    *, plain: Secret | None, keystore: Path | None, password: Secret | None, devnet: bool
) -> Key:
    """Return the key that the configuration names; on a devnet without one, the one that everybody knows.

    Raises:
        KeyUnusable: nothing is configured, or what is does not give a key.
    """
    if plain is not None:
        return Key(plain)
    if keystore is not None and password is not None:
        return load_keystore(keystore, password)
    if devnet:
        return Key(DEVNET_KEY)
    raise KeyUnusable
