"""Rows of events and drafts as the resources that people read; pure."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Any, Final
from uuid import UUID

import msgspec

from echain.events import rules
from echain.events.types import (
    Availability,
    Document,
    DraftContent,
    Event,
    PartialEvent,
    Place,
    RulesContent,
    Status,
    Tier,
    TierAvailability,
    TierContent,
)
from echain.infra.database import Row
from echain.kernel.errors import Invalid
from echain.kernel.evm import Address, checksum, keccak, to_hex
from echain.kernel.time import rfc3339, to_unix

DESCRIPTION_OF_UNKNOWN: Final = ""
"""An event made elsewhere says on chain no more than its name and a URI, which is not followed."""


class TierRow(msgspec.Struct, frozen=True, array_like=True):
    """A tier as `store.TIERS` writes it; prices as decimal text."""

    tier_id: int
    price_wei: str
    supply: int
    sold: int
    sale_starts_at: datetime | None
    sale_ends_at: datetime | None
    max_per_purchase: int
    max_per_wallet: int


class _TierName(msgspec.Struct, frozen=True):
    name: str


class Told(msgspec.Struct, frozen=True, rename="camel"):
    """What a kept document adds to the chain's words."""

    title: str
    description: str = DESCRIPTION_OF_UNKNOWN
    place: Place = Place()
    category: str | None = None
    image: str | None = None
    timezone: str = "UTC"
    tiers: list[_TierName] = []


_read_tiers: Final = msgspec.json.Decoder(list[TierRow]).decode
_read_told: Final = msgspec.json.Decoder(Told).decode
_read_draft: Final = msgspec.json.Decoder(DraftContent).decode


def content_of(text: str) -> DraftContent:
    """Return a draft's content as it was kept."""
    return _read_draft(text)


def event_of(row: Row, now: datetime) -> Event:
    """Return the resource of a row with the columns of `store.PUBLISHED`."""
    return _published(row, now) if row["version"] is None else draft_of(row)


def next_change(event: Event, now: datetime) -> datetime | None:
    """Return the moment at which time alone makes this resource untrue; None when it never does."""
    return event.end_time if event.status == "upcoming" and event.end_time > now else None


def _published(row: Row, now: datetime) -> Event:
    told = _told(row["content"], row["name"])
    limit, sold = row["max_tickets"], row["sold_tickets"]
    tiers = [
        Tier(
            tier_id=tier.tier_id,
            name=_tier_name(told, tier.tier_id),
            price_wei=tier.price_wei,
            supply=tier.supply,
            sold=tier.sold,
            remaining=rules.remaining(
                supply=tier.supply, sold=tier.sold, max_tickets=limit, sold_tickets=sold
            ),
            sale_start=tier.sale_starts_at,
            sale_end=tier.sale_ends_at,
            max_per_purchase=tier.max_per_purchase,
            max_per_wallet=tier.max_per_wallet,
        )
        for tier in _tiers(row["tiers"])
    ]
    return Event(
        id=row["public_id"],
        status=rules.status(cancelled=row["cancelled"], ends_at=row["ends_at"], now=now),
        chain_id=row["chain_id"],
        blockchain_id=row["blockchain_id"],
        ticket_contract=checksum(Address(row["ticket_contract"])),
        organizer=checksum(Address(row["organizer"])),
        organization_id=row["organization_id"],
        organization_name=row["organization_name"],
        title=told.title,
        description=told.description,
        place=told.place,
        category=told.category,
        image=told.image,
        start_time=row["starts_at"],
        end_time=row["ends_at"],
        timezone=told.timezone,
        ticket_price=tiers[0].price_wei if tiers else row["ticket_price"],
        max_tickets=limit,
        sold_tickets=sold,
        remaining=max(0, limit - sold),
        tiers=tiers,
        rules=RulesContent(
            gift_policy=row["gift_policy"],
            max_gifts=row["max_gifts"],
            gifts_to_contracts=row["gifts_to_contracts"],
            resale_cap_bps=row["resale_cap_bps"],
            royalty_bps=row["royalty_bps"],
        ),
        fee_bps=row["fee_bps"],
        metadata_uri=row["metadata_uri"],
        metadata_hash=to_hex(row["metadata_hash"]),
        transaction_hash=to_hex(row["transaction_hash"]),
        created_at=row["created_at"],
        updated_at=None,
        version=None,
    )


