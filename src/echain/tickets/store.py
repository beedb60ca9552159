"""All SQL by which tickets are read; each function is one statement."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from echain.infra.database import Connection, Database, Row
from echain.kernel.evm import Address
from echain.tickets.types import TicketKey

_NOBODY: Final = r"'\x0000000000000000000000000000000000000000'"

_TICKET: Final = """
    ticket.chain_id, ticket.ticket_contract, ticket.token_id, ticket.owner, ticket.state, ticket.tier_id,
    ticket.price_paid_wei::text AS price_paid_wei, ticket.gifts, ticket.minted_at,
    event.public_id, event.blockchain_id::text AS blockchain_id, event.name, event.metadata_uri,
    event.gift_policy, event.max_gifts, event.cancelled, event.content ->> 'title' AS title,
    event.content #>> ARRAY['tiers', ticket.tier_id::text, 'name'] AS tier_name"""

_ONE: Final = f"""
    SELECT {_TICKET}
      FROM tickets AS ticket JOIN published_events AS event USING (chain_id, ticket_contract)
     WHERE ticket.chain_id = $1 AND ticket.ticket_contract = $2 AND ticket.token_id = $3
"""  # noqa: S608 - constants of this file

# What one recipient bought, as `EventTicket._bought` counts it: first sales to them, wherever the tickets are
# now. They hold them still or have passed them on: two short lists, where the event's sales are a long one.
_BOUGHT: Final = f"""(
    SELECT count(*)
      FROM (SELECT token_id FROM tickets AS held
             WHERE held.owner = $3 AND held.chain_id = event.chain_id
               AND held.ticket_contract = event.ticket_contract
             UNION
            SELECT token_id FROM transfers AS given
             WHERE given.from_address = $3 AND given.from_address <> {_NOBODY}
               AND given.chain_id = event.chain_id AND given.ticket_contract = event.ticket_contract) AS seen
      JOIN tickets AS bought
        ON bought.chain_id = event.chain_id AND bought.ticket_contract = event.ticket_contract
       AND bought.token_id = seen.token_id AND bought.tier_id = tier.tier_id
     WHERE EXISTS (SELECT FROM transfers AS mint
                    WHERE mint.chain_id = event.chain_id AND mint.ticket_contract = event.ticket_contract
                      AND mint.token_id = seen.token_id AND mint.from_address = {_NOBODY}
                      AND mint.to_address = $3)
       AND NOT EXISTS (SELECT FROM grants
                        WHERE grants.chain_id = event.chain_id
                          AND grants.ticket_contract = event.ticket_contract
                          AND seen.token_id >= grants.first_token_id
                          AND seen.token_id < grants.first_token_id + grants.quantity)
)"""  # noqa: S608 - constants of this file

_OFFER: Final = f"""
    SELECT event.chain_id, event.ticket_contract, event.name, event.cancelled, event.max_tickets,
           event.sold_tickets, event.ends_at, tier.tier_id, tier.price_wei::text AS price_wei, tier.supply,
           tier.sold, tier.sale_starts_at, tier.sale_ends_at, tier.max_per_purchase, tier.max_per_wallet,
           tier.allow_list_root,
           CASE WHEN tier.max_per_wallet > 0 THEN {_BOUGHT} ELSE 0 END AS bought
      FROM events AS event
      LEFT JOIN tiers AS tier
        ON tier.chain_id = event.chain_id AND tier.ticket_contract = event.ticket_contract
       AND tier.tier_id = $2
     WHERE event.id = event_key($1)
"""  # noqa: S608 - constants of this file

