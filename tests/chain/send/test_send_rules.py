"""Fees, caps and the meaning of refusals, without any node."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echain.chain.chains import KNOWN, Chain, UnknownChain, chain, configured
from echain.chain.fees import FeeQuote, quote_of
from echain.chain.intent import with_head_room
from echain.chain.sendrules import Offer, Policy, Refusal, cost, forbidden, meaning, offer_of, raised
from echain.infra.config import ChainConfig
from echain.kernel.evm import Address, Hash32

fees = st.integers(0, 2**64)
BASE = chain(8453)
TARGET = Address(b"\x01" * 20)
POLICY = Policy(allowed={(TARGET, b"\xaa\xbb\xcc\xdd")}, cap_per_transaction_wei=100, cap_per_hour_wei=1000)


@given(tip=fees, above=fees, usual_tip=fees, usual_above=fees)
def test_a_raised_offer_replaces_the_last_one_on_every_node(tip, above, usual_tip, usual_above):
    last = Offer(tip + above, tip)
    quote = FeeQuote(1, usual_above, usual_tip + usual_above, usual_tip)
    new = raised(last, quote)
    assert new.max_fee_per_gas * 8 >= last.max_fee_per_gas * 9
    assert new.max_priority_fee_per_gas * 8 >= last.max_priority_fee_per_gas * 9
    assert new.max_fee_per_gas > last.max_fee_per_gas
    assert new.max_priority_fee_per_gas > last.max_priority_fee_per_gas
    assert new.max_fee_per_gas >= new.max_priority_fee_per_gas
    assert new.max_fee_per_gas >= quote.max_fee_per_gas


@given(value=fees, gas=st.integers(21_000, 10**7), tip=fees, above=fees)
def test_the_cost_is_the_most_that_can_be_taken(value, gas, tip, above):
    assert cost(value, gas, Offer(tip + above, tip)) == value + gas * (tip + above)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("already known", Refusal.KNOWN),
        ("ALREADY_EXISTS: already known", Refusal.KNOWN),
        ("transaction already imported", Refusal.KNOWN),
        ("nonce too low: next nonce 5, tx nonce 4", Refusal.NONCE_USED),
        ("replacement transaction underpriced", Refusal.UNDERPRICED),
        ("transaction underpriced: tip needed 1, tip permitted 0", Refusal.UNDERPRICED),
        ("max fee per gas less than block base fee", Refusal.UNDERPRICED),
        ("Insufficient funds for gas * price + value", Refusal.NO_FUNDS),
        ("exceeds block gas limit", Refusal.OTHER),
    ],
)
def test_what_nodes_say_is_understood(said, kind):
    assert meaning(said) is kind


def test_only_allowed_calls_within_the_cap_are_signed():
    assert forbidden(POLICY, TARGET, b"\xaa\xbb\xcc\xdd\x01", 100) is None
    assert forbidden(POLICY, TARGET, b"\xaa\xbb\xcc\xdd", 101) == "cap_per_transaction"
    assert forbidden(POLICY, TARGET, b"\xaa\xbb\xcc\xde", 0) == "target_not_allowed"
    assert forbidden(POLICY, TARGET, b"", 0) == "target_not_allowed"
    assert forbidden(POLICY, Address(b"\x02" * 20), b"\xaa\xbb\xcc\xdd", 0) == "target_not_allowed"


@given(base=st.lists(fees, min_size=2, max_size=6), tips=st.lists(fees, max_size=5))
def test_a_quote_survives_six_full_blocks_and_pays_the_usual_tip(base, tips):
    history = {
        "oldestBlock": "0x10",
        "baseFeePerGas": [hex(fee) for fee in base],
        "reward": [[hex(tip)] for tip in tips],
    }
    quote = quote_of(history, BASE)
    assert quote.base_fee_wei == base[-1]
    assert quote.block_number == 16 + len(base) - 2
    assert quote.max_fee_per_gas == 2 * base[-1] + quote.max_priority_fee_per_gas
    assert quote.max_priority_fee_per_gas >= BASE.minimum_priority_fee_wei
    assert quote.max_priority_fee_per_gas <= max([BASE.minimum_priority_fee_wei, *tips])


def test_a_quote_without_tips_offers_the_chain_s_least():
    quote = quote_of({"oldestBlock": "0x0", "baseFeePerGas": ["0x64", "0x64"]}, chain(137))
    assert quote.max_priority_fee_per_gas == 25 * 10**9
    assert offer_of(quote) == Offer(200 + 25 * 10**9, 25 * 10**9)


@given(st.integers(0, 10**9))
def test_head_room_is_a_fifth_rounded_up(gas):
    assert gas * 6 <= with_head_room(gas) * 5 < gas * 6 + 5


def test_chains_are_data():
    assert set(KNOWN) == {8453, 84532, 295, 296, 137, 80002, 42161, 10}
    assert (chain(295).unit_scale, chain(295).confirmations, chain(295).reorganizes) == (10**10, 0, False)
    assert chain(8453).transaction_url(Hash32(b"\x0a" * 32)) == "https://basescan.org/tx/0x" + "0a" * 32
    devnet = chain(84532, devnet=True)
    assert (devnet.name, devnet.explorer_url, devnet.transaction_url(Hash32(bytes(32)))) == (
        "Local devnet",
        None,
        None,
    )
    with pytest.raises(UnknownChain, match="known are 10, 137"):
        chain(1)


def test_the_configuration_has_the_last_word_on_a_chain():
    config = ChainConfig(
        chain_id=8453,
        name="Base",
        rpc_urls=("http://x",),
        confirmations=3,
        block_seconds=1.0,
        max_log_span=50,
    )
    seen = configured(config)
    assert (seen.confirmations, seen.block_seconds, seen.max_log_span) == (3, 1.0, 50)
    assert seen.minimum_priority_fee_wei == BASE.minimum_priority_fee_wei
    private = configured(ChainConfig(chain_id=31337, name="Mine", rpc_urls=("http://x",)))
    assert isinstance(private, Chain)
    assert (private.chain_id, private.name, private.finalized_tag) == (31337, "Mine", False)
