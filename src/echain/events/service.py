"""Use cases of published events, and what slices above ask."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from functools import cache
from uuid import UUID
from zoneinfo import available_timezones

from echain.chain.intent import Intent
from echain.edge.http import Caller
from echain.events import intents as calls
from echain.events import resource, rules, store, tables
from echain.events.intents import Intents
from echain.events.types import (
    Availability,
    Described,
    Event,
    EventCancelled,
    EventEnded,
    EventNotFound,
    MetadataNotFound,
    NotPublished,
    Published,
    Registration,
    Version,
)
from echain.infra import outbox
from echain.infra.database import Connection, Database, Row, Tx
from echain.kernel.errors import invalid_field
from echain.kernel.evm import Address, Hash32, checksum
from echain.kernel.messages import Message
from echain.kernel.money import Wei
from echain.organizations import service as organizations
from echain.organizations.types import Permission, Standing

# What the slices above ask of the projections, and add to them, while they fold a block.
EventKey = tables.EventKey
TierSold = tables.TierSold
add_sold = tables.add_sold
events_by_number = tables.events_by_number
organizers_of = tables.organizers_of


@cache
def time_zones() -> frozenset[str]:
    """Return the names of time zones that this machine knows; reads hundreds of files the first time."""
    return frozenset(available_timezones())


async def document(database: Database, metadata_hash: Hash32) -> bytes:
    """Return a metadata document byte for byte.

    Raises:
        MetadataNotFound: none with this hash is kept.
    """
    body = await store.document(database, metadata_hash)
    if body is None:
        raise MetadataNotFound
    return body


async def availability(database: Database, event_id: UUID, *, now: datetime) -> Availability:
    """Return what a published event sells now; one statement.

    Raises:
        EventNotFound: not published.
    """
    row = await store.offer(database, event_id)
    if row is None:
        raise EventNotFound
    return resource.availability_of(row, now)


async def published(database: Database | Connection, event_id: UUID) -> Published:
    """Return which published event an id means: the projection's or that of the draft it was.

    Raises:
        EventNotFound: not published.
    """
    row = await store.published(database, event_id)
    if row is None:
        raise EventNotFound
    return _published(row)


async def shown(database: Database, event_ids: Collection[UUID], *, now: datetime) -> dict[UUID, Event]:
    """Return published events by the ids that the API knows them by; one statement, none for nothing."""
    if not event_ids:
        return {}
    events = [resource.event_of(row, now) for row in await store.events(database, event_ids)]
    return {event.id: event for event in events}


async def described(connection: Connection, event_ids: Collection[UUID]) -> dict[UUID, Described]:
    """Return published events by the projection's ids, as they are told of; unknown ones are left out."""
    if not event_ids:
        return {}
    rows = await store.described(connection, event_ids)
    return {row["id"]: Described(**row) for row in rows}


async def versions(connection: Connection, event_id: UUID, *, at_block: int) -> list[Version]:
    """Return what an event said of itself at a block, and the version before that if there was one."""
    return [Version(**row) for row in await store.versions(connection, event_id, at_block)]


async def starting(
    connection: Connection, *, after: datetime, until: datetime, limit: int
) -> list[tuple[UUID, datetime]]:
    """Return events that start in a period and are not cancelled, the next first."""
    return [(row["id"], row["starts_at"]) for row in await store.starting(connection, after, until, limit)]


async def managed(
    connection: Connection | Database, event_id: UUID, caller: Caller, permission: Permission
) -> tuple[Published, Standing]:
    """Return a published event, and what the caller is to its organizer; two statements.

    Raises:
        EventNotFound: there is none, or the caller has nothing to do with its organizer.
        PermissionMissing: the caller's role does not allow it.
        NotPublished: it is a draft of an organization in which the caller has the permission.
    """
    row = await store.published(connection, event_id)
    if row is None:
        draft = await store.event(connection, event_id)
        if draft is None:
            raise EventNotFound
        await standing_to_draft(connection, caller, draft, permission)
        raise NotPublished
    event = _published(row)
    return event, await organizations.require(
        connection, caller, event.organizer, permission, missing=EventNotFound
    )


async def standing_to_draft(
    connection: Connection | Database, caller: Caller, draft: Row, permission: Permission
) -> Standing:
    """Return what the caller is to the organization of a draft's row.

    Raises:
        EventNotFound: nothing.
        PermissionMissing: the caller's role does not allow it.
    """
    organization_id: UUID | None = draft["organization_id"]
    if organization_id is not None:
        return await organizations.require_of(
            connection, caller, organization_id, permission, missing=EventNotFound
        )
    return await organizations.require(
        connection, caller, Address(draft["organizer"]), permission, missing=EventNotFound
    )


async def cancel_intent(intents: Intents, event: Published) -> Intent:
    """Return the transaction that cancels an event for good.

    Raises:
        EventCancelled, AlreadyWithdrawn: the contract would refuse it.
        Reverted, InsufficientFunds, ChainUnreachable, ChainNotServed: see `Intents.prepare`.
    """
    if event.cancelled:
        raise EventCancelled
    return await intents.prepare(
        event.chain_id,
        sender=event.organizer,
        to=event.ticket_contract,
        data=calls.cancel_call(),
        summary=f"Cancel “{event.name}” for good and let its buyers take their money back",
        refusals=calls.ORGANIZER_REFUSALS,
    )


async def price_intent(intents: Intents, event: Published, tier_id: int, price_wei: Wei) -> Intent:
    """Return the transaction that changes a tier's price for purchases from then on.

    Raises:
        Invalid: more than the contract can hold.
        EventCancelled, UnknownTier: the contract would refuse it.
        Reverted, InsufficientFunds, ChainUnreachable, ChainNotServed: see `Intents.prepare`.
    """
    if price_wei > rules.MAX_PRICE_WEI:
        raise invalid_field("priceWei", f"is more than {rules.MAX_PRICE_WEI}")
    if event.cancelled:
        raise EventCancelled
    return await intents.prepare(
        event.chain_id,
        sender=event.organizer,
        to=event.ticket_contract,
        data=calls.price_call(tier_id, price_wei),
        summary=f"Sell tier {tier_id} of “{event.name}” for {price_wei} wei a ticket",
        refusals=calls.ORGANIZER_REFUSALS,
    )


async def register(tx: Tx, event_id: UUID, attendee: Address, *, now: datetime) -> tuple[Registration, bool]:
    """Note once that somebody will come; return it, and whether it is new.

    Raises:
        EventNotFound: not published.
        EventCancelled, EventEnded: nobody can come any more.
    """
    event = await published(tx, event_id)
    if event.cancelled:
        raise EventCancelled
    if event.ends_at <= now:
        raise EventEnded
    at, new = await store.register(tx, event.chain_id, event.ticket_contract, attendee, now)
    registration = Registration(event.public_id, checksum(attendee), at)
    if new:
        data: Mapping[str, object] = {
            "eventId": str(event.id),
            "attendee": registration.address,
        }
        channels = (f"event:{event.id}", f"user:{registration.address}")
        await outbox.publish(tx, [Message(channels, "registered", data)])
    return registration, new


def _published(row: Row) -> Published:
    return Published(
        id=row["id"],
        public_id=row["public_id"],
        chain_id=row["chain_id"],
        ticket_contract=Address(row["ticket_contract"]),
        blockchain_id=int(row["blockchain_id"]),
        organizer=Address(row["organizer"]),
        name=row["name"],
        starts_at=row["starts_at"],
        ends_at=row["ends_at"],
        cancelled=row["cancelled"],
    )
