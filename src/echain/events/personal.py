"""What events keep of a person: drafts and registrations. What was published is the chain's, and stays."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from echain.infra.database import Tx
from echain.infra.personal import Holding, Section, Subject
from echain.kernel.errors import EchainError, Kind
from echain.organizations.personal import alone_in

_DRAFTS: Final = """
    SELECT id::text AS key, id, organizer, chain_id AS "chainId", content, version,
           created_at AS "createdAt", updated_at AS "updatedAt", deleted_at AS "deletedAt"
      FROM event_drafts WHERE organizer = ANY((SELECT wallets FROM subject)::bytea[])
"""
_PUBLISHED: Final = """
    SELECT id::text AS key, id, organizer, chain_id AS "chainId", name, starts_at AS "startsAt",
           created_at AS "createdAt"
      FROM events WHERE organizer = ANY((SELECT wallets FROM subject)::bytea[])
"""
_REGISTRATIONS: Final = """
    SELECT concat_ws('-', chain_id, encode(ticket_contract, 'hex'), encode(address, 'hex')) AS key,
           chain_id AS "chainId", ticket_contract AS "ticketContract", address,
           registered_at AS "registeredAt"
      FROM event_registrations WHERE address = ANY((SELECT wallets FROM subject)::bytea[])
"""

# Wallets that nobody looks after once this person is gone.
_LEFT_ALONE: Final = """
    SELECT address FROM organization_wallets WHERE organization_id = ANY($1)
     UNION
    SELECT own.address FROM unnest($2::bytea[]) AS own (address)
     WHERE NOT EXISTS (SELECT FROM organization_wallets AS owned WHERE owned.address = own.address)
"""
_MOST_NAMED: Final = 20


class EventsRunning(EchainError):
    """People wait for events that only you can run; cancel or hand them over, or wait for their end."""

    kind = Kind.CONFLICT
    code = "events.still_running"


async def _lock(tx: Tx, subject: Subject, now: datetime) -> None:
    """Refuse while people wait for an event that nobody else could run.

    Raises:
        EventsRunning: such events are neither over nor cancelled; the details name twenty at most.
    """
    rows = await tx.fetch(
        f"""
        SELECT id, name FROM events
         WHERE organizer IN ({_LEFT_ALONE}) AND NOT cancelled AND ends_at > $3
         ORDER BY ends_at, id LIMIT {_MOST_NAMED}
        """,  # noqa: S608 -- constants
        await alone_in(tx, subject.user_id),
        list(subject.wallets),
        now,
    )
    if rows:
        raise EventsRunning(events=[{"id": str(row["id"]), "name": row["name"]} for row in rows])


async def _forget(tx: Tx, subject: Subject, _now: datetime) -> None:
    """Erase registrations, and drafts that never became an event, the hidden ones too."""
    theirs = await tx.fetch(
        f"""
        SELECT id FROM event_drafts
         WHERE (organization_id = ANY($1) OR (organization_id IS NULL AND organizer IN ({_LEFT_ALONE})))
           AND event_of_draft(id) IS NULL
         ORDER BY id FOR UPDATE
        """,  # noqa: S608 -- a constant
        await alone_in(tx, subject.user_id),
        list(subject.wallets),
    )
    drafts = [row["id"] for row in theirs]
    await tx.execute("DELETE FROM metadata_documents WHERE draft_id = ANY($1)", drafts)
    await tx.execute("DELETE FROM event_drafts WHERE id = ANY($1)", drafts)
    await tx.execute("DELETE FROM event_registrations WHERE address = ANY($1)", list(subject.wallets))


HOLDING: Final = Holding(
    (
        Section("drafts", "Drafts of your wallets' events, deleted ones too.", _DRAFTS),
        Section("events", "Events that the chain says your wallets organize. They stay.", _PUBLISHED),
        Section("registrations", "Events that you said you will come to.", _REGISTRATIONS),
    ),
    _forget,
    _lock,
)
