"""Judges hints: what somebody says of a chain is looked up at our own node and goes through the one ingest.

A hint never writes anything by itself. At best it makes a block come in that we have not read yet.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec

from echain.chain.rpc import Rpc
from echain.infra.database import Database
from echain.kernel.evm import Address, Hash32, to_hex
from echain.webhooks import inboxstore
from echain.webhooks.adapter import Hint, Meaning
from echain.webhooks.inboxstore import Outcome, StoredLog

_TOPIC_BYTES: Final = 32


class Network(msgspec.Struct, frozen=True):
    """A chain that is served: its node, and what reads it up to a block through the ingest."""

    rpc: Rpc
    bring: Callable[[int], Awaitable[object]]


class NotYet(Exception):
    """Our node does not know it, or a reorg is under way: ask again, and after some times call it unseen."""


class Verdict(msgspec.Struct, frozen=True):
    """What came of a hint, and why where that is not plain."""

    outcome: Outcome
    reason: str | None = None


class _Seen(msgspec.Struct, frozen=True):
    """A log, or with a call the transaction, as our own node has it."""

    block_number: int
    block_hash: Hash32
    tx_hash: Hash32
    log_index: int | None
    address: Address
    topics: tuple[bytes, ...]


async def judge(database: Database, networks: Mapping[int, Network], hint: Hint) -> Verdict:
    """Return what is true of a hint, once what it points at is in our store if it is ours at all.

    Raises:
        NotYet: see there.
        EchainError: with `Kind.UNAVAILABLE`, no node answers as it should, or the indexer is still behind.
    """
    network = networks.get(hint.chain_id or 0)
    if hint.chain_id is None or network is None:
        return Verdict("ignored", f"{hint.network} is not served")
    if await _stands(database, hint.chain_id, hint):
        return Verdict("confirmed")
    seen = await _look_up(network.rpc, hint)
    if isinstance(seen, Verdict):
        return seen
    await network.bring(seen.block_number)
    # Only now: the contract may be a clone that this very block creates.
    if not await inboxstore.is_followed(database, hint.chain_id, seen.address):
        return Verdict("foreign", "the contract is none of the platform's")
    if seen.log_index is None:
        return Verdict("confirmed")
    stored = await inboxstore.stored_log(database, hint.chain_id, seen.block_number, seen.log_index)
    if stored is None or (stored.tx_hash, stored.block_hash) != (seen.tx_hash, seen.block_hash):
        raise NotYet("the block that the node told of is not the one in our store")
    return Verdict("confirmed")


async def _stands(database: Database, chain_id: int, hint: Hint) -> bool:
    """Return whether the store, which only our own nodes fill, holds just what the hint says already."""
    if hint.block_number is None or hint.log_index is None:
        return False
    stored = await inboxstore.stored_log(database, chain_id, hint.block_number, hint.log_index)
    return stored is not None and _agrees(hint, stored)


def _agrees(hint: Hint, stored: StoredLog) -> bool:
    topics = [stored.topics[at : at + _TOPIC_BYTES] for at in range(0, len(stored.topics), _TOPIC_BYTES)]
    return (
        hint.tx_hash in (None, stored.tx_hash)
        and hint.block_hash in (None, stored.block_hash)
        and hint.contract in (None, stored.address)
        and hint.meaning.fits(topics)
    )


async def _look_up(rpc: Rpc, hint: Hint) -> _Seen | Verdict:
    """Return what our own node has where the hint points, or that it contradicts it."""
    if hint.tx_hash is None:
        return await _in_block(rpc, hint)
    receipt: Mapping[str, Any] | None = await rpc.call("eth_getTransactionReceipt", [to_hex(hint.tx_hash)])
    if receipt is None:
        raise NotYet("our node does not know the transaction")
    if hint.meaning is Meaning.CALL:
        return _call(hint, receipt)
    return _found(hint, receipt["logs"])


async def _in_block(rpc: Rpc, hint: Hint) -> _Seen | Verdict:
    assert hint.block_number is not None, "a hint names a transaction or a block"
    block = await rpc.header(hex(hint.block_number))
    if block is None:
        raise NotYet("our node does not have the block yet")
    if hint.block_hash not in (None, block.hash):
        return Verdict("contradicted", "another block stands at that height")
    logs: list[Mapping[str, Any]] = await rpc.call("eth_getLogs", [{"blockHash": to_hex(block.hash)}])
    return _found(hint, logs)


def _call(hint: Hint, receipt: Mapping[str, Any]) -> _Seen | Verdict:
    target = bytes.fromhex((receipt.get("to") or "0x")[2:])
    if hint.contract not in (None, target):
        return Verdict("contradicted", "the transaction calls another contract")
    if int(receipt["status"], 16) != 1:
        return Verdict("contradicted", "the transaction failed")
    return _Seen(
        int(receipt["blockNumber"], 16),
        Hash32(bytes.fromhex(receipt["blockHash"][2:])),
        Hash32(bytes.fromhex(receipt["transactionHash"][2:])),
        None,
        Address(target),
        (),
    )


def _found(hint: Hint, logs: list[Mapping[str, Any]]) -> _Seen | Verdict:
    """Return the log at the hint's place among those of its transaction or block."""
    at_place = [log for log in logs if int(log["logIndex"], 16) == hint.log_index]
    if not at_place:
        return Verdict("contradicted", "there is no such log")
    log = at_place[0]
    topics = tuple(bytes.fromhex(topic[2:]) for topic in log["topics"])
    seen = _Seen(
        int(log["blockNumber"], 16),
        Hash32(bytes.fromhex(log["blockHash"][2:])),
        Hash32(bytes.fromhex(log["transactionHash"][2:])),
        hint.log_index,
        Address(bytes.fromhex(log["address"][2:])),
        topics,
    )
    if hint.contract not in (None, seen.address):
        return Verdict("contradicted", "another contract emitted the log")
    if hint.block_number not in (None, seen.block_number) or hint.block_hash not in (None, seen.block_hash):
        # A lie, or a reorg since: either way what was said does not stand, and what does comes by following.
        return Verdict("contradicted", "the log lies in another block")
    if not hint.meaning.fits(topics):
        return Verdict("contradicted", "the log is another event than was said")
    return seen
