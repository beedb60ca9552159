"""From a row of the queue to a run, or to why there can be none: what cannot be run never stops a worker."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import msgspec

from echain.infra.database import Database, Row
from echain.infra.jobs.enqueue import Envelope
from echain.infra.jobs.kinds import JobKind
from echain.infra.jobs.outcomes import Again, Dead, Fault
from echain.infra.jobs.run import Handler, Run

_STRANGER_TRIES: Final = 5
_STRANGER_PAUSE: Final = timedelta(seconds=2)
"""While a release rolls out, older workers pass jobs of new kinds on for some seconds."""

Known = Mapping[str, tuple[JobKind[Any], Handler[Any]]]


def opened(row: Row, known: Known, database: Database) -> Run[Any] | Again | Dead:
    """Return the run of a job that was taken, or the outcome that it has without one."""
    job_id, tried = row["id"], row["attempts"]
    try:
        envelope = msgspec.json.decode(row["payload"] or b"", type=Envelope)
    except Exception as error:  # noqa: BLE001 - whatever it holds, it is not the worker's end
        return Dead(job_id, Fault("Unreadable", f"the envelope cannot be read: {error}"), counted=False)
    if envelope.kind not in known:
        fault = Fault("UnknownKind", f"no worker knows {envelope.kind}")
        if tried + 1 < _STRANGER_TRIES:
            return Again(job_id, _STRANGER_PAUSE, fault, envelope.key)
        return Dead(job_id, fault)
    kind: JobKind[Any] = known[envelope.kind][0]
    try:
        payload = msgspec.json.decode(envelope.data, type=kind.payload)
    except Exception as error:  # noqa: BLE001 - the same; a payload's own checks may raise anything
        reason = f"the payload is none of {kind.name}: {error}"
        return Dead(job_id, Fault("Unreadable", reason), counted=False)
    if tried >= kind.tries:
        reason = f"{tried} workers died or froze while they ran it"
        return Dead(job_id, Fault("WorkerDied", reason), counted=False)
    return Run(
        kind,
        payload,
        job_id=job_id,
        attempt=tried + 1,
        database=database,
        key=envelope.key,
        trace=envelope.trace,
    )
