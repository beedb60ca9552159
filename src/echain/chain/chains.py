"""The chains that the platform knows, as data: a new EVM network is a row here, never a branch in code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from echain.chain.manners import LIKE_ETHEREUM, Manners
from echain.infra.config import DEVNET_CHAIN_ID, ChainConfig
from echain.kernel.errors import EchainError, Kind
from echain.kernel.evm import Address, Hash32, checksum, to_hex


class UnknownChain(EchainError):
    """This platform does not serve that chain; GET /api/v1/chains lists those it serves."""

    kind = Kind.NOT_FOUND
    code = "chain.unknown"


class Chain(msgspec.Struct, frozen=True, kw_only=True):
    """How one EVM network behaves.

    ``confirmations`` is how many blocks on top of a transaction's own make it final for us; 0 where a block
    never changes. ``finalized_tag`` says whether the node's ``finalized`` block means something.
    ``unit_scale`` is how many wei of the RPC interface are one unit inside the EVM. ``max_log_span`` is the
    widest block range of one log query. ``minimum_priority_fee_wei`` is offered even when the last blocks
    paid less. ``manners`` is how its nodes speak.
    """

    chain_id: int
    name: str
    native_symbol: str
    block_seconds: float
    confirmations: int
    finalized_tag: bool = True
    unit_scale: int = 1
    max_log_span: int = 2_000
    minimum_priority_fee_wei: int = 0
    explorer_url: str | None = None
    testnet: bool = False
    manners: Manners = Manners()

    @property
    def widest_log_span(self) -> int:
        """The most blocks that one log query may cover, by number and by time."""
        seconds = self.manners.log_span_seconds
        return (
            self.max_log_span
            if seconds is None
            else min(self.max_log_span, int(seconds / self.block_seconds))
        )

    @property
    def reorganizes(self) -> bool:
        """Whether a block once seen can vanish."""
        return self.confirmations > 0

    def transaction_url(self, transaction_hash: Hash32) -> str | None:
        """Return where people look a transaction up, None on a chain without an explorer."""
        return None if self.explorer_url is None else f"{self.explorer_url}/tx/{to_hex(transaction_hash)}"

    def address_url(self, address: Address) -> str | None:
        """Return where people look an address up, None on a chain without an explorer."""
        return None if self.explorer_url is None else f"{self.explorer_url}/address/{checksum(address)}"


_HBAR_SCALE: Final = 10**10
"""1 tinybar, the unit inside Hedera's EVM, is 10^10 weibar, the unit of its RPC interface."""

_HEDERA: Final = Manners(
    true_blooms=False,
    multi_address_span=1_000,
    log_span_seconds=7 * 86_400,
    # Records that the mirror node has not finished, and the mirror node's own failures.
    later_codes=(-32015, -32020),
    subscriptions=False,
)
"""The relay makes up what its ledger has not: headers and filters prove nothing, and it polls for its events.
A log query over more than a thousand blocks may name one contract; none may cover more than a week."""

# Nodes answer bridge logs beside the block's own, which neither filter nor receipts of the block hold.
_POLYGON: Final = Manners(header_hashes=True, true_blooms=False)

