"""Whether an endpoint is asked at all: closed while it works, open after failures, half-open to try it."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final

FAILURES: Final = 5
"""Failures in a row that open a circuit."""

FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 30.0


class State(Enum):
    """What a circuit lets through: all, nothing, or one probe."""

    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"


class Circuit:
    """Counts failures in a row; after `FAILURES` of them nothing passes until a pause is over.

    Then one probe passes. Its success closes the circuit; its failure doubles the pause, up to
    `LONGEST_PAUSE_SECONDS`. A probe that nobody reports of is forgotten after another pause.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._now = monotonic
        self._failures = 0
        self._pause = FIRST_PAUSE_SECONDS
        self._open_until = 0.0
        self._probing_until = 0.0
        self._failed_at = float("-inf")

    @property
    def state(self) -> State:
        if self._failures < FAILURES:
            return State.CLOSED
        return State.OPEN if self._now() < self._open_until else State.HALF_OPEN

    @property
    def passes(self) -> bool:
        """Whether a request may go through now; of those that ask while half-open, one `begin`s."""
        state = self.state
        return state is State.CLOSED or (state is State.HALF_OPEN and self._now() >= self._probing_until)

    def begin(self) -> None:
        """Take note of a request that goes through."""
        if self.state is not State.CLOSED:
            self._probing_until = self._now() + max(1.0, self._pause)

    def succeeded(self) -> None:
        self._failures = 0
        self._pause = FIRST_PAUSE_SECONDS
        self._probing_until = 0.0

    def rested(self, seconds: float) -> bool:
        """Return whether the last failure is so long ago; for when there is nobody else to ask."""
        return self._now() >= max(self._failed_at + seconds, self._probing_until)

    def failed(self) -> None:
        state = self.state
        self._failures += 1
        self._failed_at = self._now()
        if self._failures < FAILURES or (state is State.OPEN and not self._probing_until):
            # What was under way when the circuit opened says nothing new.
            return
        if state is not State.CLOSED:
            self._pause = min(LONGEST_PAUSE_SECONDS, self._pause * 2)
        self._open_until = self._now() + self._pause
        self._probing_until = 0.0
