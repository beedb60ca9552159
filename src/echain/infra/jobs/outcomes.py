"""How runs end, and how that is written down: in batches, and only where the job is still this worker's."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final, TypeAlias
from uuid import UUID

import asyncpg
import msgspec
import structlog

from echain.infra.database import DatabaseUnavailable
from echain.infra.jobs.kinds import AlreadyDone, GiveUp, Retry
from echain.infra.jobs.line import Line
from echain.infra.jobs.run import Handler, Run
from echain.infra.jobs.statements import AGAIN, DEAD, DONE, SUPERSEDED

_LONGEST_TRACEBACK: Final = 16_384
_AWAY: Final = timedelta(seconds=2)
"""The pause after a try that the database's absence ended; such a try does not count."""

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("echain.jobs")


class Fault(msgspec.Struct, frozen=True):
    """Why a run did not end well, under the names that the library gives its own records."""

    exception_type: str
    exception_message: str
    traceback: str = ""


class Done(msgspec.Struct, frozen=True):
    """The job has ended well and had no effect of its own: it is taken off the queue."""

    job_id: int
    name = "done"


class Settled(msgspec.Struct, frozen=True):
    """Nothing is left to write: the effect has done so, or another worker will."""

    job_id: int
    name = "done"


class Passed(msgspec.Struct, frozen=True):
    """Another run has done the job, or is about to."""

    job_id: int
    name = "passed"


class Again(msgspec.Struct, frozen=True):
    """The job waits again for ``pause``; ``counted`` when it has had a try."""

    job_id: int
    pause: timedelta
    fault: Fault
    key: str | None = None
    counted: bool = True
    name = "again"


class Dead(msgspec.Struct, frozen=True):
    """The job is a dead letter; ``counted`` when this run was a try."""

    job_id: int
    fault: Fault
    counted: bool = True
    name = "dead"


Outcome: TypeAlias = Done | Settled | Passed | Again | Dead


async def outcome_of(run: Run[Any], handler: Handler[Any], *, stopping: asyncio.Event) -> Outcome:
    """Run a job and return how it ended; a cancelled run is given back when ``stopping``, else passed."""
    try:
        await handler(run)
    except asyncio.CancelledError:
        if run.effective:
            return Settled(run.job_id)
        if not stopping.is_set():
            return Passed(run.job_id)
        return Again(
            run.job_id, timedelta(0), Fault("Stopped", "the worker was stopped"), run.key, counted=False
        )
    except AlreadyDone:
        return Passed(run.job_id)
    except Exception as error:  # noqa: BLE001 - whatever breaks is this job's fault, and is logged whole
        return _failed(run, error)
    return Settled(run.job_id) if run.effective else Done(run.job_id)


def _failed(run: Run[Any], error: Exception) -> Outcome:
    if run.effective:
        _log.error("jobs.failed_after_effect", exc_info=error)
        return Settled(run.job_id)
    if isinstance(error, DatabaseUnavailable) and not run.froze:
        _log.warning("jobs.database_away", reason=error.message)
        return Again(run.job_id, _AWAY, _fault(error), run.key, counted=False)
    if isinstance(error, GiveUp):
        _log.error("jobs.given_up", attempt=run.attempt, reason=str(error))
        return Dead(run.job_id, Fault("GiveUp", str(error)))
    last = run.attempt >= run.kind.tries
    if isinstance(error, Retry):
        _log.info("jobs.asks_again", attempt=run.attempt, reason=str(error))
    else:
        _log.error("jobs.failed", attempt=run.attempt, last=last, exc_info=error)
    if last:
        return Dead(run.job_id, _fault(error))
    pause = run.kind.pause(run.attempt)
    if isinstance(error, Retry) and error.after_seconds is not None:
        pause = timedelta(seconds=error.after_seconds)
    return Again(run.job_id, pause, _fault(error), run.key)


def _fault(error: Exception) -> Fault:
    if isinstance(error, Retry):
        return Fault("Retry", str(error))
    lines = "".join(traceback.format_exception(error))
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - an error that cannot tell itself is still only this job's
        message = "its text cannot be told"
    return Fault(type(error).__name__, message, lines[-_LONGEST_TRACEBACK:])


async def settle(line: Line, owner: UUID, outcomes: Sequence[Outcome]) -> None:
    """Write outcomes down. What is no longer ``owner``'s is left to whoever has it; repetition does no harm.

    Raises:
        asyncpg.PostgresError, OSError: some may be written, the others are not.
    """
    done = [outcome.job_id for outcome in outcomes if isinstance(outcome, Done)]
    if done:
        await line.execute(DONE, done, ["successful"] * len(done), [None] * len(done))
    for outcome in outcomes:
        if isinstance(outcome, Again):
            await _again(line, owner, outcome)
        elif isinstance(outcome, Dead):
            await line.execute(DEAD, outcome.job_id, owner, _record(outcome.fault), int(outcome.counted))


async def _again(line: Line, owner: UUID, outcome: Again) -> None:
    try:
        await line.execute(
            AGAIN,
            outcome.job_id,
            owner,
            outcome.pause,
            int(outcome.counted),
            outcome.key,
            _record(outcome.fault),
        )
    except asyncpg.UniqueViolationError:
        # Another job of its key has come to wait since: that one stands for both.
        fault = msgspec.structs.replace(outcome.fault, exception_type="Superseded")
        await line.execute(SUPERSEDED, outcome.job_id, owner, _record(fault))


def _record(fault: Fault) -> dict[str, str]:
    """Return what PostgreSQL takes as JSONB, whatever text an error carries."""
    return {
        name: text.replace("\0", "").encode("utf-8", "replace").decode()
        for name, text in msgspec.structs.asdict(fault).items()
    }
