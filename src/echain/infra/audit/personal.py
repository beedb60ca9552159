"""What the audit log keeps of a person: what they did, and from where; only the latter can be erased."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from echain.infra.audit.clients import ClientSeals
from echain.infra.database import Tx
from echain.infra.personal import Holding, Opened, Section, Subject

_DONE: Final = """
    SELECT lpad(position::text, 20, '0') AS key, entry.id, at, action, resource,
           organization_id AS "organizationId", actor_address AS "address", credential,
           request_id AS "requestId", diff, entry.client, clients.sealed
      FROM audit_entries AS entry
      JOIN subject ON actor_kind = 'user' AND actor_id = subject.user_id::text
      LEFT JOIN audit_clients AS clients ON clients.entry_id = entry.id
"""
# Done by others: who they are, and from where, is not this person's to know.
_DONE_TO: Final = """
    SELECT lpad(position::text, 20, '0') AS key, id, at, action, organization_id AS "organizationId"
      FROM audit_entries JOIN subject ON resource = 'user:' || subject.user_id
     WHERE (actor_kind, actor_id) <> ('user', subject.user_id::text)
"""


def holding(seals: ClientSeals) -> Holding:
    """Return what is held; ``seals`` open the addresses that a person came from."""
    return Holding(
        (
            Section(
                "audit", "What you did that changed something, and from which address.", _DONE, _opened(seals)
            ),
            Section("auditAbout", "What others did to your account.", _DONE_TO),
        ),
        _forget,
    )


def _opened(seals: ClientSeals) -> Opened:
    def opened(row: dict[str, Any]) -> dict[str, Any]:
        commitment, sealed = row.pop("client"), row.pop("sealed")
        client = None if sealed is None else seals.open(row["id"], sealed, commitment)
        return {**row, "client": client}

    return opened


async def _forget(tx: Tx, subject: Subject, _now: datetime) -> None:
    """Erase from where they came. The entries are sealed into a chain, and name a user who is no more."""
    # First those that arrive: what the sealer is taking over is found where it has put it.
    await tx.execute(
        """
        UPDATE audit_arrivals SET sealed_client = NULL WHERE actor_kind = 'user' AND actor_id = $1
        """,
        str(subject.user_id),
    )
    await tx.execute(
        """
        DELETE FROM audit_clients USING audit_entries AS entry
         WHERE entry_id = entry.id AND actor_kind = 'user' AND actor_id = $1
        """,
        str(subject.user_id),
    )
