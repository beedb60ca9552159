"""What the door decides without looking anything up: who may undo, and what becomes of a missing POAP."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import Enum
from typing import Final, TypeAlias
from uuid import UUID

import msgspec

from echain.admission.types import Operator
from echain.kernel.time import to_unix

UNDO_TERM: Final = timedelta(minutes=10)
"""How long a gate may take back what it admitted itself; the organizer always may."""

GATE_KEY_LEAD: Final = timedelta(hours=1)
GATE_KEY_TAIL: Final = timedelta(days=7)
"""The platform's key is enabled from an hour before a gate is made until a week after the event's end: POAPs
that a chain's outage held up are minted late, and a clock that is off shuts no door."""

GIVE_UP_AFTER: Final = timedelta(days=30)
"""An admission whose POAP could not be minted for so long is left as it is."""

_SHORTEST_WAIT: Final = timedelta(seconds=1)
_LONGEST_WAIT: Final = timedelta(minutes=5)
_OPEN_JOB_WAIT: Final = timedelta(seconds=2)
_FIRST_RETRY: Final = timedelta(seconds=10)
_LAST_RETRY: Final = timedelta(hours=1)


_POAP_TOKEN_BITS: Final = 128


def poap_id(blockchain_id: int, token_id: int) -> int:
    """Return the ERC-721 id of a ticket's POAP, as `Poap.poapId` makes it of event and ticket."""
    return blockchain_id << _POAP_TOKEN_BITS | token_id


class JobState(Enum):
    """How the transaction that was sent for a POAP stands."""

    OPEN = "open"
    MINED = "mined"
    FAILED = "failed"


class CheckIn(msgspec.Struct, frozen=True):
    """What is known about an admission whose POAP is not final.

    ``ticket_state`` None: the ticket is not in the projection. No reorg reaches ``final_block``.
    ``gate_key_enabled`` says whether the chain accepts the platform's key for this event now.
    """

    admitted_at: datetime
    attempts: int
    ticket_state: str | None
    poap_block: int | None
    final_block: int
    gate_key_enabled: bool
    cancelled: bool
    job: JobState | None


class Settled(msgspec.Struct, frozen=True):
    """Nothing is left to do."""


class Wait(msgspec.Struct, frozen=True):
    """Look again at ``until``."""

    until: datetime


class Mint(msgspec.Struct, frozen=True):
    """Send a transaction, the first or a further one; look again at ``until``."""

    until: datetime


Step: TypeAlias = Settled | Wait | Mint


def next_step(check_in: CheckIn, *, now: datetime) -> Step:
    """Return what to do for an admission's POAP.

    A POAP counts once no reorg reaches it; until then it is watched, so that one that is reorged away is
    minted again. There is no second transaction while one is open, and none that the contract would refuse.
    """
    if check_in.poap_block is not None and check_in.poap_block <= check_in.final_block:
        return Settled()
    age = now - check_in.admitted_at
    if age > GIVE_UP_AFTER:
        return Settled()
    patience = Wait(now + min(max(age / 8, _SHORTEST_WAIT), _LONGEST_WAIT))
    if check_in.poap_block is not None:
        return patience
    if check_in.job is JobState.OPEN:
        return Wait(now + _OPEN_JOB_WAIT)
    if check_in.cancelled or check_in.ticket_state != "valid" or not check_in.gate_key_enabled:
        return patience
    # A mined transaction without a POAP was reorged away with its block, or the projection lags by seconds.
    return Mint(now + min(_FIRST_RETRY * 2 ** min(check_in.attempts, 10), _LAST_RETRY))


def may_undo(operator: Operator, *, admitted_by: UUID | None, admitted_at: datetime, now: datetime) -> bool:
    """Return whether an operator of the event may take an admission back: the desk, or its gate."""
    if operator.desk is not None:
        return True
    return operator.gate == admitted_by and now - admitted_at <= UNDO_TERM


def gate_key_term(*, now: datetime, ends_at: datetime) -> tuple[int, int]:
    """Return from when until when, in Unix seconds, the platform's key should be enabled for an event."""
    lead, tail = (int(term.total_seconds()) for term in (GATE_KEY_LEAD, GATE_KEY_TAIL))
    return to_unix(now) - lead, to_unix(max(now, ends_at)) + tail
