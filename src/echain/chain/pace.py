"""How fast an endpoint may be asked: requests a second and at a time, both learnt from what it says."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final

_MOST_AT_A_TIME: Final = 64
_FIRST_AT_A_TIME: Final = 16
_SLOWEST_PER_SECOND: Final = 0.5
_GROWTH_PER_SECOND: Final = 0.01
_FORGOTTEN_SECONDS: Final = 600.0
_SHORTEST_PAUSE_SECONDS: Final = 0.25
_LONGEST_PAUSE_SECONDS: Final = 60.0
_DUST: Final = 1e-9


class Window:
    """How many requests may be under way: one more for each round that went well, half after a refusal."""

    def __init__(self) -> None:
        self.size = float(_FIRST_AT_A_TIME)
        self.under_way = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def has_room(self) -> bool:
        return self.under_way < int(self.size)

    @asynccontextmanager
    async def place(self) -> AsyncGenerator[None]:
        """Wait for room, first come first served, and hold a place while the block lasts."""
        while not self.has_room:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                # Whoever was woken in vain wakes the next.
                self._wake()
                raise
        self.under_way += 1
        try:
            yield
        finally:
            self.under_way -= 1
            self._wake()

    def _wake(self) -> None:
        while self._waiting and self.has_room:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def answered(self) -> None:
        self.size = min(float(_MOST_AT_A_TIME), self.size + 1 / self.size)

    def overloaded(self) -> None:
        self.size = max(1.0, self.size / 2)


class Bucket:
    """Calls a second: without bound until the endpoint refuses for their number, then what it bore.

    After a refusal the rate is three quarters of what was asked in the second before, the endpoint rests for
    the pause that it named, and the rate grows by a hundredth a second. Ten minutes without a refusal lift
    the bound.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._now = monotonic
        self._rate: float | None = None
        self._tokens = 0.0
        self._filled_at = 0.0
        self._refused_at = float("-inf")
        self._rests_until = 0.0
        self._pause = _SHORTEST_PAUSE_SECONDS
        self._recent: deque[tuple[float, int]] = deque()

    @property
    def per_second(self) -> float | None:
        """The rate that was learnt; None while none was needed."""
        return self._rate

    def wait_seconds(self, calls: int = 1) -> float:
        """Return how long to wait before so many calls may be sent; a large batch waits for a full bucket."""
        now = self._now()
        if now < self._rests_until:
            return self._rests_until - now
        self._fill(now)
        if self._rate is None:
            return 0.0
        missing = min(float(calls), max(1.0, self._rate)) - self._tokens
        return missing / self._rate if missing > _DUST else 0.0

    def spend(self, calls: int) -> None:
        """Take note that so many calls are sent now."""
        now = self._now()
        self._fill(now)
        if self._rate is not None:
            # Below zero for a batch that is larger than the bucket: whoever comes next waits for it too.
            self._tokens -= calls
        self._recent.append((now, calls))
        while self._recent[0][0] < now - 1.0:
            self._recent.popleft()

    def refused(self, retry_after: float | None) -> None:
        """Learn from a refusal for the number of calls; ``retry_after`` in seconds when it was named."""
        now = self._now()
        sent = sum(calls for when, calls in self._recent if when >= now - 1.0)
        first_of_several = now >= self._rests_until
        if first_of_several:
            bearable = sent if self._rate is None else min(float(sent), self._rate)
            self._rate = max(_SLOWEST_PER_SECOND, 0.75 * bearable)
            # One refused again soon after a rest rests longer, unless it says how long.
            again = now - self._refused_at < 4 * self._pause
            self._pause = min(_LONGEST_PAUSE_SECONDS, self._pause * 2) if again else _SHORTEST_PAUSE_SECONDS
        pause = self._pause if retry_after is None else min(retry_after, _LONGEST_PAUSE_SECONDS)
        self._refused_at = now
        self._rests_until = max(self._rests_until, now + pause)
        self._tokens, self._filled_at = 0.0, self._rests_until

    def _fill(self, now: float) -> None:
        if self._rate is None or now - self._refused_at > _FORGOTTEN_SECONDS:
            self._rate = None
            return
        passed = max(0.0, now - self._filled_at)
        rate = self._rate * (1 + _GROWTH_PER_SECOND) ** passed
        self._tokens = min(max(1.0, rate), self._tokens + passed * rate)
        self._rate = rate
        self._filled_at = max(self._filled_at, now)
