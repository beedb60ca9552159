"""What is told by which way unless chosen otherwise, and when digests are due."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, time, timedelta
from typing import Final, Literal

from echain.notify.types import NoticeKind, Rhythm
from echain.notify.wording import zone_of

Way = Literal["in_app", "email", "push"]
WAYS: Final[tuple[Way, ...]] = ("in_app", "email", "push")

DEFAULTS: Final[Mapping[NoticeKind, tuple[bool, bool, bool]]] = {
    NoticeKind.PURCHASE: (True, True, False),
    NoticeKind.TICKET_RECEIVED: (True, True, True),
    NoticeKind.TICKET_SENT: (True, False, False),
    NoticeKind.EVENT_CHANGED: (True, True, True),
    NoticeKind.EVENT_CANCELLED: (True, True, True),
    NoticeKind.REFUND: (True, True, False),
    NoticeKind.ATTENDANCE: (True, False, False),
    NoticeKind.REMINDER: (True, True, True),
    NoticeKind.SECURITY: (True, True, True),
    NoticeKind.ALARM: (True, True, True),
    NoticeKind.DIGEST: (False, True, False),
}
"""In the app, by e-mail, by push. A digest's mail is decided by its rhythm alone."""

FIXED: Final[Mapping[NoticeKind, frozenset[Way]]] = {
    NoticeKind.SECURITY: frozenset({"in_app", "email"}),
    NoticeKind.DIGEST: frozenset({"in_app", "email", "push"}),
}
"""What nobody can switch: whoever took over an account would switch off its warnings first."""

CHOSEN: Final = tuple(kind for kind in NoticeKind if kind is not NoticeKind.DIGEST)
"""The kinds that people choose ways for."""

UNSUBSCRIBABLE: Final = frozenset(set(NoticeKind) - {NoticeKind.SECURITY})

VERIFICATION_LIFE: Final = timedelta(hours=24)
VERIFICATION_WINDOW: Final = timedelta(hours=24)
RESEND_PAUSES: Final = tuple(timedelta(seconds=seconds) for seconds in (60, 300, 1_800, 7_200))
"""How long to wait after the first, second, … verification mail of a day; after the fifth, for its end."""

BOUNCES_UNTIL_SUSPENDED: Final = 3
MAIL_A_DAY: Final = 100
"""No more to one person within 24 hours: gifts of worthless tickets are cheap to send, mail must not be."""

MAX_SUBSCRIPTIONS: Final = 20
DIGEST_AT: Final = time(8, 0)
_MONDAY: Final = 0

LEADS: Final = (timedelta(hours=24), timedelta(hours=2))
"""How long before its start an event is announced; each holds until the next, the last until the start."""


def chosen(choices: Mapping[str, Mapping[str, bool]], kind: NoticeKind, way: Way) -> bool:
    """Return whether a kind is told by a way."""
    default = DEFAULTS[kind][WAYS.index(way)]
    if way in FIXED.get(kind, frozenset()):
        return default
    return choices.get(kind, {}).get(way, default)


def differing(wanted: Mapping[NoticeKind, Mapping[Way, bool]]) -> dict[str, dict[str, bool]]:
    """Return what of a whole matrix differs from the defaults, without what nobody can switch."""
    found: dict[str, dict[str, bool]] = {}
    for kind, ways in wanted.items():
        for way, wants in ways.items():
            if way not in FIXED.get(kind, frozenset()) and wants != DEFAULTS[kind][WAYS.index(way)]:
                found.setdefault(kind, {})[way] = wants
    return found


def next_digest(rhythm: Rhythm, zone: str | None, *, after: datetime) -> datetime | None:
    """Return when the next digest is due: at eight in the morning there, on Mondays if weekly; None if off.

    A zone that this machine does not know counts as UTC: one row must not hold up everybody's digests.
    """
    if rhythm == "off":
        return None
    local = after.astimezone(zone_of(zone))
    day = local.date()
    if rhythm == "weekly":
        day += timedelta(days=(_MONDAY - day.weekday()) % 7)
    due = datetime.combine(day, DIGEST_AT, local.tzinfo)
    if due <= local:
        due = datetime.combine(day + timedelta(days=1 if rhythm == "daily" else 7), DIGEST_AT, local.tzinfo)
    return due.astimezone(after.tzinfo)


def may_verify_at(sent: Sequence[datetime], *, now: datetime) -> datetime:
    """Return when the next verification mail may go out, given when those of the last 24 hours did."""
    recent = sorted(moment for moment in sent if moment > now - VERIFICATION_WINDOW)
    if not recent:
        return now
    if len(recent) > len(RESEND_PAUSES):
        return recent[-len(RESEND_PAUSES) - 1] + VERIFICATION_WINDOW
    return max(now, recent[-1] + RESEND_PAUSES[len(recent) - 1])


def lead_due(starts_at: datetime, *, now: datetime) -> timedelta | None:
    """Return which reminder an event is due for now, None when none: before all leads, or after the start."""
    if now >= starts_at:
        return None
    return next((lead for lead in reversed(LEADS) if starts_at - lead <= now), None)
