"""One endpoint of a chain: how it did so far, whether it may be asked, and the asking itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final, Literal, TypeAlias
from urllib.parse import urlsplit

import aiohttp
import msgspec

from echain.chain.circuit import Circuit, State
from echain.chain.pace import Bucket, Window
from echain.chain.wire import ChainUnreachable
from echain.kernel.evm import Hash32
from echain.kernel.retryafter import retry_after_seconds
from echain.kernel.time import utc_now

ANSWER_LIMIT_BYTES: Final = 64 * 1024 * 1024
"""The largest answer that is read; 500 blocks full of sales are a tenth of it."""

FIRST_QUARANTINE_SECONDS: Final = 10.0
LONGEST_QUARANTINE_SECONDS: Final = 900.0

STRIKES: Final = 3
"""Contradictions that may have an innocent cause, as a reorg under way, before they count as a lie."""

_STRIKES_FORGOTTEN_SECONDS: Final = 60.0
_LEARNING: Final = 0.1
_UNKNOWN_LATENCY_SECONDS: Final = 0.05
_NOISE_SECONDS: Final = 0.002
_LATER_POSITIONS: Final = 1.5
_ERRORS: Final = 10.0

Condition: TypeAlias = Literal["ok", "limited", "lagging", "half_open", "open", "quarantined"]


def origin(url: str) -> str:
    """Return host and port: what one endpoint has in common over HTTP and WebSocket."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or (443 if parts.scheme in ('https', 'wss') else 80)}"


class TooOften(ChainUnreachable):
    """The node refuses more requests for now."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class BatchTooLarge(ChainUnreachable):
    """The node does not take so many calls at once."""


class AnswerTooLarge(ChainUnreachable):
    """The node's answer is larger than any that was asked for; ask for less at a time."""


