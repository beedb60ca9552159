"""Background work of organizations, and what the clock asks for."""

from __future__ import annotations

from typing import Any, Final

from echain.infra.jobs import Handler, JobKind, Run, Schedule
from echain.kernel.time import Clock
from echain.organizations import inviting
from echain.organizations.kinds import SWEEP, Tick

_DAY_SECONDS: Final = 86_400.0
SCHEDULES: Final[list[Schedule[Any]]] = [Schedule(SWEEP, Tick(), every_seconds=_DAY_SECONDS)]


def handlers(clock: Clock) -> dict[JobKind[Any], Handler[Any]]:
    """Return the handler of each kind that needs no letters; `notify` has that of the other."""

    async def sweep(run: Run[Tick]) -> None:
        await inviting.sweep(run.database, now=clock())

    return {SWEEP: sweep}