_HISTORY: Final = f"""
    SELECT CASE WHEN from_address = {_NOBODY} THEN 'minted' ELSE 'transferred' END AS kind,
           block_number, log_index, mined_at, tx_hash, from_address, to_address,
           CASE WHEN from_address = {_NOBODY} THEN (
               SELECT price_paid_wei::text FROM tickets
                WHERE chain_id = $1 AND ticket_contract = $2 AND token_id = $3) END AS amount_wei
      FROM transfers
     WHERE chain_id = $1 AND ticket_contract = $2 AND token_id = $3
    UNION ALL
    SELECT 'refunded', block_number, log_index, mined_at, tx_hash, NULL, holder, amount_wei::text
      FROM refunds
     WHERE chain_id = $1 AND ticket_contract = $2 AND token_id = $3
    UNION ALL
    SELECT CASE mark.state WHEN 'valid' THEN 'unlocked' ELSE mark.state END,
           mark.block_number, mark.log_index, block.mined_at, log.tx_hash, NULL, NULL, NULL
      FROM ticket_marks AS mark
      LEFT JOIN chain_logs AS log
        ON log.chain_id = mark.chain_id AND log.block_number = mark.block_number
       AND log.log_index = mark.log_index
      LEFT JOIN chain_blocks AS block
        ON block.chain_id = mark.chain_id AND block.number = mark.block_number
     WHERE mark.chain_id = $1 AND mark.ticket_contract = $2 AND mark.token_id = $3
       AND mark.state IN ('used', 'locked', 'valid')
     ORDER BY block_number, log_index
"""  # noqa: S608 - constants of this file


async def ticket(database: Database, key: TicketKey) -> Row | None:
    """Return one ticket with what its event says of it."""
    return await database.fetchrow(_ONE, key.chain_id, key.ticket_contract, key.token_id)


async def offer(database: Database, event_id: UUID, tier_id: int, recipient: Address) -> Row | None:
    """Return a tier of a published event, with ``tier_id`` null when the event has no such tier."""
    return await database.fetchrow(_OFFER, event_id, tier_id, recipient)


async def tickets(
    database: Database,
    *,
    owner: Address | None,
    event_id: UUID | None,
    state: str | None,
    after: TicketKey | None,
    limit: int,
    offset: int,
    counted: bool,
) -> tuple[Sequence[Row], int]:
    """Return tickets in the order of chain, contract and number, and their number in all if ``counted``."""
    arguments: list[object] = []
    conditions: list[str] = []

    def says(condition: str, *values: object) -> None:
        first = len(arguments) + 1
        arguments.extend(values)
        conditions.append(condition.format(*(f"${first + place}" for place in range(len(values)))))

    if owner is not None:
        says("ticket.owner = {}", owner)
    if event_id is not None:
        says(
            "(ticket.chain_id, ticket.ticket_contract) = "
            "(SELECT chain_id, ticket_contract FROM events WHERE id = event_key({}))",
            event_id,
        )
    if state is not None:
        says("ticket.state = {}", state)
    where = " AND ".join(conditions) or "TRUE"
    total = f"(SELECT count(*) FROM tickets AS ticket WHERE {where})" if counted else "0"  # noqa: S608 - constants
    if after is not None:
        says(
            "(ticket.chain_id, ticket.ticket_contract, ticket.token_id) > ({}, {}, {})",
            after.chain_id,
            after.ticket_contract,
            after.token_id,
        )
        where = " AND ".join(conditions)
    arguments += [limit, offset]
    rows = await database.fetch(_page(where, total, len(arguments)), *arguments)
    return [row for row in rows if row["token_id"] is not None], rows[0]["total"]


def _page(where: str, total: str, last: int) -> str:
    """Return the statement of a page; the events of its tickets are looked up once each."""
    return f"""
        WITH picked AS (
            SELECT ticket.* FROM tickets AS ticket WHERE {where}
             ORDER BY ticket.chain_id, ticket.ticket_contract, ticket.token_id
             LIMIT ${last - 1} OFFSET ${last}
        ), event AS MATERIALIZED (
            SELECT * FROM published_events
             WHERE (chain_id, ticket_contract) IN (SELECT DISTINCT chain_id, ticket_contract FROM picked)
        ), page AS (
            SELECT {_TICKET} FROM picked AS ticket JOIN event USING (chain_id, ticket_contract)
        )
        SELECT {total} AS total, page.*
          FROM (SELECT) AS always LEFT JOIN page ON TRUE
         ORDER BY page.chain_id, page.ticket_contract, page.token_id
    """  # noqa: S608 - constants of this file


async def history(database: Database, key: TicketKey) -> Sequence[Row]:
    """Return what happened to a ticket, first things first; nothing for a ticket that does not exist."""
    return await database.fetch(_HISTORY, key.chain_id, key.ticket_contract, key.token_id)


