"""What is remembered of a fact that somebody is told of, as it was when it happened."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec


class EventFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """An event as its readers know it. ``revision`` counts its changes on chain since it was created."""

    id: UUID
    public_id: UUID
    chain_id: int
    title: str
    starts_at: datetime
    ends_at: datetime
    time_zone: str | None = None
    place: str = ""
    revision: int = 0


class Sold(msgspec.Struct, frozen=True):
    """What one event sold in a digest's period; the amount as decimal digits of the smallest unit."""

    title: str
    chain_id: int
    count: int
    amount: str


class Told(msgspec.Struct, frozen=True, omit_defaults=True):
    """What another part of the platform says in its own words; ``about`` names it for other languages."""

    title: str
    text: str
    about: str | None = None
    device: str = ""


class Facts(msgspec.Struct, frozen=True, omit_defaults=True):
    """The facts of one notification; each kind uses some. Amounts are decimal digits of the smallest unit.

    ``previous`` is the event before a change. ``hours`` is how far ahead a reminder speaks. ``since`` and
    ``weekly`` are a digest's.
    """

    event: EventFacts | None = None
    previous: EventFacts | None = None
    tickets: list[str] = []
    count: int = 1
    amount: str | None = None
    sender: str | None = None
    receiver: str | None = None
    hours: int = 0
    told: Told | None = None
    since: datetime | None = None
    until: datetime | None = None
    weekly: bool = False
