"""Use cases of events: drafts, publishing, reading, and what slices above ask."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from functools import cache
from typing import Final
from uuid import UUID
from zoneinfo import available_timezones

import msgspec

from echain.accounts.types import address_of
from echain.chain.intent import Intent
from echain.edge.http import Caller
from echain.events import holdings, resource, rules, store, tables
from echain.events import intents as calls
from echain.events.intents import Intents
from echain.events.types import (
    AlreadyPublished,
    Availability,
    Described,
    Document,
    DraftContent,
    DraftUpdate,
    Event,
    EventCancelled,
    EventEnded,
    EventNotFound,
    MetadataNotFound,
    NewDraft,
    NotPublished,
    Published,
    Registration,
    StaleVersion,
    Version,
)
from echain.infra import outbox
from echain.infra.database import Connection, Database, Row, Tx
from echain.kernel.errors import invalid_field
from echain.kernel.evm import Address, Hash32, checksum, to_hex
from echain.kernel.ids import uuid7
from echain.kernel.messages import Message
from echain.kernel.money import Wei
from echain.organizations import service as organizations
from echain.organizations.types import NoWallet, Permission, Standing

# What the slices above ask of the projections, and add to them, while they fold a block.
EventKey = tables.EventKey
TierSold = tables.TierSold
add_sold = tables.add_sold
events_by_number = tables.events_by_number
organizers_of = tables.organizers_of

_METADATA_PATH: Final = "/api/v1/metadata/"


@cache
def time_zones() -> frozenset[str]:
    """Return the names of time zones that this machine knows; reads hundreds of files the first time."""
    return frozenset(available_timezones())


class HeldDraft(msgspec.Struct, frozen=True):
    """A draft that nobody else changes meanwhile: whose it is, and what it says; empty before it is made."""

    id: UUID
    organization_id: UUID | None
    content: Mapping[str, object]
    version: int | None


class Drafted(msgspec.Struct, frozen=True):
    """A draft as it was before, as it is after, and as it is shown.

    ``founded`` is the organization that was made for it, if one was.
    """

    before: HeldDraft
    after: HeldDraft
    event: Event
    founded: str | None = None


async def create_draft(tx: Tx, caller: Caller, new: NewDraft, intents: Intents, *, now: datetime) -> Drafted:
    """Keep a new draft of an organization and return it.

    Without a named one it is for the organization of the caller's wallet, which is made when there is none.

    Raises:
        Invalid: the content could not be published; with every wrong field.
        OrganizationNotFound, PermissionMissing, NoWallet: the named organization.
        WalletNeeded, WalletTaken, PermissionMissing: that of the caller's wallet.
    """
    content = _checked(_content(new), intents, now)
    standing, organizer, made = await _drafting(tx, caller, new.organization_id, now)
    assert standing.organization_id is not None
    draft = store.NewDraft(
        id=uuid7(),
        organization_id=standing.organization_id,
        organizer=organizer,
        chain_id=content.chain_id,
        content=msgspec.to_builtins(content),
        created_at=now,
    )
    await store.insert_draft(tx, draft)
    event = resource.draft_event(
        content,
        draft_id=draft.id,
        organizer=organizer,
        organization_id=standing.organization_id,
        organization_name=standing.name,
        version=1,
        metadata_hash=None,
        created_at=now,
        updated_at=now,
    )
    return Drafted(
        before=HeldDraft(draft.id, standing.organization_id, {}, None),
        after=HeldDraft(draft.id, standing.organization_id, draft.content, 1),
        event=event,
        founded=standing.name if made else None,
    )


async def _drafting(
    tx: Tx, caller: Caller, organization_id: UUID | None, now: datetime
) -> tuple[Standing, Address, bool]:
    """Return for whom the caller drafts, the wallet that would publish it, and whether they are made anew."""
    if organization_id is not None:
        standing = await organizations.require_of(tx, caller, organization_id, Permission.EVENTS_WRITE)
        return standing, await organizations.signer(tx, organization_id, caller.address), False
    wallet = address_of(caller)
    standing, made = await organizations.organization_of_wallet(
        tx, caller, wallet, Permission.EVENTS_WRITE, now=now
    )
    if made:
        await holdings.changed(tx, [wallet])
    return standing, wallet, made


async def replace_draft(
    tx: Tx,
    draft_id: UUID,
    caller: Caller,
    update: DraftUpdate,
    *,
    if_match: str | None,
    intents: Intents,
    now: datetime,
) -> Drafted:
    """Write the whole content of a draft that nobody changed since the caller read it, and return it.

    Raises:
        EventNotFound, PermissionMissing, AlreadyPublished: no draft that the caller may change.
        StaleVersion: it is at another version by now.
        Invalid: the content could not be published, or no version was given.
    """
    content = _checked(_content(update), intents, now)
    draft = await _locked(tx, draft_id, caller, Permission.EVENTS_WRITE)
    _check_version(draft["version"], update.version, if_match)
    version: int = draft["version"] + 1
    after: dict[str, object] = msgspec.to_builtins(content)
    await store.replace_draft(
        tx, draft_id, chain_id=content.chain_id, content=after, version=version, now=now
    )
    event = resource.draft_event(
        content,
        draft_id=draft_id,
        organizer=Address(draft["organizer"]),
        organization_id=draft["organization_id"],
        organization_name=draft["organization_name"],
        version=version,
        metadata_hash=None,
        created_at=draft["created_at"],
        updated_at=now,
    )
    before = _held(draft)
    return Drafted(before, HeldDraft(draft_id, before.organization_id, after, version), event)


def version_tag(version: int) -> str:
    """Return the unquoted ETag of a draft, which If-Match may say."""
    return f"v{version}"


async def delete_draft(tx: Tx, draft_id: UUID, caller: Caller, *, now: datetime) -> HeldDraft:
    """Hide a draft and return it as it was; deleting it again finds nothing.

    Raises:
        EventNotFound, PermissionMissing, AlreadyPublished: no draft that the caller may delete.
    """
    draft = await _locked(tx, draft_id, caller, Permission.EVENTS_WRITE)
    await store.delete_draft(tx, draft_id, now)
    return _held(draft)


class Kept(msgspec.Struct, frozen=True):
    """A draft whose document is kept, and the wallet that is to publish it."""

    draft: HeldDraft
    organizer: Address
    content: DraftContent
    document: Document


async def keep_document(
    tx: Tx, draft_id: UUID, caller: Caller, intents: Intents, *, public_url: str, now: datetime
) -> Kept:
    """Keep the metadata document of a draft as it is now, so that its hash may go on chain.

    Raises:
        EventNotFound, PermissionMissing, AlreadyPublished: no draft that the caller may publish.
        NoWallet: the draft's wallet has left the organization, which has no other.
        Invalid: time has passed and the content no longer holds.
    """
    draft = await _locked(tx, draft_id, caller, Permission.EVENTS_PUBLISH)
    if draft["publisher"] is None:
        raise NoWallet
    organizer = Address(draft["publisher"])
    content = _checked(resource.content_of(draft["content"]), intents, now)
    document = resource.document_of(content, draft_id, organizer, public_url)
    if len(metadata_uri(public_url, document.hash).encode()) > rules.MAX_URI_BYTES:
        raise ValueError("the public URL is so long that no metadata URI fits the contract")
    await store.keep_document(tx, draft_id, organizer, document=document, chain_id=content.chain_id, now=now)
    return Kept(_held(draft), organizer, content, document)


async def creation_intent(intents: Intents, kept: Kept, *, public_url: str) -> Intent:
    """Return the transaction by which the draft's wallet creates the event on its chain.

    Raises:
        CreationRefused: the factory is paused, not ready, or closed to this wallet.
        Reverted, InsufficientFunds, ChainUnreachable, ChainNotServed: see `Intents.prepare`.
    """
    return await intents.prepare(
        kept.content.chain_id,
        sender=kept.organizer,
        to=await intents.factory(kept.content.chain_id),
        data=calls.creation_call(kept.content, kept.document, metadata_uri(public_url, kept.document.hash)),
        summary=f"Create the event “{kept.content.title}”",
        refusals=calls.CREATION_REFUSALS,
    )


def metadata_uri(public_url: str, metadata_hash: Hash32) -> str:
    """Return where a metadata document is served."""
    return f"{public_url.rstrip('/')}{_METADATA_PATH}{to_hex(metadata_hash)}"


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


async def owned(database: Database | Connection, event_id: UUID, organizer: Address) -> Published:
    """Return a published event of this organizer.

    Raises:
        EventNotFound: somebody else's, or none.
        NotPublished: the organizer's own draft.
    """
    row = await store.published(database, event_id)
    if row is None:
        draft = await store.event(database, event_id)
        raise NotPublished if draft is not None and draft["organizer"] == organizer else EventNotFound
    if row["organizer"] != organizer:
        raise EventNotFound
    return _published(row)


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


def _checked(content: DraftContent, intents: Intents, now: datetime) -> DraftContent:
    rules.check(content, now=now, chain_ids=intents.chain_ids, zones=time_zones())
    return rules.in_utc(content)


def _content(sent: NewDraft | DraftUpdate) -> DraftContent:
    return DraftContent(**{name: getattr(sent, name) for name in DraftContent.__struct_fields__})


async def _locked(tx: Tx, draft_id: UUID, caller: Caller, permission: Permission) -> Row:
    draft = await store.lock_draft(tx, draft_id)
    if draft is not None and draft["event_id"] is None:
        await standing_to_draft(tx, caller, draft, permission)
        return draft
    await managed(tx, draft_id, caller, permission)
    raise AlreadyPublished


def _held(draft: Row) -> HeldDraft:
    content = msgspec.json.decode(draft["content"], type=dict[str, object])
    return HeldDraft(draft["id"], draft["organization_id"], content, draft["version"])


def _check_version(current: int, version: int | None, if_match: str | None) -> None:
    if version is None and if_match is None:
        raise invalid_field("version", "say which version you changed, here or in If-Match")
    tags = None if if_match is None else [tag.strip() for tag in if_match.split(",")]
    tag_holds = tags is None or "*" in tags or f'"{version_tag(current)}"' in tags
    if not tag_holds or (version is not None and version != current):
        raise StaleVersion(None, version=current)


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