def draft_of(row: Row) -> Event:
    """Return the resource of a draft's row."""
    return draft_event(
        content_of(row["content"]),
        draft_id=row["public_id"],
        organizer=Address(row["organizer"]),
        organization_id=row["organization_id"],
        organization_name=row["organization_name"],
        version=row["version"],
        metadata_hash=row["metadata_hash"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def draft_event(
    content: DraftContent,
    *,
    draft_id: UUID,
    organizer: Address,
    organization_id: UUID | None,
    organization_name: str | None,
    version: int,
    metadata_hash: bytes | None,
    created_at: datetime,
    updated_at: datetime,
) -> Event:
    """Return the resource of a draft."""
    limit = rules.ticket_limit(content)
    return Event(
        id=draft_id,
        status="draft",
        chain_id=content.chain_id,
        blockchain_id=None,
        ticket_contract=None,
        organizer=checksum(organizer),
        organization_id=organization_id,
        organization_name=organization_name,
        title=content.title,
        description=content.description,
        place=content.place,
        category=content.category,
        image=content.image,
        start_time=content.start_time,
        end_time=content.end_time,
        timezone=content.timezone,
        ticket_price=content.tiers[0].price_wei,
        max_tickets=limit,
        sold_tickets=0,
        remaining=limit,
        tiers=[_draft_tier(tier_id, tier, limit) for tier_id, tier in enumerate(content.tiers)],
        rules=content.rules,
        fee_bps=None,
        metadata_uri=None,
        metadata_hash=None if metadata_hash is None else to_hex(metadata_hash),
        transaction_hash=None,
        created_at=created_at,
        updated_at=updated_at,
        version=version,
    )


def _draft_tier(tier_id: int, tier: TierContent, limit: int) -> Tier:
    return Tier(
        tier_id=tier_id,
        name=tier.name,
        price_wei=tier.price_wei,
        supply=tier.supply,
        sold=0,
        remaining=min(tier.supply, limit),
        sale_start=tier.sale_start,
        sale_end=tier.sale_end,
        max_per_purchase=tier.max_per_purchase,
        max_per_wallet=tier.max_per_wallet,
    )


def availability_of(row: Row, now: datetime) -> Availability:
    """Return what the event of an `store.offer` row sells at ``now``."""
    told = _told(row["content"], "")
    cancelled, ends_at = row["cancelled"], row["ends_at"]
    limit, sold = row["max_tickets"], row["sold_tickets"]
    tiers: list[TierAvailability] = []
    for tier in _tiers(row["tiers"]):
        left = rules.remaining(supply=tier.supply, sold=tier.sold, max_tickets=limit, sold_tickets=sold)
        # Past the event's end nothing is sold, whatever a tier says.
        closes_at = min(tier.sale_ends_at or ends_at, ends_at)
        tiers.append(
            TierAvailability(
                tier_id=tier.tier_id,
                name=_tier_name(told, tier.tier_id),
                price_wei=tier.price_wei,
                supply=tier.supply,
                sold=tier.sold,
                remaining=left,
                sale_start=tier.sale_starts_at,
                sale_end=closes_at,
                max_per_purchase=tier.max_per_purchase,
                max_per_wallet=tier.max_per_wallet,
                state=rules.sale_state(
                    cancelled=cancelled, left=left, opens_at=tier.sale_starts_at, closes_at=closes_at, now=now
                ),
            )
        )
    status: Status = rules.status(cancelled=cancelled, ends_at=ends_at, now=now)
    return Availability(row["public_id"], status, limit, sold, max(0, limit - sold), tiers)


def _told(content: str | None, name: str) -> Told:
    return Told(title=name) if content is None else _read_told(content)


def _tiers(text: str | None) -> list[TierRow]:
    return [] if text is None else _read_tiers(text)


def _tier_name(told: Told, tier_id: int) -> str:
    """Return what the organizer calls a tier; one that the document does not know is called by its number."""
    return told.tiers[tier_id].name if 0 <= tier_id < len(told.tiers) else f"Tier {tier_id}"


def document_of(content: DraftContent, draft_id: UUID, organizer: Address, public_url: str) -> Document:
    """Return the metadata document of a draft as ERC-721 clients and OpenSea read it.

    Canonical: keys sorted, no white space, UTF-8. The draft's id makes documents of equal drafts differ.
    """
    attributes: list[dict[str, Any]] = [
        {"trait_type": "Starts", "display_type": "date", "value": to_unix(content.start_time)},
        {"trait_type": "Ends", "display_type": "date", "value": to_unix(content.end_time)},
        {"trait_type": "Organizer", "value": checksum(organizer)},
    ]
    if content.place.name:
        attributes.append({"trait_type": "Place", "value": content.place.name})
    if content.category:
        attributes.append({"trait_type": "Category", "value": content.category})
    value: dict[str, Any] = {
        "name": content.title,
        "description": content.description,
        "external_url": f"{public_url}/events/{draft_id}",
        "attributes": attributes,
        "echain": {
            "version": 1,
            "event": str(draft_id),
            "chainId": content.chain_id,
            "place": msgspec.to_builtins(content.place),
            "startTime": rfc3339(content.start_time),
            "endTime": rfc3339(content.end_time),
            "timezone": content.timezone,
            "tiers": [{"name": tier.name} for tier in content.tiers],
        },
    }
    if content.image:
        value["image"] = content.image
    body = msgspec.json.encode(value, order="sorted")
    return Document(keccak(body), body)


@cache
def _field_names() -> dict[str, str]:
    return {field.encode_name: field.name for field in msgspec.structs.fields(Event)}


def chosen_fields(fields: str | None) -> list[str] | None:
    """Return the attributes that a comma list of field names asks for; None asks for all.

    Raises:
        Invalid: a name that events do not have.
    """
    if fields is None:
        return None
    known = _field_names()
    names = fields.split(",")
    wrong = [name for name in names if name not in known]
    if wrong:
        reason = f"events have no field {wrong[0]!r}; they have {', '.join(known)}"
        raise Invalid(f"fields: {reason}", fields=[{"path": "fields", "reason": reason}])
    return [known[name] for name in names]


def sparse(event: Event, attributes: list[str]) -> msgspec.Struct:
    """Return an event with these fields only."""
    return PartialEvent(**{name: getattr(event, name) for name in attributes})
