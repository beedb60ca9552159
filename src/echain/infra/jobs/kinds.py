"""The words of background work: queues, kinds of jobs, and what a handler may answer besides success."""

from __future__ import annotations

import random
from datetime import timedelta
from enum import StrEnum
from typing import Final, Generic, TypeVar

import msgspec

P = TypeVar("P", bound=msgspec.Struct)

LONGEST_PAUSE_SECONDS: Final = 3600.0
LONGEST_ASKED_SECONDS: Final = 30 * 86_400.0
_JITTER: Final = 0.25
"""Of a pause, at most so much more of it: those that failed together do not come back together."""


class Queue(StrEnum):
    """Jobs that compete for the same places in a worker; a full queue does not hold up another."""

    SYNC = "sync"
    WEBHOOK = "webhook"
    NOTIFICATION = "notification"
    MEDIA = "media"
    CHAIN = "chain"


class JobKind(msgspec.Struct, Generic[P], frozen=True):
    """One kind of job: its name as stored, its queue, the type of its payload, and how often it is tried.

    A payload outlives the program that wrote it: fields may be added with defaults, and a payload that means
    something else is another kind. After ``tries`` the job is a dead letter. The pause before the second try
    is ``first_retry_seconds``, twice that before the third, and so on up to an hour, each up to a quarter
    longer.
    """

    name: str
    queue: Queue
    payload: type[P]
    tries: int = 3
    first_retry_seconds: float = 2.0

    def pause(self, attempt: int) -> timedelta:
        """Return how long to wait after the try ``attempt``, the first being 1, has failed."""
        seconds = min(self.first_retry_seconds * 2.0 ** min(attempt - 1, 40), LONGEST_PAUSE_SECONDS)
        return timedelta(seconds=seconds * random.uniform(1, 1 + _JITTER))  # noqa: S311 - spreads, hides nothing


class Retry(Exception):
    """Raised by a handler to be run again later; a try like any other, but no bug and logged in one line.

    ``after_seconds`` replaces the pause of the kind.

    Raises:
        ValueError: it is below 0 or above 30 days.
    """

    def __init__(
        self, reason: str = "the handler asks for another try", after_seconds: float | None = None
    ) -> None:
        super().__init__(reason)
        if after_seconds is not None and not 0 <= after_seconds <= LONGEST_ASKED_SECONDS:
            raise ValueError(f"another try after {after_seconds} s: from 0 to {LONGEST_ASKED_SECONDS:.0f}")
        self.after_seconds = after_seconds


class GiveUp(Exception):
    """Raised by a handler when another try cannot help: the job is a dead letter at once, for this reason."""


class AlreadyDone(Exception):
    """The job's effect stands: whoever ran it before was only too slow, or died too late, to say so."""