async def used_tickets(
    database: Database, chain_id: int, ticket_contract: Address, owner: Address
) -> Sequence[int]:
    """Return the used tickets that somebody holds; a used ticket cannot be given away."""
    rows = await database.fetch(
        """
        SELECT token_id FROM tickets
         WHERE owner = $3 AND chain_id = $1 AND ticket_contract = $2 AND state = 'used'
         ORDER BY token_id
        """,
        chain_id,
        ticket_contract,
        owner,
    )
    return [row["token_id"] for row in rows]


async def sales(
    database: Database, chain_id: int, ticket_contract: Address, *, before: int | None, limit: int
) -> Sequence[Row]:
    """Return purchases of an event, newest first, those of tickets below ``before``."""
    return await database.fetch(
        """
        SELECT buyer, tier_id, quantity, unit_price_wei::text AS unit_price_wei,
               (unit_price_wei * quantity)::text AS total_wei, first_token_id, block_number, log_index,
               mined_at, tx_hash
          FROM sales
         WHERE chain_id = $1 AND ticket_contract = $2 AND first_token_id < coalesce($3, 9223372036854775807)
         ORDER BY first_token_id DESC
         LIMIT $4
        """,
        chain_id,
        ticket_contract,
        before,
        limit,
    )


async def attendees(
    database: Database, chain_id: int, ticket_contract: Address, *, after: Address | None, limit: int
) -> Sequence[Row]:
    """Return who holds tickets of an event or registered for it, by address, those above ``after``."""
    return await database.fetch(
        """
        WITH holders AS (
            SELECT owner AS address, count(*) AS tickets, count(*) FILTER (WHERE state = 'used') AS checked_in
              FROM tickets
             WHERE chain_id = $1 AND ticket_contract = $2 AND state <> 'refunded'
               AND owner > coalesce($3, ''::bytea)
             GROUP BY owner ORDER BY owner LIMIT $4
        ), registered AS (
            SELECT address, registered_at
              FROM event_registrations
             WHERE chain_id = $1 AND ticket_contract = $2 AND address > coalesce($3, ''::bytea)
             ORDER BY address LIMIT $4
        )
        SELECT address, coalesce(tickets, 0) AS tickets, coalesce(checked_in, 0) AS checked_in, registered_at
          FROM holders FULL JOIN registered USING (address)
         ORDER BY address LIMIT $4
        """,
        chain_id,
        ticket_contract,
        after,
        limit,
    )


async def holders(
    connection: Connection,
    chain_id: int,
    ticket_contract: Address,
    *,
    after: Address | None,
    limit: int,
    final: bool,
) -> Sequence[Row]:
    """Return who holds tickets that can still be used, and how many, by address, those above ``after``."""
    return await connection.fetch(
        """
        SELECT owner, count(*) AS tickets FROM tickets
         WHERE chain_id = $1 AND ticket_contract = $2 AND state IN ('valid', 'locked')
           AND owner > coalesce($3, ''::bytea)
           AND (NOT $5 OR updated_block <= (
               SELECT finalized_number FROM chain_cursors WHERE chain_cursors.chain_id = $1))
         GROUP BY owner ORDER BY owner LIMIT $4
        """,
        chain_id,
        ticket_contract,
        after,
        limit,
        final,
    )


async def sales_between(
    connection: Connection, organizers: Collection[Address], *, since: datetime, until: datetime
) -> Sequence[Row]:
    """Return final sales of organizers' events in a period, the best seller first."""
    return await connection.fetch(
        """
        SELECT event.id, event.chain_id, event.name, sum(sale.quantity)::bigint AS tickets,
               sum(sale.quantity * sale.unit_price_wei)::text AS paid_wei
          FROM events AS event
          JOIN sales AS sale USING (chain_id, ticket_contract)
          JOIN chain_cursors AS cursor USING (chain_id)
         WHERE event.organizer = ANY($1) AND sale.mined_at > $2 AND sale.mined_at <= $3
           AND sale.block_number <= cursor.finalized_number
         GROUP BY event.id, event.chain_id, event.name
         ORDER BY tickets DESC, event.id
        """,
        list(organizers),
        since,
        until,
    )