KNOWN: Final[Mapping[int, Chain]] = {
    chain.chain_id: chain
    for chain in (
        # One block of Base ever reorganized; ten blocks are 20 s, what payouts wait for is `finalized`.
        Chain(
            chain_id=8453,
            name="Base",
            native_symbol="ETH",
            block_seconds=2.0,
            confirmations=10,
            minimum_priority_fee_wei=1_000_000,
            explorer_url="https://basescan.org",
            manners=LIKE_ETHEREUM,
        ),
        Chain(
            chain_id=84532,
            name="Base Sepolia",
            native_symbol="ETH",
            block_seconds=2.0,
            confirmations=10,
            minimum_priority_fee_wei=1_000_000,
            explorer_url="https://sepolia.basescan.org",
            testnet=True,
            manners=LIKE_ETHEREUM,
        ),
        # A record file is final when it is seen; the relay maps safe and finalized to latest.
        Chain(
            chain_id=295,
            name="Hedera",
            native_symbol="HBAR",
            block_seconds=2.0,
            confirmations=0,
            finalized_tag=False,
            unit_scale=_HBAR_SCALE,
            max_log_span=1_000,
            explorer_url="https://hashscan.io/mainnet",
            manners=_HEDERA,
        ),
        Chain(
            chain_id=296,
            name="Hedera Testnet",
            native_symbol="HBAR",
            block_seconds=2.0,
            confirmations=0,
            finalized_tag=False,
            unit_scale=_HBAR_SCALE,
            max_log_span=1_000,
            explorer_url="https://hashscan.io/testnet",
            testnet=True,
            manners=_HEDERA,
        ),
        # Nodes of Polygon refuse tips below 25 gwei.
        Chain(
            chain_id=137,
            name="Polygon",
            native_symbol="POL",
            block_seconds=2.0,
            confirmations=32,
            minimum_priority_fee_wei=25_000_000_000,
            explorer_url="https://polygonscan.com",
            manners=_POLYGON,
        ),
        Chain(
            chain_id=80002,
            name="Polygon Amoy",
            native_symbol="POL",
            block_seconds=2.0,
            confirmations=32,
            minimum_priority_fee_wei=25_000_000_000,
            explorer_url="https://amoy.polygonscan.com",
            testnet=True,
            manners=_POLYGON,
        ),
        Chain(
            chain_id=42161,
            name="Arbitrum One",
            native_symbol="ETH",
            block_seconds=0.25,
            confirmations=20,
            max_log_span=10_000,
            explorer_url="https://arbiscan.io",
            manners=Manners(header_hashes=True),
        ),
        Chain(
            chain_id=10,
            name="OP Mainnet",
            native_symbol="ETH",
            block_seconds=2.0,
            confirmations=10,
            minimum_priority_fee_wei=1_000_000,
            explorer_url="https://optimistic.etherscan.io",
            manners=LIKE_ETHEREUM,
        ),
    )
}


def chain(chain_id: int, *, devnet: bool = False) -> Chain:
    """Return how a chain behaves; ``devnet`` is a local node that takes the chain's id.

    Raises:
        UnknownChain: the chain is not in the table.
    """
    known = KNOWN.get(chain_id)
    if known is None:
        raise UnknownChain(f"chain {chain_id} is not known; known are {', '.join(map(str, sorted(KNOWN)))}")
    if not devnet:
        return known
    # A local node has no `finalized` worth the name and no explorer; two blocks are enough to play with
    # reorgs.
    return msgspec.structs.replace(
        known,
        name="Local devnet" if chain_id == DEVNET_CHAIN_ID else f"Local devnet {chain_id}",
        block_seconds=1.0,
        confirmations=2,
        finalized_tag=False,
        # Its contracts see the same unit as its RPC interface, whatever the chain that it stands for does.
        unit_scale=1,
        max_log_span=100_000,
        minimum_priority_fee_wei=1_000_000_000,
        explorer_url=None,
        testnet=True,
        manners=LIKE_ETHEREUM,
    )


def configured(config: ChainConfig, *, devnet: bool = False) -> Chain:
    """Return how a configured chain behaves: what is known of it, and what the configuration says instead.

    A chain that is not in the table is served too, on the configuration's word alone.
    """
    behaves = chain(config.chain_id, devnet=devnet) if config.chain_id in KNOWN else None
    manners = Manners() if behaves is None else behaves.manners
    if config.header_hashes is False:
        # Nothing that hangs on a header's hash proves anything then; second endpoints still do.
        manners = msgspec.structs.replace(manners, header_hashes=False, receipt_roots=False)
    return Chain(
        chain_id=config.chain_id,
        name=config.name,
        native_symbol=config.native_symbol,
        block_seconds=config.block_seconds,
        confirmations=config.confirmations,
        finalized_tag=config.finalized_tag,
        unit_scale=config.unit_scale,
        max_log_span=config.max_log_span,
        minimum_priority_fee_wei=0 if behaves is None else behaves.minimum_priority_fee_wei,
        explorer_url=config.explorer_url,
        testnet=behaves is not None and behaves.testnet,
        manners=manners,
    )
