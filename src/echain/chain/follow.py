"""Follows one chain: catches up in ranges, then block by block, through forks and silences, by one step.

What is below finality is read by range; what may still change is read block by block, by hash. A reorg is a
parent that is not ours, never a lower height; its replacement is read before anything is deleted.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import aclosing, contextmanager
from typing import Final

import msgspec
import structlog

from echain.chain import store
from echain.chain.finality import Finality
from echain.chain.headers import ChainMoved, linked, shown_by_two
from echain.chain.heads import Heads
from echain.chain.ingest import Forked, GapBefore, Outcome, Prepared, Projection, ingest, register
from echain.chain.leader import lead, limit
from echain.chain.logs import LogSource
from echain.chain.ranges import NEAR, Ranges
from echain.chain.rpc import Rpc
from echain.chain.span import Span
from echain.chain.store import Cursor
from echain.chain.types import Block, Contract, Projector, Segment
from echain.infra.database import Database
from echain.infra.traces import Traces
from echain.kernel.errors import EchainError, Kind
from echain.kernel.evm import Address
from echain.kernel.time import Clock, utc_now

_SHORTEST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 5.0
_LONGEST_PATIENCE_SECONDS: Final = 2.0
"""How long a second node that lags is waited for, at most; a block's time where that is shorter."""

_COLLECT_EVERY: Final = 64
"""Ranges between two searches for cyclic garbage in a backfill."""

_log = structlog.get_logger(__name__)


class FinalityBroken(EchainError):
    """The node's chain differs below finality; use another node, or a new database for another chain."""

    kind = Kind.UNAVAILABLE
    code = "chain.finality_broken"


class FollowedChain(msgspec.Struct, frozen=True, kw_only=True):
    """What a follower must know of its chain.

    ``confirmations`` is the depth at which blocks are final, where ``finalized_tag`` holds once the node's
    ``finalized`` block says so too. ``resettable`` is for devnets only: their past may be replaced below
    finality, as when the node was wiped. ``blooms`` says whether headers carry true filters.
    """

    chain_id: int
    roots: tuple[Contract, ...]
    from_block: int = 0
    confirmations: int = 12
    finalized_tag: bool = False
    block_seconds: float = 2.0
    max_log_span: int = 2_000
    ws_urls: tuple[str, ...] = ()
    resettable: bool = False
    blooms: bool = True


class Progress(msgspec.Struct, frozen=True):
    """How a backfill goes; ``seconds`` since it began at ``first``."""

    first: int
    reached: int
    target: int
    logs: int
    seconds: float

    @property
    def logs_per_second(self) -> float:
        return self.logs / self.seconds if self.seconds else 0.0

    @property
    def eta_seconds(self) -> float | None:
        """Seconds that are left at the speed so far; None before there is one."""
        done = self.reached - self.first + 1
        return self.seconds / done * (self.target - self.reached) if done > 0 else None


