"""What may be bought, given away and refunded, and the calldata that asks for it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echain.chain.contracts import contract
from echain.kernel.errors import EchainError, Invalid
from echain.kernel.evm import ZERO_ADDRESS, Address, keccak
from echain.tickets import rules, service
from echain.tickets.types import TicketKey, TicketNotFound

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
BUYER = Address(b"\x0b" * 20)
OFFER = rules.Offer(
    price_wei=5,
    supply=10,
    sold=2,
    max_tickets=100,
    sold_tickets=2,
    cancelled=False,
    opens_at=None,
    closes_at=None,
    event_ends_at=NOW + 24 * HOUR,
    max_per_purchase=6,
    max_per_wallet=0,
    bought=0,
    allow_list_root=bytes(32),
)
ADDRESSES = st.binary(min_size=20, max_size=20).map(Address)
WORDS = st.binary(min_size=32, max_size=32)


def refusal(offer: rules.Offer, quantity: int = 1, proof: list[bytes] | None = None) -> str | None:
    try:
        rules.check_purchase(offer, quantity=quantity, recipient=BUYER, proof=proof or [], now=NOW)
    except EchainError as error:
        return error.code
    return None


@pytest.mark.parametrize(
    ("change", "quantity", "code"),
    [
        ({}, 1, None),
        ({}, 6, None),
        ({}, 7, "tickets.quantity"),
        ({"cancelled": True, "event_ends_at": NOW}, 7, "tickets.cancelled"),
        ({"event_ends_at": NOW}, 1, "tickets.sale_closed"),
        ({"event_ends_at": NOW + timedelta(microseconds=1)}, 1, None),
        ({"opens_at": NOW}, 1, None),
        ({"opens_at": NOW + timedelta(microseconds=1)}, 1, "tickets.sale_not_open"),
        ({"closes_at": NOW}, 1, "tickets.sale_closed"),
        ({"closes_at": NOW + timedelta(microseconds=1)}, 1, None),
        ({"sold": 9}, 1, None),
        ({"sold": 9}, 2, "tickets.sold_out"),
        ({"sold": 10}, 1, "tickets.sold_out"),
        ({"sold": 11}, 1, "tickets.sold_out"),
        ({"sold_tickets": 98}, 2, None),
        ({"sold_tickets": 98}, 3, "tickets.sold_out"),
        ({"max_per_wallet": 3, "bought": 1}, 2, None),
        ({"max_per_wallet": 3, "bought": 2}, 2, "tickets.wallet_limit"),
        ({"allow_list_root": b"\x01" * 32}, 1, "tickets.not_on_allow_list"),
        ({"allow_list_root": keccak(keccak(bytes(12) + BUYER))}, 1, None),
    ],
)
def test_a_purchase_is_refused_for_the_first_reason_that_the_contract_would_find(
    change: dict[str, Any], quantity: int, code: str | None
) -> None:
    assert refusal(msgspec.structs.replace(OFFER, **change), quantity) == code


def tree(leaves: list[bytes]) -> tuple[bytes, list[list[bytes]]]:
    """Return the root and each leaf's proof of a tree in which a node without sibling moves up."""
    level = [(leaf, [place]) for place, leaf in enumerate(leaves)]
    proofs: list[list[bytes]] = [[] for _ in leaves]
    while len(level) > 1:
        above = []
        for left, right in zip(level[::2], level[1::2], strict=False):
            for (_, members), (sibling, _) in ((left, right), (right, left)):
                for member in members:
                    proofs[member].append(sibling)
            first, second = sorted((left[0], right[0]))
            above.append((keccak(first + second), left[1] + right[1]))
        level = above + ([level[-1]] if len(level) % 2 else [])
    return level[0][0], proofs


