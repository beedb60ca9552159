"""What all connections of a process share: the hub, the past, who may what, clocks, counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine
from typing import Any, Final
from uuid import UUID

import structlog

from echain.edge.live.access import Identify, Identity, Limits, NotReady, Policy, Timing
from echain.edge.live.hub import Hub
from echain.edge.live.past import Past
from echain.edge.live.places import Places
from echain.edge.live.session import Session
from echain.edge.live.wheel import Wheel
from echain.infra.metrics import Metrics
from echain.kernel.time import Clock

_PATIENCE_SECONDS: Final = 15.0

_log = structlog.get_logger(__name__)


class Desk:
    """The shared half of every session."""

    def __init__(
        self,
        hub: Hub,
        past: Past,
        *,
        policy: Policy,
        identify: Identify,
        clock: Clock,
        metrics: Metrics,
        limits: Limits,
        timing: Timing,
    ) -> None:
        self.hub = hub
        self.past = past
        self.policy = policy
        self.identify = identify
        self.limits = limits
        self.timing = timing
        self.monotonic: Callable[[], float] = asyncio.get_running_loop().time
        self.places = Places(limits)
        self.wheel = Wheel(self.monotonic, resolution=timing.resolution)
        self.sessions: set[Session] = set()
        self.changes = 0
        """How often somebody's standing has changed: what was granted before one may hold no more."""
        self._clock = clock
        self._known: dict[UUID, set[Session]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._resyncs = metrics.counter(
            "echain_live_resyncs_total", "clients told to read the state anew", ("reason",)
        )
        self._refusals = metrics.counter(
            "echain_live_refusals_total", "joins, tokens and connections refused", ("reason",)
        )

    def now_ms(self) -> int:
        """Return Unix milliseconds, for messages of our own."""
        return int(self._clock().timestamp() * 1000)

    async def present(self) -> None:
        """Return once the hub has come to the present.

        Raises:
            NotReady: not within 15 s.
        """
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self.hub.until_started()
        except TimeoutError:
            raise NotReady from None

    def soon(self, work: Callable[[], None]) -> None:
        """Do ``work`` once this turn of the loop is over."""
        asyncio.get_running_loop().call_soon(work)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a short piece of work beside; what it raises is logged."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("live.failed", exc_info=error)

    async def close(self) -> None:
        """Cancel what still runs."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def known_as(self, session: Session, identity: Identity) -> None:
        """Note whom a session stands for, until the identity expires or is revoked."""
        self.unknown(session)
        session.identity = identity
        self._known.setdefault(identity.session, set()).add(session)
        at = self.monotonic() + self.seconds_left(identity)
        if session.expiry_at is None or at < session.expiry_at:
            session.expiry_at = at
            self.wheel.put(_Expiry(session), at)

    def seconds_left(self, identity: Identity) -> float:
        """Return how long an identity holds."""
        return (identity.expires_at - self._clock()).total_seconds()

    def unknown(self, session: Session) -> None:
        """Note that a session stands for nobody."""
        identity, session.identity = session.identity, None
        if identity is None:
            return
        others = self._known[identity.session]
        others.discard(session)
        if not others:
            del self._known[identity.session]

    def known_sessions(self) -> list[UUID]:
        """Return the sign-in sessions that some connection stands for."""
        return list(self._known)

    def revoke(self, ended: Collection[UUID]) -> None:
        """End private channels of all who came by these sign-in sessions."""
        for session_id in ended:
            for session in list(self._known.get(session_id, ())):
                session.lose_identity("revoked")

    def standing_changed(self, user: UUID | None) -> None:
        """Ask again whether a user may hear their private channels; None: everybody, as some were missed."""
        self.changes += 1
        for session in list(self.sessions):
            known = session.identity is not None and user in (None, session.identity.user)
            if known and session.private:
                self.spawn(session.recheck())

    def start_over(self) -> None:
        """Tell everybody that messages are lost to them: the feed has begun anew."""
        for session in list(self.sessions):
            for channel, live in list(session.channels.items()):
                if live:
                    session.resync(channel, "not_kept")

    def watch_stuck(self, session: Session) -> None:
        """Drop a session that stays paused for too long."""
        self.wheel.put(_Stuck(session), self.monotonic() + self.limits.stuck_seconds)

    def after(self, seconds: float, work: Callable[[], None]) -> None:
        """Do ``work`` some seconds later, by the wheel."""
        self.wheel.put(_Later(work), self.monotonic() + seconds)

    def count_resync(self, reason: str) -> None:
        self._resyncs.labels(reason).inc()

    def count_refusal(self, reason: str) -> None:
        self._refusals.labels(reason).inc()


class _Expiry:
    """Ends a session's identity at its time; waits on when it has a later one by then."""

    __slots__ = ("_session",)

    def __init__(self, session: Session) -> None:
        self._session = session

    def due(self, now: float) -> float | None:
        session = self._session
        session.expiry_at = None
        if session.closed or session.identity is None:
            return None
        left = session.desk.seconds_left(session.identity)
        if left > 0:
            session.expiry_at = now + left
            return session.expiry_at
        session.lose_identity("expired")
        return None


class _Stuck:
    """Drops a session that is still as paused as it was."""

    __slots__ = ("_pause", "_session")

    def __init__(self, session: Session) -> None:
        self._session = session
        self._pause = session.paused

    def due(self, _now: float) -> float | None:
        session = self._session
        if not session.closed and session.paused is self._pause:
            session.desk.count_refusal("live.stuck")
            session.abort()
        return None


class _Later:
    __slots__ = ("_work",)

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work

    def due(self, _now: float) -> float | None:
        self._work()
        return None