class Follower:
    """Keeps one chain's projections at the head of its node."""

    def __init__(
        self,
        rpc: Rpc,
        database: Database,
        projectors: Sequence[Projector],
        chain: FollowedChain,
        *,
        clock: Clock = utc_now,
        on_progress: Callable[[Progress], None] | None = None,
        traces: Traces | None = None,
    ) -> None:
        """``on_progress`` is called after every range of a backfill."""
        self._rpc = rpc
        self._database = database
        self._projection = Projection(projectors)
        self._chain = chain
        self._clock = clock
        self._on_progress = on_progress
        self._traces = traces or Traces.off()
        self._source = LogSource(rpc, self._projection, blooms=chain.blooms)
        self._finality = Finality(rpc, confirmations=chain.confirmations, tag=chain.finalized_tag)
        self._kinds: dict[Address, str] = {}
        self._ranges = Ranges(rpc, self._source, self._projection, Span(chain.max_log_span), clock)
        self._cursor = Cursor(chain.chain_id, chain.from_block, chain.from_block - 1, None, -1)
        self._pause_seconds = _SHORTEST_PAUSE_SECONDS
        self._patience_seconds = min(chain.block_seconds, _LONGEST_PATIENCE_SECONDS)
        self._firm = False

    async def run(self) -> None:
        """Follow until cancelled, as the chain's only leader; whatever fails is tried again, ever slower.

        What nobody foresaw too: it is logged whole, and neither the relay nor other chains wait for it.
        """
        while True:
            try:
                await lead(self._database, self._chain.chain_id, self._follow)
            except EchainError as error:
                _log.warning(
                    "following stopped for a moment",
                    chain_id=self._chain.chain_id,
                    code=error.code,
                    reason=str(error),
                )
            except Exception:  # noqa: BLE001 - one chain's bug must not stop the others
                _log.exception("following failed", chain_id=self._chain.chain_id)
            await asyncio.sleep(self._pause_seconds)
            self._pause_seconds = min(_LONGEST_PAUSE_SECONDS, self._pause_seconds * 2)

    async def _follow(self) -> None:
        await self.start()
        chain = self._chain
        heads = Heads(self._rpc, ws_urls=chain.ws_urls, block_seconds=chain.block_seconds)
        async with aclosing(heads.newest()) as newest:
            async for head in newest:
                await self.reach(head)
                if self._cursor.block_hash != head.hash:
                    heads.again()
                self._pause_seconds = _SHORTEST_PAUSE_SECONDS

    async def catch_up(self) -> int:
        """Bring the projections to the node's present head once, and return the height that is reached.

        Raises:
            ChainUnreachable: the node does not answer.
            FinalityBroken: the node's past is another one.
        """
        head = await self._rpc.head()
        await self.start()
        await self.reach(head)
        return self._cursor.block_number

    async def start(self) -> None:
        """Register the chain and its roots, and read how far it is ingested."""
        chain = self._chain
        async with self._database.transaction() as tx:
            await limit(tx)
            await register(
                tx,
                chain.chain_id,
                from_block=chain.from_block,
                roots=chain.roots,
                projection=self._projection,
            )
        await self._reload()

    @property
    def reached(self) -> int:
        """The height up to which the chain is ingested, as far as this follower knows."""
        return self._cursor.block_number

    async def reach(self, head: Block) -> None:
        """Bring the projections to ``head``, whatever lies between.

        Where there is another node to ask, only as far as a second one has it too: a lower height, or nothing
        at all while they contradict one another.

        Raises:
            ChainUnreachable, RpcRefused, ChainMoved, LogsMissing: the node does not give what is needed.
            FinalityBroken: the fork lies below finality.
        """
        if await self._finality.learn() and not self._chain.resettable:
            await self._hold_to_the_past()
        standing = await self._rpc.common(head, self._patience_seconds)
        if standing is not None:
            self._firm = standing.firm
            await self._reach(standing.block)

    async def _reach(self, head: Block) -> None:
        while True:
            try:
                if head.number <= self._cursor.block_number:
                    if not await self._forked_at(head):
                        return
                    await self._reorganize(head)
                elif head.number - self._cursor.block_number > NEAR:
                    await self._backfill(head)
                else:
                    await self._approach(head)
            except Forked:
                await self._reorganize(head)
            except GapBefore:
                await self._reload()
            else:
                if self._cursor.block_hash == head.hash:
                    return

    async def _reload(self) -> None:
        async with self._database.connection() as connection:
            self._cursor = await store.read_cursor(connection, self._chain.chain_id)
            followed = await store.contracts(connection, self._chain.chain_id)
        self._kinds = {contract.address: contract.kind for contract in followed}

    def _final(self, head: Block) -> int:
        return self._finality.height(head) if self._firm else self._cursor.finalized_number

    async def _forked_at(self, head: Block) -> bool:
        """Return whether a head that is not above ours lies on another chain; else the node merely lags."""
        async with self._database.connection() as connection:
            kept = await store.hashes_down(connection, self._chain.chain_id, head.number + 1, 1)
        if not kept:
            return False
        number, block_hash = kept[0]
        if number == head.number:
            return block_hash != head.hash
        block = await self._rpc.header(hex(number))
        return block is not None and block.hash != block_hash

    async def _approach(self, head: Block) -> None:
        """Ingest what lies between the cursor and a near head, read by hash."""
        first = self._cursor.block_number + 1
        if first == head.number:
            blocks = [head]
        else:
            blocks = await linked(self._rpc, first, head.number - 1)
            if head.parent_hash != blocks[-1].hash:
                raise ChainMoved(f"block {head.number} is not on the node's chain any more")
            blocks.append(head)
        if self._cursor.block_hash is not None and blocks[0].parent_hash != self._cursor.block_hash:
            raise Forked
        kinds = dict(self._kinds)
        segment = Segment(blocks, await self._source.each(blocks, kinds), self._final(head))
        await self._commit(segment, kinds, await self._ranges.prepared(segment, self._kinds))

    async def _commit(self, segment: Segment, kinds: dict[Address, str], prepared: Prepared) -> None:
        outcome = await self._ingested(segment, prepared)
        if outcome is not Outcome.EXTENDED:
            await self._reload()
            return
        last = segment.blocks[-1]
        self._kinds.update(kinds)
        self._cursor = msgspec.structs.replace(
            self._cursor,
            block_number=last.number,
            block_hash=last.hash,
            finalized_number=max(self._cursor.finalized_number, min(segment.finalized, last.number)),
        )

    async def _ingested(self, segment: Segment, prepared: Prepared) -> Outcome:
        chain_id, now = self._chain.chain_id, self._clock()
        blocks, logs = len(segment.blocks), len(segment.logs)
        with self._traces.told("ingest", chain=chain_id, blocks=blocks, logs=logs) as span:
            async with self._database.transaction() as tx:
                await limit(tx)
                outcome = await ingest(tx, chain_id, segment, self._projection, now=now, prepared=prepared)
            if span is not None:
                span.tell(outcome=outcome.value)
        return outcome

    async def _hold_to_the_past(self) -> None:
        """Have nodes put aside whose past is not ours: on another fork, or another chain by now."""
        async with self._database.connection() as connection:
            final = await store.hashes_down(
                connection, self._chain.chain_id, self._cursor.finalized_number + 1, 1
            )
        for number, block_hash in final:
            self._rpc.trust(number, block_hash)

    # --- forks ---

    async def _reorganize(self, head: Block) -> None:
        """Replace what lies above the common ancestor by the node's chain, at first `NEAR` blocks of it."""
        await self._reload()
        ancestor = await self._common_ancestor(head)
        first = ancestor + 1
        if first > head.number:
            raise ChainMoved(f"block {head.number} is not on the node's chain any more")
        if ancestor < self._cursor.finalized_number and not self._chain.resettable:
            raise FinalityBroken(
                f"the node's chain leaves ours above block {ancestor}, which was final",
                ancestor=ancestor,
                finalized=self._cursor.finalized_number,
            )
        blocks = await linked(self._rpc, first, min(head.number, ancestor + NEAR))
        await shown_by_two(self._rpc, blocks[-1])
        async with self._database.connection() as connection:
            await store.note_head(connection, self._chain.chain_id, head.number)
            followed = await store.contracts(connection, self._chain.chain_id)
        roots = {root.address for root in self._chain.roots}
        kinds = {
            contract.address: contract.kind
            for contract in followed
            if contract.from_block <= ancestor or contract.address in roots
        }
        before = dict(kinds)
        segment = Segment(blocks, await self._source.each(blocks, kinds), self._final(head))
        await self._commit(segment, kinds, await self._ranges.prepared(segment, before))

    async def _common_ancestor(self, head: Block) -> int:
        """Return the height of the highest kept block that the node has too, looking ever further down."""
        below, step = min(self._cursor.block_number, head.number) + 1, 16
        while True:
            async with self._database.connection() as connection:
                kept = await store.hashes_down(connection, self._chain.chain_id, below, step)
            if not kept:
                return self._chain_start - 1
            seen = await self._rpc.headers([number for number, _ in kept])
            for (number, block_hash), block in zip(kept, seen, strict=True):
                if block is not None and block.hash == block_hash:
                    return number
            below, step = kept[-1][0], min(step * 4, 1_000)

    @property
    def _chain_start(self) -> int:
        return self._cursor.from_block

    # --- ranges ---

    async def _backfill(self, head: Block) -> None:
        """Ingest up to a far head: ranges up to finality, then by hash; one transaction each, in order."""
        began, start, logs = time.monotonic(), self._cursor.block_number + 1, 0
        async with self._database.connection() as connection:
            await store.note_head(connection, self._chain.chain_id, head.number)
        reading = self._ranges.upto(head.number, self._final(head))
        async with aclosing(reading) as ranges:
            with _rarely_collected() as collect:
                while self._cursor.block_number < head.number:
                    read = await ranges.take(self._cursor.block_number + 1, self._kinds)
                    if read is None:
                        continue
                    await self._commit(read.segment, read.kinds, read.prepared)
                    collect()
                    logs += len(read.segment.logs)
                    seconds = time.monotonic() - began
                    self._tell(Progress(start, self._cursor.block_number, head.number, logs, seconds))

    def _tell(self, progress: Progress) -> None:
        if self._on_progress is not None:
            self._on_progress(progress)


@contextmanager
def _rarely_collected() -> Generator[Callable[[], None]]:
    """Pause the search for cyclic garbage; what is yielded is called after each range, and searches at times.

    Ranges make many objects and hardly a cycle. Otherwise a fifth of a backfill's time goes into looking
    through the same ones again and again.
    """
    calls = itertools.count(1)

    def collect() -> None:
        if next(calls) % _COLLECT_EVERY == 0:
            gc.collect()

    paused = gc.isenabled()
    gc.disable()
    try:
        yield collect
    finally:
        if paused:
            gc.enable()
