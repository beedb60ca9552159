"""Routes of events: drafts, publishing, lists, search, availability, metadata documents."""

from __future__ import annotations

from typing import Annotated, Any, Final
from uuid import UUID

import msgspec

from echain.accounts.types import WalletNeeded, address_of
from echain.chain.intent import InsufficientFunds, Intent, Reverted
from echain.chain.rpc import ChainUnreachable
from echain.edge.http import (
    Auth,
    Call,
    Endpoint,
    HashText,
    Nothing,
    Raw,
    Rendered,
    Reply,
    Unauthenticated,
    delete,
    get,
    post,
    put,
)
from echain.events import drafts, listing, resource, service
from echain.events.detail import Details
from echain.events.drafts import HeldDraft
from echain.events.intents import Intents
from echain.events.listing import EventFilter, EventSearch, Mark
from echain.events.types import (
    AlreadyPublished,
    AlreadyWithdrawn,
    Availability,
    ChainNotServed,
    CreationRefused,
    Deleted,
    DraftUpdate,
    Event,
    EventCancelled,
    EventEnded,
    EventNotFound,
    MetadataNotFound,
    NewDraft,
    NotPublished,
    PartialEvent,
    PriceContent,
    Registration,
    StaleVersion,
    UnknownTier,
)
from echain.infra import audit
from echain.infra.cache import Cache
from echain.infra.database import Database, Tx
from echain.kernel.evm import parse_hash
from echain.kernel.money import Wei
from echain.kernel.paging import Page, PageInfo, numbered
from echain.organizations import service as organizations
from echain.organizations.service import Reach
from echain.organizations.types import (
    NoWallet,
    OrganizationNotFound,
    Permission,
    PermissionMissing,
    WalletTaken,
)

TAG: Final = "events"
DEFAULT_PER_PAGE: Final = 20

INTENT_ERRORS: Final = (Reverted, InsufficientFunds, ChainUnreachable, ChainNotServed)
_OWN: Final = (EventNotFound, PermissionMissing, AlreadyPublished)

_FOREVER: Final = (
    ("Cache-Control", "public, max-age=31536000, immutable"),
    # Wallets and markets read documents from their own pages.
    ("Access-Control-Allow-Origin", "*"),
)


class EventPath(msgspec.Struct, frozen=True):
    """An event or a draft."""

    id: UUID


class TierPath(msgspec.Struct, frozen=True):
    """A tier of an event."""

    id: UUID
    tier: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class DocumentPath(msgspec.Struct, frozen=True):
    """A metadata document by the Keccak-256 hash of its bytes."""

    hash: HashText


def endpoints(database: Database, cache: Cache, intents: Intents, *, public_url: str) -> list[Endpoint]:
    """Return the routes under ``/api/v1/events`` and ``/api/v1/metadata`` that need no tickets."""
    service.time_zones()  # not while the first draft waits
    return [
        *_list_endpoints(database),
        *_read_endpoints(database, cache),
        *_draft_endpoints(database, intents),
        *_organizer_endpoints(database, intents, public_url),
        _register_endpoint(database),
    ]


NOTHING: Final = Reach((), (), ())
"""What somebody reaches who was not asked for."""


def _list_endpoints(database: Database) -> list[Endpoint]:
    @get(
        "/api/v1/events",
        summary="List events",
        tag=TAG,
        answer=list[Event] | list[PartialEvent],
        query=EventFilter,
        auth=Auth.OPTIONAL,
        errors=(Unauthenticated,),
        description="Published events of everybody. Members of organizations see those that are theirs with "
        "`mine=true`, and drafts, where their role shows them, with that or `status=draft`.",
    )
    async def events(call: Call[Nothing, EventFilter, Nothing]) -> Page[msgspec.Struct]:
        query = call.query
        listing.check_paging(query)
        fields = resource.chosen_fields(query.fields)
        reach = NOTHING
        if query.mine or query.status == "draft":
            if call.caller is None or call.caller.kind != "user":
                raise Unauthenticated
            reach = await organizations.reach(database, call.caller.id, Permission.EVENTS_READ)
        if query.cursor is not None or query.limit is not None:
            return await _after_cursor(call, reach, fields)
        page, per_page = query.page or 1, query.per_page or DEFAULT_PER_PAGE
        rows, total = await listing.page_of(
            database, query, reach=reach, now=call.now, limit=per_page, offset=(page - 1) * per_page
        )
        items = [_item(resource.event_of(row, call.now), fields) for row in rows]
        return numbered(items, page=page, per_page=per_page, total=total)

    async def _after_cursor(
        call: Call[Nothing, EventFilter, Nothing], reach: Reach, fields: list[str] | None
    ) -> Page[msgspec.Struct]:
        query = call.query
        limit = query.limit or DEFAULT_PER_PAGE
        mark = listing.decode_mark(query.cursor, query.sort) if query.cursor else None
        rows = await listing.page_after(database, query, mark, reach=reach, now=call.now, limit=limit + 1)
        last = rows[limit - 1] if len(rows) > limit else None
        following = (
            None if last is None else listing.encode_mark(Mark(query.sort, last["sort_at"], last["id"]))
        )
        items = [_item(resource.event_of(row, call.now), fields) for row in rows[:limit]]
        return Page(items, PageInfo(per_page=limit, next_cursor=following))

    @get(
        "/api/v1/events/search",
        summary="Search published events",
        tag=TAG,
        answer=list[Event] | list[PartialEvent],
        query=EventSearch,
    )
    async def search(call: Call[Nothing, EventSearch, Nothing]) -> Page[msgspec.Struct]:
        query = call.query
        fields = resource.chosen_fields(query.fields)
        offset = (query.page - 1) * query.per_page
        rows, total = await listing.search(database, query, now=call.now, limit=query.per_page, offset=offset)
        items = [_item(resource.event_of(row, call.now), fields) for row in rows]
        return numbered(items, page=query.page, per_page=query.per_page, total=total)

    return [events, search]


