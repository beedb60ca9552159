"""What is unusual, how bad each kind of alarm is, and for how long causes join into one; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from echain.security.types import AlarmKind, Severity

SEVERITIES: Final[Mapping[AlarmKind, Severity]] = {
    AlarmKind.HIGH_VALUE: Severity.WARNING,
    AlarmKind.UNUSUAL_PURCHASE: Severity.WARNING,
    AlarmKind.UNUSUAL_TRANSFERS: Severity.WARNING,
    AlarmKind.UNUSUAL_PRICE: Severity.WARNING,
    AlarmKind.FAILED_SIGNATURES: Severity.WARNING,
    AlarmKind.CONTRACT_PAUSED: Severity.SEVERE,
    AlarmKind.CONTRACT_OWNER_CHANGED: Severity.SEVERE,
    AlarmKind.CONTRACT_CHANGED: Severity.SEVERE,
    AlarmKind.BALANCE_DRIFT: Severity.SEVERE,
    AlarmKind.BALANCE_SURPLUS: Severity.NOTICE,
    AlarmKind.KEY_BALANCE_LOW: Severity.SEVERE,
    AlarmKind.REFRESH_REUSE: Severity.WARNING,
    AlarmKind.ADMIN_CHANGED: Severity.SEVERE,
    AlarmKind.AUDIT_BROKEN: Severity.SEVERE,
}

_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)
_NEVER: Final = timedelta(0)

JOINED_FOR: Final[Mapping[AlarmKind, timedelta]] = {
    **dict.fromkeys(AlarmKind, _HOUR),
    AlarmKind.BALANCE_DRIFT: _DAY,
    AlarmKind.BALANCE_SURPLUS: _DAY,
    AlarmKind.KEY_BALANCE_LOW: _DAY,
    AlarmKind.AUDIT_BROKEN: _DAY,
    # Each of these is looked at by itself.
    AlarmKind.ADMIN_CHANGED: _NEVER,
}
"""How long after an alarm's first cause others of its kind and subject still join it."""

MOST_BOUGHT: Final = 50
BOUGHT_WITHIN: Final = timedelta(minutes=10)
"""Tickets that one wallet may buy, over all events; one purchase takes fifty at most."""

MOST_GIVEN: Final = 20
GIVEN_WITHIN: Final = timedelta(hours=1)
"""Tickets that one wallet may pass on."""

_OUTLIER: Final = 10
LEAST_SALES: Final = 5
"""Sales of a tier before its prices have a history to compare with."""

MOST_REFUSALS: Final = 40
"""Refused credentials from one site within the window; somewhat fewer than it is shut out for."""

MOST_REFUSALS_ANYWHERE: Final = 500
REFUSED_WITHIN: Final = timedelta(minutes=15)


ANYBODYS: Final = frozenset(
    {
        AlarmKind.HIGH_VALUE,
        AlarmKind.UNUSUAL_PURCHASE,
        AlarmKind.UNUSUAL_TRANSFERS,
        AlarmKind.UNUSUAL_PRICE,
        AlarmKind.FAILED_SIGNATURES,
        AlarmKind.REFRESH_REUSE,
    }
)
"""What strangers can give reason for under any number of names, and so bury another alarm."""

MOST_SUBJECTS: Final = 5
CROWDED_WITHIN: Final = timedelta(minutes=15)
"""So many alarms of one kind in such a time are told each; more join under `EVERYBODY`."""

EVERYBODY: Final = "platform"
"""The subject of what is about no single one."""

_MOST_DEVICE: Final = 40


def shown_device(device: object) -> str:
    """Return a device's name as administrators are shown it: its sender may have written what they like."""
    return "".join(re.findall(r"[A-Za-z0-9. -]", str(device)))[:_MOST_DEVICE]


def is_outlier(price: int, median: int, sales: int) -> bool:
    """Return whether a price is more than ten times, or less than a tenth of, what was usual before.

    ``median`` is over the last ``sales`` of the same tier. Of fewer than five, or of a tier that was free,
    nothing can be said.
    """
    if sales < LEAST_SALES or median <= 0:
        return False
    return price > median * _OUTLIER or price * _OUTLIER < median


def bought_too_many(tickets: int) -> bool:
    """Return whether a wallet bought unusually many tickets in ten minutes."""
    return tickets > MOST_BOUGHT


def gave_too_many(tickets: int) -> bool:
    """Return whether a wallet passed on unusually many tickets in an hour."""
    return tickets > MOST_GIVEN


def summary(subject: str, facts: Mapping[str, str]) -> str:
    """Return one line that says what an alarm is about, in no language: names and values."""
    said = ", ".join(f"{name} {value}" for name, value in facts.items() if value)
    return f"{subject}: {said}"[:400] if said else subject[:400]
