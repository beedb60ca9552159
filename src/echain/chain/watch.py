"""Takes transactions from people to the chain and says what became of them.

Nothing of a status is kept: every answer is read from the node's receipt, so that it follows reorgs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import cache
from typing import Any, Final, Literal

import msgspec

from echain.chain import store as logstore
from echain.chain import watchstore
from echain.chain.abi import EventAbi, compile_events
from echain.chain.chains import Chain, UnknownChain
from echain.chain.contracts import contract, plain
from echain.chain.fees import Fees
from echain.chain.hints import Bring
from echain.chain.intent import Reverted
from echain.chain.nonces import count
from echain.chain.rawtx import RawTransaction
from echain.chain.receipts import Receipt, receipt_of, revert_reason
from echain.chain.rpc import ChainUnreachable, Rpc, RpcRefused, WrongChain
from echain.chain.sendrules import Refusal, meaning
from echain.chain.types import Log
from echain.chain.watchstore import Watched
from echain.infra.database import Database
from echain.kernel.errors import EchainError, Kind, NotFound
from echain.kernel.evm import Address, Hash32, checksum, to_hex

_BRING_SECONDS: Final = 1.0
"""How long a look-up waits for a block that the indexer has not read yet."""

ARTIFACT_OF_KIND: Final = {"factory": "EventFactory", "poap": "Poap", "ticket": "EventTicket"}


class TransactionRefused(EchainError):
    """The chain's node does not take this transaction; ``said`` tells why."""

    kind = Kind.CONFLICT
    code = "transactions.refused"


class TransactionUnknown(NotFound):
    """No chain that is served here knows this transaction; hand it in first."""

    code = "transactions.unknown"


class Network(msgspec.Struct, frozen=True):
    """A chain with what it takes to ask it; ``bring`` reads up to a block that is not indexed yet."""

    chain: Chain
    rpc: Rpc
    fees: Fees
    bring: Bring | None = None


class Reason(msgspec.Struct, frozen=True):
    """Why a mined transaction failed; ``error`` is the contract's, None when it gave none."""

    error: str | None
    arguments: dict[str, Any]
    message: str


class Effect(msgspec.Struct, frozen=True):
    """One event that a contract of the platform emitted: ``arguments`` by name, amounts as decimal text."""

    contract: Literal["factory", "poap", "ticket"]
    address: str
    event: str
    arguments: dict[str, Any]


