"""Chains entries after they were written: one leader numbers them, so that those who write never wait.

Writers share no lock. The leader takes what has committed in the order of positions, on the connection that
holds the lock of the lead, a batch a transaction: whoever kills it at any moment finds a batch chained or
waiting, never half of it and never twice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from itertools import islice
from typing import Final
from uuid import UUID

import asyncpg
import structlog

from echain.infra import outbox
from echain.infra.audit import entries, store
from echain.infra.audit.chain import FIRST, PLATFORM, AuditKeys, Entry, Seal
from echain.infra.audit.store import End, Link
from echain.infra.database import Connection, Database, DatabaseUnavailable
from echain.infra.metrics import Metrics
from echain.kernel.errors import EchainError, Kind
from echain.kernel.time import Clock, utc_now

LOCK: Final = "audit"
BATCH: Final = 2_000
TOLD_SECONDS: Final = 60.0
"""How often the log and the platform's chain are told where an organization's chain ends."""

MOST_TOLD: Final = 500
"""Of how many chains at once."""

_STANDBY_SECONDS: Final = 0.5
_POLL_SECONDS: Final = 0.25
"""What wakes the sealer when no message does: a notification of its own would make commits take turns."""

_STATEMENT_SECONDS: Final = 20.0
_PAUSE_SECONDS: Final = 5.0

_log = structlog.get_logger(__name__)


class KeyUnknown(EchainError):
    """A chain was sealed with a key that is not in ECHAIN_AUDIT_KEYS; list it there, after the newest."""

    kind = Kind.CONFLICT
    code = "audit.key_unknown"


class Sealer:
    """Seals while it is the leader, and waits to be it while another is."""

    def __init__(
        self,
        database: Database,
        keys: AuditKeys,
        *,
        clock: Clock = utc_now,
        metrics: Metrics | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._keys = keys
        self._clock = clock
        self._heads = _Heads(monotonic)
        self._measure(metrics or Metrics())

    def _measure(self, metrics: Metrics) -> None:
        waiting = metrics.gauge(
            "echain_audit_rows", "Entries of the audit log that wait to be sealed, up to 100,000"
        )
        age = metrics.gauge("echain_audit_age_seconds", "Age of the oldest entry that waits to be sealed")
        self._sealed = metrics.counter(
            "echain_audit_sealed_total", "Entries of the audit log that were sealed"
        )
        self._broken = metrics.counter(
            "echain_audit_heads_broken_total", "Chains whose head and last link were found to differ"
        )

        async def read() -> None:
            async with self._database.connection() as connection:
                count, seconds = await store.lag(connection)
            waiting.set(count)
            age.set(seconds)

        metrics.on_scrape(read)

    async def run(self) -> None:
        """Seal until cancelled; whatever fails is tried again."""
        while True:
            pause = _STANDBY_SECONDS
            try:
                async with self._leadership() as connection:
                    _log.info("audit.leading", key=self._keys.current.hex())
                    await self._lead(connection)
            except (DatabaseUnavailable, TimeoutError) as error:
                _log.warning("audit.stopped_for_a_moment", reason=str(error) or "the database hangs")
            except asyncpg.SerializationError:
                # Somebody's address was erased while its entry was taken over; the batch comes again.
                _log.info("audit.again")
            except KeyUnknown as error:
                _log.error("audit.key_unknown", reason=error.message)
                pause = _PAUSE_SECONDS
            except Exception:  # noqa: BLE001 - nothing that one batch meets may end the sealer for good
                _log.exception("audit.failed")
                pause = _PAUSE_SECONDS
            await asyncio.sleep(pause)

    @asynccontextmanager
    async def _leadership(self) -> AsyncGenerator[Connection]:
        """Hold the sealer's lock on a connection that ends with it."""
        async with self._database.session() as connection:
            while not await connection.fetchval("SELECT pg_try_advisory_lock(hashtextextended($1, 0))", LOCK):
                await asyncio.sleep(_STANDBY_SECONDS)
            yield connection

    async def _lead(self, connection: Connection) -> None:
        woken = asyncio.Event()

        def wake(*_: object) -> None:
            woken.set()

        connection.add_termination_listener(wake)
        # Most of what is written into the log publishes messages, too, and pays for this notification.
        await connection.add_listener(outbox.CHANNEL, wake)
        # What is told must not be taken back by a crash of the server.
        await connection.execute(
            "SELECT set_config('synchronous_commit', 'on', FALSE)"
            " WHERE current_setting('synchronous_commit') = 'off'"
        )
        # The one before may have ended before it told.
        since = self._clock() - timedelta(seconds=2 * TOLD_SECONDS)
        for link in await store.recent_ends(connection, since):
            self._heads.note(link)
        while True:
            woken.clear()
            async with asyncio.timeout(_STATEMENT_SECONDS):
                sealed = await self.seal(connection)
                await self.tell(connection)
            if sealed == BATCH:
                continue
            try:
                async with asyncio.timeout(_POLL_SECONDS):
                    await woken.wait()
            except TimeoutError:
                continue
            # A busy outbox notifies for every message; a batch a tenth of a second is soon enough.
            await asyncio.sleep(_POLL_SECONDS / 2)

    async def seal(self, connection: Connection) -> int:
        """Chain the next batch; return how many entries it was.

        Raises:
            KeyUnknown: a chain goes on from a key that this process does not have; nothing was chained.
        """
        async with connection.transaction(isolation="repeatable_read"):
            found = await store.waiting(connection, BATCH)
            if not found:
                return 0
            ends = await store.ends(connection, {entry.chain for entry in found})
            for chain, end in ends.items():
                self._check(chain, end)
            now = self._clock()
            links = self._linked(found, ends, now)
            await store.link(connection, links, key_id=self._keys.current, now=now)
        self._sealed.inc(len(links))
        for link in links:
            self._heads.note(link)
        return len(links)

    def _linked(self, found: Sequence[Entry], ends: dict[UUID, End], now: datetime) -> list[Link]:
        heads = {chain: end.highest or (0, FIRST) for chain, end in ends.items()}
        links: list[Link] = []
        for entry in found:
            number, previous = heads[entry.chain]
            number += 1
            digest = self._keys.hash(previous, entry, Seal(number, self._keys.current, now))
            heads[entry.chain] = number, digest
            links.append(Link(entry.chain, number, entry.position, digest))
        return links

    def _check(self, chain: UUID, end: End) -> None:
        """Say that somebody was at a chain's end; it goes on from the higher one, so that the gap is seen.

        Raises:
            KeyUnknown: see `seal`. Who was not told of a new key must not go on with an old one.
        """
        if end.head != end.last:
            self._broken.inc()
            _log.error(
                "audit.head_broken",
                chain=str(chain),
                head=end.head and end.head[0],
                last=end.last and end.last[0],
            )
        if end.last_key is not None and self._keys.age(end.last_key) is None:
            raise KeyUnknown(
                f"the chain of {chain} was sealed with key {end.last_key.hex()},"
                " which is not in ECHAIN_AUDIT_KEYS"
            )

    async def tell(self, connection: Connection) -> None:
        """Leave word of where chains end: in the log, and of organizations also in the platform's chain."""
        due = self._heads.due()
        if not due:
            return
        async with connection.transaction():
            for link in due:
                if link.chain != PLATFORM:
                    await entries.record(
                        connection,
                        entries.SYSTEM,
                        "audit.sealed",
                        resource=f"organization:{link.chain}",
                        now=self._clock(),
                        diff={"number": [None, link.number], "hash": [None, link.hash]},
                    )
        for link in due:
            _log.info("audit.sealed", chain=str(link.chain), number=link.number, hash=link.hash.hex())
            self._heads.told(link)


class _Heads:
    """Knows which ends of chains are still to be told of: each at most once a minute."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._now = monotonic
        self._untold: dict[UUID, Link] = {}
        self._told_at: dict[UUID, float] = {}

    def note(self, link: Link) -> None:
        self._untold[link.chain] = link

    def due(self) -> list[Link]:
        if not self._untold:
            return []
        before = self._now() - TOLD_SECONDS
        self._told_at = {chain: at for chain, at in self._told_at.items() if at > before}
        due = (link for chain, link in self._untold.items() if chain not in self._told_at)
        return list(islice(due, MOST_TOLD))

    def told(self, link: Link) -> None:
        self._told_at[link.chain] = self._now()
        if self._untold.get(link.chain) == link:
            del self._untold[link.chain]
