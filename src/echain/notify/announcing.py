"""What is told to many at once, or because time has passed: changes of events, reminders, digests."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec

from echain.events import service as events
from echain.events.types import Described, Version
from echain.infra import messagestore
from echain.infra.database import Row, Tx
from echain.infra.jobs import Run, enqueue
from echain.kernel.evm import Address
from echain.kernel.time import Clock, to_unix
from echain.notify import addressstore, rules, service, store
from echain.notify.composing import sales_of
from echain.notify.facts import EventFacts, Facts
from echain.notify.heard import Announcement, facts_of
from echain.notify.kinds import ANNOUNCE, DIGESTS, Tick
from echain.notify.rendering import Templates
from echain.notify.service import Reach
from echain.notify.types import Notice, NoticeKind
from echain.tickets import audience

HOLDERS_AT_ONCE: Final = 500
_EVENTS_AT_ONCE: Final = 5_000
_DIGESTS_AT_ONCE: Final = 100
_SWEPT_AT_ONCE: Final = 5_000
_PERIODS: Final = {"daily": timedelta(days=1), "weekly": timedelta(days=7)}


class Announcer:
    """Handles the jobs that find out whom to tell."""

    def __init__(self, templates: Templates, reach: Reach, clock: Clock) -> None:
        self._templates = templates
        self._reach = reach
        self._clock = clock

    async def announce(self, run: Run[Announcement]) -> None:
        """Tell the next holders of an event's tickets, and leave the rest to a job of their own.

        In one transaction: a page of holders is told once, whatever dies. A message that a reorg takes
        meanwhile is waited for or found gone; whom it told before is undone by the message that says so.
        """
        told = run.payload
        async with run.effect() as tx:
            if told.source is not None and not await messagestore.stands(tx, told.source):
                return
            event = (await events.described(tx, [told.event_id])).get(told.event_id)
            facts = None if event is None else await _facts(tx, told, event)
            if event is None or facts is None:
                return
            holders = await audience.holders(
                tx,
                event.chain_id,
                event.ticket_contract,
                after=None if told.after is None else Address(bytes.fromhex(told.after)),
                limit=HOLDERS_AT_ONCE,
                final=told.settled,
            )
            await self._tell(tx, [_notice(told, facts, holder) for holder in holders], settled=told.settled)
            if len(holders) == HOLDERS_AT_ONCE:
                following = msgspec.structs.replace(told, after=holders[-1].address.hex())
                await enqueue(tx, ANNOUNCE, [following])

    async def remind(self, run: Run[Tick]) -> None:
        """Announce events that start soon; each start and lead once, whichever worker looks first."""
        now = self._clock()
        async with run.effect() as tx:
            soon = await events.starting(tx, after=now, until=now + max(rules.LEADS), limit=_EVENTS_AT_ONCE)
            due: list[Announcement] = []
            for event_id, starts_at in soon:
                lead = rules.lead_due(starts_at, now=now)
                assert lead is not None, "it starts within the longest lead"
                minutes = int(lead.total_seconds()) // 60
                if await store.claim_reminder(tx, event_id, starts_at, lead_minutes=minutes, now=now):
                    due.append(_reminder(event_id, starts_at, minutes // 60))
            await enqueue(tx, ANNOUNCE, due)

    async def digests(self, run: Run[Tick]) -> None:
        """Write the digests that are due, each period's once, none for a period without news."""
        now = self._clock()
        async with run.effect() as tx:
            due = await store.due_digests(tx, now=now, limit=_DIGESTS_AT_ONCE)
            for row in due:
                await self._digest(tx, row, now)
            if len(due) == _DIGESTS_AT_ONCE:
                await enqueue(tx, DIGESTS, [Tick()])

    async def sweep(self, run: Run[Tick]) -> None:
        """Forget notifications of more than a year ago, and addresses that were asked before yesterday."""
        now = self._clock()
        before = now - service.KEPT
        async with run.database.transaction() as tx:
            await addressstore.forget_verifications(tx, before=now - 2 * rules.VERIFICATION_WINDOW)
        swept = _SWEPT_AT_ONCE
        while swept == _SWEPT_AT_ONCE:
            async with run.database.transaction() as tx:
                swept = await store.sweep(tx, before=before, limit=_SWEPT_AT_ONCE)

    async def _digest(self, tx: Tx, row: Row, now: datetime) -> None:
        user_id, rhythm, until = row["user_id"], row["digest"], row["next_digest_at"]
        following = rules.next_digest(rhythm, row["time_zone"], after=now)
        await store.schedule_digest(tx, user_id, following)
        address = await addressstore.address(tx, user_id)
        # Days that were missed, because nothing ran, are one period with the first that is not.
        since = until - _PERIODS[rhythm]
        if address is None:
            return
        news = await store.news(tx, user_id, since=since, until=until, limit=1)
        if not news and not await sales_of(tx, user_id, since=since, until=until):
            return
        wallet = await service.wallet_of(tx, user_id)
        if wallet is None:
            return
        facts = Facts(since=since, until=until, weekly=rhythm == "weekly")
        notice = Notice(
            address=wallet,
            kind=NoticeKind.DIGEST,
            occasion=f"digest {to_unix(until)}",
            data=msgspec.to_builtins(facts),
        )
        await self._tell(tx, [notice], settled=True)

    async def _tell(self, tx: Tx, notices: Sequence[Notice], *, settled: bool) -> None:
        now = self._clock()
        known = await service.tell(tx, notices, self._templates, now=now)
        if settled:
            await service.settle(tx, known, self._reach, now=now)


def _notice(told: Announcement, facts: Facts, holder: audience.Holder) -> Notice:
    return Notice(
        address=holder.address,
        kind=told.kind,
        occasion=told.occasion,
        data=msgspec.to_builtins(msgspec.structs.replace(facts, count=holder.tickets)),
        event_id=told.event_id,
        source=told.source,
        chain_id=told.chain_id,
        block_number=told.block_number,
    )


async def _facts(tx: Tx, told: Announcement, event: Described) -> Facts | None:
    """Return what is to be told; None when it concerns nobody who comes, or not any more."""
    current = facts_of(event)
    if told.kind is NoticeKind.REMINDER:
        # Moved meanwhile: its new start has reminders of its own.
        stale = event.cancelled or told.occasion != _reminder(event.id, event.starts_at, told.hours).occasion
        return None if stale else Facts(event=current, hours=told.hours)
    if told.kind is NoticeKind.EVENT_CANCELLED:
        return Facts(event=current)
    assert told.block_number is not None, "a change is said by a block"
    versions = await events.versions(tx, event.id, at_block=told.block_number)
    if len(versions) < 2 or versions[0] == versions[1]:  # noqa: PLR2004 -- now and before
        return None
    after, before = (_as_of(current, version) for version in versions)
    return Facts(event=after, previous=before)


def _as_of(event: EventFacts, version: Version) -> EventFacts:
    return msgspec.structs.replace(
        event,
        title=version.title,
        place=version.place,
        starts_at=version.starts_at,
        ends_at=version.ends_at,
    )


def _reminder(event_id: UUID, starts_at: datetime, hours: int) -> Announcement:
    return Announcement(
        kind=NoticeKind.REMINDER,
        event_id=event_id,
        occasion=f"reminder {hours}h {event_id} {to_unix(starts_at)}",
        settled=True,
        hours=hours,
    )
