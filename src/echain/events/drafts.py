"""Use cases of drafts: made, changed, deleted, and turned into the transaction that publishes them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from echain.accounts.types import address_of
from echain.chain.intent import Intent
from echain.edge.http import Caller
from echain.events import holdings, resource, rules, service, store
from echain.events import intents as calls
from echain.events.intents import Intents
from echain.events.types import (
    AlreadyPublished,
    Document,
    DraftContent,
    DraftUpdate,
    Event,
    NewDraft,
    StaleVersion,
)
from echain.infra.database import Row, Tx
from echain.kernel.errors import invalid_field
from echain.kernel.evm import Address, Hash32, to_hex
from echain.kernel.ids import uuid7
from echain.organizations import service as organizations
from echain.organizations.types import NoWallet, OrganizationNotFound, Permission, Standing

_METADATA_PATH: Final = "/api/v1/metadata/"


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
    if not await store.insert_draft(tx, draft):
        raise OrganizationNotFound
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


def _checked(content: DraftContent, intents: Intents, now: datetime) -> DraftContent:
    rules.check(content, now=now, chain_ids=intents.chain_ids, zones=service.time_zones())
    return rules.in_utc(content)


def _content(sent: NewDraft | DraftUpdate) -> DraftContent:
    return DraftContent(**{name: getattr(sent, name) for name in DraftContent.__struct_fields__})


async def _locked(tx: Tx, draft_id: UUID, caller: Caller, permission: Permission) -> Row:
    draft = await store.lock_draft(tx, draft_id)
    if draft is not None and draft["event_id"] is None:
        await service.standing_to_draft(tx, caller, draft, permission)
        return draft
    await service.managed(tx, draft_id, caller, permission)
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
