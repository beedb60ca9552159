"""SQL of the messages that clients see: moved out of the outbox, numbered, read again, settled, swept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

import msgspec

from echain.infra.database import Connection, Row, Tx


class Relayed(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A message on one channel, as clients get it.

    ``sequence`` grows by one from message to message over all channels, in the order in which they became
    visible. ``data`` is rendered JSON. A message without ``block_number`` was not said by a block, or a
    reorg took that block since. ``timestamp_ms`` is Unix time, when the fact was written.
    """

    sequence: int
    channel: str
    type: str
    data: bytes
    chain_id: int | None
    block_number: int | None
    timestamp_ms: int


_READ: Final = """
    SELECT sequence, channel, type, data, chain_id, block_number,
           (extract(epoch FROM created_at) * 1000)::bigint AS timestamp_ms
"""

_SINCE: Final = f"{_READ} FROM messages WHERE sequence > $1 ORDER BY sequence LIMIT $2"

_ON_CHANNELS: Final = f"""
    {_READ}
    FROM unnest($1::text[]) AS sought (name)
    CROSS JOIN LATERAL (
        SELECT * FROM messages WHERE channel = sought.name AND sequence > $2 ORDER BY sequence LIMIT $3
    ) AS message
    ORDER BY sequence LIMIT $3
"""  # noqa: S608 - constants

_SETTLE: Final = f"""
    WITH final AS (
        SELECT settled.* FROM (
            SELECT chain_id, finalized_number FROM chain_cursors UNION ALL SELECT 0, 0
        ) AS cursor
        CROSS JOIN LATERAL (
            SELECT chain_id, block_number, sequence FROM unsettled
            WHERE chain_id = cursor.chain_id AND block_number <= finalized_number
            ORDER BY block_number, sequence LIMIT $1
        ) AS settled
        ORDER BY sequence LIMIT $1
    ), taken AS (
        DELETE FROM unsettled USING final
        WHERE (unsettled.chain_id, unsettled.block_number, unsettled.sequence)
            = (final.chain_id, final.block_number, final.sequence)
        RETURNING unsettled.sequence
    )
    {_READ} FROM messages WHERE sequence IN (SELECT sequence FROM taken) ORDER BY sequence
"""  # noqa: S608 - constants

_MOVE: Final = """
    WITH next AS (
        SELECT position FROM outbox WHERE position > $2 ORDER BY position LIMIT $1
        -- A reorg holds the rows that it is about to delete; nobody waits for it.
        FOR UPDATE SKIP LOCKED
    ), taken AS (
        DELETE FROM outbox USING next WHERE outbox.position = next.position
        RETURNING outbox.position, channels, type, data, chain_id, block_number, created_at
    ), told AS (
        SELECT row_number() OVER (ORDER BY position, place) AS number, channel, type, data,
               taken.chain_id, taken.block_number, created_at,
               coalesce(taken.block_number <= finalized_number, taken.block_number IS NULL) AS final
        FROM taken
        CROSS JOIN LATERAL string_to_table(channels, ' ') WITH ORDINALITY AS told (channel, place)
        LEFT JOIN chain_cursors AS cursor ON cursor.chain_id = taken.chain_id
    ), moved AS (
        UPDATE relay_cursor SET tip = tip + new.count
        FROM (SELECT count(*) AS count FROM told) AS new WHERE new.count > 0
        -- Whoever listens hears commits in their order: with this it has heard of all that is told here.
        RETURNING tip - new.count AS before, pg_notify('cache', '#' || tip) AS marked
    ), numbered AS (
        SELECT before + number AS sequence, channel, type, data, chain_id, block_number, created_at, final
        FROM told CROSS JOIN moved
    ), put AS (
        INSERT INTO messages (sequence, channel, type, data, chain_id, block_number, created_at)
        SELECT sequence, channel, type, data, chain_id, block_number, created_at
        FROM numbered ORDER BY sequence
    ), held AS (
        INSERT INTO unsettled (chain_id, block_number, sequence)
        SELECT CASE WHEN block_number IS NULL THEN 0 ELSE chain_id END, coalesce(block_number, 0), sequence
        FROM numbered WHERE $3 OR NOT final
    )
    SELECT sequence, channel, type, data, chain_id, block_number,
           (extract(epoch FROM created_at) * 1000)::bigint AS timestamp_ms
    FROM numbered ORDER BY sequence
"""


async def move(connection: Connection, *, limit: int, above: int = 0, settling: bool = True) -> list[Relayed]:
    """Move up to ``limit`` facts from the outbox into `messages`, a row a channel; return these in order.

    One statement, which commits by itself outside a transaction. Only one connection may do this at a time:
    whoever holds the relay's lock. Positions up to ``above`` are known to be gone. ``settling`` says whether
    anybody waits for settled messages.
    """
    return relayed(await connection.fetch(_MOVE, limit, above, settling))


