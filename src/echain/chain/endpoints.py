"""Which of a chain's endpoints is asked, who takes over when it fails, and how they compare."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final, TypeVar

import msgspec
import structlog

from echain.chain.circuit import State
from echain.chain.endpoint import AnswerTooLarge, BatchTooLarge, Endpoint, EndpointHealth, TooOften
from echain.chain.refusals import Meaning, meaning
from echain.chain.types import Block
from echain.chain.wire import ChainUnreachable, Inconsistent, Lie, NodesDisagree, RpcRefused
from echain.kernel.evm import Hash32

SURVEY_SECONDS: Final = 2.0
"""How often all endpoints are compared while any is in use."""

_DARK_SECONDS: Final = 2.0
"""An endpoint that has no replacement is tried again after this, however long its circuit is to be open."""

_STAY: Final = 0.8
"""Another endpoint must be this much cheaper than the present one before it takes over."""

_LATER_TRIES: Final = 4
_LATER_SECONDS: Final = 0.25

_log = structlog.get_logger(__name__)

T = TypeVar("T")
Attempt = Callable[[Endpoint], Awaitable[T]]


class Pace(msgspec.Struct, frozen=True):
    """How long a kind of request may take.

    An attempt gets ``seconds`` where another endpoint could take over; after ``hedge_seconds`` without an
    answer the next endpoint is asked as well, and the first answer counts. None never asks two. Only
    requests that ``measure`` tell of an endpoint's speed.
    """

    seconds: float
    hedge_seconds: float | None
    measures: bool = False


class ElsewherePerhaps(RpcRefused):
    """A refusal that another node may not share."""


class Observer:
    """Is told what becomes of requests; metrics are one."""

    def asked(self, endpoint: Endpoint, outcome: str, seconds: float) -> None: ...
    def put_aside(self, endpoint: Endpoint) -> None: ...


Look = Callable[[Endpoint, int | None], Awaitable[tuple[Block, Block | None]]]
"""Asks one endpoint for its newest block and for the one at a height."""


class Endpoints:
    """The endpoints of one chain in the operator's order of preference."""

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        *,
        chain_id: int,
        check: Attempt[None],
        look: Look,
        patience_seconds: float,
        lag_blocks: int,
        settled_blocks: int,
        later: Collection[int] = (),
        observer: Observer | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``check`` raises `WrongChain`; ``settled_blocks`` below the head all endpoints must agree."""
        self.all = tuple(endpoints)
        self.lag_blocks = lag_blocks
        self.anchor: tuple[int, Hash32] | None = None
        self.split: str | None = None
        self._chain_id = chain_id
        self._check = check
        self._look = look
        self._patience = patience_seconds
        self._settled_blocks = settled_blocks
        self._later = frozenset(later)
        self._observer = observer or Observer()
        self._now = monotonic
        self._current: Endpoint | None = None
        self._survey: asyncio.Task[None] | None = None
        self._next_survey = float("-inf")

    async def close(self) -> None:
        if self._survey is not None:
            self._survey.cancel()
            await asyncio.gather(self._survey, return_exceptions=True)
            self._survey = None

    def health(self) -> list[EndpointHealth]:
        return [endpoint.health(self.lag_blocks) for endpoint in self.all]

    @property
    def best_head(self) -> int | None:
        """The highest block that an endpoint in good standing has shown."""
        return max((one.head for one in self.all if one.head is not None and one.healthy), default=None)

    def leaps(self, endpoint: Endpoint, number: int) -> bool:
        """Return whether a head lies so far above all that were shown that it must be proven."""
        known = [one.head for one in self.all if one.head is not None and (one.healthy or one is endpoint)]
        return len(self.all) > 1 and number > max(known, default=-1) + self.lag_blocks

    def others(self, *apart_from: Endpoint, height: int | None = None) -> list[Endpoint]:
        """Return the endpoints in good standing apart from some, the cheapest first."""
        others = [one for one in self.all if one.healthy and one not in apart_from]
        return sorted((one for one in others if self._reaches(one, height)), key=lambda one: one.cost)

    # --- asking ---

    async def ask(
        self,
        attempt: Attempt[T],
        pace: Pace,
        *,
        calls: int = 1,
        height: int | None = None,
        avoid: Collection[Endpoint] = (),
    ) -> tuple[T, Endpoint]:
        """Return the first good answer and whose it is.

        ``height`` is the highest block that the answer is about; endpoints known to lag behind it are left
        out while others are not.

        Raises:
            RpcRefused: a node refused for good, or all that could know.
            ChainUnreachable, Lie: nobody gives a good answer.
        """
        self._survey_when_due()
        deadline = self._now() + self._patience
        while True:
            queue = self._candidates(calls, height, avoid)
            try:
                if len(queue) == 1:
                    endpoint = queue[0]
                    return await self.once(endpoint, attempt, self._patience, pace, calls=calls), endpoint
                return await self._race(queue, attempt, pace, calls)
            except TooOften:
                wait = min(one.bucket.wait_seconds(calls) for one in queue)
                if self._now() + wait >= deadline:
                    raise
                await asyncio.sleep(wait)

    async def _race(
        self, queue: list[Endpoint], attempt: Attempt[T], pace: Pace, calls: int
    ) -> tuple[T, Endpoint]:
        """Ask one after the other; who is slow runs on beside the next, and the first good answer counts."""
        running: dict[asyncio.Task[T], tuple[Endpoint, float]] = {}
        failures: dict[Endpoint, Exception] = {}
        try:
            while queue or running:
                if queue:
                    endpoint = queue.pop(0)
                    asking = self.once(endpoint, attempt, pace.seconds, pace, calls=calls)
                    running[asyncio.create_task(asking)] = endpoint, self._now()
                patience = pace.hedge_seconds if queue else None
                done, _ = await asyncio.wait(running, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    endpoint, _ = running.pop(task)
                    failure = task.exception()
                    if failure is None:
                        self._took_over(endpoint, failures, running, pace)
                        return task.result(), endpoint
                    if not isinstance(failure, ChainUnreachable | Lie | Inconsistent | ElsewherePerhaps):
                        raise failure
                    failures[endpoint] = failure
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        raise _weightiest(failures.values())

    def _took_over(
        self,
        winner: Endpoint,
        failures: Mapping[Endpoint, Exception],
        running: Mapping[asyncio.Task[T], tuple[Endpoint, float]],
        pace: Pace,
    ) -> None:
        """Hold against the others what only the winner's answer proves to be their fault."""
        self._current = winner
        for endpoint, failure in failures.items():
            if isinstance(failure, AnswerTooLarge):
                self.put_aside(endpoint, "its answer was too large, another's was not")
            elif isinstance(failure, ElsewherePerhaps):
                self._failed(endpoint, f"refused what another answered: {failure.rpc_code}")
        for endpoint, began in running.values():
            seconds = self._now() - began
            if pace.hedge_seconds is not None and seconds > pace.hedge_seconds:
                self.outpaced(endpoint, seconds)

    def _candidates(self, calls: int, height: int | None, avoid: Collection[Endpoint]) -> list[Endpoint]:
        able = [one for one in self.all if one not in avoid and (not one.quarantined or len(self.all) == 1)]
        usable = [one for one in able if one.circuit.passes]
        usable = usable or [one for one in able if one.circuit.rested(_DARK_SECONDS)]
        usable = [one for one in usable if self._reaches(one, height)] or usable
        if not usable:
            reasons = "; ".join(f"{one.name}: {one.reason}" for one in self.all if one.reason)
            raise ChainUnreachable(
                f"no node of chain {self._chain_id} may be asked now ({reasons or 'none'})"
            )

        def rank(one: Endpoint) -> tuple[bool, bool, float, float]:
            wait = one.bucket.wait_seconds(calls)
            cost = one.cost * (_STAY if one is self._current else 1.0)
            return one.circuit.state is not State.CLOSED, not one.window.has_room, wait, cost

        return sorted(usable, key=rank)

    def _reaches(self, endpoint: Endpoint, height: int | None) -> bool:
        lags = endpoint.lag > self.lag_blocks and endpoint.head is not None
        return not (lags and (height is None or height > (endpoint.head or 0)))

    async def once(
        self, endpoint: Endpoint, attempt: Attempt[T], seconds: float, pace: Pace, *, calls: int = 1
    ) -> T:
        """Ask one endpoint within ``seconds``, counted from when it is its turn, and note how it went.

        Raises:
            ElsewherePerhaps, RpcRefused, ChainUnreachable, Lie: as `ask`.
        """
        closed = endpoint.circuit.state is State.CLOSED
        endpoint.circuit.begin()
        async with endpoint.place(calls):
            if closed and endpoint.circuit.state is State.OPEN:
                # Whoever stood in line when it opened is not sent after those who failed.
                raise ChainUnreachable(f"the node stopped answering: {endpoint.reason}")
            began = self._now()
            try:
                async with asyncio.timeout(seconds):
                    if not endpoint.checked:
                        await self._check(endpoint)
                        endpoint.checked = True
                    answer = await self._unless_later(endpoint, attempt)
            except (TimeoutError, ChainUnreachable, Lie, Inconsistent, RpcRefused) as error:
                meant = self._blamed(endpoint, error, began, seconds)
                if meant is error:
                    raise
                raise meant from error
            self._succeeded(endpoint, self._now() - began if pace.measures else None)
            self._noted(endpoint, "answered", began)
            return answer

    def _blamed(self, endpoint: Endpoint, error: Exception, began: float, seconds: float) -> Exception:
        """Hold a failed attempt against its endpoint as it deserves; return what it means to the caller."""
        outcome = "failed"
        match error:
            case TimeoutError():
                outcome = "timeout"
                self._failed(endpoint, f"no answer within {seconds:g} s", slow_seconds=seconds)
                error = ChainUnreachable(f"the node does not answer within {seconds:g} s")
            case TooOften():
                outcome = "limited"
                endpoint.limited(str(error), error.retry_after)
            case Lie():
                outcome = "lie"
                self.put_aside(endpoint, str(error))
            case Inconsistent():
                outcome = "inconsistent"
                self.contradicted(endpoint, str(error))
            case RpcRefused():
                outcome = "refused"
                endpoint.succeeded()
                error = self._understood(endpoint, error)
            case AnswerTooLarge():
                # Its fault only if another answers less; see `_took_over`.
                pass
            case _:
                self._failed(endpoint, str(error))
        self._noted(endpoint, outcome, began)
        return error

    async def _unless_later(self, endpoint: Endpoint, attempt: Attempt[T]) -> T:
        """Ask, and again after growing pauses while the node says that it will know in a moment."""
        for turn in range(_LATER_TRIES):
            try:
                return await attempt(endpoint)
            except RpcRefused as refusal:
                if turn == _LATER_TRIES - 1 or refusal.rpc_code not in self._later:
                    raise
                await asyncio.sleep(_LATER_SECONDS * 2**turn)
        raise AssertionError  # the last turn returns or raises

    def _understood(self, endpoint: Endpoint, refusal: RpcRefused) -> Exception:
        match self.meaning(refusal):
            case Meaning.TOO_OFTEN:
                endpoint.limited(str(refusal), None)
                return TooOften(str(refusal))
            case Meaning.BATCH_TOO_LARGE:
                return BatchTooLarge(str(refusal))
            case Meaning.ELSEWHERE | Meaning.LATER:
                return ElsewherePerhaps(refusal.rpc_code, str(refusal), refusal.data)
            case Meaning.FINAL:
                return refusal

    def meaning(self, refusal: RpcRefused) -> Meaning:
        """Return what a refusal means on this chain."""
        return meaning(refusal.rpc_code, str(refusal), later=self._later, reverted=refusal.data is not None)

    # --- what becomes of them ---

    def put_aside(self, endpoint: Endpoint, reason: str) -> None:
        """Ask an endpoint no more for a while because of what it said; logged once a time."""
        self._put_aside(endpoint, reason, suspected=False)

    def suspect(self, endpoint: Endpoint, reason: str) -> None:
        """The same where nothing is proven: what the others then say is believed, but nothing final by it."""
        self._put_aside(endpoint, reason, suspected=True)

    def _put_aside(self, endpoint: Endpoint, reason: str, *, suspected: bool) -> None:
        if endpoint.put_aside(reason, suspected=suspected):
            self._observer.put_aside(endpoint)
            _log.warning(
                "rpc.endpoint_put_aside", chain_id=self._chain_id, endpoint=endpoint.name, reason=reason
            )

    def contradicted(self, endpoint: Endpoint, reason: str) -> None:
        """Count what may be innocent; put the endpoint aside when it happens too often."""
        endpoint.reason = reason
        if endpoint.contradicted():
            self.put_aside(endpoint, reason)

    def outpaced(self, endpoint: Endpoint, seconds: float) -> None:
        """Count as a failure that others answered long before."""
        self._failed(endpoint, "others were much faster", slow_seconds=seconds)

    def _failed(self, endpoint: Endpoint, reason: str, slow_seconds: float | None = None) -> None:
        before = endpoint.circuit.state
        endpoint.failed(reason, slow_seconds=slow_seconds)
        if before is State.CLOSED and endpoint.circuit.state is State.OPEN:
            _log.warning("rpc.circuit_opened", chain_id=self._chain_id, endpoint=endpoint.name, reason=reason)

    def _succeeded(self, endpoint: Endpoint, seconds: float | None) -> None:
        if endpoint.circuit.state is not State.CLOSED:
            _log.info("rpc.circuit_closed", chain_id=self._chain_id, endpoint=endpoint.name)
        endpoint.succeeded(seconds)

    def _noted(self, endpoint: Endpoint, outcome: str, began: float) -> None:
        self._observer.asked(endpoint, outcome, self._now() - began)

    # --- comparing ---

    def _survey_when_due(self) -> None:
        if len(self.all) == 1 or self._now() < self._next_survey:
            return
        if self._survey is None or self._survey.done():
            self._next_survey = self._now() + SURVEY_SECONDS
            self._survey = asyncio.get_running_loop().create_task(self.survey())

    async def survey(self) -> None:
        """Ask all endpoints for their newest block and for one that cannot change, and compare.

        Also what finds out that an open circuit's endpoint is well again, and which one is fastest now.
        """
        height = self._agreed_height()
        asked = [one for one in self.all if one.usable]
        pace = Pace(min(3.0, self._patience), None, measures=True)

        def look(endpoint: Endpoint) -> Awaitable[tuple[Block, Block | None]]:
            return self._look(endpoint, height)

        looks = await asyncio.gather(
            *(self.once(one, look, pace.seconds, pace, calls=2) for one in asked), return_exceptions=True
        )
        seen = {
            endpoint: answer
            for endpoint, answer in zip(asked, looks, strict=True)
            if not isinstance(answer, BaseException)
        }
        for endpoint, (head, _) in seen.items():
            endpoint.saw(head.number, head.hash)
        if height is not None:
            self._compare(height, {one: block.hash for one, (_, block) in seen.items() if block is not None})
        best = max((head.number for one, (head, _) in seen.items() if not one.quarantined), default=0)
        for endpoint, (head, _) in seen.items():
            endpoint.lag = max(0, best - head.number)
            if endpoint.lag > self.lag_blocks:
                endpoint.reason = f"{endpoint.lag} blocks behind"

    def _agreed_height(self) -> int | None:
        if self.anchor is not None:
            return self.anchor[0]
        best = self.best_head
        return None if best is None or best <= self._settled_blocks else best - self._settled_blocks

    def _compare(self, height: int, hashes: Mapping[Endpoint, Hash32]) -> None:
        """Put aside who stands on another fork: apart from our own past, else from most of the others."""
        self.split = None
        anchored = self.anchor is not None and self.anchor[0] == height
        if self.anchor is not None and anchored:
            for endpoint, block_hash in hashes.items():
                if block_hash != self.anchor[1]:
                    self.put_aside(endpoint, f"its block {height} is not the one that was final")
            return
        votes = Counter(hashes.values()).most_common()
        if len(votes) > 1 and votes[0][1] > len(hashes) / 2:
            for endpoint, block_hash in hashes.items():
                if block_hash != votes[0][0]:
                    self.contradicted(endpoint, f"its block {height} is not the one that most nodes have")
        elif len(votes) > 1:
            self.split = f"this chain's nodes do not agree on block {height}"
            _log.error("rpc.nodes_disagree", chain_id=self._chain_id, block=height)

    def require_agreement(self) -> None:
        """Raise `NodesDisagree` while nobody can say which of two histories is the chain's."""
        if self.split is not None:
            raise NodesDisagree(f"{self.split}; add another node to decide")


def _weightiest(failures: Collection[Exception]) -> Exception:
    """Return the failure that says most: of a node that answered before one of a node that did not."""
    order = (NodesDisagree, RpcRefused, Lie, Inconsistent, TooOften, ChainUnreachable)
    return min(
        failures, key=lambda failure: next(i for i, kind in enumerate(order) if isinstance(failure, kind))
    )