@given(members=st.lists(ADDRESSES, min_size=1, max_size=9, unique=True), stranger=ADDRESSES)
def test_exactly_the_members_of_a_list_prove_that_they_are_on_it(
    members: list[Address], stranger: Address
) -> None:
    root, proofs = tree([keccak(keccak(bytes(12) + member)) for member in members])
    for member, proof in zip(members, proofs, strict=True):
        assert rules.is_listed(member, proof, root)
        assert stranger in members or not rules.is_listed(stranger, proof, root)


@given(
    recipient=ADDRESSES,
    tier_id=st.integers(0, 2**31 - 1),
    quantity=st.integers(1, 50),
    proof=st.lists(WORDS, max_size=40),
)
def test_calldata_put_together_by_hand_is_what_the_encoder_gives(
    recipient: Address, tier_id: int, quantity: int, proof: list[bytes]
) -> None:
    signature = "purchaseTickets(address,uint256,uint256,bytes32[])"
    expected = contract("EventTicket").encode(signature, [recipient, tier_id, quantity, proof])
    assert service.purchase_call(recipient, tier_id, quantity, proof) == expected


HOLDER = Address(b"\x0a" * 20)
HOLDING = rules.Holding(
    owner=HOLDER, state="valid", gifts=0, gift_policy="free", max_gifts=0, cancelled=False
)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({}, None),
        ({"owner": BUYER}, "tickets.not_found"),
        ({"state": "used"}, "tickets.used"),
        ({"state": "refunded"}, "tickets.refunded"),
        ({"state": "locked"}, "tickets.locked"),
        ({"gift_policy": "forbidden"}, "tickets.gift_forbidden"),
        ({"gift_policy": "limited", "max_gifts": 2, "gifts": 1}, None),
        ({"gift_policy": "limited", "max_gifts": 2, "gifts": 2}, "tickets.gifts_used_up"),
        ({"gifts": 9}, None),
        ({"cancelled": True}, None),
    ],
)
def test_a_gift_is_refused_with_its_reason(change: dict[str, Any], code: str | None) -> None:
    holding = msgspec.structs.replace(HOLDING, **change)
    try:
        rules.check_transfer(holding, sender=HOLDER, to=BUYER)
        found = None
    except EchainError as error:
        found = error.code
    assert found == code
    if holding.owner == HOLDER:
        assert rules.is_transferable(holding) == (code is None)


@pytest.mark.parametrize("to", [ZERO_ADDRESS, HOLDER])
def test_nothing_is_given_to_nobody_or_to_oneself(to: Address) -> None:
    with pytest.raises(Invalid):
        rules.check_transfer(HOLDING, sender=HOLDER, to=to)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"cancelled": True}, None),
        ({"cancelled": True, "state": "used"}, None),
        ({"cancelled": True, "state": "refunded"}, "tickets.refunded"),
        ({"cancelled": True, "state": "locked"}, "tickets.locked"),
        ({"cancelled": True, "owner": BUYER}, "tickets.not_found"),
        ({}, "tickets.not_cancelled"),
    ],
)
def test_a_refund_is_refused_with_its_reason(change: dict[str, Any], code: str | None) -> None:
    try:
        rules.check_refund(msgspec.structs.replace(HOLDING, **change), sender=HOLDER)
        found = None
    except EchainError as error:
        found = error.code
    assert found == code


@given(chain_id=st.integers(0, 2**53), contract_=ADDRESSES, token_id=st.integers(0, 10**18 - 1))
def test_a_ticket_id_is_read_as_it_is_written(chain_id: int, contract_: Address, token_id: int) -> None:
    text = rules.ticket_id(chain_id, contract_, token_id)
    key = rules.parse_ticket_id(text)
    assert key == TicketKey(chain_id, contract_, token_id)


@given(text=st.text(alphabet="0123456789abcdefxX-٣ \n", max_size=80))
def test_other_texts_name_no_ticket(text: str) -> None:
    try:
        key = rules.parse_ticket_id(text)
    except TicketNotFound:
        return
    assert rules.ticket_id(key.chain_id, key.ticket_contract, key.token_id) == text
