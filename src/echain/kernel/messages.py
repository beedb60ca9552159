"""What one room tells the others and the clients, written to the outbox with the change it tells of."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Message(msgspec.Struct, frozen=True):
    """A fact, and the channels on which it is told.

    A channel is ``event:<id>``, ``user:<address>``, ``organizer:<address>``, ``market`` or ``platform``;
    ``data`` holds plain JSON values with decimal strings for amounts. ``block_number`` is set when a block
    said so, so that a reorg can name what no longer holds.
    """

    channels: tuple[str, ...]
    type: str
    data: Mapping[str, object]
    chain_id: int | None = None
    block_number: int | None = None


TYPES: Mapping[str, str] = {
    "event_created": "an event was created on chain",
    "event_updated": "an event's metadata, schedule or state changed",
    "price_update": "a tier has a new price for purchases from now on",
    "ticket_sold": "tickets were bought or handed out",
    "ticket_transferred": "a ticket has a new holder",
    "checkin_complete": "a ticket was used on chain and its POAP minted",
    "notification": "a user should know this: a title, a text and a kind",
    "reverted": "a reorg undid the messages with these ids",
}
"""Every type of message, with what it tells; clients skip types that they do not know."""
