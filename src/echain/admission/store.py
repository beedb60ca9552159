"""The door's SQL: gates, scans, admissions, and the projections it reads beside them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from echain.admission.codes import Claim
from echain.admission.types import Operator, Verdict
from echain.infra import audit
from echain.infra.database import Connection, Row, Tx
from echain.kernel.evm import Address

SCAN: Final = """
    WITH door AS (
        SELECT id AS gate_id, NULL::bytea AS operator, chain_id, ticket_contract, event_tag
          FROM gates
         WHERE id = $1 AND revoked_at IS NULL
         UNION ALL
        SELECT NULL, $13::bytea, chain_id, ticket_contract, NULL
          FROM events
         WHERE $1::uuid IS NULL AND chain_id = $3 AND ticket_contract = $4 AND organizer = $2
    ), ruled AS (
        SELECT door.*, ticket.owner, ticket.tier_id, event.id AS event_id, event.sold_tickets,
               event.organizer, standing.id AS standing_id, standing.admitted_at AS standing_at,
               standing.gate_id AS standing_gate,
               CASE
                   WHEN $5::text IS NOT NULL THEN $5
                   WHEN door.event_tag <> $6::bytea
                     OR (door.chain_id, door.ticket_contract) <> ($3::bigint, $4::bytea) THEN 'wrong_event'
                   WHEN ticket.token_id IS NULL AND standing.id IS NULL THEN 'unknown_ticket'
                   WHEN ticket.token_id IS NULL THEN 'already_admitted'
                   WHEN ticket.state = 'refunded' THEN 'refunded'
                   WHEN substring(ticket.owner FOR 8) <> $8::bytea THEN 'not_holder'
                   WHEN event.cancelled THEN 'cancelled'
                   WHEN standing.id IS NOT NULL THEN 'already_admitted'
                   WHEN ticket.state = 'locked' THEN 'locked'
                   WHEN ticket.state = 'used' AND NOT EXISTS (
                       SELECT FROM admissions AS undone
                        WHERE undone.chain_id = door.chain_id
                          AND undone.ticket_contract = door.ticket_contract
                          AND undone.token_id = $7 AND undone.undone_at IS NOT NULL
                   ) THEN 'used_on_chain'
                   ELSE 'admitted'
               END AS verdict
          FROM door
          LEFT JOIN events AS event
            ON event.chain_id = door.chain_id AND event.ticket_contract = door.ticket_contract
          LEFT JOIN tickets AS ticket
            ON ticket.chain_id = door.chain_id AND ticket.ticket_contract = door.ticket_contract
           AND ticket.token_id = $7::bigint
          LEFT JOIN admissions AS standing
            ON standing.chain_id = door.chain_id AND standing.ticket_contract = door.ticket_contract
           AND standing.token_id = $7 AND standing.undone_at IS NULL
    ), admission AS (
        INSERT INTO admissions (id, chain_id, ticket_contract, token_id, holder, gate_id, operator, scan_id,
                                admitted_at, check_in_due)
        SELECT $12::uuid, chain_id, ticket_contract, $7, owner, gate_id, operator, $9::uuid,
               $11::timestamptz, $11
          FROM ruled
         WHERE verdict = 'admitted'
        ON CONFLICT (chain_id, ticket_contract, token_id) WHERE undone_at IS NULL DO NOTHING
        RETURNING id
    ), told AS (
        -- Wakes nobody: notifications take turns at commit, and at a busy door that would hold up the scans.
        -- The relay looks ten times a second.
        INSERT INTO outbox (channels, type, data)
        SELECT 'event:' || event_id, 'admitted',
               jsonb_build_object('eventId', event_id, 'gate', gate_id)::text
          FROM ruled CROSS JOIN admission
         WHERE event_id IS NOT NULL
    ), audited AS (
        INSERT INTO audit_arrivals (id, organization_id, at, actor_kind, actor_id, actor_address, credential,
                                    action, resource, request_id, client, sealed_client, diff)
        SELECT $14::uuid, wallet.organization_id, $11, $15, $16, $17, $18, 'ticket.admitted',
               'ticket:' || chain_id || '-0x' || encode(ticket_contract, 'hex') || '-' || $7,
               $19, $20, $21, $22
          FROM ruled CROSS JOIN admission
          LEFT JOIN organization_wallets AS wallet ON wallet.address = ruled.organizer
    ), scan AS (
        INSERT INTO scans (id, gate_id, operator, chain_id, ticket_contract, token_id, verdict, code_hash,
                           scanned_at)
        SELECT $9, gate_id, operator,
               CASE WHEN verdict = 'wrong_event' THEN $3 WHEN $7 IS NOT NULL THEN chain_id END,
               CASE WHEN verdict = 'wrong_event' THEN $4 WHEN $7 IS NOT NULL THEN ticket_contract END, $7,
               CASE WHEN verdict = 'admitted' AND NOT EXISTS (SELECT FROM admission) THEN 'already_admitted'
                    ELSE verdict END,
               $10::bytea, $11
          FROM ruled
        RETURNING verdict
    )
    SELECT door.chain_id, door.ticket_contract, scan.verdict, $7 AS token_id,
           ruled.owner, ruled.tier_id, ruled.sold_tickets,
           ruled.standing_id, ruled.standing_at, standing_gate.id AS standing_gate,
           standing_gate.name AS standing_gate_name
      FROM door
      LEFT JOIN ruled ON TRUE
      LEFT JOIN scan ON TRUE
      LEFT JOIN gates AS standing_gate ON standing_gate.id = ruled.standing_gate
