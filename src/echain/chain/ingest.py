"""The one step by which anything from a chain becomes rows: following, backfill, hints and look-ups end here.

One transaction holds the logs, the cursor, the projections, the outbox messages and what the cache must drop.
The step is idempotent: what is stored already changes nothing, whoever brings it and however often.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import Final

import msgspec
import structlog

from echain.chain import store
from echain.chain.store import Cursor
from echain.chain.types import Block, Change, Contract, EventDecoder, Fact, Log, Projector, Segment, Step
from echain.infra import bulk, cache, outbox
from echain.infra.database import Tx
from echain.kernel.errors import EchainError
from echain.kernel.evm import Address
from echain.kernel.time import from_unix, to_unix

TOLD: Final = timedelta(hours=24)
"""How far back clients can catch up; facts older than this are folded without telling anyone."""

NOBODY: Final = 1 << 62
"""A `Change.told_from` above every block."""

_PRUNE_EVERY: Final = 256

_log = structlog.get_logger(__name__)


class SegmentBroken(EchainError):
    """The headers and logs of a segment contradict each other; the node's answers are not to be believed."""

    code = "chain.segment_broken"


class GapBefore(EchainError):
    """The segment starts above the block after the cursor; what lies between must come first."""

    code = "chain.gap"


class Forked(EchainError):
    """The segment's first parent is not the block stored there; look for the common ancestor further down."""

    code = "chain.forked"


class Outcome(Enum):
    """What the step did."""

    KNOWN = "known"
    EXTENDED = "extended"
    REORGANIZED = "reorganized"


class Projection:
    """The slices' projectors with one table of the events that they fold."""

    def __init__(self, projectors: Sequence[Projector]) -> None:
        self.projectors = tuple(projectors)
        self._events: dict[tuple[str, bytes], EventDecoder] = {}
        self._creating: dict[tuple[str, bytes], Projector] = {}
        for projector in projectors:
            for kind, event in projector.events:
                self._events[kind, event.topic0] = event
                if (kind, event.name) in projector.creating:
                    self._creating[kind, event.topic0] = projector

    def facts(
        self, logs: Iterable[Log], kinds: Mapping[Address, str]
    ) -> dict[tuple[str, str], Sequence[Fact]]:
        """Return the decoded logs of followed contracts, by kind and event, each list in chain order.

        A log counts only by its contract's kind: the same topic of another contract is nobody's.
        """
        grouped: dict[tuple[str, bytes], list[Log]] = defaultdict(list)
        for log in logs:
            kind = kinds.get(log.address)
            if kind is not None and log.topics:
                grouped[kind, log.topics[0]].append(log)
        facts: dict[tuple[str, str], Sequence[Fact]] = {}
        for (kind, topic0), group in grouped.items():
            event = self._events.get((kind, topic0))
            if event is not None:
                facts[kind, event.name] = _decoded(event, group)
        return facts

    def created(self, logs: Iterable[Log], kinds: Mapping[Address, str]) -> list[Contract]:
        """Return the contracts that these logs create and that are not followed yet."""
        creators = self.creators(kinds)
        found: dict[Address, Contract] = {}
        for log in logs:
            if log.address not in creators or not log.topics:
                continue
            key = (kinds[log.address], log.topics[0])
            projector = self._creating.get(key)
            if projector is None:
                continue
            for fact in _decoded(self._events[key], (log,)):
                contract = projector.created(fact)
                if contract.address not in kinds:
                    found.setdefault(contract.address, contract)
        return list(found.values())

    def creators(self, kinds: Mapping[Address, str]) -> set[Address]:
        """Return those contracts whose logs may create others."""
        creating = {kind for kind, _ in self._creating}
        return {address for address, kind in kinds.items() if kind in creating}


def _decoded(event: EventDecoder, logs: Sequence[Log]) -> list[Fact]:
    facts = [
        (log, values) for log, values in zip(logs, event.decode(logs), strict=True) if values is not None
    ]
    if len(facts) < len(logs):
        _log.warning("logs do not decode", log_event=event.name, count=len(logs) - len(facts))
    return facts


