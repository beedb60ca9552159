"""What the sender decides without asking anybody: fees, caps, and what a node's refusal means."""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum
from typing import Final

import msgspec

from echain.chain.fees import FeeQuote
from echain.kernel.evm import Address
from echain.kernel.money import Wei

_RAISE: Final = (9, 8)
"""Nodes replace a transaction whose fees both rise by 10 %, some by 12.5 %."""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What the platform's key may be used for.

    ``allowed`` are pairs of target and function selector. Caps are in wei of the RPC interface and count
    the value and the most that the gas may cost. A transaction that is not mined ``stuck_seconds`` after
    its signature is offered more; one that is not mined is sent again every ``rebroadcast_seconds``.
    """

    allowed: Collection[tuple[Address, bytes]]
    cap_per_transaction_wei: int
    cap_per_hour_wei: int
    gas_cap: int = 10_000_000
    in_flight: int = 64
    stuck_seconds: float = 30.0
    rebroadcast_seconds: float = 15.0


class Offer(msgspec.Struct, frozen=True):
    """What a transaction offers for each unit of gas."""

    max_fee_per_gas: int
    max_priority_fee_per_gas: int


class Refusal(Enum):
    """What a node's refusal of a signed transaction means for it."""

    KNOWN = "known"
    """It has the transaction already."""
    NONCE_USED = "nonce_used"
    """Something with this nonce is mined: perhaps this very transaction."""
    UNDERPRICED = "underpriced"
    """Its fees do not suffice: for the pool, the base fee, or to replace what is there."""
    NO_FUNDS = "no_funds"
    OTHER = "other"


_MEANINGS: Final = (
    # Replacement first: nodes say "replacement transaction underpriced".
    (
        Refusal.UNDERPRICED,
        ("underpriced", "less than block base fee", "fee too low", "price too low", "tip too low"),
    ),
    (
        Refusal.KNOWN,
        ("already known", "already imported", "known transaction", "already in", "already exists"),
    ),
    (Refusal.NONCE_USED, ("nonce too low", "nonce has already been used", "old nonce", "invalid nonce")),
    (Refusal.NO_FUNDS, ("insufficient funds", "insufficient balance", "insufficient_payer_balance")),
)


def meaning(message: str) -> Refusal:
    """Return what a node's refusal means; nodes agree on no code, only roughly on words."""
    said = message.lower()
    return next((kind for kind, words in _MEANINGS if any(word in said for word in words)), Refusal.OTHER)


def offer_of(quote: FeeQuote) -> Offer:
    """Return what to offer at first."""
    return Offer(quote.max_fee_per_gas, quote.max_priority_fee_per_gas)


def raised(last: Offer, quote: FeeQuote) -> Offer:
    """Return an offer that replaces ``last``: at least an eighth more of both, at least what is usual now."""
    tip = max(quote.max_priority_fee_per_gas, _more(last.max_priority_fee_per_gas))
    return Offer(max(quote.max_fee_per_gas, _more(last.max_fee_per_gas), tip), tip)


def cost(value_wei: int, gas: int, offer: Offer) -> Wei:
    """Return the most that a transaction can cost."""
    return Wei(value_wei + gas * offer.max_fee_per_gas)


def forbidden(policy: Policy, to: Address, data: bytes, value_wei: int) -> str | None:
    """Return why the key may never sign such a call, None when it may."""
    if (to, data[:4]) not in policy.allowed:
        return "target_not_allowed"
    if value_wei > policy.cap_per_transaction_wei:
        return "cap_per_transaction"
    return None


def _more(fee: int) -> int:
    return -(-fee * _RAISE[0] // _RAISE[1]) if fee else 1