def relayed(rows: Iterable[Row]) -> list[Relayed]:
    return [
        Relayed(sequence, channel, kind, data.encode(), chain_id, block_number, timestamp_ms)
        for sequence, channel, kind, data, chain_id, block_number, timestamp_ms in rows
    ]


async def tip(connection: Connection) -> int:
    """Return the number of the newest message, 0 before the first."""
    return await connection.fetchval("SELECT tip FROM relay_cursor") or 0


async def oldest(connection: Connection) -> int:
    """Return the number of the oldest message that is kept, which may be the next one to come."""
    return await connection.fetchval("SELECT oldest FROM relay_cursor") or 1


async def bounds(connection: Connection) -> tuple[int, int]:
    """Return the numbers of the oldest message that is kept and of the newest."""
    row = await connection.fetchrow("SELECT oldest, tip FROM relay_cursor")
    assert row is not None, "the migration has put it there"
    return row["oldest"], row["tip"]


async def since(connection: Connection, after: int, limit: int) -> list[Relayed]:
    """Return the next messages after a number, on all channels."""
    return relayed(await connection.fetch(_SINCE, after, limit))


async def on_channels(
    connection: Connection, channels: Sequence[str], after: int, limit: int
) -> list[Relayed]:
    """Return the next messages after a number on any of these channels, in order."""
    return relayed(await connection.fetch(_ON_CHANNELS, list(dict.fromkeys(channels)), after, limit))


async def settle(tx: Tx, limit: int) -> list[Relayed]:
    """Take the next messages that no reorg can take back any more; return them in order.

    They are those without a block, and those of blocks that the chain's cursor counts as final.
    """
    return relayed(await tx.fetch(_SETTLE, limit))


_POSTPONED: Final = f"""
    WITH next AS (
        SELECT place FROM settled_later WHERE handler = $1 ORDER BY place LIMIT $2
    ), taken AS (
        DELETE FROM settled_later USING next WHERE settled_later.place = next.place
        RETURNING settled_later.place, sequence AS taken_sequence
    )
    {_READ} FROM taken JOIN messages ON sequence = taken_sequence ORDER BY place
"""  # noqa: S608 - constants


async def postpone(tx: Tx, handler: str, messages: Sequence[Relayed]) -> None:
    """Keep settled messages for a handler that could not take them."""
    await tx.execute(
        """
        INSERT INTO settled_later (handler, sequence)
        SELECT $1, sequence FROM unnest($2::bigint[]) WITH ORDINALITY AS late (sequence, place) ORDER BY place
        """,
        handler,
        [message.sequence for message in messages],
    )


async def postponing(tx: Tx) -> set[str]:
    """Return the handlers for which settled messages are kept."""
    rows = await tx.fetch("SELECT DISTINCT handler FROM settled_later")
    return {row["handler"] for row in rows}


async def postponed(tx: Tx, handler: str, limit: int) -> list[Relayed]:
    """Take the next settled messages that were kept for a handler, in the order in which they settled."""
    return relayed(await tx.fetch(_POSTPONED, handler, limit))


async def register(tx: Tx, names: Iterable[str]) -> None:
    """Let handlers that are new begin with the next message."""
    await tx.execute(
        """
        INSERT INTO relay_handlers (name, sequence)
        SELECT name, tip FROM unnest($1::text[]) AS new (name) CROSS JOIN relay_cursor
        ON CONFLICT (name) DO NOTHING
        """,
        list(names),
    )


async def next_for(tx: Tx, name: str, limit: int) -> list[Relayed]:
    """Return what a handler has not had yet and count it as had, if ``tx`` commits; others wait meanwhile."""
    had = await tx.fetchval("SELECT sequence FROM relay_handlers WHERE name = $1 FOR UPDATE", name)
    messages = await since(tx, had or 0, limit)
    if messages:
        await tx.execute(
            "UPDATE relay_handlers SET sequence = $2 WHERE name = $1", name, messages[-1].sequence
        )
    return messages


_SWEEP_LATE: Final = """
    DELETE FROM messages
    WHERE sequence < (SELECT oldest FROM relay_cursor)
      AND sequence NOT IN (SELECT sequence FROM unsettled)
      AND sequence NOT IN (SELECT sequence FROM settled_later)
"""
"""What was kept beyond its time because it had not settled."""

