"""Background work in PostgreSQL: asked for in the transaction it follows from, tried again, its effect once.

`docs/adr/0008-jobs.md` says what is PgQueuer's and what is ours.
"""

from echain.infra.jobs.enqueue import enqueue
from echain.infra.jobs.kinds import AlreadyDone, GiveUp, JobKind, Queue, Retry
from echain.infra.jobs.measures import QueueMetrics
from echain.infra.jobs.run import Handler, Handlers, Run
from echain.infra.jobs.schedules import Schedule
from echain.infra.jobs.withdraw import withdraw
from echain.infra.jobs.workers import Workers

__all__ = [
    "AlreadyDone",
    "GiveUp",
    "Handler",
    "Handlers",
    "JobKind",
    "Queue",
    "QueueMetrics",
    "Retry",
    "Run",
    "Schedule",
    "Workers",
    "enqueue",
    "withdraw",
]