def _item(event: Event, fields: list[str] | None) -> msgspec.Struct:
    return event if fields is None else resource.sparse(event, fields)


def _read_endpoints(database: Database, cache: Cache) -> list[Endpoint]:
    details = Details(database, cache)

    @get(
        "/api/v1/events/{id}",
        summary="One event",
        tag=TAG,
        answer=Event,
        path_params=EventPath,
        auth=Auth.OPTIONAL,
        errors=(EventNotFound,),
        description="A draft is shown to its organizer alone; its ETag is what If-Match takes.",
    )
    async def event(call: Call[EventPath, Nothing, Nothing]) -> Rendered:
        kept = details.kept(call.path.id, call.now, call.seen)
        if kept is not None:
            return kept
        return await details.read(call.path.id, call.caller, call.now, call.seen)

    @get(
        "/api/v1/events/{id}/availability",
        summary="What can be bought now",
        tag=TAG,
        answer=Availability,
        path_params=EventPath,
        errors=(EventNotFound,),
    )
    async def availability(call: Call[EventPath, Nothing, Nothing]) -> Availability:
        return await service.availability(database, call.path.id, now=call.now)

    @get(
        "/api/v1/metadata/{hash}",
        summary="A metadata document, byte for byte",
        tag=TAG,
        answer=Raw,
        path_params=DocumentPath,
        errors=(MetadataNotFound,),
    )
    async def metadata(call: Call[DocumentPath, Nothing, Nothing]) -> Raw:
        return Raw(await service.document(database, parse_hash(call.path.hash)), headers=_FOREVER)

    return [event, availability, metadata]


def _draft_endpoints(database: Database, intents: Intents) -> list[Endpoint]:
    @post(
        "/api/v1/events",
        summary="Create a draft for my organization",
        tag=TAG,
        answer=Event,
        body=NewDraft,
        status=201,
        auth=Auth.USER,
        idempotent=True,
        errors=(OrganizationNotFound, PermissionMissing, NoWallet, WalletTaken, WalletNeeded),
        description="Without `organizationId` it is for the organization of the wallet that you signed in "
        "with; there is one from your first draft on.",
    )
    async def create(call: Call[Nothing, Nothing, NewDraft]) -> Reply:
        async with database.transaction() as tx:
            await call.once(tx)
            drafted = await drafts.create_draft(tx, call.user, call.body, intents, now=call.now)
            event, draft = drafted.event, drafted.after
            if drafted.founded is not None:
                await call.audit(
                    tx,
                    "organization.created",
                    resource=f"organization:{draft.organization_id}",
                    organization=draft.organization_id,
                    diff={"called": [None, drafted.founded], "wallet": [None, event.organizer]},
                )
            await _audit(call, tx, "event.draft_created", draft, audit.changed({}, draft.content))
        return Reply(event, headers=(*_tag(event), ("Location", f"/api/v1/events/{event.id}")))

    @put(
        "/api/v1/events/{id}",
        summary="Replace a draft's content",
        tag=TAG,
        answer=Event,
        path_params=EventPath,
        body=DraftUpdate,
        auth=Auth.USER,
        errors=(*_OWN, StaleVersion),
        description="Say the version that you changed, by `version` or by If-Match.",
    )
    async def replace(call: Call[EventPath, Nothing, DraftUpdate]) -> Reply:
        async with database.transaction() as tx:
            drafted = await drafts.replace_draft(
                tx,
                call.path.id,
                call.user,
                call.body,
                if_match=call.headers.get("if-match"),
                intents=intents,
                now=call.now,
            )
            before, after = drafted.before, drafted.after
            diff = audit.changed(before.content, after.content)
            diff["version"] = [before.version, after.version]
            await _audit(call, tx, "event.draft_replaced", after, diff)
        return Reply(drafted.event, headers=_tag(drafted.event))

    return [create, replace]


