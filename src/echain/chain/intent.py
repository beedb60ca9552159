"""Unsigned transactions prepared for a wallet, and what a node says of them before anybody signs."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from echain.chain.contracts import Revert, decode_revert
from echain.chain.fees import Fees
from echain.chain.rpc import Rpc, RpcRefused
from echain.kernel.errors import EchainError, Kind
from echain.kernel.evm import Address, checksum, quantity, to_hex
from echain.kernel.money import Wei

HEAD_ROOM: Final = (6, 5)
"""A gas estimate is raised by a fifth: the state moves between the estimate and the block."""

_REVERT_CODE: Final = 3


class Reverted(EchainError):
    """The contract refuses this call.

    ``revert`` names the error as the contract declares it; None when the contract gave no reason or one
    that the platform does not know.
    """

    kind = Kind.CONFLICT
    code = "chain.reverted"

    def __init__(self, revert: Revert | None) -> None:
        self.revert = revert
        if revert is None:
            super().__init__("the contract refuses this call without a reason", error=None, arguments={})
        else:
            arguments = revert.described()
            said = ", ".join(f"{name} {value}" for name, value in arguments.items())
            super().__init__(
                f"the contract refuses this call: {revert.name}({said})",
                error=revert.name,
                arguments=arguments,
            )

    def described(self) -> dict[str, object]:
        """Return the reason as plain JSON."""
        return {**self.details, "message": self.message}

    @property
    def name(self) -> str | None:
        """The error's name, such as ``EventTicket_SoldOut``."""
        return None if self.revert is None else self.revert.name

    @property
    def arguments(self) -> tuple[Any, ...]:
        """The error's arguments in the order of its declaration."""
        return () if self.revert is None else self.revert.args


class InsufficientFunds(EchainError):
    """The sender's balance does not cover the value and the gas; fund the address and try again."""

    kind = Kind.CONFLICT
    code = "chain.insufficient_funds"


class Intent(msgspec.Struct, frozen=True, rename="camel"):
    """A transaction that a wallet may sign as it is; amounts are decimal text, wei of the RPC interface."""

    chain_id: int
    to: str
    data: str
    value: str
    gas: str
    max_fee_per_gas: str
    max_priority_fee_per_gas: str
    summary: str
    from_: str = msgspec.field(name="from")


async def prepare(
    rpc: Rpc,
    fees: Fees,
    *,
    chain_id: int,
    sender: Address,
    to: Address,
    data: bytes,
    value_wei: Wei,
    summary: str,
    gas: int | None = None,
) -> Intent:
    """Return the transaction for ``sender`` to sign.

    ``value_wei`` is what the contract must see as ``msg.value``; on chains whose RPC interface counts in a
    finer unit the intent's value is scaled. With ``gas`` given, nothing is asked of a node beyond the kept
    fee quote; without it the node estimates, which also finds reverts before anybody pays for them.

    Raises:
        Reverted: the contract refuses the call as things stand.
        InsufficientFunds: the sender cannot pay the value.
        ChainUnreachable: no node answers.
    """
    value = value_wei * fees.chain.unit_scale
    if gas is None:
        estimate = await estimate_gas(rpc, sender=sender, to=to, data=data, value_wei=Wei(value))
        gas = with_head_room(estimate)
    quote = await fees.quote()
    return Intent(
        chain_id=chain_id,
        from_=checksum(sender),
        to=checksum(to),
        data=to_hex(data),
        value=str(value),
        gas=str(gas),
        max_fee_per_gas=str(quote.max_fee_per_gas),
        max_priority_fee_per_gas=str(quote.max_priority_fee_per_gas),
        summary=summary,
    )


def with_head_room(gas: int) -> int:
    """Return a gas limit a fifth above an estimate, rounded up."""
    return -(-gas * HEAD_ROOM[0] // HEAD_ROOM[1])


async def estimate_gas(rpc: Rpc, *, sender: Address, to: Address, data: bytes, value_wei: Wei) -> int:
    """Return the node's estimate; ``value_wei`` in the unit of the RPC interface.

    Raises:
        Reverted, InsufficientFunds: the call would fail.
        RpcRefused: the node refuses for another reason.
        ChainUnreachable: no node answers.
    """
    call = {"from": checksum(sender), "to": checksum(to), "data": to_hex(data), "value": quantity(value_wei)}
    try:
        return int(await rpc.call("eth_estimateGas", [call]), 16)
    except RpcRefused as refusal:
        raise explained(refusal) from refusal


def explained(refusal: RpcRefused) -> EchainError:
    """Return what a node's refusal of a call means; the refusal itself when it means nothing known."""
    said = str(refusal).lower()
    if refusal.data:
        return Reverted(decode_revert(refusal.data))
    if "insufficient funds" in said:
        return InsufficientFunds()
    if refusal.rpc_code == _REVERT_CODE or "revert" in said:
        return Reverted(None)
    return refusal
