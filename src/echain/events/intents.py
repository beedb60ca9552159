"""Intents on the chains that this platform writes to, and what their contracts' refusals mean here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from echain.chain.contracts import contract
from echain.chain.fees import Fees
from echain.chain.intent import Intent, Reverted, prepare
from echain.chain.rpc import Rpc
from echain.events import rules
from echain.events.types import (
    AlreadyWithdrawn,
    ChainNotServed,
    CreationRefused,
    Document,
    DraftContent,
    EventCancelled,
    UnknownTier,
)
from echain.kernel.errors import EchainError
from echain.kernel.evm import Address
from echain.kernel.money import Wei
from echain.kernel.time import to_unix

Refusals: TypeAlias = Mapping[str, type[EchainError]]
"""What a contract's error is called here."""

_GIFT_POLICIES: Final = {"free": 0, "limited": 1, "forbidden": 2}
_OPEN_TO_ALL: Final = bytes(32)
_CREATE: Final = (
    "createEvent((string,string,bytes32,uint32,uint40,uint40,"
    "(uint96,uint32,uint40,uint40,uint8,uint8,bytes32)[],(uint8,uint8,bool,uint16,uint16)))"
)

CREATION_REFUSALS: Final[Refusals] = {
    "EventFactory_NotOrganizer": CreationRefused,
    "EventFactory_NotReady": CreationRefused,
    "EnforcedPause": CreationRefused,
}
ORGANIZER_REFUSALS: Final[Refusals] = {
    "EventTicket_Cancelled": EventCancelled,
    "EventTicket_AlreadyWithdrawn": AlreadyWithdrawn,
    "EventTicket_NoSuchTier": UnknownTier,
}


class ChainAccess(NamedTuple):
    """How one chain is read and what it costs to write to it."""

    rpc: Rpc
    fees: Fees


class Intents:
    """Prepares transactions for wallets.

    ``factory`` looks up a chain's factory, None when none is deployed; it is asked at each use, so that a
    chain whose contracts are deployed late is served from then on.
    """

    def __init__(
        self, chains: Mapping[int, ChainAccess], factory: Callable[[int], Awaitable[Address | None]]
    ) -> None:
        self._chains = chains
        self._factory = factory

    @property
    def chain_ids(self) -> Collection[int]:
        return self._chains.keys()

    async def factory(self, chain_id: int) -> Address:
        """Return the contract that creates a chain's events.

        Raises:
            ChainNotServed: nothing can be written there.
        """
        address = await self._factory(chain_id) if chain_id in self._chains else None
        if address is None:
            raise ChainNotServed
        return address

    async def prepare(
        self,
        chain_id: int,
        *,
        sender: Address,
        to: Address,
        data: bytes,
        summary: str,
        value_wei: int = 0,
        gas: int | None = None,
        refusals: Refusals | None = None,
    ) -> Intent:
        """Return the transaction for ``sender`` to sign; see `echain.chain.intent.prepare`.

        Raises:
            ChainNotServed: nothing can be written there.
            EchainError: of ``refusals``, for the error that the contract names; `Reverted` for any other.
            ChainUnreachable: no node answers.
        """
        access = self._access(chain_id)
        try:
            return await prepare(
                access.rpc,
                access.fees,
                chain_id=chain_id,
                sender=sender,
                to=to,
                data=data,
                value_wei=Wei(value_wei),
                summary=summary,
                gas=gas,
            )
        except Reverted as reverted:
            meaning = (refusals or {}).get(reverted.name or "")
            if meaning is None:
                raise
            raise meaning(None, error=reverted.name, **_arguments(reverted)) from reverted

    def _access(self, chain_id: int) -> ChainAccess:
        access = self._chains.get(chain_id)
        if access is None:
            raise ChainNotServed
        return access


def _arguments(reverted: Reverted) -> dict[str, Any]:
    return {} if reverted.revert is None else reverted.revert.described()


def creation_call(content: DraftContent, document: Document, metadata_uri: str) -> bytes:
    """Return the calldata of ``createEvent`` for checked content."""
    limits = content.rules
    return contract("EventFactory").encode(
        _CREATE,
        [
            (
                content.title,
                metadata_uri,
                document.hash,
                rules.ticket_limit(content),
                to_unix(content.start_time),
                to_unix(content.end_time),
                [
                    (
                        int(tier.price_wei),
                        tier.supply,
                        *rules.sale_window(tier, content)[:2],
                        tier.max_per_purchase,
                        tier.max_per_wallet,
                        _OPEN_TO_ALL,
                    )
                    for tier in content.tiers
                ],
                (
                    _GIFT_POLICIES[limits.gift_policy],
                    limits.max_gifts,
                    limits.gifts_to_contracts,
                    limits.resale_cap_bps,
                    limits.royalty_bps,
                ),
            )
        ],
    )


def cancel_call() -> bytes:
    """Return the calldata of ``cancelEvent``."""
    return contract("EventTicket").encode("cancelEvent()", [])


def price_call(tier_id: int, price_wei: int) -> bytes:
    """Return the calldata of ``setPrice``."""
    return contract("EventTicket").encode("setPrice(uint256,uint256)", [tier_id, price_wei])
