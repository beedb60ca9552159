"""A second endpoint's opinion on logs, and what decides when two differ: proof, then a third, else nobody.

A block's hash proves its header, the header's root proves the receipts, and receipts hold the logs: where a
chain's format is known, one honest answer outweighs any number of liars. Elsewhere two of three decide.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import structlog

from echain.chain.endpoint import Endpoint
from echain.chain.endpoints import Attempt, Endpoints, Pace
from echain.chain.proofs import FullHeader, header_hash, receipts_root
from echain.chain.types import Log
from echain.chain.wire import HeaderForged, NodesDisagree
from echain.kernel.errors import EchainError
from echain.kernel.evm import Address, Hash32

PATIENCE_SECONDS: Final = 0.5
"""How long a second opinion is waited for after the first; without one by then the first must do."""

_BLOCKS_JUDGED: Final = 4
"""Of the blocks that two answers differ in so many are judged; one wrong block convicts."""

_log = structlog.get_logger(__name__)

Proven = tuple[int, int, int, bytes, tuple[bytes, ...], bytes]
"""Block number, index, transaction's index, address, topics and data of a log."""

_ADDRESS: Final = 3

Receipts = Callable[[Endpoint, Hash32], Awaitable[tuple[FullHeader, list[dict[str, Any]]]]]
"""Reads a block's header and receipts, by its hash, from one endpoint."""


