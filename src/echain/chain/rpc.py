"""JSON-RPC over HTTP to a chain's nodes: who is asked, what is believed, typed answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import msgspec

from echain.chain.endpoint import Endpoint, EndpointHealth
from echain.chain.endpoints import Endpoints, Observer, Pace
from echain.chain.exchange import Exchange
from echain.chain.manners import Manners
from echain.chain.opinion import Opinions
from echain.chain.proofs import FullHeader
from echain.chain.types import Block, Log
from echain.chain.wire import (
    ANY,
    ANY_BATCH,
    FULL_HEADERS_BATCH,
    HEADERS_BATCH,
    LOGS,
    LOGS_BATCH,
    Call,
    ChainUnreachable,
    HeaderForged,
    Inconsistent,
    Lie,
    NodesDisagree,
    RpcRefused,
    WireHeader,
    WrongChain,
    block_of,
    body,
    decoded,
    logs_of,
    proven_block,
    result_of,
)
from echain.chain.witnesses import Standing, Witnesses
from echain.kernel.evm import Address, Hash32

__all__ = [
    "BATCH_LIMIT",
    "Accept",
    "ChainUnreachable",
    "HeaderForged",
    "Inconsistent",
    "Lie",
    "NodesDisagree",
    "Rpc",
    "RpcRefused",
    "WrongChain",
]

BATCH_LIMIT: Final = 100
"""Calls in one HTTP request; the strictest public node allows this many."""

SAMPLED_RANGES: Final = 1 / 16
"""Share of the queries over final blocks that a second endpoint is asked too, where headers prove much."""

_LAG_BLOCKS: Final = 3
_LEAST_SETTLED_BLOCKS: Final = 8
_SHOWN_BLOCKS: Final = 3
"""An endpoint that tells of a head far above all others must have so many blocks below it."""

_SMALL_BATCH: Final = 20
_HEAVY_METHODS: Final = frozenset({"eth_getLogs", "eth_getBlockReceipts", "debug_traceTransaction"})
_SLOW_METHODS: Final = frozenset({"eth_call", "eth_estimateGas"})
_SENDING: Final = "eth_sendRawTransaction"

Accept = Callable[[Mapping[Hash32, Sequence[Log]]], None]
"""Raises `Lie` or `Inconsistent` when logs by block cannot be true."""


class Rpc:
    """One chain's nodes behind one client.

    The best endpoint serves; another takes over within an attempt when it fails, hangs or contradicts
    itself, and gives back when the first is well again (docs/adr/0017). An endpoint's chain id is checked
    before its first answer is believed, and again after it was away.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        chain_id: int,
        timeout: float = 10.0,
        manners: Manners | None = None,
        confirmations: int = 0,
        observer: Observer | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``urls`` in the order of preference; ``timeout`` in seconds is for the heaviest HTTP exchange.

        So many blocks as ``confirmations`` below the head, and some more, all endpoints must agree.
        """
        self.chain_id = chain_id
        self.manners = manners or Manners()
        limit = min(BATCH_LIMIT, self.manners.batch_limit)
        self._exchange = Exchange(chain_id, later=self.manners.later_codes)
        self._endpoints = Endpoints(
            [Endpoint(place, url, batch_limit=limit, monotonic=monotonic) for place, url in enumerate(urls)],
            chain_id=chain_id,
            check=self._exchange.check,
            look=self._look,
            patience_seconds=timeout,
            lag_blocks=_LAG_BLOCKS,
            settled_blocks=max(confirmations, _LEAST_SETTLED_BLOCKS),
            later=self.manners.later_codes,
            observer=observer,
            monotonic=monotonic,
        )
        self._witnesses = Witnesses(self._endpoints, self._header_of, monotonic=monotonic)
        self._opinions = Opinions(self._endpoints, self._receipts if self.manners.receipt_roots else None)
        # Short only where another endpoint can take over; a lone one always has the whole time.
        self._quick = Pace(min(3.0, timeout), 0.3, measures=True)
        self._slow = Pace(min(5.0, timeout), 1.0)
        self._heavy = Pace(timeout, min(3.0, timeout / 2))
        self._send = Pace(timeout, None)

    async def close(self) -> None:
        """Close the kept connections; the next call opens new ones."""
        await self._endpoints.close()
        await self._exchange.close()

    def health(self) -> list[EndpointHealth]:
        """Return how each endpoint is, as seen by this process."""
        return self._endpoints.health()

    def trust(self, number: int, block_hash: Hash32) -> None:
        """Hold every endpoint to this block, which is final: who has another there is put aside."""
        self._endpoints.anchor = number, block_hash

    def accuse(self, teller: Endpoint, reason: str) -> None:
        """Put an endpoint aside for an answer that turned out to be wrong."""
        self._endpoints.put_aside(teller, reason)

    # --- calls ---

    async def call(self, method: str, params: Sequence[object] = ()) -> Any:
        """Return the result of one call as plain JSON values.

        Raises:
            ChainUnreachable: no node answers in time.
            RpcRefused: a node answered with an error, and no other without.
            WrongChain: the node serves another chain.
        """
        request = body(0, method, params)

        async def attempt(endpoint: Endpoint) -> Any:
            return result_of(decoded(ANY, await self._exchange.post(endpoint, request)))

        return (await self._endpoints.ask(attempt, self._pace(method)))[0]

    async def batch(self, calls: Sequence[Call]) -> list[Any]:
        """Return the results of many calls in their order, in as few HTTP requests as the node takes.

        Raises:
            RpcRefused: the first call in order that the node refused.
        """

        async def attempt(endpoint: Endpoint) -> list[Any]:
            return await self._exchange.batch(endpoint, calls, ANY_BATCH)

        pace = self._slow if len(calls) <= _SMALL_BATCH else self._heavy
        return (await self._endpoints.ask(attempt, pace, calls=len(calls)))[0] if calls else []

    def _pace(self, method: str) -> Pace:
        if method == _SENDING:
            return self._send
        if method in _HEAVY_METHODS:
            return self._heavy
        return self._slow if method in _SLOW_METHODS else self._quick

    # --- headers ---

    async def head(self) -> Block:
        """Return the newest block's header, of an endpoint that does not lag behind the others.

        Raises:
            NodesDisagree: they stand on different forks and nothing decides.
        """
        self._endpoints.require_agreement()

        async def attempt(endpoint: Endpoint) -> Block:
            [newest] = await self._headers(endpoint, ["latest"])
            block = await self._believable(endpoint, newest)
            endpoint.saw(block.number, block.hash)
            return block

        block, endpoint = await self._endpoints.ask(attempt, self._quick)
        best = self._endpoints.best_head
        if best is None or best - block.number <= _LAG_BLOCKS:
            return block
        endpoint.lag = best - block.number
        endpoint.reason = f"{endpoint.lag} blocks behind"
        try:
            other, _ = await self._endpoints.ask(attempt, self._quick, avoid=(endpoint,))
        except (ChainUnreachable, Lie, RpcRefused):
            return block
        return max(block, other, key=lambda one: one.number)

    async def header(self, tag: str) -> Block | None:
        """Return the header at a tag or hexadecimal height; None when no node has one there."""
        return (await self._endpoints.ask(lambda one: self._header_of(one, tag), self._quick))[0]

    async def _header_of(self, endpoint: Endpoint, tag: str) -> Block | None:
        return (await self._headers(endpoint, [tag]))[0]

    async def headers(
        self, numbers: Sequence[int], *, accept: Callable[[Sequence[Block | None]], None] | None = None
    ) -> list[Block | None]:
        """Return the headers at these heights, None where no node has a block.

        ``accept`` raises `Inconsistent` when they do not fit together; then another node is asked.
        """
        if not numbers:
            return []
        tags = [hex(number) for number in numbers]

        async def attempt(endpoint: Endpoint) -> list[Block | None]:
            blocks = await self._headers(endpoint, tags)
            if accept is not None:
                accept(blocks)
            return blocks

        pace = self._quick if len(tags) == 1 else self._heavy
        highest = max(numbers)
        blocks, teller = await self._endpoints.ask(attempt, pace, calls=len(tags), height=highest)
        if None in blocks and self._endpoints.others(teller, height=highest):
            blocks = await self._where_they_are(teller, attempt, pace, numbers, blocks)
        return blocks

    async def _where_they_are(
        self,
        teller: Endpoint,
        attempt: Callable[[Endpoint], Any],
        pace: Pace,
        numbers: Sequence[int],
        blocks: list[Block | None],
    ) -> list[Block | None]:
        """Return another node's headers if it has those that the teller has not, though it should."""
        try:
            found, _ = await self._endpoints.ask(attempt, pace, calls=len(numbers), avoid=(teller,))
        except (ChainUnreachable, Lie, Inconsistent, RpcRefused):
            found = blocks
        missing = min(number for number, block in zip(numbers, blocks, strict=True) if block is None)
        if teller.head is not None and missing <= teller.head:
            # A head that it cannot show: else it would make all the others look as if they lagged.
            teller.head = missing - 1
            self._endpoints.contradicted(teller, f"has no block {missing}, though it told of later ones")
        return blocks if None in found else found

    async def _headers(self, endpoint: Endpoint, tags: Sequence[str]) -> list[Block | None]:
        calls: list[Call] = [("eth_getBlockByNumber", (tag, False)) for tag in tags]
        if self.manners.header_hashes:
            full: list[FullHeader | None] = await self._exchange.batch(endpoint, calls, FULL_HEADERS_BATCH)
            blocks = [None if wire is None else proven_block(wire) for wire in full]
        else:
            wires: list[WireHeader | None] = await self._exchange.batch(endpoint, calls, HEADERS_BATCH)
            blocks = [None if wire is None else block_of(wire) for wire in wires]
        # Of a range its end is enough: the others hang on it. A survey asks for two.
        for block in blocks[-2:]:
            if block is not None:
                self._witnesses.note(endpoint.origin, block)
        return blocks

    async def common(self, head: Block, patience_seconds: float) -> Standing | None:
        """Return what may be gone on with when somebody told of this head; see `Witnesses.common`."""
        return await self._witnesses.common(head, patience_seconds)

    def heard(self, origin: str, head: Block) -> None:
        """Take note of a head that an endpoint told by itself.

        Raises:
            Lie: others contradicted what it told before.
        """
        if self._witnesses.distrusts(origin):
            raise Lie("told of heads that others do not have")
        self._witnesses.note(origin, head)

    # --- logs ---

    async def logs(self, query: Mapping[str, object]) -> list[Log]:
        """Return the answer to one ``eth_getLogs`` in the node's order."""
        request = body(0, "eth_getLogs", (query,))

        async def attempt(endpoint: Endpoint) -> list[Log]:
            return logs_of(result_of(decoded(LOGS, await self._exchange.post(endpoint, request))) or ())

        return (await self._endpoints.ask(attempt, self._heavy))[0]

    async def told_logs(
        self,
        where: Mapping[str, object],
        addresses: Sequence[Address],
        *,
        height: int | None = None,
        accept: Accept | None = None,
    ) -> tuple[dict[Hash32, list[Log]], Endpoint]:
        """Return the logs of some contracts in a range or block, by block, and whose word that is.

        A share of the ranges, and each block that is asked for by its hash, is asked of a second endpoint
        too if there is one; on chains whose headers prove nothing that holds for all.

        Raises:
            NodesDisagree: two nodes differ and nothing decides.
            Lie, Inconsistent: no node's answer is accepted.
            RpcRefused: the range is too large for the nodes, or they refuse otherwise.
        """
        query = {**where, "address": ["0x" + address.hex() for address in addresses]}
        request = body(0, "eth_getLogs", (query,))
        asked = frozenset(addresses)

        async def attempt(endpoint: Endpoint) -> dict[Hash32, list[Log]]:
            wires = result_of(decoded(LOGS, await self._exchange.post(endpoint, request)))
            return _by_block([log for log in logs_of(wires or ()) if log.address in asked], accept)

        sampled = self.manners.true_blooms and "blockHash" not in where
        return await self._opinions.agreed(
            attempt,
            self._heavy,
            height=height,
            share=SAMPLED_RANGES if sampled else 1.0,
            asked=asked,
        )

    async def logs_of_blocks(
        self, hashes: Sequence[Hash32], *, accept: Accept | None = None
    ) -> list[list[Log]]:
        """Return every log of each of these blocks, of all contracts; an unknown block is refused.

        Raises:
            NodesDisagree, Lie, Inconsistent: as `told_logs`.
        """
        if not hashes:
            return []
        calls: list[Call] = [("eth_getLogs", ({"blockHash": "0x" + block.hex()},)) for block in hashes]

        async def attempt(endpoint: Endpoint) -> dict[Hash32, list[Log]]:
            answers = await self._exchange.batch(endpoint, calls, LOGS_BATCH)
            return _by_block([log for wires in answers for log in logs_of(wires or ())], accept)

        logs, _ = await self._opinions.agreed(attempt, self._heavy, calls=len(calls), share=1.0)
        return [logs.get(block, []) for block in hashes]

    async def _receipts(self, endpoint: Endpoint, block: Hash32) -> tuple[FullHeader, list[dict[str, Any]]]:
        text = "0x" + block.hex()
        calls: list[Call] = [("eth_getBlockByHash", (text, False)), ("eth_getBlockReceipts", (text,))]
        header, receipts = await self._exchange.batch(endpoint, calls, ANY_BATCH)
        try:
            return msgspec.convert(header, FullHeader), receipts or []
        except msgspec.ValidationError as error:
            raise ChainUnreachable(f"the node's header is not what the protocol says: {error}") from error

    # --- comparing ---

    async def _look(self, endpoint: Endpoint, height: int | None) -> tuple[Block, Block | None]:
        tags = ["latest"] if height is None else ["latest", hex(height)]
        head, *settled = await self._headers(endpoint, tags)
        return await self._believable(endpoint, head), settled[0] if settled else None

    async def _believable(self, endpoint: Endpoint, head: Block | None) -> Block:
        """Return a newest block; one far above all others must be shown where it is said to be.

        Else a single word would make every other endpoint look as if it lagged.
        """
        if head is None:
            raise ChainUnreachable("the node has no latest block")
        if self._endpoints.leaps(endpoint, head.number):
            numbers = range(max(0, head.number - _SHOWN_BLOCKS), head.number + 1)
            blocks = await self._headers(endpoint, [hex(number) for number in numbers])
            shown = [block for block in blocks if block is not None]
            linked = all(after.parent_hash == one.hash for one, after in pairwise(shown))
            if len(shown) < len(numbers) or not linked or shown[-1].hash != head.hash:
                raise Inconsistent(f"the node tells of block {head.number}, which it cannot show")
        return head


def _by_block(logs: Sequence[Log], accept: Accept | None) -> dict[Hash32, list[Log]]:
    found: dict[Hash32, list[Log]] = {}
    for log in logs:
        found.setdefault(log.block_hash, []).append(log)
    if accept is not None:
        accept(found)
    return found
