"""The kinds of background work here, and what each is told."""

from __future__ import annotations

from typing import Final
from uuid import UUID

import msgspec

from echain.infra.jobs import JobKind, Queue


class InvitationMail(msgspec.Struct, frozen=True):
    """An invitation to mail; ``token`` is sealed, for jobs are read by operators."""

    invitation_id: UUID
    token: bytes
    language: str


class Tick(msgspec.Struct, frozen=True):
    """What a job is told that needs nothing but its time."""


INVITE: Final = JobKind(
    "organizations.invite", Queue.NOTIFICATION, InvitationMail, tries=8, first_retry_seconds=5.0
)
"""Handled by `notify`, which writes letters."""

SWEEP: Final = JobKind("organizations.sweep", Queue.NOTIFICATION, Tick)
