"""Delivers to subscribers: each in order, one at a time; a failing one waits and holds those behind it.

The right to deliver to a subscription is a lease. Whoever dies with it loses it after half a minute, and the
next one posts the same delivery again under the same id: at least once, never skipped, never out of order.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import structlog

from echain.infra import jobs, outbox
from echain.infra.crypto import DataKeys
from echain.infra.database import Database, Tx
from echain.infra.jobs import JobKind, Queue, Run
from echain.infra.outbound import Outbound, TargetRefused, TargetUnreachable
from echain.kernel.evm import Address, checksum
from echain.kernel.messages import Message
from echain.kernel.retryafter import retry_after_seconds
from echain.kernel.time import Clock
from echain.organizations import service as organizations
from echain.organizations.types import Permission
from echain.webhooks import deliverystore as store
from echain.webhooks import rules
from echain.webhooks.measures import Measures
from echain.webhooks.rules import Key
from echain.webhooks.store import SEALED
from echain.webhooks.types import Attempt, Deliver, Tried

DELIVER: Final = JobKind("webhooks.deliver", Queue.WEBHOOK, Deliver)
"""Wakes a courier for a subscription; the subscription's own row says when the next try is due."""

LEASE: Final = timedelta(seconds=30)
"""Longer than any one try takes, shorter than anybody minds when a worker dies."""
MOST_AT_ONCE: Final = 100
"""Deliveries in one go; then others that wait for a place come first."""

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("echain.webhooks")


async def wake(tx: Tx, subscription_ids: Sequence[UUID], *, at: datetime | None = None) -> None:
    """Have couriers look after subscriptions once ``tx`` commits, or at a later moment."""
    suffix = "" if at is None else " later"
    await jobs.enqueue(
        tx,
        DELIVER,
        [Deliver(one) for one in subscription_ids],
        run_at=at,
        keys=[f"{one}{suffix}" for one in subscription_ids],
    )


