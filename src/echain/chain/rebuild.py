"""Folds a chain's projections anew from its stored logs, beside those that are read, and swaps them at once.

The indexer goes on meanwhile, and readers go on reading the old rows until the one transaction that swaps.
Up to the chain's final block the logs are folded without holding anything; only the rest, and the swap, hold
the cursor. The shadows live and die with one session: an interrupted rebuild leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from echain.chain import shadow, store
from echain.chain.ingest import NOBODY, Projection, folded
from echain.chain.store import Cursor
from echain.chain.types import Change
from echain.infra import cache
from echain.infra.database import Connection, Tx
from echain.kernel.errors import EchainError, Kind
from echain.kernel.evm import Address, Hash32

_BATCH_LOGS: Final = 5_000
_FEW_LOGS: Final = 1_000
"""So many are folded within the swap; more are folded before it."""

_PATIENCE_SECONDS: Final = 2.0
_LOOK_SECONDS: Final = 0.05

_log = structlog.get_logger(__name__)


class RebuildUnderWay(EchainError):
    """This chain's projections are being rebuilt already; wait for that to end."""

    kind = Kind.CONFLICT
    code = "chain.rebuild_under_way"


class Rebuilding(msgspec.Struct, frozen=True):
    """How a rebuild goes; ``logs`` of ``total`` are folded."""

    logs: int
    total: int
    seconds: float

    @property
    def logs_per_second(self) -> float:
        return self.logs / self.seconds if self.seconds else 0.0


class Rebuilt(msgspec.Struct, frozen=True):
    """What a rebuild did: logs folded, rows that were not the same before, how long the cursor was held."""

    logs: int
    changed: int
    swap_seconds: float


async def rebuild(
    connection: Connection,
    chain_id: int,
    projection: Projection,
    *,
    on_progress: Callable[[Rebuilding], None] | None = None,
) -> Rebuilt:
    """Fold all projections of a chain anew; nothing is told and no node is asked.

    ``connection`` must be a session of its own, which the caller ends afterwards: while it lives, the names
    of the projections mean its shadows there.

    Raises:
        NotFollowed: nothing of the chain was ever indexed.
        RebuildUnderWay: another session rebuilds it.
    """
    await _be_alone(connection, chain_id)
    while True:
        rebuilding = _Rebuild(connection, chain_id, projection, on_progress)
        await rebuilding.fold_what_is_final()
        rebuilt = await rebuilding.swap()
        if rebuilt is not None:
            return rebuilt
        _log.info("the chain's past changed; folding anew", chain_id=chain_id)


async def _be_alone(connection: Connection, chain_id: int) -> None:
    """Lock out other rebuilds while the session lives; one that was killed may take a moment to end."""
    end = time.monotonic() + _PATIENCE_SECONDS
    key = f"rebuild:{chain_id}"
    while not await connection.fetchval("SELECT pg_try_advisory_lock(hashtextextended($1, 0))", key):
        if time.monotonic() > end:
            raise RebuildUnderWay(f"chain {chain_id} is being rebuilt already")
        await asyncio.sleep(_LOOK_SECONDS)


class _Rebuild:
    """One attempt, from empty shadows; void when what was folded is not the chain's past any more."""

    def __init__(
        self,
        connection: Connection,
        chain_id: int,
        projection: Projection,
        on_progress: Callable[[Rebuilding], None] | None,
    ) -> None:
        self._connection = connection
        self._chain_id = chain_id
        self._projection = projection
        self._on_progress = on_progress
        self._tables = [table for projector in projection.projectors for table in projector.tables]
        self._roots: set[Address] = set()
        self._kinds: dict[Address, str] = {}
        self._reached: tuple[int, Hash32 | None] = (-1, None)
        self._logs = 0
        self._analyzed = 0
        self._began = time.monotonic()

    async def fold_what_is_final(self) -> None:
        """Fold into empty shadows all that no reorg can take, until little is left."""
        cursor = await store.read_cursor(self._connection, self._chain_id)
        self._roots = await store.roots(self._connection, self._chain_id)
        total = await store.count_logs(self._connection, self._chain_id)
        await shadow.cast(self._connection, self._tables)
        while True:
            async with self._connection.transaction():
                count = await self._fold(self._connection, min(cursor.finalized_number, cursor.block_number))
            if self._on_progress is not None:
                seconds = time.monotonic() - self._began
                self._on_progress(Rebuilding(self._logs, max(total, self._logs), seconds))
            if count < _FEW_LOGS:
                break
            if self._logs >= 2 * self._analyzed:
                # The plans of the slices' statements were made for smaller tables.
                await shadow.analyze(self._connection, self._tables)
                self._analyzed = self._logs
            cursor = await store.read_cursor(self._connection, self._chain_id)
        if self._analyzed:
            await shadow.analyze(self._connection, self._tables)

    async def swap(self) -> Rebuilt | None:
        """Fold the rest and put all in its place, while the head waits; None when what is folded is void."""
        began = time.monotonic()
        async with self._connection.transaction():
            cursor = await store.read_cursor(self._connection, self._chain_id, lock=True)
            if not await self._holds(cursor):
                return None
            while await self._fold(self._connection, cursor.block_number):
                pass
            changed = 0
            for table in self._tables:
                changed += await shadow.swap(self._connection, table, self._chain_id)
            await cache.invalidate_everything(self._connection)
        return Rebuilt(self._logs, changed, time.monotonic() - began)

    async def _holds(self, cursor: Cursor) -> bool:
        """Return whether the chain is still the one that was folded, with the same roots."""
        if await store.roots(self._connection, self._chain_id) != self._roots:
            return False
        number, block_hash = self._reached
        if block_hash is None:
            return True
        kept = await store.hashes(self._connection, self._chain_id, number, number)
        return cursor.block_number >= number and kept.get(number) == block_hash

    async def _fold(self, tx: Tx, upto: int) -> int:
        """Fold the next logs, none above block ``upto``; return how many."""
        stored = await store.read_logs(tx, self._chain_id, self._reached[0], upto, _BATCH_LOGS)
        if not stored.logs:
            return 0
        if any(log.address not in self._kinds for log in stored.logs):
            followed = await store.contracts(tx, self._chain_id)
            self._kinds = {contract.address: contract.kind for contract in followed}
        facts = self._projection.facts(stored.logs, self._kinds)
        for step in await folded(Change(self._chain_id, facts, stored.times, NOBODY), self._projection):
            await step.write(tx)
        last = stored.logs[-1]
        self._reached = (last.block_number, last.block_hash)
        self._logs += len(stored.logs)
        return len(stored.logs)
