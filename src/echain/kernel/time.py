"""Aware UTC times and their one text form."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Clock = Callable[[], datetime]
"""Where the time comes from; passed in, so that rules and tests decide what now is."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LAST_SECOND = 253_402_300_799
"""The last Unix second of the year 9999, where datetimes end; what a chain says beyond is held to this."""


def utc_now() -> datetime:
    """Return the present moment; only `entry` hands this on as a `Clock`."""
    return datetime.now(UTC)


def rfc3339(moment: datetime) -> str:
    """Return an aware UTC datetime as RFC 3339 with ``Z`` and milliseconds."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def from_unix(seconds: int) -> datetime:
    """Return the moment of a Unix second, held to the year 9999 because a contract may say anything."""
    return _EPOCH + timedelta(seconds=min(max(seconds, 0), LAST_SECOND))


def to_unix(moment: datetime) -> int:
    """Return the whole Unix seconds of an aware datetime, rounded down."""
    return (moment - _EPOCH) // timedelta(seconds=1)