class Courier:
    """Delivers in one process; any number may work beside each other."""

    def __init__(
        self,
        database: Database,
        keys: DataKeys,
        outbound: Outbound,
        clock: Clock,
        measures: Measures,
        *,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """``chance`` in [0, 1) spreads the pauses between tries."""
        self._database = database
        self._keys = keys
        self._outbound = outbound
        self._clock = clock
        self._measures = measures
        self._chance = chance

    async def run(self, run: Run[Deliver]) -> None:
        """Handle `DELIVER`."""
        await self.deliver(run.payload.subscription_id)

    async def deliver(self, subscription_id: UUID) -> None:
        """Deliver what waits for a subscription, if it is due and nobody else does.

        Ends when nothing is left; and after a try that failed or was slow, or 100 tries, to be woken again.
        """
        lease = uuid4()
        if not await store.claim(self._database, subscription_id, lease, self._clock(), LEASE):
            await self._come_again(subscription_id)
            return
        try:
            await self._deliver_all(subscription_id, lease)
        except asyncio.CancelledError:
            # The worker stops: another one need not wait for the lease to end.
            await self._hand_over(subscription_id, lease)
            raise

    async def _come_again(self, subscription_id: UUID) -> None:
        """Be woken when the next try is due, where this wake came too early for it.

        It may stand for that later one as well: who failed meanwhile found it waiting and asked for no other;
        and PostgreSQL's clock, by which it was due, may be ahead.
        """
        due_at = await store.next_try(self._database, subscription_id, self._clock())
        if due_at is not None:
            async with self._database.transaction() as tx:
                await wake(tx, [subscription_id], at=due_at)

    async def _deliver_all(self, subscription_id: UUID, lease: UUID) -> None:
        for _ in range(MOST_AT_ONCE):
            attempt = await store.next_attempt(self._database, subscription_id, lease, self._clock())
            if attempt is None:
                if await self._done(subscription_id, lease):
                    return
                continue
            tried = await self._try(attempt)
            if not tried.succeeded:
                await self._failed(subscription_id, lease, attempt, tried)
                return
            async with self._database.transaction() as tx:
                until = self._clock() + LEASE
                if not await store.note_success(tx, subscription_id, lease, attempt, tried, until=until):
                    return
            if tried.duration_ms > rules.SLOW_SECONDS * 1_000:
                break
        await self._hand_over(subscription_id, lease)

    async def _done(self, subscription_id: UUID, lease: UUID) -> bool:
        async with self._database.transaction() as tx:
            return await store.give_back_if_done(tx, subscription_id, lease)

    async def _hand_over(self, subscription_id: UUID, lease: UUID) -> None:
        async with self._database.transaction() as tx:
            if await store.give_back(tx, subscription_id, lease):
                await wake(tx, [subscription_id])

    async def _try(self, attempt: Attempt) -> Tried:
        """Post one delivery and return what came of it."""
        now = self._clock()
        body = attempt.body.encode()
        keys = [Key(name, SEALED.open(self._keys, key_id, sealed)) for name, key_id, sealed in attempt.keys]
        headers = {
            "Content-Type": "application/json",
            "Echain-Delivery": str(attempt.delivery_id),
            "Echain-Signature": rules.signature(keys, attempt.delivery_id, body, now),
        }
        status = retry_after = error = excerpt = None
        began = time.perf_counter()
        try:
            answer = await self._outbound.post(attempt.url, body, headers)
        except TargetRefused as refusal:
            error, outcome = refusal.message, "forbidden"
        except TargetUnreachable as reason:
            error, outcome = reason.message, "unreachable"
        else:
            status, retry_after = answer.status, answer.retry_after
            # What PostgreSQL cannot hold in a text becomes a mark.
            excerpt = answer.excerpt.decode("utf-8", "replace").replace("\x00", "\ufffd")
            outcome = ""
        seconds = time.perf_counter() - began
        tried = Tried(self._clock(), status, error, retry_after, excerpt, round(seconds * 1_000))
        self._measures.tried(outcome or ("delivered" if tried.succeeded else "refused"), seconds)
        return tried

    async def _failed(self, subscription_id: UUID, lease: UUID, attempt: Attempt, tried: Tried) -> None:
        now = self._clock()
        retry_after = retry_after_seconds(tried.retry_after, now)
        next_try_at = now + rules.pause(attempt.failures + 1, retry_after, self._chance())
        reason = None
        if tried.status == rules.GONE:
            reason = "the receiver answered 410 Gone"
        elif rules.given_up(attempt.failing_since or now, now):
            reason = f"failing since {attempt.failing_since:%Y-%m-%d %H:%M} UTC"
        async with self._database.transaction() as tx:
            held = await store.note_failure(
                tx,
                subscription_id,
                lease,
                attempt,
                tried,
                next_try_at=next_try_at,
                disabled_reason=reason,
                now=now,
            )
            if held and reason is not None:
                told = await store.concerned(
                    tx, subscription_id, organizations.roles_with(Permission.WEBHOOKS)
                )
                await outbox.publish(tx, _disabled(attempt, reason, told))
                _log.warning("webhooks.disabled", subscription=str(subscription_id), reason=reason)
            elif held:
                await wake(tx, [subscription_id], at=next_try_at)
            elif await store.give_back(tx, subscription_id, lease):
                await wake(tx, [subscription_id])


def _disabled(attempt: Attempt, reason: str, told: Sequence[Address]) -> list[Message]:
    """Return what those are told who look after it, of the kind that comes by mail too.

    Nobody watches a dead receiver.
    """
    if not told:
        return []
    receiver = urlsplit(attempt.url).hostname
    message = Message(
        tuple(f"user:{checksum(wallet)}" for wallet in told),
        "notification",
        {
            "title": "A webhook was disabled",
            "text": f"Your receiver at {receiver} was disabled: {reason}. Messages wait for 7 days; enable "
            "it again to have them delivered.",
            "kind": "security",
            "about": "webhook_disabled",
        },
    )
    return [message]