async def register(
    tx: Tx, chain_id: int, *, from_block: int, roots: Sequence[Contract], projection: Projection
) -> None:
    """Make a chain ready to be ingested from ``from_block`` on, with the contracts followed for good.

    A root that is new to a chain under way takes the chain back to that root's first block.
    """
    await store.create_partition(tx, chain_id)
    await store.create_cursor(tx, chain_id, from_block)
    cursor = await store.read_cursor(tx, chain_id, lock=True)
    new_from = await store.add_roots(tx, chain_id, roots)
    if new_from is not None and new_from <= cursor.block_number:
        kept = await store.hashes_down(tx, chain_id, new_from, 1)
        await _rewind(tx, cursor, kept[0] if kept else None, projection)


class Prepared(msgspec.Struct, frozen=True):
    """Logs decoded, folded and encoded on a belief: which of their contracts are followed.

    ``believed`` holds the kinds of those followed before; ``created`` the contracts that the logs create.
    """

    believed: Mapping[Address, str]
    created: Sequence[Contract]
    filled: Collection[int]
    logs: bulk.Rows
    steps: Sequence[Step]


async def prepare(
    chain_id: int,
    segment: Segment,
    kinds: Mapping[Address, str],
    projection: Projection,
    *,
    now: datetime,
) -> Prepared:
    """Do all of a segment's work that needs no database; ``kinds`` are the contracts followed before it.

    Gives other tasks a turn between its parts, so that the database is kept busy meanwhile.
    """
    logs, addresses = segment.logs, {log.address for log in segment.logs}
    believed = {address: kinds[address] for address in addresses if address in kinds}
    created = projection.created(logs, believed)
    known = believed | {contract.address: contract.kind for contract in created}
    if addresses - known.keys():
        logs = [log for log in logs if log.address in known]
    facts = projection.facts(logs, known)
    await asyncio.sleep(0)
    filled = {log.block_number for log in logs}
    oldest_told = to_unix(now - TOLD)
    change = Change(
        chain_id,
        facts,
        {block.number: from_unix(block.timestamp) for block in segment.blocks if block.number in filled},
        next((block.number for block in segment.blocks if block.timestamp >= oldest_told), NOBODY),
    )
    steps = await folded(change, projection) if logs else []
    return Prepared(believed, created, filled, store.encoded_logs(chain_id, logs), steps)


async def folded(change: Change, projection: Projection) -> list[Step]:
    """Return what a change does to each slice, in the order in which it is to be written."""
    steps: list[Step] = []
    for projector in projection.projectors:
        step = projector.fold(change)
        if step is not None:
            steps.append(step)
        await asyncio.sleep(0)
    return steps


async def ingest(
    tx: Tx,
    chain_id: int,
    segment: Segment,
    projection: Projection,
    *,
    now: datetime,
    prepared: Prepared | None = None,
) -> Outcome:
    """Bring a segment of the chain into the store and fold what it changes.

    Known blocks change nothing. A segment that leaves the stored chain replaces everything above the common
    ancestor. Facts older than 24 h before ``now`` are told to nobody. ``prepared`` is the segment's work done
    beforehand; where the store does not bear its belief out it is done anew.

    Raises:
        SegmentBroken: headers and logs do not belong together.
        GapBefore: blocks between the cursor and the segment are missing.
        Forked: the segment's first parent is not stored.
    """
    verify(segment)
    cursor = await store.read_cursor(tx, chain_id, lock=True)
    blocks, ancestor = await _placed(tx, cursor, segment.blocks)
    if not blocks:
        return Outcome.KNOWN
    if reorganized := ancestor[0] < cursor.block_number:
        await _rewind(tx, cursor, ancestor, projection)
    if len(blocks) < len(segment.blocks):
        segment, prepared = _cut(segment, blocks), None
    await _append(tx, cursor, segment, prepared, projection=projection, now=now)
    return Outcome.REORGANIZED if reorganized else Outcome.EXTENDED


def _cut(segment: Segment, blocks: Sequence[Block]) -> Segment:
    first = bisect_left(segment.logs, blocks[0].number, key=lambda log: log.block_number)
    return Segment(blocks, segment.logs[first:], segment.finalized)


def verify(segment: Segment) -> None:
    """Check that headers link up and that each log lies in one of them, in order, once.

    Raises:
        SegmentBroken: something does not.
    """
    if not segment.blocks:
        raise SegmentBroken("a segment without blocks")
    before = None
    for block in segment.blocks:
        if before is not None and (block.number != before.number + 1 or block.parent_hash != before.hash):
            raise SegmentBroken(f"block {block.number} does not follow block {before.number}")
        before = block
    hashes = {block.number: block.hash for block in segment.blocks}
    last = (-1, -1)
    for log in segment.logs:
        place = (log.block_number, log.log_index)
        if hashes.get(log.block_number) != log.block_hash:
            raise SegmentBroken(f"a log names another block {log.block_number} than its header")
        if place <= last:
            raise SegmentBroken(f"log {log.log_index} of block {log.block_number} is out of order or doubled")
        last = place