class EndpointHealth(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One endpoint of a chain, by its place in the configuration and its host.

    ``errorRate`` is the share of the last requests that failed, ``lag`` how many blocks its newest was
    behind the best one's when they were last compared, ``reason`` why it is put aside or last failed.
    """

    name: str
    status: Condition
    latency_ms: float
    error_rate: float
    head: int | None = None
    lag: int | None = None
    per_second: float | None = None
    reason: str | None = None


class Endpoint:
    """State and connection of one endpoint.

    ``checked`` says whether its chain id was seen since it last went away, ``moved_at`` when its newest block
    was last another one. ``suspected``: it was put aside on a suspicion, of which nothing is proven.
    """

    def __init__(self, position: int, url: str, *, batch_limit: int, monotonic: Callable[[], float]) -> None:
        self.position = position
        self.name = f"{position + 1} {urlsplit(url).hostname or 'nameless'}"
        self.origin = origin(url)
        self.circuit = Circuit(monotonic)
        self.bucket = Bucket(monotonic)
        self.window = Window()
        self.batch_limit = batch_limit
        self.checked = False
        self.head: int | None = None
        self.head_hash: Hash32 | None = None
        self.moved_at = float("-inf")
        self.suspected = False
        self.lag = 0
        self.reason: str | None = None
        self.latency_seconds = _UNKNOWN_LATENCY_SECONDS
        self.error_rate = 0.0
        self._url = url
        self._now = monotonic
        self._quarantined_until = 0.0
        self._quarantine = FIRST_QUARANTINE_SECONDS
        self._strikes: list[float] = []

    @property
    def cost(self) -> float:
        """What a request costs here in seconds, failures and the operator's order counted in."""
        preference = _LATER_POSITIONS**self.position
        return max(self.latency_seconds, _NOISE_SECONDS) * (1 + _ERRORS * self.error_rate) * preference

    @property
    def quarantined(self) -> bool:
        return self._now() < self._quarantined_until

    @property
    def usable(self) -> bool:
        return not self.quarantined and self.circuit.passes

    @property
    def healthy(self) -> bool:
        """Whether its word counts beside another's: closed, not put aside, not resting."""
        return not self.quarantined and self.circuit.state is State.CLOSED and not self.bucket.wait_seconds()

    def condition(self, lag_blocks: int) -> Condition:
        if self.quarantined:
            return "quarantined"
        if self.circuit.state is not State.CLOSED:
            return "open" if self.circuit.state is State.OPEN else "half_open"
        if self.lag > lag_blocks:
            return "lagging"
        return "limited" if self.bucket.wait_seconds() else "ok"

    def health(self, lag_blocks: int) -> EndpointHealth:
        condition = self.condition(lag_blocks)
        return EndpointHealth(
            name=self.name,
            status=condition,
            latency_ms=round(self.latency_seconds * 1000, 2),
            error_rate=round(self.error_rate, 3),
            head=self.head,
            lag=self.lag if self.head is not None else None,
            per_second=None if self.bucket.per_second is None else round(self.bucket.per_second, 1),
            reason=None if condition == "ok" else self.reason,
        )

    # --- what became of a request ---

    def succeeded(self, seconds: float | None = None) -> None:
        """Count a success; ``seconds`` where the request was small enough to tell of the endpoint's speed."""
        self.circuit.succeeded()
        self.window.answered()
        self.error_rate *= 1 - _LEARNING
        if seconds is not None:
            self.latency_seconds += _LEARNING * (seconds - self.latency_seconds)

    def failed(self, reason: str, *, slow_seconds: float | None = None) -> None:
        """Count a failure; ``slow_seconds`` when it was for taking too long."""
        self.reason = reason
        self.error_rate += _LEARNING * (1 - self.error_rate)
        self.circuit.failed()
        if slow_seconds is not None:
            self.window.overloaded()
            self.latency_seconds += _LEARNING * (slow_seconds - self.latency_seconds)
        if self.circuit.state is not State.CLOSED:
            # What went away may come back as another node.
            self.checked = False

    def limited(self, reason: str, retry_after: float | None) -> None:
        """Slow down: the node refuses more, which is no failure."""
        self.reason = reason
        self.bucket.refused(retry_after)
        self.window.overloaded()

    def put_aside(self, reason: str, *, suspected: bool = False) -> bool:
        """Put the endpoint aside, four times as long as the time before; return whether this is news."""
        news = not self.quarantined
        self.suspected = suspected and (news or self.suspected)
        if news:
            self.reason = reason
            self.checked = False
            self._quarantined_until = self._now() + self._quarantine
            self._quarantine = min(LONGEST_QUARANTINE_SECONDS, self._quarantine * 4)
        return news

    def contradicted(self) -> bool:
        """Count a contradiction; return whether there are too many of late to be innocent."""
        now = self._now()
        self._strikes = [when for when in self._strikes if when > now - _STRIKES_FORGOTTEN_SECONDS] + [now]
        return len(self._strikes) >= STRIKES

    def saw(self, number: int, block_hash: Hash32) -> None:
        """Take note of the endpoint's newest block."""
        if block_hash != self.head_hash:
            self.moved_at = self._now()
        self.head, self.head_hash = number, block_hash

    # --- asking ---

    @asynccontextmanager
    async def place(self, calls: int) -> AsyncGenerator[None]:
        """Wait for the endpoint's turn by its learnt pace, and take a place of those at a time."""
        async with self.window.place():
            while (wait := self.bucket.wait_seconds(calls)) > 0:
                await asyncio.sleep(wait)
            self.bucket.spend(calls)
            yield

    async def post(self, session: aiohttp.ClientSession, body: bytes) -> bytes:
        """Return the answer to one HTTP exchange.

        Raises:
            ChainUnreachable: there is none, or it is not JSON.
            TooOften, BatchTooLarge, AnswerTooLarge: what they say.
        """
        try:
            async with session.post(self._url, data=body) as response:
                answer = await _bounded(response)
                status, headers = response.status, response.headers
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            # A node that went away may come back as another one.
            self.checked = False
            raise ChainUnreachable(f"no answer from the node: {type(error).__name__}") from error
        if status == 429:  # noqa: PLR2004 - Too Many Requests
            raise TooOften(
                "the node refuses more requests", retry_after_seconds(headers.get("Retry-After"), utc_now())
            )
        if answer.lstrip()[:1] in (b"{", b"["):
            return answer
        if status == 413:  # noqa: PLR2004 - Content Too Large
            raise BatchTooLarge("the node refuses a request of this size")
        raise ChainUnreachable(f"the node answered HTTP {status} without JSON")


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    """Return the body, of which no more than `ANSWER_LIMIT_BYTES` is ever held."""
    if (response.content_length or 0) > ANSWER_LIMIT_BYTES:
        raise _too_large(response)
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > ANSWER_LIMIT_BYTES:
            raise _too_large(response)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_large(response: aiohttp.ClientResponse) -> AnswerTooLarge:
    response.close()
    return AnswerTooLarge(f"the node's answer is larger than {ANSWER_LIMIT_BYTES >> 20} MB")
