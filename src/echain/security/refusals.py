"""Counts refused sign-ins and credentials over all processes, and suspects a storm of them.

Each process counts in memory and adds to PostgreSQL's counts once a second, so that neither a storm nor the
absence of Redis changes what is seen. A process that dies takes the last second's count with it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import datetime
from typing import Final

import structlog

from echain.edge.addresses import site_of
from echain.infra.database import Database, DatabaseUnavailable
from echain.kernel.time import Clock
from echain.security import refusalstore, rules, service
from echain.security.types import AlarmKind, Cause, Severity

PLATFORM: Final = "platform"
_ELSEWHERE: Final = "elsewhere"
"""Stands for the sites that a process has no more room to tell apart."""

_MOST_SITES: Final = 1_000
_PAUSE_SECONDS: Final = 1.0

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("echain.security")


class Refusals:
    """What one process refused and has not told yet; its memory is bounded whatever comes."""

    def __init__(self, database: Database, clock: Clock, *, pause_seconds: float = _PAUSE_SECONDS) -> None:
        self._database = database
        self._clock = clock
        self._pause_seconds = pause_seconds
        self._counts: Counter[str] = Counter()
        self._telling: Counter[str] = Counter()
        self._some = asyncio.Event()

    def note(self, address: str) -> None:
        """Count credentials that were refused to somebody at an address."""
        self._count(site_of(address), 1)
        self._some.set()

    @property
    def waiting(self) -> int:
        """How much was refused that the database does not know yet."""
        return self._counts.total() + self._telling.total()

    async def run(self) -> None:
        """Tell the database what was counted until cancelled; while it is away counting goes on."""
        while True:
            await self._some.wait()
            try:
                await self.tell()
            except DatabaseUnavailable as error:
                _log.warning("security.refusals_wait", reason=error.message)
            except Exception:  # noqa: BLE001 -- a bug must not end the counting
                _log.exception("security.refusals_failed")
            await asyncio.sleep(self._pause_seconds)

    async def tell(self) -> None:
        """Add what was counted to the database's counts, and suspect what is too many.

        Raises:
            DatabaseUnavailable: it is kept, and told later.
        """
        self._some.clear()
        counts = self._telling = self._counts
        self._counts = Counter()
        if not counts:
            return
        try:
            await self._told(counts)
        except BaseException:
            # Told later: twice, if the answer to the commit got lost, which a storm does not mind.
            for site, number in counts.items():
                self._count(site, number)
            self._some.set()
            raise
        finally:
            self._telling = Counter()

    def _count(self, site: str, number: int) -> None:
        if site not in self._counts and len(self._counts) >= _MOST_SITES:
            site = _ELSEWHERE
        self._counts[site] += number

    async def _told(self, counts: Counter[str]) -> None:
        now = self._clock()
        since = now - rules.REFUSED_WITHIN
        async with self._database.transaction() as tx:
            await refusalstore.add(tx, counts, now.replace(second=0, microsecond=0))
            named = [site for site in counts if site != _ELSEWHERE]
            causes = [
                _storm(row["site"], row["total"], {}, now, Severity.WARNING)
                for row in await refusalstore.totals(tx, named, since=since)
                if row["total"] >= rules.MOST_REFUSALS
            ]
            total, sites = await refusalstore.total(tx, since=since)
            if total >= rules.MOST_REFUSALS_ANYWHERE:
                causes.append(_storm(PLATFORM, total, {"sites": str(sites)}, now, Severity.SEVERE))
            await service.suspect(tx, causes)


def _storm(subject: str, total: int, facts: dict[str, str], now: datetime, severity: Severity) -> Cause:
    window = rules.REFUSED_WITHIN.total_seconds()
    return Cause(
        AlarmKind.FAILED_SIGNATURES,
        subject,
        # Once in each such span of time, however long it storms.
        f"refused {subject} {int(now.timestamp() // window)}",
        {"refused": str(total), "minutes": str(int(window // 60)), **facts},
        now,
        severity,
    )