_Place = tuple[int, bytes | None]


async def _placed(tx: Tx, cursor: Cursor, blocks: Sequence[Block]) -> tuple[Sequence[Block], _Place]:
    """Return the blocks that are new, and number and hash of the stored block that they follow."""
    first, last = blocks[0], blocks[-1]
    if first.number > cursor.block_number + 1:
        raise GapBefore(f"block {first.number} comes after {cursor.block_number}")
    if first.number < cursor.from_block:
        raise SegmentBroken(f"block {first.number} lies before the chain's first followed block")
    kept = await store.hashes(tx, cursor.chain_id, first.number - 1, last.number)
    ancestor: _Place = (first.number - 1, kept.get(first.number - 1))
    differs = False
    for block in blocks:
        stored = kept.get(block.number)
        if stored is None:
            continue
        if differs := stored != block.hash:
            break
        ancestor = (block.number, stored)
    if not differs and ancestor[0] >= first.number and last.number <= cursor.block_number:
        return (), ancestor
    follows = ancestor[0] >= first.number or first.number == cursor.from_block
    if not follows and first.parent_hash != ancestor[1]:
        raise Forked(f"block {first.number} has another parent than the block stored before it")
    return blocks[ancestor[0] + 1 - first.number :], ancestor


async def _rewind(tx: Tx, cursor: Cursor, ancestor: _Place | None, projection: Projection) -> None:
    number, block_hash = ancestor or (cursor.from_block - 1, None)
    for projector in reversed(projection.projectors):
        await cache.invalidate(tx, sorted(await projector.rewind(tx, cursor.chain_id, number)))
    await outbox.revert(tx, cursor.chain_id, above=number)
    await store.remove_above(tx, cursor.chain_id, number)
    finalized = min(cursor.finalized_number, number)
    moved = msgspec.structs.replace(
        cursor, block_number=number, block_hash=block_hash, finalized_number=finalized
    )
    await store.move_cursor(tx, moved)
    _log.info("chain rewound", chain_id=cursor.chain_id, was=cursor.block_number, ancestor=number)


async def _append(
    tx: Tx,
    cursor: Cursor,
    segment: Segment,
    prepared: Prepared | None,
    *,
    projection: Projection,
    now: datetime,
) -> None:
    chain_id, last = cursor.chain_id, segment.blocks[-1]
    filled: Collection[int] = ()
    if segment.logs:
        kinds = await store.kinds(tx, chain_id, {log.address for log in segment.logs})
        if prepared is None or prepared.believed != kinds:
            prepared = await prepare(chain_id, segment, kinds, projection, now=now)
        await _write(tx, chain_id, prepared)
        filled = prepared.filled
    await store.add_blocks(
        tx,
        chain_id,
        (
            block
            for block in segment.blocks
            if block.number > segment.finalized
            or block.number in filled
            or block is last
            # By the first block a node that was wiped is told from one that lags.
            or block.number == cursor.from_block
        ),
    )
    finalized = max(cursor.finalized_number, min(segment.finalized, last.number))
    if finalized // _PRUNE_EVERY > cursor.finalized_number // _PRUNE_EVERY:
        done = cursor.finalized_number // _PRUNE_EVERY * _PRUNE_EVERY
        await store.prune_blocks(
            tx, chain_id, max(done - 1, cursor.from_block), min(finalized, last.number - 1)
        )
    await store.move_cursor(tx, Cursor(chain_id, cursor.from_block, last.number, last.hash, finalized))


async def _write(tx: Tx, chain_id: int, prepared: Prepared) -> None:
    """Write logs, new contracts and projections, and what they leave to tell."""
    if prepared.created:
        await store.add_contracts(tx, chain_id, prepared.created)
    await prepared.logs.copy(tx)
    told = [await step.write(tx) for step in prepared.steps]
    messages = [message for one in told for message in one.messages]
    # A client reads the blocks in order, and within a block what an event is before what was sold of it.
    messages.sort(key=lambda message: message.block_number or 0)
    await outbox.publish(tx, messages)
    await cache.invalidate(tx, sorted({key for one in told for key in one.stale}))
