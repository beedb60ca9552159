"""Use cases of what comes in: keep it at once, work on it in a job."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from echain.infra import jobs
from echain.infra.database import DatabaseUnavailable, Tx
from echain.infra.jobs import JobKind, Queue, Run
from echain.kernel.errors import EchainError, Kind
from echain.kernel.ids import uuid7
from echain.kernel.time import Clock
from echain.webhooks import adapter, coinbase, hints, inboxstore
from echain.webhooks.adapter import ChargeTold, Hint
from echain.webhooks.coinbase import Signed
from echain.webhooks.hints import Network, NotYet, Verdict
from echain.webhooks.measures import Measures
from echain.webhooks.types import Received, Taken

RECEIVED = JobKind("webhooks.received", Queue.SYNC, Received, tries=18, first_retry_seconds=1.0)
"""Beside the deliveries' queue, so that slow receivers of ours never hold up what is told to us.

The tries last for six hours and more: a node may be away, or behind, for as long as a bad night.
"""


async def take(tx: Tx, signed: Signed, body: bytes, *, now: datetime) -> Taken:
    """Keep a webhook and have it worked on; one that was kept before changes nothing.

    Raises:
        BodyWrongShape: the type is known, and the content is not of its shape.
    """
    known = adapter.read(signed.type, signed.content) is not None
    inbox_id = uuid7()
    new = await inboxstore.insert(tx, inbox_id, signed, body, now)
    if not new:
        return Taken(duplicate=True)
    if known:
        await jobs.enqueue(tx, RECEIVED, [Received(inbox_id)])
    else:
        await inboxstore.close(tx, inbox_id, "ignored", "a type that we do not know", now)
    return Taken(duplicate=False)


class Worker:
    """Works on what was received; `run` is the handler of `RECEIVED`."""

    def __init__(self, networks: Mapping[int, Network], clock: Clock, measures: Measures) -> None:
        self._networks = networks
        self._clock = clock
        self._measures = measures

    async def run(self, run: Run[Received]) -> None:
        """Work on one webhook.

        Raises:
            Retry: its chain's node does not answer, or does not know it yet, and this was not the last try.
        """
        inbox_id = run.payload.inbox_id
        found = await inboxstore.open_one(run.database, inbox_id)
        if found is None:
            return
        reading = adapter.read(found.type, coinbase.content_of(found.source, found.body))
        if isinstance(reading, ChargeTold):
            async with run.effect() as tx:
                moved = await inboxstore.move_charge(tx, found.source, reading, inbox_id, self._clock())
                verdict = Verdict("recorded" if moved else "late")
                await self._close(tx, inbox_id, verdict)
        else:
            assert reading is not None, "types that we do not know have an outcome from the start"
            verdict = await self._judge(run, reading)
            async with run.effect() as tx:
                await self._close(tx, inbox_id, verdict)
        seconds = (self._clock() - found.received_at).total_seconds()
        self._measures.processed(found.source, verdict.outcome, seconds)

    async def _close(self, tx: Tx, inbox_id: UUID, verdict: Verdict) -> None:
        await inboxstore.close(tx, inbox_id, verdict.outcome, verdict.reason, self._clock())

    async def _judge(self, run: Run[Received], hint: Hint) -> Verdict:
        try:
            return await hints.judge(run.database, self._networks, hint)
        except DatabaseUnavailable:
            raise
        except (NotYet, EchainError) as reason:
            if isinstance(reason, EchainError) and reason.kind is not Kind.UNAVAILABLE:
                raise
            if run.attempt < run.kind.tries:
                raise jobs.Retry(str(reason)) from reason
            return Verdict("unseen", str(reason))
