"""Routes of chains and transactions."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Final

import msgspec

from echain.chain import deploystore, watch, watchstore
from echain.chain.chains import UnknownChain
from echain.chain.fees import Fees
from echain.chain.hints import Bring
from echain.chain.rawtx import parse_raw
from echain.chain.rpc import ChainUnreachable, Rpc, RpcRefused, WrongChain
from echain.chain.watch import Network, Transaction, TransactionRefused, TransactionUnknown
from echain.edge.http import Auth, Call, Endpoint, Nothing, get, post
from echain.infra.database import Database
from echain.kernel.errors import invalid_field
from echain.kernel.evm import checksum, parse_hash, to_hex

TAG: Final = "chain"
_PATIENCE_SECONDS: Final = 1.0


class HashPath(msgspec.Struct, frozen=True):
    """A transaction in a path."""

    hash: Annotated[str, msgspec.Meta(pattern="^0x[0-9a-fA-F]{64}$")]


class Submission(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A transaction to watch: the hash of one that the wallet sent, or a signed one to send; one of both.

    ``chainId`` is needed for a hash when more than one chain is served; a signed transaction names its own.
    """

    hash: Annotated[str, msgspec.Meta(pattern="^0x[0-9a-fA-F]{64}$")] | None = None
    raw: Annotated[str, msgspec.Meta(pattern="^0x[0-9a-fA-F]+$")] | None = None
    chain_id: Annotated[int, msgspec.Meta(ge=1, le=2**53)] | None = None


class Submitted(msgspec.Struct, frozen=True, rename="camel"):
    """A transaction that is watched; `GET /api/v1/transactions/{hash}` tells what becomes of it."""

    chain_id: int
    hash: str


class ContractPlace(msgspec.Struct, frozen=True, rename="camel"):
    """A contract of the platform and the block that created it."""

    name: str
    address: str
    block_number: int
    explorer_url: str | None


class ServedChain(msgspec.Struct, frozen=True, rename="camel"):
    """A chain that is served.

    ``head`` is null while no node answers; ``indexedHead`` is null before anything was read. One unit inside
    contracts is ``unitScale`` units of a transaction's value.
    """

    chain_id: int
    name: str
    native_symbol: str
    testnet: bool
    block_seconds: float
    confirmations: int
    unit_scale: str
    explorer_url: str | None
    head: int | None
    indexed_head: int | None
    contracts: tuple[ContractPlace, ...]


def endpoints(
    database: Database,
    rpcs: Mapping[int, Rpc],
    fees: Mapping[int, Fees],
    bringing: Mapping[int, Bring] = MappingProxyType({}),
) -> list[Endpoint]:
    """Return the routes of chains and transactions for every chain that has an RPC client and a fee quote.

    ``bringing`` reads a chain up to the block of a transaction that is looked up.
    """
    networks = {
        chain_id: Network(quote.chain, rpcs[chain_id], quote, bringing.get(chain_id))
        for chain_id, quote in sorted(fees.items())
        if chain_id in rpcs
    }
    return [*_chain_endpoints(database, networks), *_transaction_endpoints(database, networks)]


def _chain_endpoints(database: Database, networks: Mapping[int, Network]) -> list[Endpoint]:
    @get("/api/v1/chains", summary="List the chains that are served", tag=TAG, answer=list[ServedChain])
    async def chains(_: Call[Nothing, Nothing, Nothing]) -> list[ServedChain]:
        heads = await asyncio.gather(
            *(watch.head_of(network, patience_seconds=_PATIENCE_SECONDS) for network in networks.values())
        )
        indexed = await watchstore.indexed(database, tuple(networks))
        return [
            _served(network, head, indexed.get(chain_id), await deploystore.read(database, chain_id))
            for (chain_id, network), head in zip(networks.items(), heads, strict=True)
        ]

    return [chains]


def _transaction_endpoints(database: Database, networks: Mapping[int, Network]) -> list[Endpoint]:
    @post(
        "/api/v1/transactions",
        summary="Have a transaction watched, sent first if it is signed",
        tag=TAG,
        body=Submission,
        answer=Submitted,
        status=201,
        auth=Auth.USER,
        idempotent=True,
        errors=(UnknownChain, TransactionRefused, ChainUnreachable, WrongChain, RpcRefused),
    )
    async def submit(call: Call[Nothing, Nothing, Submission]) -> Submitted:
        return await _submit(database, networks, call)

    @get(
        "/api/v1/transactions/{hash}",
        summary="Tell what became of a transaction",
        tag=TAG,
        path_params=HashPath,
        answer=Transaction,
        errors=(TransactionUnknown, UnknownChain, ChainUnreachable, WrongChain, RpcRefused),
    )
    async def transaction(call: Call[HashPath, Nothing, Nothing]) -> Transaction:
        return await watch.look_up(database, networks, parse_hash(call.path.hash))

    return [submit, transaction]


async def _submit(
    database: Database, networks: Mapping[int, Network], call: Call[Nothing, Nothing, Submission]
) -> Submitted:
    body, caller = call.body, call.user.address
    if body.raw is not None and body.hash is None:
        raw = parse_raw(body.raw)
        if body.chain_id not in (None, raw.chain_id):
            raise invalid_field("chainId", f"the transaction is signed for chain {raw.chain_id}")
        await watch.submit(database, networks, raw, submitted_by=caller, now=call.now)
        return Submitted(raw.chain_id, to_hex(raw.hash))
    if body.hash is None or body.raw is not None:
        raise invalid_field("hash", "give either the hash or the signed transaction")
    chain_id = body.chain_id
    if chain_id is None:
        if len(networks) != 1:
            raise invalid_field("chainId", "more than one chain is served; say which")
        chain_id = next(iter(networks))
    transaction_hash = parse_hash(body.hash)
    await watch.watch(database, networks, transaction_hash, chain_id, submitted_by=caller, now=call.now)
    return Submitted(chain_id, to_hex(transaction_hash))


def _served(
    network: Network,
    head: int | None,
    indexed: watchstore.Indexed | None,
    placed: list[deploystore.Placed],
) -> ServedChain:
    chain = network.chain
    return ServedChain(
        chain_id=chain.chain_id,
        name=chain.name,
        native_symbol=chain.native_symbol,
        testnet=chain.testnet,
        block_seconds=chain.block_seconds,
        confirmations=chain.confirmations,
        unit_scale=str(chain.unit_scale),
        explorer_url=chain.explorer_url,
        head=head,
        indexed_head=None if indexed is None else indexed.block_number,
        contracts=tuple(
            ContractPlace(
                one.contract, checksum(one.address), one.block_number, chain.address_url(one.address)
            )
            for one in placed
        ),
    )
