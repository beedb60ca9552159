"""What the security monitor keeps of a person: which alarms they took note of."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

from echain.infra.database import Tx
from echain.infra.personal import Holding, Section, Subject

NOBODY: Final = UUID(int=0)
"""Stands where an administrator is no more."""

_ACKNOWLEDGED: Final = """
    SELECT alarms.id::text AS key, alarms.id, kind, acknowledged_at AS "acknowledgedAt"
      FROM alarms JOIN subject ON acknowledged_by = subject.user_id
"""


async def _forget(tx: Tx, subject: Subject, _now: datetime) -> None:
    """Leave the note without who made it. Alarms go by themselves after 90 days, whomever they are about."""
    await tx.execute(
        "UPDATE alarms SET acknowledged_by = $2 WHERE acknowledged_by = $1", subject.user_id, NOBODY
    )


HOLDING: Final = Holding(
    (Section("alarms", "Alarms that you took note of as an administrator.", _ACKNOWLEDGED),), _forget
)
