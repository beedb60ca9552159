"""Take jobs back that carry what must be forgotten."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from echain.infra.database import Tx
from echain.infra.jobs.kinds import JobKind

_WITHDRAW: Final = """
    WITH named AS (
        SELECT id, convert_from(payload, 'UTF8')::jsonb AS envelope FROM jobs.queue
         WHERE entrypoint = $1 AND position($2::text::bytea IN payload) > 0
    ), gone AS (
        DELETE FROM jobs.queue USING named
         WHERE queue.id = named.id AND envelope ->> 'kind' = $2 AND envelope #>> ARRAY['data', $3] = ANY($4)
        RETURNING queue.id, entrypoint, priority
    )
    INSERT INTO jobs.log (job_id, status, entrypoint, priority)
    SELECT id, 'deleted', entrypoint, priority FROM gone RETURNING job_id
"""
"""Reads the whole queue of that name: asked for seldom, and by people."""


async def withdraw(tx: Tx, kind: JobKind[Any], field: str, values: Collection[str]) -> int:
    """Delete the jobs of a kind whose payload's ``field`` is one of ``values``; return how many.

    Those that wait, that are dead, and that run: what a running one does in an effect it does no more.
    """
    if not values:
        return 0
    rows = await tx.fetch(_WITHDRAW, kind.queue.value, kind.name, field, list(values))
    return len(rows)
