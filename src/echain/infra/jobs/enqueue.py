"""Ask for work to be done, in the transaction whose facts it follows from."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from echain.infra.database import Tx
from echain.infra.jobs.kinds import JobKind, P
from echain.infra.jobs.statements import ENQUEUE, NOTIFY
from echain.infra.traces import here
from echain.kernel.time import utc_now


class Envelope(msgspec.Struct, frozen=True, omit_defaults=True):
    """A payload as it is stored: with the name of its kind, and the key to hold again when it waits again.

    ``trace`` is where whoever asked for it stood in a trace, if that is told.
    """

    kind: str
    data: msgspec.Raw
    key: str | None = None
    trace: str | None = None


async def enqueue(
    tx: Tx,
    kind: JobKind[P],
    payloads: Sequence[P],
    *,
    run_at: datetime | None = None,
    keys: Sequence[str] | None = None,
) -> list[int]:
    """Add a job for each payload; they exist if and only if ``tx`` commits, and wake a worker then.

    ``run_at`` is the earliest start of all, by this process's clock; None means at once. Of each of ``keys``,
    which belong to the kind, one job waits at most: where one does, it stays as it is, its time included, and
    stands for the new one as well; one that runs already does not count. The waiting job is locked until
    ``tx`` ends, so that it cannot run without seeing what ``tx`` wrote: enqueue late in a transaction, and
    once.

    Returns:
        The ids of the jobs in the order of ``payloads``; those of the same key are the same.

    Raises:
        ValueError: as many keys as payloads are needed.
    """
    if not payloads:
        return []
    if keys is not None and len(keys) != len(payloads):
        raise ValueError(f"{len(payloads)} payloads, {len(keys)} keys")
    owned = [None] * len(payloads) if keys is None else [f"{kind.name}:{key}" for key in keys]
    firsts = _firsts(owned)
    after = timedelta(0) if run_at is None else max(run_at - utc_now(), timedelta(0))
    rows = await tx.fetch(
        ENQUEUE,
        [0] * len(firsts),
        [kind.queue.value] * len(firsts),
        [_packed(kind.name, payloads[place], owned[place]) for place in firsts],
        [after] * len(firsts),
        [owned[place] for place in firsts],
        [None] * len(firsts),
    )
    await tx.execute(NOTIFY, kind.queue.value)
    ids = {place: row["id"] for place, row in zip(firsts, rows, strict=True)}
    by_key = {owned[place]: ids[place] for place in firsts}
    return [ids[place] if key is None else by_key[key] for place, key in enumerate(owned)]


def _firsts(keys: Sequence[str | None]) -> list[int]:
    """Return where each key stands first; keyed ones in the order of their keys, in which all lock them."""
    first: dict[str, int] = {}
    for place, key in enumerate(keys):
        if key is not None:
            first.setdefault(key, place)
    free = [place for place, key in enumerate(keys) if key is None]
    return free + [first[key] for key in sorted(first)]


def _packed(kind: str, payload: msgspec.Struct, key: str | None) -> bytes:
    return msgspec.json.encode(Envelope(kind, msgspec.Raw(msgspec.json.encode(payload)), key, here()))
