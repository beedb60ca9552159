"""Who signed: keys of plain wallets, in the forms that wallets send, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct
from hypothesis import given
from hypothesis import strategies as st

from echain.accounts.signature import personal_digest, recover, require_signed_by
from echain.accounts.types import SignatureInvalid, SignatureMalformed
from echain.kernel.evm import Address, Hash32, parse_address

VIEM = json.loads((Path(__file__).parent / "vectors" / "viem.json").read_text())
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

DIGEST = personal_digest("hello")
WALLET = Account.from_key(b"\x01" * 32)
SIGNER = parse_address(WALLET.address)
SIGNATURE = bytes(WALLET.sign_message(encode_defunct(text="hello")).signature)


def signature(r: int, s: int, v: int) -> bytes:
    return r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes((v,))


R, S, V = int.from_bytes(SIGNATURE[:32], "big"), int.from_bytes(SIGNATURE[32:64], "big"), SIGNATURE[64]


@pytest.mark.parametrize("form", ["signature", "zeroBasedSignature", "compactSignature"])
@pytest.mark.parametrize("vector", VIEM, ids=lambda vector: vector["name"])
def test_signatures_of_another_wallet_library_name_their_signer(vector: dict, form: str) -> None:
    signer = parse_address(vector["fields"]["address"])
    require_signed_by(signer, personal_digest(vector["message"]), bytes.fromhex(vector[form][2:]))


@given(st.text(max_size=200), st.integers(1, ORDER - 1))
def test_whatever_text_a_key_signs_is_known_as_its_own(text: str, key: int) -> None:
    account = Account.from_key(key.to_bytes(32, "big"))
    signed = bytes(account.sign_message(encode_defunct(text=text)).signature)
    assert recover(personal_digest(text), signed) == parse_address(account.address)


def test_the_digest_covers_the_bytes_not_the_characters() -> None:
    assert personal_digest("é") == encode_digest("é".encode())


def encode_digest(data: bytes) -> Hash32:
    from eth_account.messages import _hash_eip191_message

    return Hash32(bytes(_hash_eip191_message(encode_defunct(data))))


@given(st.integers(0, 64 * 8 - 1))
def test_no_bit_of_a_signature_can_flip(bit: int) -> None:
    flipped = bytearray(SIGNATURE)
    flipped[bit // 8] ^= 1 << bit % 8
    with pytest.raises((SignatureInvalid, SignatureMalformed)):
        require_signed_by(SIGNER, DIGEST, bytes(flipped))


@given(st.integers(0, 255))
def test_no_bit_of_the_digest_can_flip(bit: int) -> None:
    flipped = bytearray(DIGEST)
    flipped[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SignatureInvalid):
        require_signed_by(SIGNER, Hash32(bytes(flipped)), SIGNATURE)


def test_another_address_is_refused() -> None:
    with pytest.raises(SignatureInvalid):
        require_signed_by(Address(b"\x11" * 20), DIGEST, SIGNATURE)


def test_the_twin_with_a_high_s_is_refused_though_it_recovers_to_the_same_key() -> None:
    twin = signature(R, ORDER - S, 55 - V)
    assert Account.recover_message(encode_defunct(text="hello"), signature=twin) == WALLET.address
    with pytest.raises(SignatureMalformed, match="lower half"):
        require_signed_by(SIGNER, DIGEST, twin)


def test_the_highest_low_s_is_in_range_and_the_next_is_not() -> None:
    assert recover(DIGEST, signature(R, ORDER // 2, V)) != SIGNER
    with pytest.raises(SignatureMalformed):
        recover(DIGEST, signature(R, ORDER // 2 + 1, V))


@pytest.mark.parametrize(("r", "s"), [(0, S), (R, 0), (ORDER, S), (ORDER + R % 2**128, S), (R, ORDER)])
def test_r_and_s_stay_in_their_ranges(r: int, s: int) -> None:
    with pytest.raises(SignatureMalformed):
        recover(DIGEST, signature(r, s, V))


def test_an_r_that_is_on_no_point_has_no_signer() -> None:
    r = next(r for r in range(1, 50) if recover(DIGEST, signature(r, S, V)) is None)
    with pytest.raises(SignatureInvalid):
        require_signed_by(SIGNER, DIGEST, signature(r, S, V))


def test_any_other_v_is_refused() -> None:
    for v in set(range(256)) - {0, 1, 27, 28}:
        with pytest.raises(SignatureMalformed, match="v is"):
            require_signed_by(SIGNER, DIGEST, signature(R, S, v))


def test_the_other_v_names_another_signer() -> None:
    with pytest.raises(SignatureInvalid):
        require_signed_by(SIGNER, DIGEST, signature(R, S, 55 - V))


def test_the_packed_form_is_read_with_either_parity() -> None:
    packed = R.to_bytes(32, "big") + (S | (V - 27) << 255).to_bytes(32, "big")
    require_signed_by(SIGNER, DIGEST, packed)
    other = R.to_bytes(32, "big") + (S | (28 - V) << 255).to_bytes(32, "big")
    with pytest.raises(SignatureInvalid):
        require_signed_by(SIGNER, DIGEST, other)


@pytest.mark.parametrize("size", [0, 1, 32, 63])
def test_a_short_signature_is_malformed(size: int) -> None:
    with pytest.raises(SignatureMalformed):
        require_signed_by(SIGNER, DIGEST, SIGNATURE[:size])


@pytest.mark.parametrize("size", [66, 96, 640, 1088, 32_000])
def test_a_longer_signature_is_no_keys(size: int) -> None:
    with pytest.raises(SignatureInvalid):
        require_signed_by(SIGNER, DIGEST, SIGNATURE.ljust(size, b"\x92"))
