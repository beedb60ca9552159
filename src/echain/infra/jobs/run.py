"""One run of one job, as its handler sees it."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, Generic, TypeAlias

from echain.infra.database import Database, Tx
from echain.infra.jobs.kinds import AlreadyDone, JobKind, P
from echain.infra.jobs.statements import EFFECT

FROZEN_SECONDS: Final = 60.0
"""So long may an effect's transaction stand still before PostgreSQL ends it."""

_PROGRESS_SECONDS: Final = 0.25

_PROGRESS: Final = """
    INSERT INTO jobs.progress (job_id, done, total) VALUES ($1, $2, $3)
    ON CONFLICT (job_id) DO UPDATE SET done = excluded.done, total = excluded.total, updated_at = now()
"""


class Run(Generic[P]):
    """A job under way: ``payload``, ``job_id``, ``attempt`` (the first is 1) and the ``database`` to work in.

    A handler may run more than once, also twice at the same time: workers die and freeze. What must happen
    once belongs into `effect`; what stands outside of it must bear repetition.
    """

    def __init__(
        self,
        kind: JobKind[P],
        payload: P,
        *,
        job_id: int,
        attempt: int,
        database: Database,
        key: str | None = None,
        trace: str | None = None,
    ) -> None:
        self.kind = kind
        self.key = key
        self.trace = trace
        self.payload = payload
        self.job_id = job_id
        self.attempt = attempt
        self.database = database
        self.in_effect = False
        self.effective = False
        self.effect_at = 0.0
        self._progress_at = 0.0

    @asynccontextmanager
    async def effect(self) -> AsyncGenerator[Tx, None]:
        """Open the transaction in which the job is done: what is written in it and the job's end are one.

        The block is entered by one run of the job at a time, and completed by one run ever. Its first
        statement takes the job off its queue; another run waits there until this one has committed or failed.

        Raises:
            AlreadyDone: another run has completed it; let it pass, it is taken for success.
            RuntimeError: a job has one effect.
        """
        if self.effective or self.in_effect:
            raise RuntimeError(f"{self.kind.name} opens a second effect; a job has one")
        try:
            async with self.database.transaction() as tx:
                self.in_effect = True
                self.effect_at = time.monotonic()
                if await tx.fetchval(EFFECT, self.job_id, str(int(FROZEN_SECONDS * 1000))) is None:
                    raise AlreadyDone
                yield tx
            self.effective = True
        finally:
            # Not before the commit has been answered: a beat in between would take the job for lost.
            self.in_effect = False

    @property
    def froze(self) -> bool:
        """Whether the effect took so long that PostgreSQL may have ended it for standing still."""
        return self.effect_at > 0 and time.monotonic() - self.effect_at >= FROZEN_SECONDS

    async def progress(self, done: int, total: int) -> None:
        """Tell how far the job is, for those who ask by its id; written at most four times a second."""
        now = time.monotonic()
        if done < total and now - self._progress_at < _PROGRESS_SECONDS:
            return
        self._progress_at = now
        await self.database.execute(_PROGRESS, self.job_id, done, total)


Handler: TypeAlias = Callable[[Run[P]], Awaitable[None]]
"""Runs a job. Its end is success, an error a failed try; `Retry` asks for another, `GiveUp` for no more."""

Handlers: TypeAlias = Mapping[JobKind[Any], Handler[Any]]
