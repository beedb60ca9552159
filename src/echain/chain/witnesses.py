"""Which heads more than one endpoint has shown, and who shows such as nobody else has.

A header's hash proves what it says, not that it is the chain's: anybody can hash an empty block of his own
onto the last one. So where there is somebody else to ask, a head counts once a second has it.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import msgspec
import structlog

from echain.chain.circuit import State
from echain.chain.endpoint import STRIKES, Endpoint
from echain.chain.endpoints import Endpoints, Pace
from echain.chain.types import Block
from echain.kernel.errors import EchainError
from echain.kernel.evm import Hash32

STUCK_SECONDS: Final = 30.0
"""An endpoint whose head has not moved for so long, while another's has, counts as away."""

_KEPT: Final = 512
_LOOK: Final = Pace(0.5, None)
_FIRST_PAUSE_SECONDS: Final = 0.02
_STRIKES_FORGOTTEN_SECONDS: Final = 60.0
_SAME_FORK_SECONDS: Final = 1.0
_DISTRUSTED_SECONDS: Final = 30.0
_CLAIMS_KEPT: Final = 64

_log = structlog.get_logger(__name__)


class Standing(msgspec.Struct, frozen=True):
    """A block to go on with. ``firm``: two have shown it, or there is only one to believe."""

    block: Block
    firm: bool


