"""The audit log's SQL beyond writing an entry: what waits, what is chained, what is shown."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from echain.infra.audit.chain import COLUMNS, VERSION, Entry, Seal
from echain.infra.database import Connection, Row, Tx

MOST_ARRIVALS: Final = 20_000
_ANY: Final = 2**63 - 1

_TAKE_OVER: Final = """
    WITH arrived AS (
        DELETE FROM audit_arrivals
         WHERE ctid = ANY (ARRAY(SELECT ctid FROM audit_arrivals ORDER BY position LIMIT $1))
        RETURNING *
    ), client AS (
        INSERT INTO audit_clients (entry_id, sealed)
        SELECT id, sealed_client FROM arrived WHERE sealed_client IS NOT NULL
    ), taken AS (
        INSERT INTO audit_entries (position, id, organization_id, at, actor_kind, actor_id, actor_address,
                                   credential, action, resource, request_id, client, diff)
        OVERRIDING SYSTEM VALUE
        SELECT position, id, organization_id, at, actor_kind, actor_id, actor_address, credential, action,
               resource, request_id, client, diff
          FROM arrived
    )
    SELECT count(*) AS count, max(position) AS last FROM arrived
"""

_WAITING: Final = f"""
    SELECT {COLUMNS}
      FROM audit_unsealed AS waiting JOIN audit_entries AS entry USING (position)
     WHERE NOT EXISTS (SELECT FROM audit_links AS link WHERE link.position = waiting.position)
       AND position <= $2
     ORDER BY position LIMIT $1
"""  # noqa: S608 -- a constant
"""Who puts a number back among those that wait must not stop the sealer."""

_ENDS: Final = """
    SELECT chain, head.number AS head_number, head.hash AS head_hash,
           last.number AS last_number, last.hash AS last_hash, last.key_id AS last_key
      FROM unnest($1::uuid[]) AS asked (chain)
      LEFT JOIN audit_heads AS head USING (chain)
      LEFT JOIN LATERAL (
          SELECT number, hash, key_id FROM audit_links AS link
           WHERE link.chain = asked.chain ORDER BY number DESC LIMIT 1
      ) AS last ON TRUE
"""

_LINK: Final = """
    WITH sealed AS (
        INSERT INTO audit_links (chain, number, position, version, key_id, hash, sealed_at)
        SELECT chain, number, position, $6, $7, hash, $5
          FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bytea[])
               AS link (chain, number, position, hash)
    ), heads AS (
        INSERT INTO audit_heads (chain, number, hash)
        SELECT DISTINCT ON (chain) chain, number, hash
          FROM unnest($1::uuid[], $2::bigint[], $4::bytea[]) AS link (chain, number, hash)
         ORDER BY chain, number DESC
        ON CONFLICT (chain) DO UPDATE SET number = excluded.number, hash = excluded.hash
    )
    DELETE FROM audit_unsealed WHERE position = ANY($3)
"""

_RECENT: Final = """
    SELECT head.chain, head.number, link.position, head.hash
      FROM audit_heads AS head JOIN audit_links AS link USING (chain, number)
     WHERE link.sealed_at > $1
"""

_LAG: Final = """
    SELECT (SELECT count(*) FROM (
                SELECT FROM audit_unsealed UNION ALL SELECT FROM audit_arrivals LIMIT 100000
            ) AS counted) AS waiting,
           coalesce(extract(epoch FROM clock_timestamp() - least(
               (SELECT at FROM audit_entries WHERE position = (SELECT min(position) FROM audit_unsealed)),
               (SELECT min(at) FROM audit_arrivals)
           )), 0)::float8 AS age
"""


_LINKS: Final = f"""
    SELECT {COLUMNS}, link.number, link.key_id, link.sealed_at, link.position, link.version, link.hash
      FROM audit_links AS link LEFT JOIN audit_entries AS entry ON entry.position = link.position
     WHERE link.chain = $1 AND link.number > $2
     ORDER BY link.number LIMIT $3
"""  # noqa: S608 -- a constant

_BEFORE: Final = """
    SELECT number, hash FROM audit_links
     WHERE chain = $1 AND number < coalesce(
               (SELECT min(number) FROM audit_links WHERE chain = $1 AND sealed_at >= $2), 9223372036854775807
           )
     ORDER BY number DESC LIMIT 1
"""

_CHAINS: Final = """
    WITH RECURSIVE chained AS (
        (SELECT chain FROM audit_links ORDER BY chain LIMIT 1)
        UNION ALL
        SELECT (SELECT link.chain FROM audit_links AS link
                 WHERE link.chain > chained.chain ORDER BY link.chain LIMIT 1)
          FROM chained WHERE chained.chain IS NOT NULL
    )
    SELECT chain FROM chained WHERE chain IS NOT NULL UNION SELECT chain FROM audit_heads
"""

_UNCHAINED: Final = """
    SELECT position, organization_id FROM audit_entries AS entry
     WHERE ($1::uuid IS NULL OR coalesce(organization_id, '00000000-0000-0000-0000-000000000000') = $1)
       AND NOT EXISTS (SELECT FROM audit_links AS link WHERE link.position = entry.position)
       AND NOT EXISTS (SELECT FROM audit_unsealed AS waiting WHERE waiting.position = entry.position)
     ORDER BY position LIMIT $2
