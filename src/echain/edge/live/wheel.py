"""One timer for all connections: a task that looks at those whose time has come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

_log = structlog.get_logger(__name__)


class Timed(Protocol):
    """Something with deadlines."""

    def due(self, now: float, /) -> float | None:
        """Do what is due at ``now`` and return when to look again, None for never."""
        ...


class Wheel:
    """Calls what was put on it once its time has come, up to one ``resolution`` late.

    Putting and calling cost the same however many wait, and nothing is ever taken off: what has ended says
    so by returning None when it is called. A thing stands on the wheel once.
    """

    def __init__(self, clock: Callable[[], float], *, resolution: float) -> None:
        self._clock = clock
        self._resolution = resolution
        self._slots: dict[int, list[Timed]] = {}
        self._turned = int(clock() / resolution)

    def put(self, timed: Timed, when: float) -> None:
        """Have ``timed`` called at ``when``, in the clock's seconds; at the next turn if that is past."""
        slot = max(int(when / self._resolution) + 1, self._turned + 1)
        self._slots.setdefault(slot, []).append(timed)

    def turn(self) -> None:
        """Call whatever is due by now."""
        now = self._clock()
        last = int(now / self._resolution)
        while self._turned < last:
            self._turned += 1
            for timed in self._slots.pop(self._turned, ()):
                self._call(timed, now)

    def _call(self, timed: Timed, now: float) -> None:
        try:
            again = timed.due(now)
        except Exception:  # noqa: BLE001 - one connection's bug must not stop the others' clocks
            _log.exception("live.timer_failed")
            return
        if again is not None:
            self.put(timed, again)

    async def run(self) -> None:
        """Turn until cancelled."""
        while True:
            await asyncio.sleep(self._resolution)
            self.turn()