class Witnesses:
    """Who has shown which block; endpoints are told apart by host and port, over HTTP and WebSocket alike."""

    def __init__(
        self,
        endpoints: Endpoints,
        header: Callable[[Endpoint, str], Awaitable[Block | None]],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``header`` reads the block at a tag or hexadecimal height from one endpoint, and `note`s it."""
        self._endpoints = endpoints
        self._header = header
        self._now = monotonic
        self._told: OrderedDict[Hash32, set[str]] = OrderedDict()
        self._claims: dict[str, dict[int, Hash32]] = {}
        self._strikes: dict[str, list[tuple[int, float]]] = {}
        self._differed: int | None = None
        self._distrusted: dict[str, float] = {}

    def note(self, origin: str, block: Block) -> None:
        """Take note that an endpoint has shown a block."""
        self._told.setdefault(block.hash, set()).add(origin)
        if len(self._told) > _KEPT:
            self._told.popitem(last=False)
        for other in [one for one in self._claims if one != origin]:
            claims = self._claims[other]
            if claims.get(block.number, block.hash) != block.hash:
                self._strike(other, block.number)
            claims.pop(block.number, None)

    def distrusts(self, origin: str) -> bool:
        """Return whether this endpoint lately told heads that others contradicted."""
        return self._distrusted.get(origin, float("-inf")) > self._now()

    async def common(self, head: Block, patience_seconds: float) -> Standing | None:
        """Return what may be gone on with: the head, or a lower one that others have, or nothing now.

        A second that merely lags is waited for as long as ``patience_seconds``. Whose own head has not moved
        for `STUCK_SECONDS` counts as away; where all others are away one is believed alone.
        """
        told = self._told.get(head.hash, set[str]())
        if len(told) > 1:
            return Standing(head, firm=True)
        others = [one for one in self._endpoints.all if one.origin not in told]
        asked = sorted((one for one in others if one.healthy), key=lambda one: one.cost)
        if not asked:
            return Standing(head, firm=not any(map(_doubtful, others)))
        looks = await self._looked_for(head, asked, patience_seconds)
        if looks is None:
            return Standing(head, firm=True)
        if not looks:
            return Standing(head, firm=False)
        if any(looks.values()):
            self._contradicted(head, looks)
            return None
        return await self._below(head, [*looks])

    # --- asking ---

    async def _looked_for(
        self, head: Block, asked: Sequence[Endpoint], patience_seconds: float
    ) -> dict[Endpoint, Block | None] | None:
        """Return None once a second has the head, else what others have in its place; not who failed."""
        deadline, pause = self._now() + patience_seconds, _FIRST_PAUSE_SECONDS
        looks = await self._looks(head, asked[:1])
        if looks is not None and len(asked) > 1:
            looks = await self._looks(head, asked)
        while looks and self._now() < deadline:
            await asyncio.sleep(min(pause, max(0.0, deadline - self._now())))
            pause *= 2
            if len(self._told.get(head.hash, ())) > 1:
                return None
            looks = await self._looks(head, asked)
        return looks

    async def _looks(self, head: Block, asked: Sequence[Endpoint]) -> dict[Endpoint, Block | None] | None:
        """Ask at the same time what is at the head's height; return None as soon as one has the head."""

        def look(endpoint: Endpoint) -> Awaitable[Block | None]:
            return self._header(endpoint, hex(head.number))

        waiting = {
            asyncio.create_task(self._endpoints.once(one, look, _LOOK.seconds, _LOOK)): one for one in asked
        }
        pending, looks = set(waiting), dict[Endpoint, Block | None]()
        try:
            while pending:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    if (failure := task.exception()) is not None:
                        if not isinstance(failure, EchainError | TimeoutError):
                            raise failure
                        continue
                    block = task.result()
                    if block is not None and block.hash == head.hash:
                        return None
                    looks[waiting[task]] = block
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
        return looks

    async def _below(self, head: Block, others: Sequence[Endpoint]) -> Standing | None:
        """Return the highest block that those who have not reached the head stand on, if it is common."""

        async def newest(endpoint: Endpoint) -> Block | None:
            block = await self._header(endpoint, "latest")
            if block is not None:
                endpoint.saw(block.number, block.hash)
            return block

        heads = await asyncio.gather(
            *(self._endpoints.once(one, newest, _LOOK.seconds, _LOOK) for one in others),
            return_exceptions=True,
        )
        if all(self._now() - one.moved_at > STUCK_SECONDS for one in others):
            return Standing(head, firm=True)
        there = [block for block in heads if isinstance(block, Block)]
        for origin in self._told.get(head.hash, ()):
            claims = self._claims.setdefault(origin, {})
            claims[head.number] = head.hash
            if len(claims) > _CLAIMS_KEPT:
                del claims[next(iter(claims))]
        best = max(there, key=lambda block: block.number, default=None)
        if best is None or best.number >= head.number:
            return None
        return await self.common(best, 0.0)

    # --- who is to blame ---

    def _contradicted(self, head: Block, looks: Mapping[Endpoint, Block | None]) -> None:
        """Hold it against those who had told of such heights before anybody else, or whom two outvote."""
        tellers = self._told.get(head.hash, set[str]())
        against: dict[Hash32, set[str]] = {}
        for one, block in looks.items():
            if block is not None:
                against.setdefault(block.hash, set()).add(one.origin)
        if head.number != self._differed:
            self._differed = head.number
            _log.warning("rpc.heads_differ", block=head.number, endpoints=[one.name for one in looks])
        outvoted = tellers if any(len(origins) > 1 for origins in against.values()) else set[str]()
        ahead = {one.origin for one in looks if one.head is not None and one.head > head.number}
        ahead |= {origin for origin, claims in self._claims.items() if max(claims, default=-1) >= head.number}
        for origin in set[str]().union(tellers, *against.values()):
            if origin in outvoted or origin in ahead:
                self._strike(origin, head.number)

    def _strike(self, origin: str, number: int) -> None:
        """Count a contradiction; a fork that is natural is over before there are too many."""
        now = self._now()
        strikes = [it for it in self._strikes.get(origin, ()) if it[1] > now - _STRIKES_FORGOTTEN_SECONDS]
        if not any(n == number and at > now - _SAME_FORK_SECONDS for n, at in strikes):
            strikes.append((number, now))
        self._strikes[origin] = strikes
        if len(strikes) < STRIKES:
            return
        self._distrusted[origin] = now + _DISTRUSTED_SECONDS
        for one in self._endpoints.all:
            if one.origin == origin:
                self._endpoints.suspect(one, "told of heads that others do not have")


def _doubtful(endpoint: Endpoint) -> bool:
    """Return whether one that is not asked now may yet have been right: it rests, or is only suspected."""
    if endpoint.quarantined:
        return endpoint.suspected
    return endpoint.circuit.state is State.CLOSED
