"""Calls are encoded and answers decoded as the contracts' own ABI says."""

from __future__ import annotations

import pytest
from eth_abi.abi import encode
from eth_abi.exceptions import EncodingError
from hypothesis import given
from hypothesis import strategies as st

from echain.chain.contracts import contract, contract_names, decode_revert, plain, type_of
from echain.kernel.evm import Address, keccak

ADA = Address(bytes.fromhex("f39fd6e51aad88f6f4ce6ab8827279cfffb92266"))
addresses = st.binary(min_size=20, max_size=20)


def test_every_contract_comes_with_code_and_hashes():
    assert set(contract_names()) >= {"EventFactory", "EventTicket", "Poap"}
    for name in contract_names():
        assert contract(name) is contract(name)
        assert contract(name).bytecode
        assert contract(name).source_hash


def test_overloads_are_told_apart_by_their_whole_signature():
    tickets = contract("EventTicket")
    simple = tickets.encode("purchaseTickets(address,uint256)", [ADA, 2])
    tiered = tickets.encode("purchaseTickets(address,uint256,uint256,bytes32[])", [ADA, 1, 2, []])
    assert simple[:4] == keccak(b"purchaseTickets(address,uint256)")[:4] != tiered[:4]
    assert simple[4:] == bytes(12) + ADA + (2).to_bytes(32, "big")


def test_a_function_or_contract_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="EventTicket has no buy"):
        contract("EventTicket").encode("buy()", [])
    with pytest.raises(ValueError, match="no contract Ticket"):
        contract("Ticket")


def test_an_argument_out_of_its_range_is_refused():
    with pytest.raises(EncodingError):
        contract("EventTicket").encode("refund(uint256)", [2**256])
    with pytest.raises(ValueError, match="zip"):
        contract("EventTicket").encode("refund(uint256)", [])


def test_structs_may_be_given_by_name_or_in_order():
    factory = contract("EventFactory")
    signature = next(one for one in factory.signatures if one.startswith("createEvent(("))
    tier = {
        "priceWei": 5,
        "supply": 6,
        "saleStart": 0,
        "saleEnd": 0,
        "maxPerPurchase": 7,
        "maxPerWallet": 8,
        "allowListRoot": bytes(32),
    }
    rules = {
        "giftPolicy": 0,
        "maxGifts": 0,
        "giftsToContracts": True,
        "resaleCapBps": 11_000,
        "royaltyBps": 500,
    }
    params = {
        "name": "Fest",
        "metadataURI": "u",
        "metadataHash": b"\x01" * 32,
        "maxTickets": 9,
        "startTime": 1,
        "endTime": 2,
        "tiers": [tier],
        "rules": rules,
    }
    by_name = factory.encode(signature, [params])
    in_order = [
        *list(params.values())[:6],
        [tuple(tier.values())],
        tuple(rules.values()),
    ]
    assert by_name == factory.encode(signature, [tuple(in_order)])


@given(owner=addresses, state=st.integers(0, 4), gifts=st.integers(0, 255), price=st.integers(0, 2**96 - 1))
def test_answers_come_back_as_they_were_encoded_with_addresses_as_bytes(owner, state, gifts, price):
    tickets = contract("EventTicket")
    view = next(item for item in tickets.abi if item.get("name") == "ticket")["outputs"]
    data = encode([type_of(view[0])], [(owner, state, 3, gifts, price)])
    assert tickets.decode_output("ticket(uint256)", data) == ((owner, state, 3, gifts, price),)


@given(recipient=addresses, maximum=st.integers(0, 2**256 - 1))
def test_reverts_are_named_with_their_arguments(recipient, maximum):
    data = keccak(b"EventTicket_WalletLimit(address,uint256)")[:4]
    data += encode(["address", "uint256"], [recipient, maximum])
    for revert in (decode_revert(data), contract("EventTicket").decode_revert(data)):
        assert revert is not None
        assert (revert.name, revert.args) == ("EventTicket_WalletLimit", (recipient, maximum))
        assert revert.described() == {"recipient": plain(recipient), "maximum": str(maximum)}


def test_an_error_of_a_called_contract_is_known_too():
    data = keccak(b"EventTicket_Cancelled()")[:4]
    assert contract("Poap").decode_revert(data).name == "EventTicket_Cancelled"


def test_the_language_s_own_errors_are_known():
    said = keccak(b"Error(string)")[:4] + encode(["string"], ["no"])
    overflow = keccak(b"Panic(uint256)")[:4] + encode(["uint256"], [0x11])
    assert decode_revert(said).described() == {"message": "no"}
    assert decode_revert(overflow).described() == {"code": "17"}


@given(
    st.binary(max_size=200), st.sampled_from([b"Error(string)", b"EventTicket_WalletLimit(address,uint256)"])
)
def test_whatever_a_contract_reverts_with_breaks_nothing(tail, error):
    decode_revert(tail)
    revert = decode_revert(keccak(error)[:4] + tail)
    assert revert is None or revert.described() is not None
