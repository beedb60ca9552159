"""All SQL of events and drafts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from echain.events.types import Document
from echain.infra.database import Connection, Database, Row, Tx
from echain.kernel.evm import Address, Hash32

TIERS: Final = """(
    SELECT json_agg(json_build_array(
               tier_id, price_wei::text, supply, sold,
               to_char(sale_starts_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
               to_char(sale_ends_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
               max_per_purchase, max_per_wallet) ORDER BY tier_id)::text
      FROM tiers
     WHERE tiers.chain_id = event.chain_id AND tiers.ticket_contract = event.ticket_contract
) AS tiers"""
"""An event's tiers as a JSON array of arrays, null when it has none; `resource.TierRow` reads it."""

PUBLISHED: Final = f"""
    event.id, event.public_id, event.chain_id, event.organizer, event.content::text AS content,
    event.created_at, NULL::timestamptz AS updated_at, NULL::integer AS version, event.metadata_hash,
    event.ticket_contract, event.blockchain_id::text AS blockchain_id, event.name, event.metadata_uri,
    event.ticket_price_wei::text AS ticket_price, event.max_tickets, event.sold_tickets,
    event.starts_at, event.ends_at, event.fee_bps, event.gift_policy, event.max_gifts,
    event.gifts_to_contracts, event.resale_cap_bps, event.royalty_bps, event.cancelled,
    event.transaction_hash, event.organization_id, event.organization_name, {TIERS}"""

DRAFT: Final = """
    draft.id, draft.id, draft.chain_id, draft.organizer, draft.content::text,
    draft.created_at, draft.updated_at, draft.version, draft.metadata_hash,
    NULL::bytea, NULL::text, NULL::text, NULL::text,
    NULL::text, NULL::bigint, NULL::bigint,
    NULL::timestamptz, NULL::timestamptz, NULL::integer, NULL::text, NULL::integer,
    NULL::boolean, NULL::integer, NULL::integer, NULL::boolean,
    NULL::bytea, organization.id, organization.name, NULL::text"""
"""The columns of PUBLISHED for a draft among DRAFTS; ``version`` tells which it is."""

DRAFTS: Final = """
    event_drafts AS draft
    LEFT JOIN organization_wallets AS owned ON owned.address = draft.organizer
    LEFT JOIN organizations AS organization
      ON organization.id = coalesce(draft.organization_id, owned.organization_id)"""
"""Drafts with their organizations. One that names none belongs to that of its wallet: so did the version
before write it, which may still run beside this one."""

_EVENT: Final = f"""
    SELECT {PUBLISHED} FROM published_events AS event WHERE event.id = event_key($1)
    UNION ALL
    SELECT {DRAFT} FROM {DRAFTS}
     WHERE draft.id = $1 AND draft.deleted_at IS NULL AND event_of_draft($1) IS NULL
"""  # noqa: S608 - constants of this file

_DRAFT_FOR: Final = f"""
    SELECT draft.id AS public_id, draft.organizer, draft.content::text AS content, draft.created_at,
           draft.updated_at, draft.version, draft.metadata_hash,
           organization.id AS organization_id, organization.name AS organization_name,
           coalesce(member.role, CASE WHEN organization.id IS NULL AND EXISTS (
               SELECT FROM wallets WHERE address = draft.organizer AND user_id = $2) THEN 'owner' END) AS role
      FROM {DRAFTS}
      LEFT JOIN members AS member ON member.organization_id = organization.id AND member.user_id = $2
     WHERE draft.id = $1 AND draft.deleted_at IS NULL AND event_of_draft($1) IS NULL
"""  # noqa: S608 - constants of this file

_OFFER: Final = f"""
    SELECT event.public_id, event.content::text AS content, event.max_tickets, event.sold_tickets,
           event.starts_at, event.ends_at, event.cancelled, {TIERS}
      FROM published_events AS event
     WHERE event.id = event_key($1)
"""  # noqa: S608 - constants of this file


async def event(database: Database | Connection, event_id: UUID) -> Row | None:
    """Return an event by either of its ids, or a draft, with the columns of PUBLISHED."""
    return await database.fetchrow(_EVENT, event_id)


async def draft_for(database: Database, draft_id: UUID, user_id: UUID) -> Row | None:
    """Return a draft as `resource.draft_of` reads it, and what the user is to its organization, at once."""
    return await database.fetchrow(_DRAFT_FOR, draft_id, user_id)


async def events(database: Database, event_ids: Collection[UUID]) -> Sequence[Row]:
    """Return published events by either of their ids, with the columns of PUBLISHED."""
    return await database.fetch(
        f"SELECT {PUBLISHED} FROM published_events AS event WHERE event.id IN "  # noqa: S608 - a constant
        "(SELECT event_key(id) FROM unnest($1::uuid[]) AS id)",
        list(event_ids),
    )


async def offer(database: Database | Connection, event_id: UUID) -> Row | None:
    """Return what a published event sells."""
    return await database.fetchrow(_OFFER, event_id)


async def published(database: Database | Connection, event_id: UUID) -> Row | None:
    """Return which published event an id of either kind means."""
    return await database.fetchrow(
        """
        SELECT id, public_id, chain_id, ticket_contract, blockchain_id, organizer, name, starts_at, ends_at,
               cancelled
          FROM published_events
         WHERE id = event_key($1)
        """,
        event_id,
    )


_PLACE: Final = (
    "concat_ws(', ', nullif({0} #>> '{{place,name}}', ''), nullif({0} #>> '{{place,address}}', ''))"
)

_DESCRIBED: Final = f"""
    SELECT event.id, event.public_id, event.chain_id, event.ticket_contract, event.organizer,
           coalesce(event.content ->> 'title', event.name) AS title,
           {_PLACE.format("event.content")} AS place, event.content ->> 'timezone' AS timezone,
           event.starts_at, event.ends_at, event.cancelled,
           (SELECT count(*) FROM event_updates AS fact
             WHERE fact.chain_id = event.chain_id AND fact.blockchain_id = event.blockchain_id)
           + (SELECT count(*) FROM event_cancellations AS fact
               WHERE fact.chain_id = event.chain_id AND fact.blockchain_id = event.blockchain_id) AS revision
      FROM published_events AS event
     WHERE event.id = ANY($1)
"""  # noqa: S608 - constants of this file

_VERSIONS: Final = f"""
    WITH said AS (
        SELECT block_number, log_index, name, metadata_hash, starts_at, ends_at
          FROM event_creations WHERE id = $1
        UNION ALL
        SELECT fact.block_number, fact.log_index, event.name, fact.metadata_hash, fact.starts_at, fact.ends_at
          FROM events AS event JOIN event_updates AS fact USING (chain_id, blockchain_id)
         WHERE event.id = $1
    )
    SELECT coalesce(document.content ->> 'title', said.name) AS title,
           {_PLACE.format("document.content")} AS place, said.starts_at, said.ends_at
      FROM said LEFT JOIN metadata_documents AS document ON document.hash = said.metadata_hash
     WHERE said.block_number <= $2
     ORDER BY said.block_number DESC, said.log_index DESC
     LIMIT 2
"""  # noqa: S608 - constants of this file


async def described(connection: Connection, event_ids: Collection[UUID]) -> Sequence[Row]:
    """Return published events by the projection's ids, as they are told of."""
    return await connection.fetch(_DESCRIBED, list(event_ids))


async def versions(connection: Connection, event_id: UUID, block_number: int) -> Sequence[Row]:
    """Return what an event said of itself at a block, and what before that; the newer first."""
    return await connection.fetch(_VERSIONS, event_id, block_number)


async def starting(connection: Connection, after: datetime, until: datetime, limit: int) -> Sequence[Row]:
    """Return id and start of events that start in a period and are not cancelled, the next first."""
    return await connection.fetch(
        """
        SELECT id, starts_at FROM events
         WHERE starts_at > $1 AND starts_at <= $2 AND NOT cancelled
         ORDER BY starts_at, id LIMIT $3
        """,
        after,
        until,
        limit,
    )


class NewDraft(msgspec.Struct, frozen=True):
    """A draft about to be written; ``organizer`` is the wallet that would publish it."""

    id: UUID
    organization_id: UUID
    organizer: Address
    chain_id: int
    content: Mapping[str, Any]
    created_at: datetime


async def insert_draft(tx: Tx, draft: NewDraft) -> bool:
    """Keep a new draft, version 1; False when its organization has been deleted.

    Whoever deletes that meanwhile waits for this transaction, and so finds the draft.
    """
    row = await tx.fetchrow(
        """
        WITH standing AS (SELECT id FROM organizations WHERE id = $2 AND deleted_at IS NULL FOR SHARE)
        INSERT INTO event_drafts (id, organization_id, organizer, chain_id, content, created_at, updated_at)
        SELECT $1, id, $3, $4, $5, $6, $6 FROM standing
        RETURNING id
        """,
        draft.id,
        draft.organization_id,
        draft.organizer,
        draft.chain_id,
        draft.content,
        draft.created_at,
    )
    return row is not None


async def lock_draft(tx: Tx, draft_id: UUID) -> Row | None:
    """Return a draft, locked until the transaction ends, its organization, and the event that it became.

    ``publisher`` is the wallet that may publish it: its organizer, or, when that has left the organization,
    the one that the organization has had the longest; null when it has none.
    """
    return await tx.fetchrow(
        f"""
        SELECT draft.id, draft.chain_id, draft.content::text AS content, draft.version, draft.metadata_hash,
               draft.created_at, draft.organizer, organization.id AS organization_id,
               organization.name AS organization_name, event_of_draft(draft.id) AS event_id,
               CASE WHEN owned.organization_id IS NOT DISTINCT FROM organization.id THEN draft.organizer
                    ELSE (SELECT other.address FROM organization_wallets AS other
                           WHERE other.organization_id = organization.id
                           ORDER BY other.added_at, other.address LIMIT 1)
               END AS publisher
          FROM {DRAFTS}
         WHERE draft.id = $1 AND draft.deleted_at IS NULL
           FOR UPDATE OF draft
        """,  # noqa: S608 - constants of this file
        draft_id,
    )


async def replace_draft(
    tx: Tx, draft_id: UUID, *, chain_id: int, content: Mapping[str, Any], version: int, now: datetime
) -> None:
    """Write the new content and version of a locked draft; no document stands for it yet."""
    await tx.execute(
        """
        UPDATE event_drafts
           SET chain_id = $2, content = $3, version = $4, updated_at = $5, metadata_hash = NULL
         WHERE id = $1
        """,
        draft_id,
        chain_id,
        content,
        version,
        now,
    )


async def delete_draft(tx: Tx, draft_id: UUID, now: datetime) -> None:
    """Hide a locked draft; its row stays."""
    await tx.execute("UPDATE event_drafts SET deleted_at = $2, updated_at = $2 WHERE id = $1", draft_id, now)


async def keep_document(
    tx: Tx, draft_id: UUID, organizer: Address, *, chain_id: int, document: Document, now: datetime
) -> None:
    """Keep a locked draft's document, and note its hash and who publishes it in the draft."""
    await tx.execute(
        """
        WITH kept AS (
            INSERT INTO metadata_documents (hash, body, draft_id, organizer, chain_id, content, created_at)
            SELECT $3, $4, id, $2, $5, content, $6 FROM event_drafts WHERE id = $1
            ON CONFLICT (hash) DO NOTHING
        )
        UPDATE event_drafts SET metadata_hash = $3, organizer = $2 WHERE id = $1
        """,
        draft_id,
        organizer,
        document.hash,
        document.body,
        chain_id,
        now,
    )


async def document(database: Database, metadata_hash: Hash32) -> bytes | None:
    """Return a metadata document byte for byte."""
    return await database.fetchval("SELECT body FROM metadata_documents WHERE hash = $1", metadata_hash)


async def register(
    tx: Tx, chain_id: int, ticket_contract: Address, address: Address, now: datetime
) -> tuple[datetime, bool]:
    """Note that somebody will come; return when they first said so, and whether that was now."""
    written = await tx.fetchval(
        """
        INSERT INTO event_registrations (chain_id, ticket_contract, address, registered_at)
        VALUES ($1, $2, $3, $4)
        ON CONFLICT DO NOTHING
        RETURNING registered_at
        """,
        chain_id,
        ticket_contract,
        address,
        now,
    )
    if written is not None:
        return written, True
    first: datetime | None = await tx.fetchval(
        """
        SELECT registered_at FROM event_registrations
         WHERE chain_id = $1 AND ticket_contract = $2 AND address = $3
        """,
        chain_id,
        ticket_contract,
        address,
    )
    assert first is not None, "registrations are never taken back"
    return first, False


async def of_wallets(connection: Connection, organizers: Collection[Address], limit: int) -> list[UUID]:
    """Return at most ``limit`` events of these organizers."""
    rows = await connection.fetch(
        "SELECT id FROM events WHERE organizer = ANY($1) LIMIT $2", list(organizers), limit
    )
    return [row["id"] for row in rows]


async def running(connection: Connection, organizers: Collection[Address], now: datetime) -> int:
    """Return how many events of these organizers are neither over nor cancelled."""
    count: int | None = await connection.fetchval(
        "SELECT count(*) FROM events WHERE organizer = ANY($1) AND ends_at > $2 AND NOT cancelled",
        list(organizers),
        now,
    )
    return count or 0


async def delete_drafts_of(tx: Tx, organization_id: UUID, now: datetime) -> None:
    """Hide every draft of an organization that has not become an event."""
    await tx.execute(
        f"""
        UPDATE event_drafts SET deleted_at = $2, updated_at = $2
         WHERE id IN (SELECT draft.id FROM {DRAFTS}
                       WHERE organization.id = $1 AND draft.deleted_at IS NULL
                         AND event_of_draft(draft.id) IS NULL
                       ORDER BY draft.id FOR UPDATE OF draft)
        """,  # noqa: S608 - constants of this file
        organization_id,
        now,
    )
