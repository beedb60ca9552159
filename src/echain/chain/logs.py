"""Reads the logs of followed contracts, of those created on the way too, and finds what was left out.

A node may cut an answer short or answer from an index that is not complete. Headers hold a filter over all
logs of their block; wherever it says that more may have happened than was answered, the whole block is read
and must match the filter exactly, without gaps between the places of its logs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

import structlog

from echain.chain import bloom
from echain.chain.endpoint import Endpoint
from echain.chain.ingest import Projection
from echain.chain.rpc import Accept, Inconsistent, Lie, Rpc
from echain.chain.types import Block, Log
from echain.kernel.evm import Address, Hash32

ADDRESSES: Final = 500
"""Contracts in one query."""

_FULL: Final = 0.125
"""A filter with half of its bits set, by its chance; beyond it whole blocks are large and prove little."""

_FALSE_ALARMS: Final = 0.05
"""Blocks without answered logs are read whole only where fewer than this share would be for nothing."""

_log = structlog.get_logger(__name__)


class LogsMissing(Lie):
    """The node leaves logs out that its own headers prove; use another node."""

    code = "chain.logs_missing"


class LogSource:
    """Reads one chain's logs. ``blooms`` is False for chains whose headers carry no true filter."""

    def __init__(self, rpc: Rpc, projection: Projection, *, blooms: bool = True) -> None:
        self._rpc = rpc
        self._projection = projection
        self._blooms = blooms

    async def discovered(self, first: int, last: int, kinds: Mapping[Address, str]) -> list[Log]:
        """Return the logs of those contracts that create others, in blocks ``first`` to ``last``."""
        found, _ = await self._query(_between(first, last), self._projection.creators(kinds), last)
        return found

    async def ranged(
        self, blocks: Sequence[Block], kinds: dict[Address, str], known: Sequence[Log] = ()
    ) -> list[Log]:
        """Return the followed logs of consecutive final blocks by queries over the whole range.

        ``kinds`` says which contracts to ask for; those found on the way are added to it. ``known`` holds
        what `discovered` read of the same blocks.

        Raises:
            LogsMissing: a header proves logs that the node does not give.
            RpcRefused: the range is too large for the node, or it refuses otherwise.
        """
        logs = {(log.block_number, log.log_index): log for log in known}
        wanted: Collection[Address] = kinds.keys() - self._projection.creators(kinds)
        whole: dict[int, list[Log]] = {}
        tellers: set[Endpoint] = set()
        first, last = blocks[0].number, blocks[-1].number
        accept = _within(blocks)
        while True:
            found, who = await self._query(_between(first, last), wanted, last, accept)
            tellers |= who
            for log in found:
                logs[log.block_number, log.log_index] = log
            wanted = self._discover(logs.values(), kinds)
            if wanted:
                continue
            if self._blooms:
                await self._read_suspects(blocks, logs, kinds, whole, tellers)
                wanted = self._discover(logs.values(), kinds)
            if not wanted:
                return [logs[place] for place in sorted(logs)]

    async def each(self, blocks: Sequence[Block], kinds: dict[Address, str]) -> list[Log]:
        """Return the followed logs of consecutive blocks near the head, each block read by its hash.

        A block that the chain left meanwhile is refused by the node instead of answered with another's logs.

        Raises:
            LogsMissing, RpcRefused: as in `ranged`.
        """
        logs: dict[tuple[int, int], Log] = {}
        wanted: Collection[Address] = set(kinds)
        whole: dict[int, list[Log]] = {}
        while wanted:
            masks = [bloom.mask(address) for address in wanted]
            admitting = [
                block for block in blocks if not self._blooms or bloom.admits(block.logs_bloom, masks)
            ]
            small = [block for block in admitting if self._small(block)]
            await self._read_whole(small, whole)
            for block in small:
                _take(logs, whole[block.number], kinds)
            for block in admitting:
                if not self._small(block):
                    by_hash = {"blockHash": "0x" + block.hash.hex()}
                    found, _ = await self._query(by_hash, wanted, block.number, _within([block]))
                    _take(logs, found, kinds)
            wanted = self._discover(logs.values(), kinds)
        return [logs[place] for place in sorted(logs)]

    def _small(self, block: Block) -> bool:
        return self._blooms and bloom.chance(block.logs_bloom) < _FULL

    def _discover(self, logs: Iterable[Log], kinds: dict[Address, str]) -> set[Address]:
        created = self._projection.created(logs, kinds)
        kinds.update((contract.address, contract.kind) for contract in created)
        return {contract.address for contract in created}

    async def _query(
        self,
        where: Mapping[str, object],
        addresses: Collection[Address],
        last: int,
        accept: Accept | None = None,
    ) -> tuple[list[Log], set[Endpoint]]:
        """Return the logs of these contracts, in as few queries as the chain allows, and who told them."""
        wanted, size = sorted(addresses), self._addresses_a_query(where)
        parts = [wanted[at : at + size] for at in range(0, len(wanted), size)]
        answers = await asyncio.gather(
            *(self._rpc.told_logs(where, part, height=last, accept=accept) for part in parts)
        )
        found = [log for by_block, _ in answers for logs in by_block.values() for log in logs]
        return found, {teller for _, teller in answers}

    def _addresses_a_query(self, where: Mapping[str, object]) -> int:
        widest = self._rpc.manners.multi_address_span
        if widest is None or "blockHash" in where:
            return ADDRESSES
        span = int(str(where["toBlock"]), 16) - int(str(where["fromBlock"]), 16) + 1
        return ADDRESSES if span <= widest else 1

    async def _read_suspects(
        self,
        blocks: Sequence[Block],
        logs: dict[tuple[int, int], Log],
        kinds: Mapping[Address, str],
        whole: dict[int, list[Log]],
        tellers: Collection[Endpoint],
    ) -> None:
        """Read the blocks whole whose filters contradict their logs, and let what is proven replace them."""
        answered: dict[int, list[Log]] = {}
        for log in logs.values():
            answered.setdefault(log.block_number, []).append(log)
        suspects = self._suspects(blocks, answered, kinds)
        await self._read_whole(suspects, whole)
        wrong = 0
        for block in suspects:
            told = answered.get(block.number, [])
            true = [log for log in whole[block.number] if log.address in kinds]
            wrong += len({*true} ^ {*told})
            for log in told:
                del logs[log.block_number, log.log_index]
            _take(logs, true, kinds)
        if wrong:
            _log.warning("the node left logs out of a range, or made some up", count=wrong)
            if len(tellers) == 1:
                self._rpc.accuse(next(iter(tellers)), "left logs out of a range, or made some up")

    def _suspects(
        self, blocks: Sequence[Block], answered: Mapping[int, list[Log]], kinds: Mapping[Address, str]
    ) -> list[Block]:
        masks = [bloom.mask(address) for address in kinds]
        suspects: list[Block] = []
        for block in blocks:
            found = answered.get(block.number)
            if found is None:
                quiet = bloom.chance(block.logs_bloom) * len(masks) < _FALSE_ALARMS
                if quiet and bloom.admits(block.logs_bloom, masks):
                    suspects.append(block)
            elif self._small(block) and not _complete(block, found):
                suspects.append(block)
        return suspects

    async def _read_whole(self, blocks: Sequence[Block], whole: dict[int, list[Log]]) -> None:
        """Read all logs of blocks, from whichever node gives such as their headers allow."""
        unread = {block.hash: block for block in blocks if block.number not in whole}
        within = _within([*unread.values()])

        def accept(found: Mapping[Hash32, Sequence[Log]]) -> None:
            within(found)
            for block_hash, block in unread.items():
                if not _complete(block, found.get(block_hash, ())):
                    raise LogsMissing(
                        f"the logs of block {block.number} do not match its header", block=block.number
                    )

        answers = await self._rpc.logs_of_blocks(list(unread), accept=accept)
        for block, logs in zip(unread.values(), answers, strict=True):
            whole[block.number] = logs


def _within(blocks: Sequence[Block]) -> Accept:
    """Return what refuses logs of other blocks than these, as of another branch."""
    numbers = {block.hash: block.number for block in blocks}

    def accept(found: Mapping[Hash32, Sequence[Log]]) -> None:
        for block_hash, logs in found.items():
            if any(log.block_number != numbers.get(block_hash) for log in logs):
                raise Inconsistent("the node gave logs of other blocks than it was asked for")

    return accept


def _complete(block: Block, logs: Collection[Log]) -> bool:
    """Return whether these can be all logs of a block: no place is free between them, the filter is theirs.

    What no node can be convicted of by this: last logs of a block with nothing in them that others have not.
    """
    return max((log.log_index for log in logs), default=-1) + 1 == len(logs) and (
        bloom.of_logs(logs) == block.logs_bloom
    )


def _take(logs: dict[tuple[int, int], Log], found: Iterable[Log], kinds: Mapping[Address, str]) -> None:
    for log in found:
        if log.address in kinds:
            logs[log.block_number, log.log_index] = log


def _between(first: int, last: int) -> dict[str, object]:
    return {"fromBlock": hex(first), "toBlock": hex(last)}
