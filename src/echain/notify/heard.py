"""What messages mean for people: whom each concerns, and what is to be told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec

from echain.events.types import Described
from echain.infra.relay import Relayed
from echain.kernel.evm import ZERO_ADDRESS, Address, to_hex
from echain.notify.facts import EventFacts, Facts, Told
from echain.notify.types import Notice, NoticeKind

_SECURITY: Final = "security"
NO_WALLET: Final = to_hex(ZERO_ADDRESS)
"""Stands for the wallet of what is told to a user, not to one of their wallets."""

_TITLE: Final = 200
_PLACE: Final = 750
"""Letters that are remembered for each who is told: our own documents hold no more, the chain any number."""


class Announcement(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something to tell all who hold tickets of an event: the payload of a job that pages through them.

    ``settled`` says whether mails and pushes may go out; ``after`` is the last holder that was told.
    ``source`` is the message that it came from, at ``block_number``.
    """

    kind: NoticeKind
    event_id: UUID
    occasion: str
    settled: bool
    source: int | None = None
    chain_id: int | None = None
    block_number: int | None = None
    hours: int = 0
    after: str | None = None


class Heard(msgspec.Struct, frozen=True):
    """What messages ask for: direct notices, announcements, and messages that a reorg took."""

    notices: Sequence[Notice] = ()
    announcements: Sequence[Announcement] = ()
    undone: Sequence[int] = ()


def hear(message: Relayed, *, settled: bool) -> Heard:
    """Return what a message asks for. Of a fact on several channels one message counts.

    What a reorg took before it was heard asks for nothing: such a message has a chain but no block.
    """
    if message.type == "reverted":
        return Heard(undone=[int(one) for one in _data(message)["ids"]])
    read = _READERS.get((message.type, message.channel.partition(":")[0]))
    if read is None or (message.chain_id is not None and message.block_number is None):
        return Heard()
    asked = list(read(message, _data(message)))
    return Heard(
        [one for one in asked if isinstance(one, Notice)],
        [msgspec.structs.replace(one, settled=settled) for one in asked if isinstance(one, Announcement)],
    )


def _data(message: Relayed) -> dict[str, Any]:
    return msgspec.json.decode(message.data, type=dict[str, Any])


def _notice(
    message: Relayed, kind: NoticeKind, address: str, facts: Facts, *, event_id: str | None, part: str = ""
) -> Notice:
    return Notice(
        address=Address(bytes.fromhex(address[2:])),
        kind=kind,
        occasion=f"message {message.sequence}{part}",
        data=msgspec.to_builtins(facts),
        event_id=None if event_id is None else UUID(event_id),
        source=message.sequence,
        chain_id=message.chain_id,
        block_number=message.block_number,
    )


def _sold(message: Relayed, data: Mapping[str, Any]) -> Iterable[Notice]:
    # Tickets that an organizer hands out are mail that nobody asked for; they are seen in the app's tickets.
    if data["buyer"] is not None:
        tickets: list[str] = data["ticketIds"]
        amount = str(int(data["price"]) * len(tickets))
        facts = Facts(tickets=tickets, count=len(tickets), amount=amount)
        yield _notice(message, NoticeKind.PURCHASE, data["buyer"], facts, event_id=data["eventId"])


def _transferred(message: Relayed, data: Mapping[str, Any]) -> Iterable[Notice]:
    giver, taker = data["from"], data["to"]
    if giver == taker:
        return
    told = {
        "received": (NoticeKind.TICKET_RECEIVED, taker, Facts(tickets=[data["ticketId"]], sender=giver)),
        "sent": (NoticeKind.TICKET_SENT, giver, Facts(tickets=[data["ticketId"]], receiver=taker)),
    }
    for part, (kind, address, facts) in told.items():
        yield _notice(message, kind, address, facts, event_id=data["eventId"], part=f" {part}")


def _refunded(message: Relayed, data: Mapping[str, Any]) -> Iterable[Notice]:
    facts = Facts(tickets=[data["ticketId"]], amount=data["amount"])
    yield _notice(message, NoticeKind.REFUND, data["holder"], facts, event_id=data["eventId"])


def _checked_in(message: Relayed, data: Mapping[str, Any]) -> Iterable[Notice]:
    facts = Facts(tickets=[data["ticketId"]])
    yield _notice(message, NoticeKind.ATTENDANCE, data["attendee"], facts, event_id=data["eventId"])


def _updated(message: Relayed, data: Mapping[str, Any]) -> Iterable[Announcement]:
    if data.get("cancelled"):
        kind = NoticeKind.EVENT_CANCELLED
    elif "startsAt" in data:
        kind = NoticeKind.EVENT_CHANGED
    else:  # a new tier concerns nobody who holds tickets
        return
    yield Announcement(
        kind=kind,
        event_id=UUID(data["eventId"]),
        occasion=f"message {message.sequence}",
        settled=False,
        source=message.sequence,
        chain_id=message.chain_id,
        block_number=message.block_number,
    )


def _said(message: Relayed, data: Mapping[str, Any]) -> Iterable[Notice]:
    """Read what another part of the platform tells a user; what comes from here has an id and is not it."""
    if data.get("kind") == _SECURITY and "id" not in data:
        told = Told(data["title"], data["text"], data.get("about"), data.get("device", ""))
        whose, user = message.channel.partition(":")[2], data.get("user")
        # Told to the user, however many wallets' channels say it too.
        if user is None or user == whose:
            address = NO_WALLET if user else whose
            notice = _notice(message, NoticeKind.SECURITY, address, Facts(told=told), event_id=None)
            yield msgspec.structs.replace(notice, live=True, user_id=UUID(user) if user else None)


_READERS: Final = {
    ("ticket_sold", "event"): _sold,
    ("ticket_transferred", "event"): _transferred,
    ("ticket_refunded", "user"): _refunded,
    ("checkin_complete", "user"): _checked_in,
    ("event_updated", "event"): _updated,
    ("notification", "user"): _said,
}


def with_event(notice: Notice, event: Described | None) -> Notice:
    """Return a notice that knows its event as it is now."""
    if event is None:
        return notice
    return msgspec.structs.replace(
        notice, data={**notice.data, "event": msgspec.to_builtins(facts_of(event))}
    )


def facts_of(event: Described) -> EventFacts:
    """Return what is remembered of an event."""
    return EventFacts(
        id=event.id,
        public_id=event.public_id,
        chain_id=event.chain_id,
        title=event.title[:_TITLE],
        starts_at=event.starts_at,
        ends_at=event.ends_at,
        time_zone=event.timezone,
        place=event.place[:_PLACE],
        revision=event.revision,
    )
