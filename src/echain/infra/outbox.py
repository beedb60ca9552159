"""Messages to other rooms and processes, written in the transaction whose facts they tell.

A fact is one row, however many channels it goes to; the relay makes a message of it for each channel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from echain.infra.database import Tx
from echain.kernel.messages import Message

CHANNEL: Final = "outbox"
"""What the relay listens on; the notification is empty, the rows say everything."""

_MANY: Final = 200
"""From here on COPY is cheaper than arrays, of which the driver inspects every element."""

_MOST_IDS: Final = 1_000
"""A message of more would be a frame of many kilobytes to every client of a channel."""

_COLUMNS: Final = ("channels", "type", "data", "chain_id", "block_number")

_PUBLISH: Final = """
    WITH written AS (
        INSERT INTO outbox (channels, type, data, chain_id, block_number)
        SELECT channels, type, data, chain_id, block_number
        FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[])
             WITH ORDINALITY AS message (channels, type, data, chain_id, block_number, place)
        ORDER BY place
    )
    SELECT pg_notify('outbox', '')
"""


def _records(messages: Sequence[Message]) -> Iterator[tuple[str, str, str, int | None, int | None]]:
    encode = msgspec.json.Encoder().encode
    for message in messages:
        yield (
            # A text costs a quarter of an array on its way into the table; no channel holds a space.
            " ".join(message.channels),
            message.type,
            encode(message.data).decode(),
            message.chain_id,
            message.block_number,
        )


async def publish(tx: Tx, messages: Sequence[Message]) -> None:
    """Append messages in their order; they exist if and only if ``tx`` commits, and wake the relay then.

    One statement; none when there are none, and COPY when there are many.
    """
    if not messages:
        return
    if len(messages) > _MANY:
        await tx.copy_records_to_table("outbox", records=_records(messages), columns=_COLUMNS)
        await tx.execute("SELECT pg_notify('outbox', '')")
        return
    await tx.execute(_PUBLISH, *map(list, zip(*_records(messages), strict=True)))


_FORGET: Final = "DELETE FROM outbox WHERE chain_id = $1 AND block_number > $2"

_REVERT: Final = """
    WITH gone AS (
        DELETE FROM unsettled WHERE chain_id = $1 AND block_number > $2 RETURNING sequence
    )
    UPDATE messages SET block_number = NULL
    FROM gone WHERE messages.sequence = gone.sequence
    RETURNING messages.sequence, messages.channel
"""

_BELOW_FINALITY: Final = "SELECT FROM chain_cursors WHERE chain_id = $1 AND finalized_number > $2"

_REVERT_SETTLED: Final = """
    UPDATE messages SET block_number = NULL WHERE chain_id = $1 AND block_number > $2
    RETURNING sequence, channel
"""


async def revert(tx: Tx, chain_id: int, *, above: int) -> None:
    """Tell each channel which of its messages no longer hold: a reorg took the blocks above ``above``.

    What was not relayed yet is just not told. A message is reverted once: it loses its block, which a later
    reorg cannot take again. ``tx`` must hold the chain's cursor, so that no more of its facts come meanwhile.
    """
    # First the outbox: where a relay is moving one of these rows, this waits for it, and the next statement
    # sees what it has moved. The other way round a row could slip through between the two.
    await tx.execute(_FORGET, chain_id, above)
    gone: list[tuple[int, str]] = [*map(tuple, await tx.fetch(_REVERT, chain_id, above))]
    if await tx.fetchrow(_BELOW_FINALITY, chain_id, above) is not None:
        # A devnet that starts anew; this reads the whole table, which happens nowhere else.
        gone += map(tuple, await tx.fetch(_REVERT_SETTLED, chain_id, above))
    ids: dict[str, list[str]] = {}
    for sequence, channel in sorted(gone):
        ids.setdefault(channel, []).append(str(sequence))
    await publish(
        tx,
        [
            Message((channel,), "reverted", {"ids": taken[at : at + _MOST_IDS]}, chain_id)
            for channel, taken in ids.items()
            for at in range(0, len(taken), _MOST_IDS)
        ],
    )