class Transaction(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A transaction as its chain has it now.

    pending: the node has it, no block does. mined: it succeeded. failed: it is in a block and changed
    nothing. replaced: another transaction has its nonce. unknown: the node does not have it (any more).
    ``indexed`` says whether the platform's own answers include its block.
    """

    chain_id: int
    hash: str
    status: Literal["pending", "mined", "failed", "replaced", "unknown"]
    from_: str | None = msgspec.field(name="from", default=None)
    to: str | None = None
    nonce: str | None = None
    block_number: int | None = None
    block_hash: str | None = None
    confirmations: int | None = None
    final: bool = False
    indexed: bool = False
    reason: Reason | None = None
    effects: tuple[Effect, ...] = ()
    explorer_url: str | None = None


async def submit(
    database: Database,
    networks: Mapping[int, Network],
    raw: RawTransaction,
    *,
    submitted_by: Address | None,
    now: datetime,
) -> None:
    """Show a signed transaction to its chain and watch it; one that is known already is watched all the same.

    Raises:
        UnknownChain: it is for a chain that is not served here.
        TransactionRefused: the node does not take it.
        ChainUnreachable: no node answers.
    """
    network = network_of(networks, raw.chain_id)
    await _offer(network.rpc, raw.hash, raw.raw)
    watched = Watched(raw.chain_id, raw.sender, raw.nonce, raw.raw)
    async with database.connection() as connection:
        await watchstore.add(connection, raw.hash, watched, submitted_by=submitted_by, now=now)


async def watch(
    database: Database,
    networks: Mapping[int, Network],
    transaction_hash: Hash32,
    chain_id: int,
    *,
    submitted_by: Address | None,
    now: datetime,
) -> None:
    """Watch a transaction that its wallet sent by itself, whether the node has it yet or not.

    Raises:
        UnknownChain: that chain is not served here.
    """
    watched = Watched(network_of(networks, chain_id).chain.chain_id)
    async with database.connection() as connection:
        await watchstore.add(connection, transaction_hash, watched, submitted_by=submitted_by, now=now)


async def look_up(
    database: Database, networks: Mapping[int, Network], transaction_hash: Hash32
) -> Transaction:
    """Return what became of a transaction: of a watched one, or of any that a chain served here knows.

    Raises:
        TransactionUnknown: nobody handed it in and no chain has it.
        ChainUnreachable: no node answers.
    """
    watched = await watchstore.find(database, transaction_hash)
    if watched is not None:
        network = network_of(networks, watched.chain_id)
        found = await _ask(database, network, transaction_hash)
        return found or await _missing(network, transaction_hash, watched)
    failure: EchainError | None = None
    for network in networks.values():
        try:
            found = await _ask(database, network, transaction_hash)
        except (ChainUnreachable, WrongChain) as error:
            failure = error
            continue
        if found is not None:
            return found
    raise failure or TransactionUnknown()


def network_of(networks: Mapping[int, Network], chain_id: int) -> Network:
    """Return one of the chains that are served.

    Raises:
        UnknownChain: it is none of them.
    """
    network = networks.get(chain_id)
    if network is None:
        served = ", ".join(map(str, sorted(networks)))
        raise UnknownChain(f"chain {chain_id} is not served here; served are {served}", chainId=chain_id)
    return network


async def head_of(network: Network, *, patience_seconds: float) -> int | None:
    """Return a chain's height as of its last fee quote, None when no node answers in time."""
    try:
        async with asyncio.timeout(patience_seconds):
            return (await network.fees.quote()).block_number
    except (ChainUnreachable, TimeoutError):
        return None


async def _offer(rpc: Rpc, transaction_hash: Hash32, raw: bytes) -> None:
    try:
        await rpc.call("eth_sendRawTransaction", [to_hex(raw)])
    except RpcRefused as refusal:
        kind = meaning(str(refusal))
        if kind is Refusal.KNOWN:
            return
        # "Nonce too low" is also what a node says of a transaction that it has mined.
        if kind is Refusal.NONCE_USED and await rpc.call(
            "eth_getTransactionByHash", [to_hex(transaction_hash)]
        ):
            return
        raise TransactionRefused(
            f"the node does not take this transaction: {refusal}", reason=kind.value, said=str(refusal)
        ) from refusal


async def _ask(database: Database, network: Network, transaction_hash: Hash32) -> Transaction | None:
    """Return what the node knows of a transaction, None when nothing."""
    text = to_hex(transaction_hash)
    wire, wire_receipt, head = await network.rpc.batch(
        [
            ("eth_getTransactionByHash", (text,)),
            ("eth_getTransactionReceipt", (text,)),
            ("eth_blockNumber", ()),
        ]
    )
    if wire is None:
        return None
    known = Transaction(
        chain_id=network.chain.chain_id,
        hash=text,
        status="pending",
        from_=_address(wire["from"]),
        to=_address(wire["to"]),
        nonce=str(int(wire["nonce"], 16)),
        explorer_url=network.chain.transaction_url(transaction_hash),
    )
    if wire_receipt is None:
        return known
    receipt = receipt_of(wire_receipt)
    # A balancing proxy may have answered from two nodes, one of them behind.
    confirmations = max(int(head, 16) - receipt.block_number, 0)
    return msgspec.structs.replace(
        known,
        status="mined" if receipt.succeeded else "failed",
        block_number=receipt.block_number,
        block_hash=to_hex(receipt.block_hash),
        confirmations=confirmations,
        final=confirmations >= network.chain.confirmations,
        indexed=await _indexed(database, network, receipt),
        reason=None if receipt.succeeded else await _reason(network.rpc, wire, receipt),
        effects=await _effects(database, known.chain_id, receipt),
    )


async def _indexed(database: Database, network: Network, receipt: Receipt) -> bool:
    """Return whether the projections have a receipt's block; if not, read it, as far as time allows."""
    place = (network.chain.chain_id, receipt.block_number, receipt.block_hash)
    if await watchstore.is_indexed(database, *place):
        return True
    if network.bring is None:
        return False
    with suppress(EchainError, TimeoutError):
        async with asyncio.timeout(_BRING_SECONDS):
            await network.bring(receipt.block_number)
    return await watchstore.is_indexed(database, *place)


async def _missing(network: Network, transaction_hash: Hash32, watched: Watched) -> Transaction:
    """Return what can be said of a watched transaction that the node does not have; show it again."""
    status: Literal["pending", "replaced", "unknown"] = "unknown"
    if watched.sender is not None and watched.nonce is not None:
        if await count(network.rpc, watched.sender) > watched.nonce:
            status = "replaced"
        elif watched.raw is not None and await _taken(network.rpc, transaction_hash, watched.raw):
            status = "pending"
    return Transaction(
        chain_id=network.chain.chain_id,
        hash=to_hex(transaction_hash),
        status=status,
        from_=None if watched.sender is None else checksum(watched.sender),
        nonce=None if watched.nonce is None else str(watched.nonce),
        explorer_url=network.chain.transaction_url(transaction_hash),
    )


async def _taken(rpc: Rpc, transaction_hash: Hash32, raw: bytes) -> bool:
    try:
        await _offer(rpc, transaction_hash, raw)
    except TransactionRefused:
        return False
    return True


async def _reason(rpc: Rpc, wire: dict[str, Any], receipt: Receipt) -> Reason:
    revert = await revert_reason(
        rpc,
        sender=Address(bytes.fromhex(wire["from"][2:])),
        to=None if wire["to"] is None else Address(bytes.fromhex(wire["to"][2:])),
        data=bytes.fromhex(wire["input"][2:]),
        value_wei=int(wire["value"], 16),
        block_number=receipt.block_number,
    )
    said = Reverted(revert)
    return Reason(said.name, {} if revert is None else revert.described(), said.message)


async def _effects(database: Database, chain_id: int, receipt: Receipt) -> tuple[Effect, ...]:
    """Return what the platform's own contracts emitted; strangers may emit anything and are left out."""
    logs = [_log(wire, receipt) for wire in receipt.logs]
    if not logs:
        return ()
    async with database.connection() as connection:
        kinds = await logstore.kinds(connection, chain_id, {log.address for log in logs})
    effects = [_effect(kinds[log.address], log) for log in logs if kinds.get(log.address) in ARTIFACT_OF_KIND]
    return tuple(effect for effect in effects if effect is not None)


def _effect(kind: str, log: Log) -> Effect | None:
    event = _events(kind).get(log.topics[0]) if log.topics else None
    values = None if event is None else event.decode([log])[0]
    if event is None or values is None:
        return None
    arguments = dict(zip(event.fields, map(plain, values), strict=True))
    return msgspec.convert(
        {"contract": kind, "address": checksum(log.address), "event": event.name, "arguments": arguments},
        Effect,
    )


@cache
def _events(kind: str) -> Mapping[bytes, EventAbi]:
    compiled: Sequence[EventAbi] = tuple(compile_events(contract(ARTIFACT_OF_KIND[kind]).abi).values())
    return {event.topic0: event for event in compiled}


def _log(wire: dict[str, Any], receipt: Receipt) -> Log:
    return Log(
        receipt.block_number,
        int(wire["logIndex"], 16),
        receipt.hash,
        int(wire["transactionIndex"], 16),
        Address(bytes.fromhex(wire["address"][2:])),
        tuple(bytes.fromhex(topic[2:]) for topic in wire["topics"]),
        bytes.fromhex(wire["data"][2:]),
        receipt.block_hash,
    )


def _address(text: str | None) -> str | None:
    return None if text is None else checksum(Address(bytes.fromhex(text[2:])))