"""
"""Judge a ticket, keep the scan, and admit: one statement, hence one snapshot and one commit.

Two statements that both find a ticket free meet at the index ``admissions_once``: the second waits for the
first and then inserts nothing, so its scan is kept as ``already_admitted``. The scan's key is the referee
between two deliveries of the same scan, now or much later: the second aborts, and its admission with it.
"""

STANDING: Final = """
    SELECT admissions.id AS standing_id, admitted_at AS standing_at, gates.id AS standing_gate,
           gates.name AS standing_gate_name
      FROM admissions LEFT JOIN gates ON gates.id = gate_id
     WHERE admissions.chain_id = $1 AND admissions.ticket_contract = $2 AND token_id = $3
       AND undone_at IS NULL
"""

STORED_SCAN: Final = """
    SELECT scan.verdict, scan.code_hash, scan.ticket_contract AS scan_contract, scan.token_id,
           event.chain_id, event.ticket_contract, ticket.owner, ticket.tier_id, event.sold_tickets,
           own.id AS admission_id,
           standing.id AS standing_id, standing.admitted_at AS standing_at,
           standing_gate.id AS standing_gate, standing_gate.name AS standing_gate_name
      FROM scans AS scan
      LEFT JOIN gates AS door ON door.id = scan.gate_id
      LEFT JOIN events AS event
        ON event.chain_id = coalesce(door.chain_id, scan.chain_id)
       AND event.ticket_contract = coalesce(door.ticket_contract, scan.ticket_contract)
      LEFT JOIN tickets AS ticket
        ON ticket.chain_id = scan.chain_id AND ticket.ticket_contract = scan.ticket_contract
       AND ticket.token_id = scan.token_id
      LEFT JOIN admissions AS own ON own.scan_id = scan.id
      LEFT JOIN admissions AS standing
        ON scan.verdict = 'already_admitted' AND standing.chain_id = scan.chain_id
       AND standing.ticket_contract = scan.ticket_contract AND standing.token_id = scan.token_id
       AND standing.undone_at IS NULL
      LEFT JOIN gates AS standing_gate ON standing_gate.id = standing.gate_id
     WHERE scan.id = $1
"""

_SOUGHT: Final = """
    ticket.chain_id = $1 AND ticket.ticket_contract = $2
    AND ($3::bigint IS NULL OR ticket.token_id = $3) AND ($4::bytea IS NULL OR ticket.owner = $4)
