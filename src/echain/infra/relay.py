"""Brings messages from the outbox to those who wait: one leader numbers them, then everybody is told.

Moving a batch is one statement on the connection that holds the relay's lock, so there is never a second
mover. Nothing outside PostgreSQL is waited for: a publisher of its own tells Redis, and handlers follow in
transactions of their own, each from its own place.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from functools import partial
from typing import Final, TypeAlias

import structlog
from redis.asyncio import Redis

from echain.infra import messagestore, outbox
from echain.infra.database import Connection, Database, DatabaseUnavailable, Tx
from echain.infra.live import Publisher
from echain.infra.messagestore import Relayed
from echain.infra.metrics import Metrics
from echain.infra.redis_guard import heed_cancellation
from echain.infra.statements import statements_told
from echain.infra.traces import Traces
from echain.kernel.time import Clock, utc_now

__all__ = ["KEPT", "Handler", "Relay", "Relayed"]

Handler: TypeAlias = Callable[[Tx, Sequence[Relayed]], Awaitable[None]]
"""Does in a transaction what messages call for; that they were had is noted in the same transaction.

Each message exactly once, in order. What it raises undoes the batch, which comes again later.
"""

KEPT: Final = timedelta(hours=24)
"""How long clients can catch up on a message."""

_LOCK: Final = "relay"
_STANDBY_SECONDS: Final = 0.5
_POLL_SECONDS: Final = 0.1
"""What wakes the relay when nobody notifies it, as facts do that are too many for a notification each."""

_HANDLER_POLL_SECONDS: Final = 0.5
_STATEMENT_SECONDS: Final = 20.0
"""A server that takes longer for one batch hangs; the lock is given up with the connection."""

_FEW: Final = 250
_MANY: Final = 4_000
_HANDED: Final = 500
_SWEEP_SECONDS: Final = 30.0
_SWEPT: Final = 5_000
_SHORTEST_PAUSE_SECONDS: Final = 0.2
_LONGEST_PAUSE_SECONDS: Final = 30.0

_log = structlog.get_logger(__name__)


class _Meters:
    """What the relay counts; the lag is read when somebody asks for it."""

    def __init__(self, metrics: Metrics, database: Database) -> None:
        self._database = database
        self._waiting = metrics.gauge(
            "echain_outbox_rows", "Facts that wait in the outbox, counted up to 100,000"
        )
        self._age = metrics.gauge("echain_outbox_age_seconds", "Age of the oldest fact in the outbox")
        self._behind = metrics.gauge(
            "echain_relay_handler_messages", "Messages that a handler has not had yet", ("handler",)
        )
        self.moved = metrics.counter("echain_relayed_messages_total", "Messages moved out of the outbox")
        self.leading = metrics.gauge("echain_relay_leading", "1 in the process whose relay is the leader")
        metrics.on_scrape(self._read)

    async def _read(self) -> None:
        async with self._database.connection() as connection:
            waiting, age_seconds = await messagestore.lag(connection)
            behind = await messagestore.behind(connection)
        self._waiting.set(waiting)
        self._age.set(age_seconds)
        for name, messages in behind.items():
            self._behind.labels(name).set(messages)


class Relay:
    """Relays while it is the leader, and waits to be it while another is."""

    def __init__(
        self,
        database: Database,
        redis: Redis | None,
        handlers: Mapping[str, Handler] | None = None,
        settled_handlers: Mapping[str, Handler] | None = None,
        *,
        clock: Clock = utc_now,
        metrics: Metrics | None = None,
        traces: Traces | None = None,
    ) -> None:
        """Prepare to relay; `run` does.

        ``handlers`` get every message; a new name begins with the next one. ``settled_handlers`` get those
        that no reorg can take back: at once where no block said them, else when theirs is final.
        """
        self._database = database
        self._publisher = Publisher(redis)
        self._handlers = dict(handlers or {})
        self._settled_handlers = dict(settled_handlers or {})
        self._clock = clock
        self._above = 0
        self._moved: list[asyncio.Event] = []
        self._meters = _Meters(metrics or Metrics(), database)
        self._traces = traces or Traces.off()

    async def run(self) -> None:
        """Relay until cancelled; whatever fails is tried again."""
        while True:
            try:
                async with self._leadership() as connection:
                    _log.info("relay.leading")
                    self._meters.leading.set(1)
                    await self._lead(connection)
            except DatabaseUnavailable as error:
                _log.warning("relay.stopped_for_a_moment", reason=error.message)
            except TimeoutError:
                _log.warning("relay.stopped_for_a_moment", reason="the database hangs")
            except Exception:  # noqa: BLE001 - nothing that one batch meets may end the relay for good
                _log.exception("relay.failed")
            finally:
                self._meters.leading.set(0)
            await asyncio.sleep(_STANDBY_SECONDS)

    @asynccontextmanager
    async def _leadership(self) -> AsyncGenerator[Connection]:
        """Hold the relay's lock on a connection that ends with it."""
        async with self._database.session() as connection:
            while not await connection.fetchval(
                "SELECT pg_try_advisory_lock(hashtextextended($1, 0))", _LOCK
            ):
                await asyncio.sleep(_STANDBY_SECONDS)
            yield connection

    async def _lead(self, connection: Connection) -> None:
        woken = asyncio.Event()

        def wake(*_: object) -> None:
            woken.set()

        connection.add_termination_listener(wake)
        await connection.add_listener(outbox.CHANNEL, wake)
        # What is told must not be taken back by a crash of the server: its numbers would be given again.
        await connection.execute(
            "SELECT set_config('synchronous_commit', 'on', FALSE)"
            " WHERE current_setting('synchronous_commit') = 'off'"
        )
        await messagestore.register(connection, self._handlers)
        # The one before may have died between moving a batch and telling of it.
        self._publisher.jump(await messagestore.tip(connection))
        self._above = 0
        self._moved.clear()
        beside = [
            asyncio.create_task(work)
            for work in (
                self._publisher.run(),
                self._repeat("settling", self._settle),
                self._sweep(),
                *(self._repeat(name, partial(self._hand, name)) for name in self._handlers),
                *(self._repeat(name, partial(self._catch_up, name)) for name in self._settled_handlers),
            )
        ]

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                # A bug; whoever leads next, perhaps this very process, begins afresh.
                _log.error("relay.part_failed", exc_info=error)
                connection.terminate()

        for task in beside:
            task.add_done_callback(ended)
        try:
            await self._keep_moving(connection, woken)
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)

    async def _keep_moving(self, connection: Connection, woken: asyncio.Event) -> None:
        """Move what there is whenever somebody says so; small batches while they are enough."""
        limit, moved_since = _FEW, 0
        while True:
            woken.clear()
            began_ns = time.time_ns()
            async with asyncio.timeout(_STATEMENT_SECONDS):
                messages = await messagestore.move(
                    connection, limit=limit, above=self._above, settling=bool(self._settled_handlers)
                )
            if messages:
                self._tell(messages)
                if (span := self._traces.begin("relay move", "internal", began_ns=began_ns)) is not None:
                    span.tell(messages=len(messages))
                    span.end()
                moved_since += len(messages)
            if len(messages) >= limit:
                limit = min(_MANY, limit * 2)
                continue
            limit = _FEW
            if moved_since >= _MANY:
                self._above = await messagestore.emptied(connection, self._above)
                moved_since = 0
            await _either(woken, _POLL_SECONDS)

    def _tell(self, messages: Sequence[Relayed]) -> None:
        self._meters.moved.inc(len(messages))
        self._publisher.tell(messages)
        for moved in self._moved:
            moved.set()

    @contextmanager
    def _told(self, step: str, tx: Tx, handler: str, messages: Sequence[Relayed]) -> Generator[None]:
        """Have traces tell of a batch, if it is one of those, with its statements."""
        with self._traces.told(step, handler=handler, messages=len(messages)), statements_told(tx):
            yield

    # --- handlers ---

    async def _repeat(self, name: str, step: Callable[[], Awaitable[bool]]) -> None:
        """Take steps while there is something to do, whenever messages have moved, and now and then.

        One handler that fails keeps nobody else waiting: it is tried again, ever slower, from where it was.
        """
        pause = _SHORTEST_PAUSE_SECONDS
        moved = asyncio.Event()
        self._moved.append(moved)
        while True:
            moved.clear()
            try:
                while await step():
                    pass
            except DatabaseUnavailable as error:
                _log.warning("relay.handler_later", handler=name, reason=error.message)
            except Exception:  # noqa: BLE001 - a bug of one handler; the others go on
                heed_cancellation()
                _log.exception("relay.handler_failed", handler=name)
            else:
                pause = _SHORTEST_PAUSE_SECONDS
                await _either(moved, _HANDLER_POLL_SECONDS)
                continue
            await asyncio.sleep(pause)
            pause = min(_LONGEST_PAUSE_SECONDS, pause * 2)

    async def _hand(self, name: str) -> bool:
        """Hand the next messages to a handler; return whether there may be more."""
        async with self._database.transaction() as tx:
            messages = await messagestore.next_for(tx, name, _HANDED)
            if messages:
                with self._told("relay hand", tx, name, messages):
                    await self._handlers[name](tx, messages)
        return len(messages) == _HANDED

    async def _settle(self) -> bool:
        async with self._database.transaction() as tx:
            messages = await messagestore.settle(tx, _HANDED)
            if messages:
                behind = await messagestore.postponing(tx)
                for name in self._settled_handlers:
                    if name in behind or not await self._took(tx, name, messages):
                        await messagestore.postpone(tx, name, messages)
        return len(messages) == _HANDED

    async def _took(self, tx: Tx, name: str, messages: Sequence[Relayed]) -> bool:
        """Let a handler take settled messages; when it fails, what it did is undone and the others go on."""
        try:
            async with tx.transaction():
                with self._told("relay settle", tx, name, messages):
                    await self._settled_handlers[name](tx, messages)
        except Exception:
            if tx.is_closed():
                raise
            _log.exception("relay.handler_failed", handler=name)
            return False
        return True

    async def _catch_up(self, name: str) -> bool:
        """Hand a settled handler what it could not take before."""
        async with self._database.transaction() as tx:
            messages = await messagestore.postponed(tx, name, _HANDED)
            if messages:
                with self._told("relay catch up", tx, name, messages):
                    await self._settled_handlers[name](tx, messages)
        return len(messages) == _HANDED

    async def _sweep(self) -> None:
        while True:
            try:
                async with self._database.transaction() as tx:
                    swept = await messagestore.sweep(tx, before=self._clock() - KEPT, limit=_SWEPT)
            except DatabaseUnavailable as error:
                _log.warning("relay.sweep_later", reason=error.message)
                swept = 0
            # In between others have the disk to themselves.
            await asyncio.sleep(_SHORTEST_PAUSE_SECONDS if swept == _SWEPT else _SWEEP_SECONDS)


async def _either(event: asyncio.Event, seconds: float) -> None:
    """Return when the event is set, or after ``seconds``."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