class Opinions:
    """Answers about logs that two endpoints gave alike, or that proof or a third decided between."""

    def __init__(
        self, endpoints: Endpoints, receipts: Receipts | None, *, chance: Callable[[], float] = random.random
    ) -> None:
        """``receipts`` is None where blocks prove nothing; ``chance`` says which queries are sampled."""
        self._endpoints = endpoints
        self._receipts = receipts
        self._chance = chance

    async def agreed(
        self,
        attempt: Attempt[dict[Hash32, list[Log]]],
        pace: Pace,
        *,
        calls: int = 1,
        height: int | None = None,
        share: float,
        asked: frozenset[Address] | None = None,
    ) -> tuple[dict[Hash32, list[Log]], Endpoint]:
        """Return logs by block, and who told them.

        So large a ``share`` of questions goes to a second endpoint as well, at the same time, if there is one
        in good standing. ``asked`` are the contracts that the question is about, None for all.

        Raises:
            NodesDisagree: two answers differ and nothing decides.
            RpcRefused, ChainUnreachable, Lie: as `Endpoints.ask`.
        """
        tellers = self._endpoints.others(height=height)
        if len(tellers) == 1 or not tellers or self._chance() >= share:
            return await self._endpoints.ask(attempt, pace, calls=calls, height=height)
        witness = tellers[1 + int(self._chance() * (len(tellers) - 1))]
        answers = await self._told((tellers[0], witness), attempt, pace, calls)
        if not answers:
            return await self._endpoints.ask(attempt, pace, calls=calls, height=height)
        first, *others = answers.items()
        if all(answer == first[1] for _, answer in others):
            return first[1], first[0]
        return await self._decided(answers, attempt, pace, calls, asked)

    async def _told(
        self,
        tellers: Sequence[Endpoint],
        attempt: Attempt[dict[Hash32, list[Log]]],
        pace: Pace,
        calls: int,
    ) -> dict[Endpoint, dict[Hash32, list[Log]]]:
        """Return what these endpoints answer at the same time; nobody is waited for long once one did."""
        asked = {
            asyncio.create_task(self._endpoints.once(one, attempt, pace.seconds, pace, calls=calls)): one
            for one in tellers
        }
        began, waiting = time.monotonic(), set(asked)
        answers: dict[Endpoint, dict[Hash32, list[Log]]] = {}
        try:
            while waiting:
                done, waiting = await asyncio.wait(
                    waiting,
                    timeout=PATIENCE_SECONDS if answers else None,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if not done:
                    break
                for task in done:
                    if (failure := task.exception()) is None:
                        answers[asked[task]] = task.result()
                    elif not isinstance(failure, EchainError):
                        raise failure
            for task in waiting:
                self._endpoints.outpaced(asked[task], time.monotonic() - began)
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        return answers

    async def _testimony(
        self, witness: Endpoint, attempt: Attempt[dict[Hash32, list[Log]]], pace: Pace, calls: int
    ) -> dict[Hash32, list[Log]] | None:
        return (await self._told((witness,), attempt, pace, calls)).get(witness)

    async def _decided(
        self,
        answers: dict[Endpoint, dict[Hash32, list[Log]]],
        attempt: Attempt[dict[Hash32, list[Log]]],
        pace: Pace,
        calls: int,
        asked: frozenset[Address] | None,
    ) -> tuple[dict[Hash32, list[Log]], Endpoint]:
        first, second = answers.values()
        differing = [block for block in {**first, **second} if first.get(block, []) != second.get(block, [])]
        _log.warning("rpc.answers_differ", endpoints=[one.name for one in answers], blocks=len(differing))
        answers = self._unconvicted(answers, await self._proven(differing[:_BLOCKS_JUDGED], asked))
        if len(answers) == 1:
            return next((answer, one) for one, answer in answers.items())
        for third in self._endpoints.others(*answers):
            testimony = await self._testimony(third, attempt, pace, calls)
            if testimony is None:
                continue
            answers[third] = testimony
            honest = [one for one, answer in answers.items() if answer == testimony]
            if len(honest) > 1:
                for one in answers.keys() - set(honest):
                    self._endpoints.put_aside(one, "two other nodes gave other logs")
                return testimony, honest[0]
        raise NodesDisagree(f"nodes give different logs of {len(differing)} blocks; add another to decide")

    def _unconvicted(
        self, answers: dict[Endpoint, dict[Hash32, list[Log]]], true: Mapping[Hash32, Sequence[Proven]]
    ) -> dict[Endpoint, dict[Hash32, list[Log]]]:
        """Put aside whose logs are not the proven ones, and return the answers of the others."""
        left = {
            one: answer
            for one, answer in answers.items()
            if all([_essence(log) for log in answer.get(block, [])] == logs for block, logs in true.items())
        }
        for one in answers.keys() - left.keys():
            self._endpoints.put_aside(one, "the block's receipts prove other logs than it gave")
        if not left:
            raise NodesDisagree("no node gives the logs that the blocks' receipts prove; add another node")
        return left

    async def _proven(
        self, blocks: Sequence[Hash32], asked: frozenset[Address] | None
    ) -> dict[Hash32, list[Proven]]:
        """Return the true logs of those blocks that some endpoint proves."""
        true: dict[Hash32, list[Proven]] = {}
        if self._receipts is None:
            return true
        for block in blocks:
            for endpoint in self._endpoints.others():
                try:
                    async with asyncio.timeout(PATIENCE_SECONDS * 4):
                        header, receipts = await self._receipts(endpoint, block)
                    logs = proven_logs(block, header, receipts)
                except (EchainError, TimeoutError):
                    continue
                true[block] = [log for log in logs if asked is None or log[_ADDRESS] in asked]
                break
        return true


def proven_logs(block: Hash32, header: FullHeader, receipts: Sequence[Mapping[str, Any]]) -> list[Proven]:
    """Return what a block's hash proves of its logs: all but the hashes of their transactions.

    Raises:
        HeaderForged: header or receipts are not those of the block.
    """
    try:
        number, root = int(header.number, 16), bytes.fromhex(header.receipts_root[2:])
        if header_hash(header) != block or receipts_root(receipts) != root:
            raise HeaderForged(f"the node's receipts are not those of block {number}")
        wires = [(place, log) for place, receipt in enumerate(receipts) for log in receipt["logs"]]
        return [
            (
                number,
                index,
                place,
                bytes.fromhex(wire["address"][2:]),
                tuple(bytes.fromhex(topic[2:]) for topic in wire["topics"]),
                bytes.fromhex(wire["data"][2:]),
            )
            for index, (place, wire) in enumerate(wires)
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise HeaderForged("the node's receipts are not what the protocol says") from error


def _essence(log: Log) -> Proven:
    return log.block_number, log.log_index, log.tx_index, log.address, log.topics, log.data
