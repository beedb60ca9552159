"""The kinds of background work here, and what each is told."""

from __future__ import annotations

from typing import Final
from uuid import UUID

import msgspec

from echain.infra.jobs import JobKind, Queue
from echain.notify.heard import Announcement


class Delivery(msgspec.Struct, frozen=True):
    """One mail or push to make."""

    id: UUID


class AskAddress(msgspec.Struct, frozen=True):
    """A verification mail to send; ``token`` is sealed, for jobs are read by operators."""

    verification_id: UUID
    token: bytes
    wallet: str
    language: str


class Farewell(msgspec.Struct, frozen=True):
    """A last mail to an address that was replaced or removed, sealed under ``id``.

    ``user_id`` is whose it was; jobs from before there was this field lack it.
    """

    id: UUID
    sealed: bytes
    wallet: str
    language: str
    user_id: UUID | None = None


class Tick(msgspec.Struct, frozen=True):
    """What a job is told that needs nothing but its time."""


MAIL: Final = JobKind("notify.mail", Queue.NOTIFICATION, Delivery, tries=12, first_retry_seconds=15.0)
"""About four hours in all; RFC 5321 4.5.4.1 has a queue of its own behind a submission server wait longer."""

PUSH: Final = JobKind("notify.push", Queue.NOTIFICATION, Delivery, tries=8, first_retry_seconds=10.0)
ANNOUNCE: Final = JobKind("notify.announce", Queue.NOTIFICATION, Announcement, tries=8)
VERIFY: Final = JobKind("notify.verify", Queue.NOTIFICATION, AskAddress, tries=8, first_retry_seconds=5.0)
FAREWELL: Final = JobKind("notify.farewell", Queue.NOTIFICATION, Farewell, tries=8, first_retry_seconds=15.0)
REMIND: Final = JobKind("notify.remind", Queue.NOTIFICATION, Tick)
DIGESTS: Final = JobKind("notify.digests", Queue.NOTIFICATION, Tick)
SWEEP: Final = JobKind("notify.sweep", Queue.NOTIFICATION, Tick)
