"""Alarms: raised once for each cause, told to administrators, listed and acknowledged."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec

from echain.accounts.admins import Administrators
from echain.infra import outbox
from echain.infra.database import Database, Row, Tx
from echain.infra.jobs import enqueue
from echain.kernel.ids import uuid7
from echain.kernel.messages import Message
from echain.kernel.paging import Page, PageInfo
from echain.notify import service as notify
from echain.notify.facts import Told
from echain.notify.rendering import Templates
from echain.notify.service import Reach
from echain.security import rules, sightstore, store
from echain.security.kinds import RAISE
from echain.security.types import (
    Alarm,
    AlarmDetail,
    AlarmFilter,
    AlarmKind,
    AlarmNotFound,
    AlreadyAcknowledged,
    Cause,
    Occurrence,
    Raised,
    Severity,
)

KEPT: Final = timedelta(days=90)
"""How long an alarm is kept after its last cause: it may hold the network that somebody came from."""

_SHOWN_CAUSES: Final = 100
_NOTHING_BUT_THE_APP: Final = Reach(email=False, push=False)


class Watchmen(msgspec.Struct, frozen=True):
    """Whom alarms are told, in which words, by which ways."""

    administrators: Administrators
    templates: Templates
    reach: Reach


async def suspect(tx: Tx, causes: Sequence[Cause]) -> None:
    """Have alarms raised for these causes, each once, if ``tx`` commits.

    Adds rows and waits for nobody: what an alarm takes is done by a job. What has been counted is left out,
    so that a storm does not fill the queue.
    """
    if causes:
        known = await store.known(tx, [cause.name for cause in causes])
        await enqueue(tx, RAISE, [cause for cause in causes if cause.name not in known])


async def raise_alarm(tx: Tx, cause: Cause, watchmen: Watchmen, *, now: datetime) -> Raised | None:
    """Count a cause, and tell administrators when it makes a new alarm or makes one worse.

    Of what strangers can cause under many names only the first few subjects in a while get alarms of their
    own; the rest is one alarm of the platform, whose causes say about whom they are.

    Returns what is to be told beyond the database; None for a cause that is known or only joins an alarm.
    """
    crowd = cause.kind in rules.ANYBODYS
    await store.lock_subject(tx, cause.kind, "" if crowd else cause.subject)
    if await store.is_known(tx, cause.name):
        return None
    severity = cause.severity or rules.SEVERITIES[cause.kind]
    joined = await store.join(tx, cause, severity)
    if joined is None and crowd and await _crowded(tx, cause):
        facts = {**cause.facts, "subject": cause.subject}
        cause = msgspec.structs.replace(cause, subject=rules.EVERYBODY, facts=facts)
        joined = await store.join(tx, cause, severity)
    if joined is None:
        alarm_id, count = uuid7(), 1
        joins_until = cause.at + rules.JOINED_FOR[cause.kind]
        await store.insert(tx, alarm_id, cause, severity, joins_until=joins_until)
    else:
        alarm_id, count = joined["id"], joined["count"]
    await store.insert_cause(tx, alarm_id, cause)
    if joined is not None and severity <= joined["was"]:
        return None
    raised = Raised(alarm_id, cause.kind, severity, cause.subject, cause.facts, count)
    await _tell(tx, raised, watchmen, now=now)
    return raised


async def _crowded(tx: Tx, cause: Cause) -> bool:
    """Return whether enough subjects have alarms of this kind that one more is told as everybody's."""
    since = cause.at - rules.CROWDED_WITHIN
    told = await store.count_since(tx, cause.kind, since, but=rules.EVERYBODY)
    return cause.subject != rules.EVERYBODY and told >= rules.MOST_SUBJECTS


async def _tell(tx: Tx, raised: Raised, watchmen: Watchmen, *, now: datetime) -> None:
    word = raised.severity.name.lower()
    data = {
        "id": str(raised.id),
        "kind": raised.kind.value,
        "severity": word,
        "subject": raised.subject,
        "facts": dict(raised.facts),
        "count": raised.count,
    }
    await outbox.publish(tx, [Message(("platform",), "alarm", data)])
    await notify.alert(
        tx,
        await watchmen.administrators.wallets(tx),
        Told(
            raised.kind.replace("_", " ").capitalize(),
            rules.summary(raised.subject, raised.facts),
            raised.kind,
        ),
        watchmen.templates,
        watchmen.reach if raised.severity is Severity.SEVERE else _NOTHING_BUT_THE_APP,
        now=now,
        occasion=f"alarm {raised.id} {word}",
    )


async def alarms(database: Database, part: AlarmFilter) -> Page[Alarm]:
    """Return a part of the alarms, the newest first."""
    rows = await store.alarms(
        database,
        kind=part.kind,
        severity=None if part.severity is None else Severity[part.severity.upper()],
        unacknowledged=part.open,
        before=part.cursor,
        limit=part.limit + 1,
    )
    shown = [Alarm(**_alarm(row)) for row in rows[: part.limit]]
    following = str(shown[-1].id) if len(rows) > part.limit else None
    return Page(shown, PageInfo(per_page=part.limit, next_cursor=following))


async def alarm(database: Database, alarm_id: UUID) -> AlarmDetail:
    """Return an alarm with its last causes.

    Raises:
        AlarmNotFound: there is none of this id.
    """
    row = await store.alarm(database, alarm_id)
    if row is None:
        raise AlarmNotFound
    causes = await store.causes(database, alarm_id, limit=_SHOWN_CAUSES)
    return AlarmDetail(**_alarm(row), causes=[Occurrence(one["at"], one["facts"]) for one in causes])


async def acknowledge(tx: Tx, alarm_id: UUID, by: UUID, *, now: datetime) -> Alarm:
    """Note that somebody has seen to an alarm; a change of a contract is what is expected from then on.

    Raises:
        AlarmNotFound: there is none of this id.
        AlreadyAcknowledged: somebody did so before.
    """
    row = await store.acknowledge(tx, alarm_id, by, now=now)
    if row is None:
        known = await store.alarm(tx, alarm_id)
        if known is None:
            raise AlarmNotFound
        raise AlreadyAcknowledged(by=str(known["acknowledged_by"]), at=known["acknowledged_at"].isoformat())
    if row["kind"] in (
        AlarmKind.CONTRACT_PAUSED,
        AlarmKind.CONTRACT_OWNER_CHANGED,
        AlarmKind.CONTRACT_CHANGED,
    ):
        await sightstore.accept(tx, alarm_id, row["subject"])
    return Alarm(**_alarm(row))


def _alarm(row: Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "kind": row["kind"],
        "severity": Severity(row["severity"]).name.lower(),
        "subject": row["subject"],
        "facts": row["facts"],
        "count": row["count"],
        "first_at": row["first_at"],
        "last_at": row["last_at"],
        "acknowledged_at": row["acknowledged_at"],
        "acknowledged_by": row["acknowledged_by"],
    }
