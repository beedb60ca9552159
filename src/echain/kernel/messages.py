"""What one room tells the others and the clients, written to the outbox with the change it tells of."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Message(msgspec.Struct, frozen=True):
    """A fact on a channel.

    ``channel`` is ``event:<id>``, ``user:<address>``, ``organizer:<id>``, ``market`` or ``platform``; ``data`` holds
    plain JSON values with decimal strings for amounts. ``block_number`` is set when a block said so, so that a reorg
    can name what no longer holds.
    """

    channel: str
    type: str
    data: Mapping[str, object]
    chain_id: int | None = None
    block_number: int | None = None