_SWEEP: Final = """
    WITH old AS (
        SELECT message.sequence, created_at
        FROM relay_cursor
        CROSS JOIN LATERAL (
            SELECT sequence, created_at FROM messages
            WHERE sequence >= relay_cursor.oldest AND sequence < relay_cursor.oldest + $2
        ) AS message
        WHERE message.sequence <= coalesce((SELECT min(sequence) FROM relay_handlers), tip)
           -- A handler that has not come for a week, perhaps because it is no more, holds nothing up.
           OR created_at < $1::timestamptz - interval '6 days'
    ), stop AS (
        -- The first that stays: numbers follow the order of moving, and times only nearly.
        SELECT coalesce(min(sequence) FILTER (WHERE created_at >= $1), max(sequence) + 1) AS sequence FROM old
    ), gone AS (
        DELETE FROM messages USING relay_cursor, stop
        WHERE messages.sequence >= relay_cursor.oldest AND messages.sequence < stop.sequence
          AND messages.sequence NOT IN (SELECT sequence FROM unsettled)
          AND messages.sequence NOT IN (SELECT sequence FROM settled_later)
    )
    SELECT stop.sequence AS oldest, stop.sequence - relay_cursor.oldest AS swept
    FROM stop CROSS JOIN relay_cursor
"""


async def sweep(tx: Tx, *, before: datetime, limit: int) -> int:
    """Forget the oldest messages written before a moment; return how many, at most ``limit``.

    What a handler has not had yet is kept for six days more, and what waits to settle for as long as it does.
    """
    await tx.execute(_SWEEP_LATE)
    row = await tx.fetchrow(_SWEEP, before, limit)
    if row is None or not row["swept"]:
        return 0
    # Last, because moving waits for this row.
    await tx.execute("UPDATE relay_cursor SET oldest = $1", row["oldest"])
    return row["swept"]


async def emptied(connection: Connection, above: int) -> int:
    """Return a position of the outbox up to which, and from ``above`` on, nothing is left and nothing comes.

    Dead rows stay in the index while any old snapshot is open anywhere, as a dump's; without this bound each
    batch would walk through them again.
    """
    # In this order. Who took a position up to this one did so under a lock on the table, which is released
    # after its commit is seen; so where nobody holds one, the third statement sees all that will ever be.
    newest = await connection.fetchval("SELECT last_value FROM outbox_position_seq")
    writing = await connection.fetchval(
        """
        SELECT EXISTS (
            SELECT FROM pg_locks
            WHERE locktype = 'relation' AND relation = 'outbox'::regclass AND mode = 'RowExclusiveLock'
              AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        )
        """
    )
    if writing:
        return above
    left = await connection.fetchval(
        "SELECT min(position) FROM outbox WHERE position > $1 AND position <= $2", above, newest
    )
    return (newest or 0) if left is None else left - 1


async def behind(connection: Connection) -> dict[str, int]:
    """Return how many messages each handler has not had yet."""
    rows = await connection.fetch(
        "SELECT name, tip - sequence AS messages FROM relay_handlers CROSS JOIN relay_cursor"
    )
    return {row["name"]: row["messages"] for row in rows}


async def lag(connection: Connection) -> tuple[int, float]:
    """Return how many facts wait in the outbox, counted up to 100,000, and the oldest's age in seconds."""
    row = await connection.fetchrow(
        """
        SELECT count(*) AS waiting,
               greatest(0, coalesce(extract(epoch FROM now() - min(created_at)), 0))::float8 AS age
        FROM (SELECT created_at FROM outbox ORDER BY position LIMIT 100000) AS waiting
        """
    )
    assert row is not None, "an aggregate has a row"
    return row["waiting"], row["age"]


async def stands(tx: Tx, sequence: int) -> bool:
    """Return whether a block's message still holds, and keep a reorg from taking it until ``tx`` ends.

    One that is kept no more has held for a day.
    """
    row = await tx.fetchrow("SELECT block_number FROM messages WHERE sequence = $1 FOR SHARE", sequence)
    return row is None or row["block_number"] is not None


_BLANK: Final = '{"kind":"erased","title":"","text":""}'


async def blank(tx: Tx, channels: Sequence[str], kind: str) -> None:
    """Take the words out of messages of a type that are told on these channels alone.

    Their numbers stay: whoever reads messages counts on none being left out.
    """
    # First the outbox, as in `outbox.revert`: what a relay is moving is found where it has moved it to.
    await tx.execute(
        "UPDATE outbox SET data = $3 WHERE type = $2 AND string_to_array(channels, ' ') <@ $1::text[]",
        list(channels),
        kind,
        _BLANK,
    )
    await tx.execute(
        "UPDATE messages SET data = $3 WHERE channel = ANY($1) AND type = $2", list(channels), kind, _BLANK
    )
