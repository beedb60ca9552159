"""Signed transactions that strangers hand in are read right or refused."""

from __future__ import annotations

import pytest
import rlp
from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st

from echain.chain.keys import DEVNET_KEY, Key, Unsigned
from echain.chain.rawtx import MAX_BYTES, parse_raw
from echain.kernel.errors import Invalid
from echain.kernel.evm import Address, keccak, to_hex
from echain.kernel.money import Wei

KEY = Key(DEVNET_KEY)
ACCOUNT = Account.from_key(DEVNET_KEY.reveal())
SIGNED = KEY.sign(Unsigned(84532, 7, Address(b"\x01" * 20), b"\x02" * 9, Wei(5), 50_000, 10**9, 10**6))


@given(
    chain_id=st.integers(1, 2**53),
    nonce=st.integers(0, 2**64 - 2),
    data=st.binary(max_size=200),
    value=st.integers(0, 2**128),
)
def test_what_was_signed_is_read_back(chain_id, nonce, data, value):
    signed = KEY.sign(Unsigned(chain_id, nonce, Address(b"\x03" * 20), data, Wei(value), 21_000, 10, 1))
    read = parse_raw(to_hex(signed.raw))
    assert (read.chain_id, read.nonce, read.sender) == (chain_id, nonce, KEY.address)
    assert (read.raw, read.hash) == (signed.raw, signed.hash)


@pytest.mark.parametrize(
    "fields",
    [
        {"gasPrice": 10, "chainId": 84532},
        {"gasPrice": 10, "chainId": 84532, "type": 1, "accessList": []},
        {"maxFeePerGas": 10, "maxPriorityFeePerGas": 1, "chainId": 84532, "type": 2},
    ],
)
def test_every_taken_type_is_read(fields):
    signed = ACCOUNT.sign_transaction(
        {"nonce": 300, "gas": 21_000, "value": 1, "to": "0x" + "01" * 20} | fields
    )
    read = parse_raw(to_hex(bytes(signed.raw_transaction)))
    assert (read.chain_id, read.nonce, read.sender) == (84532, 300, KEY.address)
    assert read.hash == bytes(signed.hash)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("", "even number"),
        ("0x", "even number"),
        ("0x0", "even number"),
        ("0x0g", "even number"),
        (" 0x02", "even number"),
        ("0x02 03", "even number"),
        (to_hex(SIGNED.raw)[2:], "even number"),
        (to_hex(SIGNED.raw) + "00", "encoding or its signature"),
        (to_hex(SIGNED.raw)[:-2], "encoding or its signature"),
        ("0x03" + to_hex(SIGNED.raw)[4:], "type 3"),
        ("0x04" + to_hex(SIGNED.raw)[4:], "type 4"),
        ("0x" + "00" * (MAX_BYTES + 1), "at most"),
    ],
)
def test_anything_else_is_refused_with_a_reason(raw, reason):
    with pytest.raises(Invalid, match=reason):
        parse_raw(raw)


def test_a_legacy_transaction_that_names_no_chain_could_be_replayed_and_is_refused():
    signed = ACCOUNT.sign_transaction(
        {"nonce": 0, "gas": 21_000, "gasPrice": 1, "value": 0, "to": "0x" + "01" * 20}
    )
    assert rlp.decode(bytes(signed.raw_transaction))[6] in (b"\x1b", b"\x1c")
    with pytest.raises(Invalid, match="EIP-155"):
        parse_raw(to_hex(bytes(signed.raw_transaction)))


@given(st.binary(min_size=1, max_size=200))
def test_strangers_bytes_never_break_anything(raw):
    with pytest.raises(Invalid):
        parse_raw(to_hex(raw))


@given(st.integers(0, len(SIGNED.raw) - 1), st.integers(1, 255))
def test_a_changed_byte_is_never_the_same_sender_and_content(place, flip):
    changed = SIGNED.raw[:place] + bytes([SIGNED.raw[place] ^ flip]) + SIGNED.raw[place + 1 :]
    try:
        read = parse_raw(to_hex(changed))
    except Invalid:
        return
    assert read.hash == keccak(changed) != SIGNED.hash
    assert read.sender != KEY.address
