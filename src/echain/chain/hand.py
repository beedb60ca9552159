"""What the sender's parts share: signing, showing to the node, and counting what was spent."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final, Protocol
from uuid import UUID

import structlog

from echain.chain import sendstore as store
from echain.chain.chains import Chain
from echain.chain.fees import Fees
from echain.chain.keys import Key, Unsigned
from echain.chain.rpc import Rpc, RpcRefused
from echain.chain.sendrules import Offer, Policy, Refusal, meaning
from echain.chain.sendstore import Attempt
from echain.infra import audit
from echain.infra.database import Connection, Tx
from echain.kernel.evm import Address, to_hex
from echain.kernel.money import Wei
from echain.kernel.time import Clock

_HOUR: Final = timedelta(hours=1)

_log = structlog.get_logger(__name__)


class Call(Protocol):
    """What a job asks for, before and after it has a nonce; ``value_wei`` as the contract sees it."""

    @property
    def id(self) -> UUID: ...
    @property
    def purpose(self) -> str: ...
    @property
    def to(self) -> Address: ...
    @property
    def data(self) -> bytes: ...
    @property
    def value_wei(self) -> Wei: ...


class Hand:
    """One key on one chain."""

    def __init__(self, rpc: Rpc, key: Key, chain: Chain, *, fees: Fees, policy: Policy, clock: Clock) -> None:
        self.rpc = rpc
        self.chain = chain
        self.fees = fees
        self.policy = policy
        self.clock = clock
        self.address = key.address
        self._key = key
        self._trouble: str | None = None

    def value_of(self, call: Call) -> Wei:
        """Return a call's value in wei of the RPC interface."""
        return Wei(call.value_wei * self.chain.unit_scale)

    def signed(self, call: Call, *, nonce: int, gas: int, offer: Offer, head: int) -> Attempt:
        """Return a signed transaction that nobody has seen yet; ``head`` is the chain's height now."""
        signed = self._key.sign(
            Unsigned(
                chain_id=self.chain.chain_id,
                nonce=nonce,
                to=call.to,
                data=call.data,
                value_wei=self.value_of(call),
                gas=gas,
                max_fee_per_gas=offer.max_fee_per_gas,
                max_priority_fee_per_gas=offer.max_priority_fee_per_gas,
            )
        )
        return Attempt(
            hash=signed.hash,
            transaction_id=call.id,
            nonce=nonce,
            raw=signed.raw,
            gas=gas,
            max_fee_per_gas=offer.max_fee_per_gas,
            max_priority_fee_per_gas=offer.max_priority_fee_per_gas,
            signed_at=self.clock(),
            signed_block=head,
        )

    async def audit(self, tx: Tx, call: Call, attempt: Attempt, most_wei: int) -> None:
        """Write into the audit log that a transaction was signed, which may cost ``most_wei``."""
        told = {
            "chainId": self.chain.chain_id,
            "sender": self.address,
            "nonce": attempt.nonce,
            "purpose": call.purpose,
            "contract": call.to,
            "valueWei": self.value_of(call),
            "maxCostWei": most_wei,
        }
        about = f"transaction:{to_hex(attempt.hash)}"
        diff = audit.changed({}, told)
        await audit.record(
            tx, audit.SYSTEM, "transaction.signed", resource=about, now=attempt.signed_at, diff=diff
        )

    async def broadcast(self, connection: Connection, attempts: Sequence[Attempt]) -> None:
        """Show stored transactions to the node, in order, and note what it says."""
        if attempts:
            said = {attempt.hash: await self._offered(attempt) for attempt in attempts}
            await store.note_broadcast(connection, said, now=self.clock())

    async def spent(self, connection: Connection) -> int:
        """Return what the last hour's nonces cost, at most, in wei of the RPC interface."""
        return await store.spent_since(connection, self.chain.chain_id, self.address, self.clock() - _HOUR)

    def say(self, where: str, what: object) -> None:
        """Log a trouble once, not every time it is met."""
        if self._trouble != f"{where}: {what}":
            self._trouble = f"{where}: {what}"
            _log.warning("send.waits", where=where, what=str(what), chain=self.chain.chain_id)

    def is_well(self) -> None:
        """Take the last trouble for over: the next one is logged again."""
        self._trouble = None

    async def _offered(self, attempt: Attempt) -> str | None:
        try:
            await self.rpc.call("eth_sendRawTransaction", [to_hex(attempt.raw)])
        except RpcRefused as refusal:
            kind = meaning(str(refusal))
            if kind is Refusal.KNOWN:
                return None
            if str(refusal) != attempt.refusal:
                _log.warning("send.refused", hash=to_hex(attempt.hash), kind=kind.value, said=str(refusal))
            return str(refusal)
        return None
