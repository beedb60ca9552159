"""Reads ranges of a chain ahead of whoever ingests them, in order, each sized by how the last ones went."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Mapping
from typing import Any, Final

import msgspec
import structlog

from echain.chain.headers import linked, shown_by_two
from echain.chain.ingest import Prepared, Projection, prepare
from echain.chain.logs import LogSource
from echain.chain.rpc import ChainUnreachable, Rpc, RpcRefused
from echain.chain.span import Span
from echain.chain.types import Log, Segment
from echain.kernel.evm import Address
from echain.kernel.time import Clock

CONCURRENT: Final = 4
"""Ranges that are read at a time."""

NEAR: Final = 64
"""Blocks in one segment that is read by hash."""

_log = structlog.get_logger(__name__)


class Read(msgspec.Struct, frozen=True):
    """A range as the node gave it, with its work done; ``kinds`` are all contracts known at its end."""

    segment: Segment
    prepared: Prepared
    kinds: dict[Address, str]


class _Discovered(msgspec.Struct, frozen=True):
    """The contracts known before a range and up to its end, and the logs of those that create others."""

    before: dict[Address, str]
    kinds: dict[Address, str]
    logs: list[Log]


class _Range(msgspec.Struct, frozen=True):
    """A range on its way."""

    first: int
    last: int
    contracts: asyncio.Task[_Discovered]
    reading: asyncio.Task[Read]


class Ranges:
    """What is needed to read ranges; the span is learnt over all of them."""

    def __init__(self, rpc: Rpc, source: LogSource, projection: Projection, span: Span, clock: Clock) -> None:
        self.rpc = rpc
        self.source = source
        self.projection = projection
        self.span = span
        self._clock = clock

    async def prepared(self, segment: Segment, kinds: Mapping[Address, str]) -> Prepared:
        """Do the segment's work ahead of its transaction; ``kinds`` are the contracts followed before it."""
        await asyncio.sleep(0)
        now = self._clock()
        return await prepare(self.rpc.chain_id, segment, kinds, self.projection, now=now)

    def upto(self, head: int, final: int) -> Ahead:
        """Return a reader of the blocks up to ``head``: by range up to ``final``, above it by hash."""
        return Ahead(self, head, final)


class Ahead:
    """Ranges on their way, at most `CONCURRENT`; `aclose` gives them up."""

    def __init__(self, ranges: Ranges, head: int, final: int) -> None:
        self._ranges = ranges
        self._head = head
        self._final = final
        self._window: deque[_Range] = deque()

    async def take(self, first: int, kinds: dict[Address, str]) -> Read | None:
        """Return the range that starts at ``first``; None when it was given up and is to be asked for again.

        ``kinds`` are the contracts known below ``first``.

        Raises:
            ChainMoved, LogsMissing: the node's answers do not fit together.
            ChainUnreachable, RpcRefused: not even a single block is answered.
        """
        if self._window and self._window[0].first != first:
            await self.aclose()
        self._read_ahead(first, kinds)
        part = self._window.popleft()
        size = part.last - part.first + 1
        try:
            read = await part.reading
        except (RpcRefused, ChainUnreachable) as error:
            await self.aclose()
            if part.first > self._final or not self._ranges.span.refused(size, str(error)):
                raise
            _log.info("range cut", blocks=self._ranges.span.blocks, was=size, reason=str(error))
            return None
        finally:
            await _give_up(part)
        if kinds.keys() - read.kinds.keys():
            # A contract came to light only by what a node had left out: what is on its way does not know it.
            await self.aclose()
            return None
        self._ranges.span.answered(size, len(read.segment.logs))
        return read

    async def aclose(self) -> None:
        while self._window:
            await _give_up(self._window.popleft())

    def _read_ahead(self, first: int, kinds: dict[Address, str]) -> None:
        if self._window:
            first = self._window[-1].last + 1
        while len(self._window) < CONCURRENT and first <= self._head:
            by_range = first <= self._final
            blocks, end = (self._ranges.span.blocks, self._final) if by_range else (NEAR, self._head)
            last = min(first + blocks - 1, end)
            contracts = asyncio.create_task(self._discover(first, last, kinds, by_range=by_range))
            reading = asyncio.create_task(self._read(first, last, contracts, by_range=by_range))
            self._window.append(_Range(first, last, contracts, reading))
            first = last + 1

    def _discover(
        self, first: int, last: int, kinds: dict[Address, str], *, by_range: bool
    ) -> Coroutine[Any, Any, _Discovered]:
        """Return the contracts known up to the end of a range, before their logs are asked for.

        Ranges wait for one another only here, where the answers are small: so each asks once for all of its
        contracts, those included that were made a moment before or within it.
        """
        before = self._window[-1].contracts if self._window else None

        async def discovered() -> _Discovered:
            logs = await self._ranges.source.discovered(first, last, kinds) if by_range else []
            known = dict(kinds if before is None else (await before).kinds)
            created = self._ranges.projection.created(logs, known)
            made = {contract.address: contract.kind for contract in created}
            return _Discovered(known, known | made, logs)

        return discovered()

    async def _read(
        self, first: int, last: int, contracts: asyncio.Task[_Discovered], *, by_range: bool
    ) -> Read:
        blocks = await linked(self._ranges.rpc, first, last)
        await shown_by_two(self._ranges.rpc, blocks[-1])
        discovered = await contracts
        kinds = dict(discovered.kinds)
        if by_range:
            logs = await self._ranges.source.ranged(blocks, kinds, discovered.logs)
        else:
            logs = await self._ranges.source.each(blocks, kinds)
        segment = Segment(blocks, logs, self._final)
        prepared = await self._ranges.prepared(segment, discovered.before)
        return Read(segment, prepared, kinds)


async def _give_up(part: _Range) -> None:
    part.reading.cancel()
    part.contracts.cancel()
    await asyncio.gather(part.reading, return_exceptions=True)
    await asyncio.gather(part.contracts, return_exceptions=True)
