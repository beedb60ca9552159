"""Addresses and hashes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echain.kernel.errors import Invalid
from echain.kernel.evm import Address, checksum, keccak, parse_address, parse_hash

# The examples of EIP-55.
EIP55 = (
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
    "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
    "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
    "0x52908400098527886E0F7030069857D2E4169EE7",
    "0xde709f2102306220921060314715629080e2fb77",
)


@pytest.mark.parametrize("text", EIP55)
def test_checksum_spells_the_examples_of_eip_55(text: str) -> None:
    assert checksum(Address(bytes.fromhex(text[2:]))) == text


@given(st.binary(min_size=20, max_size=20))
def test_an_address_survives_its_text(raw: bytes) -> None:
    assert parse_address(checksum(Address(raw))) == raw
    assert parse_address("0x" + raw.hex()) == raw


@given(st.binary(min_size=20, max_size=20), st.integers(2, 41))
def test_one_letter_in_the_wrong_case_is_refused(raw: bytes, position: int) -> None:
    text = checksum(Address(raw))
    altered = text[:position] + text[position].swapcase() + text[position + 1 :]
    if altered == text or altered[2:] in (altered[2:].lower(), altered[2:].upper()):
        return
    with pytest.raises(Invalid, match="EIP-55"):
        parse_address(altered)


@pytest.mark.parametrize(
    "text",
    ["", "0x", "0x" + "0" * 39, "0x" + "0" * 41, "0X" + "0" * 40, "0x" + "g" * 40, "0x" + "0" * 40 + "\n"],
)
def test_what_is_no_address_is_refused_with_its_field(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse_address(text, path="recipient")
    assert refused.value.details["fields"] == [
        {"path": "recipient", "reason": "an address is 0x and 40 hexadecimal digits"}
    ]


def test_a_hash_has_exactly_32_bytes() -> None:
    assert parse_hash("0x" + "ab" * 32) == bytes.fromhex("ab" * 32)
    with pytest.raises(Invalid):
        parse_hash("0x" + "ab" * 31)


def test_keccak_is_not_sha3() -> None:
    assert keccak(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