"""


async def judge(
    connection: Connection,
    operator: Operator,
    *,
    scan_id: UUID,
    admission_id: UUID,
    code_hash: bytes | None,
    claim: Claim | None,
    refusal: Verdict | None,
    ticket: tuple[int, Address, int] | None,
    mark: audit.Mark,
    now: datetime,
) -> Row | None:
    """Judge what was scanned, keep the scan and perhaps admit; None when the operator has no such door.

    Exactly one of ``claim``, ``refusal`` and ``ticket`` is set; the last is chain id, contract and token id
    of a check-in by hand.

    Raises:
        asyncpg.UniqueViolationError: ``scan_id`` was kept before; nothing was written.
    """
    chain_id, contract, token_id = ticket or (None, None, claim.token_id if claim else None)
    return await connection.fetchrow(
        SCAN,
        operator.gate,
        operator.desk.organizer if operator.desk else None,
        chain_id,
        contract,
        refusal.value if refusal else None,
        claim.event_tag if claim else None,
        token_id,
        claim.holder_tag if claim else None,
        scan_id,
        code_hash,
        now,
        admission_id,
        operator.desk.by if operator.desk else None,
        mark.entry_id,
        mark.actor.kind,
        mark.actor.id,
        mark.actor.address,
        mark.actor.credential,
        mark.request_id,
        mark.client.commitment if mark.client else None,
        mark.client.sealed if mark.client else None,
        audit.redacted({"admission": [None, admission_id]}),
    )


async def standing_admission(
    connection: Connection, chain_id: int, ticket_contract: Address, token_id: int
) -> Row | None:
    """Return the admission of a ticket that stands, with its gate's name."""
    return await connection.fetchrow(STANDING, chain_id, ticket_contract, token_id)


async def stored_scan(connection: Connection, scan_id: UUID) -> Row | None:
    """Return a kept scan, the event it was made at, and what stands beside it now."""
    return await connection.fetchrow(STORED_SCAN, scan_id)


async def admitted_count(connection: Connection, chain_id: int, ticket_contract: Address) -> int:
    """Return how many tickets of an event stand admitted; linear in them."""
    count = await connection.fetchval(
        "SELECT count(*) FROM admissions WHERE chain_id = $1 AND ticket_contract = $2 AND undone_at IS NULL",
        chain_id,
        ticket_contract,
    )
    return count or 0


async def gate_by_secret(connection: Connection, secret_hash: bytes) -> Row | None:
    """Return ``id`` and ``revoked_at`` of the gate whose secret has this hash."""
    return await connection.fetchrow("SELECT id, revoked_at FROM gates WHERE secret_hash = $1", secret_hash)


async def insert_gate(
    tx: Tx,
    *,
    gate_id: UUID,
    chain_id: int,
    ticket_contract: Address,
    event_tag: bytes,
    name: str,
    secret_hash: bytes,
    organizer: Address,
    now: datetime,
) -> None:
    """Keep a new gate."""
    await tx.execute(
        """
        INSERT INTO gates (id, chain_id, ticket_contract, event_tag, name, secret_hash, created_by,
                           created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        """,
        gate_id,
        chain_id,
        ticket_contract,
        event_tag,
        name,
        secret_hash,
        organizer,
        now,
    )


async def gates_of(connection: Connection, chain_id: int, ticket_contract: Address) -> Sequence[Row]:
    """Return an event's gates, oldest first, revoked ones too."""
    return await connection.fetch(
        """
        SELECT id, chain_id, ticket_contract, name, created_at, revoked_at
          FROM gates
         WHERE chain_id = $1 AND ticket_contract = $2
         ORDER BY id
        """,
        chain_id,
        ticket_contract,
    )


async def gate(connection: Connection, gate_id: UUID) -> Row | None:
    """Return a gate, revoked or not, with its event's id and organizer."""
    return await connection.fetchrow(
        """
        SELECT gates.id, gates.chain_id, gates.ticket_contract, gates.name, gates.created_at,
               gates.revoked_at, event.public_id AS event_id, event.organizer
          FROM gates JOIN published_events AS event USING (chain_id, ticket_contract)
         WHERE gates.id = $1
        """,
        gate_id,
    )


