"""What raises an alarm, what an alarm is, and each reason to refuse."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Annotated, Literal
from uuid import UUID

import msgspec

from echain.kernel.errors import EchainError, Kind


class AlarmKind(StrEnum):
    """What an alarm is about; docs/operations.md says of each what it means and what to do."""

    HIGH_VALUE = "high_value"
    UNUSUAL_PURCHASE = "unusual_purchase"
    UNUSUAL_TRANSFERS = "unusual_transfers"
    UNUSUAL_PRICE = "unusual_price"
    FAILED_SIGNATURES = "failed_signatures"
    CONTRACT_PAUSED = "contract_paused"
    CONTRACT_OWNER_CHANGED = "contract_owner_changed"
    CONTRACT_CHANGED = "contract_changed"
    BALANCE_DRIFT = "balance_drift"
    BALANCE_SURPLUS = "balance_surplus"
    KEY_BALANCE_LOW = "key_balance_low"
    REFRESH_REUSE = "refresh_reuse"
    ADMIN_CHANGED = "admin_changed"
    AUDIT_BROKEN = "audit_broken"


class Severity(IntEnum):
    """How bad: a notice is looked at some day, a warning today, what is severe now, so it is mailed, too."""

    NOTICE = 1
    WARNING = 2
    SEVERE = 3


class Cause(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that happened. ``name`` is its own, so that it counts once however often it is told.

    Causes of one kind and ``subject`` join into one alarm for a while. ``facts`` are plain texts that hold no
    secret and no personal data but wallets and the network that a request came from. ``severity`` is the
    kind's own unless said otherwise.
    """

    kind: AlarmKind
    subject: str
    name: str
    facts: Mapping[str, str]
    at: datetime
    severity: Severity | None = None


class Raised(msgspec.Struct, frozen=True):
    """An alarm that people are to hear of: it is new, or worse than it was."""

    id: UUID
    kind: AlarmKind
    severity: Severity
    subject: str
    facts: Mapping[str, str]
    count: int


SeverityWord = Literal["notice", "warning", "severe"]
KindWord = Literal[
    "high_value",
    "unusual_purchase",
    "unusual_transfers",
    "unusual_price",
    "failed_signatures",
    "contract_paused",
    "contract_owner_changed",
    "contract_changed",
    "balance_drift",
    "balance_surplus",
    "key_balance_low",
    "refresh_reuse",
    "admin_changed",
    "audit_broken",
]


class Alarm(msgspec.Struct, frozen=True, rename="camel"):
    """An alarm: ``count`` causes of one kind and subject, ``facts`` of the last of them."""

    id: UUID
    kind: KindWord
    severity: SeverityWord
    subject: str
    facts: dict[str, str]
    count: int
    first_at: datetime
    last_at: datetime
    acknowledged_at: datetime | None
    acknowledged_by: UUID | None


class Occurrence(msgspec.Struct, frozen=True):
    """One cause of an alarm."""

    at: datetime
    facts: dict[str, str]


class AlarmDetail(Alarm, frozen=True, rename="camel"):
    """With its last causes, at most a hundred, the newest first."""

    causes: list[Occurrence]


class AlarmPath(msgspec.Struct, frozen=True):
    """An alarm in a path."""

    id: UUID


class AlarmFilter(msgspec.Struct, frozen=True):
    """A part of the alarms, the newest first; ``open`` are those that nobody has acknowledged."""

    kind: KindWord | None = None
    severity: SeverityWord | None = None
    open: bool | None = None
    cursor: UUID | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 50


class AlarmNotFound(EchainError):
    """There is no such alarm, or it is kept no more."""

    kind = Kind.NOT_FOUND
    code = "security.alarm_not_found"


class AlreadyAcknowledged(EchainError):
    """Somebody has acknowledged this alarm before; see who in the details."""

    kind = Kind.CONFLICT
    code = "security.already_acknowledged"
