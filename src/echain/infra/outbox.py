"""Messages to other rooms and processes, written in the transaction whose facts they tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from echain.infra.database import Tx
from echain.kernel.messages import Message

CHANNEL: Final = "outbox"
"""What a relay listens on; the notification is empty, the rows say everything."""

_MANY: Final = 200
"""From here on COPY is cheaper than arrays, of which the driver inspects every element."""

_PUBLISH: Final = """
    WITH written AS (
        INSERT INTO outbox (channel, type, data, chain_id, block_number)
        SELECT channel, type, data, chain_id, block_number
        FROM unnest($1::text[], $2::text[], $3::jsonb[], $4::bigint[], $5::bigint[])
             WITH ORDINALITY AS message (channel, type, data, chain_id, block_number, place)
        ORDER BY place
    )
    SELECT pg_notify('outbox', '')
"""


def _records(messages: Sequence[Message]) -> Iterator[tuple[object, ...]]:
    """Yield rows; what goes to several channels in a row is encoded once."""
    data, encoded = None, msgspec.Raw()
    for message in messages:
        if message.data is not data:
            data, encoded = message.data, msgspec.Raw(msgspec.json.encode(message.data))
        yield message.channel, message.type, encoded, message.chain_id, message.block_number


async def publish(tx: Tx, messages: Sequence[Message]) -> None:
    """Append messages in their order; they exist if and only if ``tx`` commits, and wake the relay then.

    One statement; none when there are none, and COPY when there are many.
    """
    if not messages:
        return
    if len(messages) > _MANY:
        await tx.copy_records_to_table(
            "outbox",
            records=_records(messages),
            columns=("channel", "type", "data", "chain_id", "block_number"),
        )
        await tx.execute("SELECT pg_notify('outbox', '')")
        return
    await tx.execute(
        _PUBLISH,
        [message.channel for message in messages],
        [message.type for message in messages],
        [message.data for message in messages],
        [message.chain_id for message in messages],
        [message.block_number for message in messages],
    )


_REVERT: Final = """
    WITH gone AS (
        UPDATE outbox SET block_number = NULL WHERE chain_id = $1 AND block_number > $2
        RETURNING channel, position
    ), told AS (
        INSERT INTO outbox (channel, type, data, chain_id)
        SELECT channel, 'reverted',
               jsonb_build_object('ids', jsonb_agg(position::text ORDER BY position)), $1
        FROM gone GROUP BY channel ORDER BY min(position)
        RETURNING 1
    )
    SELECT pg_notify('outbox', '') FROM told LIMIT 1
"""


async def revert(tx: Tx, chain_id: int, *, above: int) -> None:
    """Tell each channel which of its messages no longer hold: a reorg took the blocks above ``above``.

    A message is reverted once: it loses its block, which a later reorg cannot take again.
    """
    await tx.execute(_REVERT, chain_id, above)