async def revoke(tx: Tx, gate_id: UUID, now: datetime) -> datetime:
    """Revoke a gate that there is; return when it first was."""
    revoked_at: datetime | None = await tx.fetchval(
        "UPDATE gates SET revoked_at = coalesce(revoked_at, $2) WHERE id = $1 RETURNING revoked_at",
        gate_id,
        now,
    )
    assert revoked_at is not None, "gates are never deleted"
    return revoked_at


async def organizer_of(connection: Connection, chain_id: int, ticket_contract: Address) -> Address | None:
    """Return the wallet that organizes an event."""
    found: bytes | None = await connection.fetchval(
        "SELECT organizer FROM events WHERE chain_id = $1 AND ticket_contract = $2", chain_id, ticket_contract
    )
    return None if found is None else Address(found)


async def organizer_of_gate(connection: Connection, gate_id: UUID) -> Address | None:
    """Return the wallet that organizes a gate's event."""
    found: bytes | None = await connection.fetchval(
        "SELECT organizer FROM gates JOIN events USING (chain_id, ticket_contract) WHERE gates.id = $1",
        gate_id,
    )
    return None if found is None else Address(found)


async def lock_admission(tx: Tx, admission_id: UUID, chain_id: int, ticket_contract: Address) -> Row | None:
    """Return an admission of an event, locked until the transaction ends."""
    return await tx.fetchrow(
        """
        SELECT id, token_id, gate_id, admitted_at, undone_at
          FROM admissions
         WHERE id = $1 AND chain_id = $2 AND ticket_contract = $3
           FOR UPDATE
        """,
        admission_id,
        chain_id,
        ticket_contract,
    )


async def undo(tx: Tx, admission_id: UUID, operator: Operator, now: datetime) -> None:
    """Take a locked admission back; its row and its scan stay."""
    await tx.execute(
        """
        UPDATE admissions SET undone_at = $2, undone_by_gate = $3, undone_by = $4, check_in_due = NULL
         WHERE id = $1
        """,
        admission_id,
        now,
        operator.gate,
        operator.desk.by if operator.desk else None,
    )


async def search(
    connection: Connection,
    chain_id: int,
    ticket_contract: Address,
    *,
    token_id: int | None,
    holder: Address | None,
    limit: int,
    offset: int,
) -> tuple[Sequence[Row], int]:
    """Return tickets of an event with their standing admissions, by number, and how many there are in all."""
    total = await connection.fetchval(
        f"SELECT count(*) FROM tickets AS ticket WHERE {_SOUGHT}",  # noqa: S608 -- a constant
        chain_id,
        ticket_contract,
        token_id,
        holder,
    )
    rows = await connection.fetch(
        f"""
        SELECT ticket.token_id, ticket.tier_id, ticket.owner, ticket.state, admissions.id AS admission_id,
               admissions.admitted_at
          FROM tickets AS ticket
          LEFT JOIN admissions
            ON admissions.chain_id = ticket.chain_id AND admissions.ticket_contract = ticket.ticket_contract
           AND admissions.token_id = ticket.token_id AND admissions.undone_at IS NULL
         WHERE {_SOUGHT}
         ORDER BY ticket.token_id
         LIMIT $5 OFFSET $6
        """,  # noqa: S608 -- a constant
        chain_id,
        ticket_contract,
        token_id,
        holder,
        limit,
        offset,
    )
    return rows, total or 0


async def holder_of(
    connection: Connection, chain_id: int, ticket_contract: Address, token_id: int
) -> Row | None:
    """Return who holds a ticket, its state and whether its event is cancelled."""
    return await connection.fetchrow(
        """
        SELECT owner, state, cancelled
          FROM tickets JOIN events USING (chain_id, ticket_contract)
         WHERE chain_id = $1 AND ticket_contract = $2 AND token_id = $3
        """,
        chain_id,
        ticket_contract,
        token_id,
    )