def _tag(event: Event) -> tuple[tuple[str, str], ...]:
    assert event.version is not None
    return (("ETag", f'"{drafts.version_tag(event.version)}"'),)


def _organizer_endpoints(database: Database, intents: Intents, public_url: str) -> list[Endpoint]:
    @post(
        "/api/v1/events/{id}/publish",
        summary="Prepare the transaction that creates the event on its chain",
        tag=TAG,
        answer=Intent,
        path_params=EventPath,
        auth=Auth.USER,
        idempotent=True,
        errors=(*_OWN, NoWallet, CreationRefused, *INTENT_ERRORS),
        description="Doing it again before the transaction is mined prepares the same one.",
    )
    async def publish(call: Call[EventPath, Nothing, Nothing]) -> Intent:
        async with database.transaction() as tx:
            kept = await drafts.keep_document(
                tx, call.path.id, call.user, intents, public_url=public_url, now=call.now
            )
            diff = {"metadataHash": [None, kept.document.hash], "organizer": [None, kept.organizer]}
            await _audit(call, tx, "event.document_kept", kept.draft, diff)
        return await drafts.creation_intent(intents, kept, public_url=public_url)

    @delete(
        "/api/v1/events/{id}",
        summary="Delete a draft, or prepare the cancel of a published event",
        tag=TAG,
        answer=Deleted | Intent,
        path_params=EventPath,
        auth=Auth.USER,
        errors=(EventNotFound, PermissionMissing, EventCancelled, AlreadyWithdrawn, *INTENT_ERRORS),
    )
    async def remove(call: Call[EventPath, Nothing, Nothing]) -> Deleted | Intent:
        try:
            async with database.transaction() as tx:
                draft = await drafts.delete_draft(tx, call.path.id, call.user, now=call.now)
                diff = audit.changed(draft.content, {})
                await _audit(call, tx, "event.draft_deleted", draft, diff)
                return Deleted(draft.id, deleted=True)
        except AlreadyPublished:
            event, _ = await service.managed(database, call.path.id, call.user, Permission.EVENTS_PUBLISH)
            return await service.cancel_intent(intents, event)

    @post(
        "/api/v1/events/{id}/tiers/{tier}/price",
        summary="Prepare a new price of a tier",
        tag=TAG,
        answer=Intent,
        path_params=TierPath,
        body=PriceContent,
        auth=Auth.USER,
        idempotent=True,
        errors=(EventNotFound, PermissionMissing, NotPublished, EventCancelled, UnknownTier, *INTENT_ERRORS),
    )
    async def price(call: Call[TierPath, Nothing, PriceContent]) -> Intent:
        event, _ = await service.managed(database, call.path.id, call.user, Permission.EVENTS_PUBLISH)
        return await service.price_intent(intents, event, call.path.tier, Wei(int(call.body.price_wei)))

    return [publish, remove, price]


async def _audit(call: Call[Any, Any, Any], tx: Tx, action: str, draft: HeldDraft, diff: audit.Diff) -> None:
    about = f"event:{draft.id}"
    await call.audit(tx, action, resource=about, organization=draft.organization_id, diff=diff)


def _register_endpoint(database: Database) -> Endpoint:
    @post(
        "/api/v1/events/{id}/register",
        summary="Say that you will come",
        tag=TAG,
        answer=Registration,
        path_params=EventPath,
        status=201,
        other_statuses=(200,),
        auth=Auth.USER,
        idempotent=True,
        errors=(EventNotFound, EventCancelled, EventEnded),
        description="Counts once; saying it again answers 200 with the first time.",
    )
    async def register(call: Call[EventPath, Nothing, Nothing]) -> Reply:
        async with database.transaction() as tx:
            await call.once(tx)
            event = await service.published(tx, call.path.id)
            registration, new = await service.register(tx, call.path.id, address_of(call.user), now=call.now)
            if new:
                organization = await organizations.organization_of(tx, event.organizer)
                about = f"event:{event.public_id}"
                await call.audit(tx, "event.registered", resource=about, organization=organization)
        return Reply(registration, status=201 if new else 200)

    return register
