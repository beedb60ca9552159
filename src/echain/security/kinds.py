"""The kinds of background work here, and what each is told."""

from __future__ import annotations

from typing import Final

import msgspec

from echain.infra.jobs import JobKind, Queue
from echain.security.types import Cause


class Tick(msgspec.Struct, frozen=True):
    """What a job is told that needs nothing but its time."""


RAISE: Final = JobKind("security.raise", Queue.SYNC, Cause, tries=12)
"""About four hours in all: an alarm is worth waiting for a database that is away."""

CONTRACTS: Final = JobKind("security.contracts", Queue.SYNC, Tick, tries=1)
BALANCES: Final = JobKind("security.balances", Queue.SYNC, Tick, tries=1)
"""What the clock asks for again soon is not tried again."""

AUDIT: Final = JobKind("security.audit", Queue.SYNC, Tick)
SWEEP: Final = JobKind("security.sweep", Queue.SYNC, Tick)