"""

_LOST: Final = """
    SELECT position FROM audit_unsealed AS waiting
     WHERE NOT EXISTS (SELECT FROM audit_entries AS entry WHERE entry.position = waiting.position)
     ORDER BY position LIMIT $1
"""


class Link(msgspec.Struct, frozen=True):
    """An entry's place in its chain."""

    chain: UUID
    number: int
    position: int
    hash: bytes


class Stored(msgspec.Struct, frozen=True):
    """A link as it stands, with its entry if that still is there."""

    entry: Entry | None
    seal: Seal
    position: int
    version: int
    hash: bytes


class End(msgspec.Struct, frozen=True):
    """Where a chain ends: by its head and by its last link, which are the same unless somebody was there."""

    head: tuple[int, bytes] | None
    last: tuple[int, bytes] | None
    last_key: bytes | None

    @property
    def highest(self) -> tuple[int, bytes] | None:
        """Return the later of the two: no number may be given twice."""
        return max(filter(None, (self.head, self.last)), default=None, key=lambda end: end[0])


def entry_of(row: Row) -> Entry:
    """Return the entry whose columns a row begins with."""
    return Entry(*row[: len(Entry.__struct_fields__)])


async def waiting(tx: Tx, limit: int) -> list[Entry]:
    """Return entries that wait to be sealed, in their order; take those over before that have arrived.

    ``tx`` must see one snapshot: what it sees was preceded by nothing that it does not see.
    """
    arrived = await tx.fetchrow(_TAKE_OVER, MOST_ARRIVALS)
    assert arrived is not None, "an aggregate always has a row"
    # What has not been taken over yet comes before what lies above it.
    last: int = arrived["last"] if arrived["count"] == MOST_ARRIVALS else _ANY
    return [entry_of(row) for row in await tx.fetch(_WAITING, limit, last)]


async def ends(tx: Connection, chains: Collection[UUID]) -> dict[UUID, End]:
    """Return where chains end; one that has not begun ends nowhere."""
    return {
        row["chain"]: End(
            None if row["head_number"] is None else (row["head_number"], row["head_hash"]),
            None if row["last_number"] is None else (row["last_number"], row["last_hash"]),
            row["last_key"],
        )
        for row in await tx.fetch(_ENDS, list(chains))
    }


async def link(tx: Tx, links: Sequence[Link], *, key_id: bytes, now: datetime) -> None:
    """Keep links, move their chains' heads, and take their entries from what waits; one statement."""
    columns = ([getattr(one, name) for one in links] for name in Link.__struct_fields__)
    await tx.execute(_LINK, *columns, now, VERSION, key_id)


async def recent_ends(connection: Connection, since: datetime) -> list[Link]:
    """Return the last link of each chain that was sealed after ``since``."""
    return [Link(*row) for row in await connection.fetch(_RECENT, since)]


async def lag(connection: Connection) -> tuple[int, float]:
    """Return how many entries wait, counted up to 100,000, and the age of the oldest in seconds."""
    row = await connection.fetchrow(_LAG)
    assert row is not None, "an aggregate always has a row"
    return row["waiting"], row["age"]


async def chains(connection: Connection) -> list[UUID]:
    """Return every chain that has a link or a head."""
    return [row["chain"] for row in await connection.fetch(_CHAINS)]


async def links_after(connection: Connection, chain: UUID, number: int, limit: int) -> list[Stored]:
    """Return the next links of a chain, in their order."""
    return [_stored(row) for row in await connection.fetch(_LINKS, chain, number, limit)]


def _stored(row: Row) -> Stored:
    number, key_id, sealed_at, position, version, digest = row[len(Entry.__struct_fields__) :]
    entry = None if row[0] is None else entry_of(row)
    return Stored(entry, Seal(number, key_id, sealed_at), position, version, digest)


async def last_before(connection: Connection, chain: UUID, moment: datetime) -> tuple[int, bytes] | None:
    """Return number and hash of the link before the first one that was sealed at a moment or later.

    It goes by numbers: the clock of who seals may have been set back in between.
    """
    row = await connection.fetchrow(_BEFORE, chain, moment)
    return None if row is None else (row["number"], row["hash"])


async def hash_at(connection: Connection, chain: UUID, number: int) -> bytes | None:
    """Return the hash that stands at a place of a chain."""
    return await connection.fetchval(
        "SELECT hash FROM audit_links WHERE chain = $1 AND number = $2", chain, number
    )


async def last_diff(connection: Connection, action: str, resource: str) -> str | None:
    """Return the diff of the platform's last entry by which ``action`` was done to a resource."""
    return await connection.fetchval(
        "SELECT diff FROM audit_entries WHERE resource = $2 AND action = $1 AND organization_id IS NULL"
        " AND actor_kind = 'system' ORDER BY position DESC LIMIT 1",
        action,
        resource,
    )


async def unchained(connection: Connection, chain: UUID | None, limit: int) -> list[tuple[int, UUID | None]]:
    """Return entries that stand in no chain and do not wait to, whenever they say that they were written."""
    return [tuple(row) for row in await connection.fetch(_UNCHAINED, chain, limit)]


async def lost(connection: Connection, limit: int) -> list[int]:
    """Return the positions of entries that waited to be chained and are gone."""
    return [row["position"] for row in await connection.fetch(_LOST, limit)]
