"""What may be published, and what an event is at a moment: the contract's limits in Python, without IO."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from msgspec import structs

from echain.events.types import DraftContent, SaleState, Status, TierContent
from echain.kernel.errors import Invalid
from echain.kernel.time import to_unix

MAX_NAME_BYTES: Final = 128
MAX_TICKETS: Final = 2**32 - 2
MAX_PRICE_WEI: Final = 2**96 - 1
MAX_AHEAD: Final = timedelta(days=3650)
WHOLE_BPS: Final = 10_000
"""Twins of `EventFactory._checkParams` and `TicketSales._setTier`."""

MAX_URI_BYTES: Final = 512

Problem = dict[str, str]
"""``{"path": …, "reason": …}``."""


def check(
    content: DraftContent, *, now: datetime, chain_ids: Collection[int], zones: Collection[str]
) -> None:
    """Refuse content that the contract would refuse or that nobody could understand.

    ``chain_ids`` are those this platform writes to, ``zones`` the names of time zones (empty: unknown
    here, any name passes).

    Raises:
        Invalid: with every wrong field.
    """
    wrong = list(problems(content, now=now, chain_ids=chain_ids, zones=zones))
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise Invalid(f"{wrong[0]['path']}: {wrong[0]['reason']}{more}", fields=wrong)


def problems(
    content: DraftContent, *, now: datetime, chain_ids: Collection[int], zones: Collection[str]
) -> Iterator[Problem]:
    """Yield what is wrong with content whose fields each have their right form."""
    if content.chain_id not in chain_ids:
        served = ", ".join(str(chain_id) for chain_id in sorted(chain_ids))
        yield _problem("chainId", f"this platform writes to {served or 'no chain'}")
    if not content.title.strip():
        yield _problem("title", "is blank")
    if len(content.title.encode()) > MAX_NAME_BYTES:
        yield _problem("title", f"takes more than {MAX_NAME_BYTES} bytes in UTF-8")
    if zones and content.timezone not in zones:
        yield _problem("timezone", "no IANA time zone, such as Europe/Berlin")
    if (content.place.latitude is None) != (content.place.longitude is None):
        yield _problem("place", "latitude and longitude need each other")
    yield from _schedule_problems(content, now)
    yield from _tiers_problems(content)
    yield from _rules_problems(content)


def _schedule_problems(content: DraftContent, now: datetime) -> Iterator[Problem]:
    start, end = to_unix(content.start_time), to_unix(content.end_time)
    if start <= to_unix(now):
        yield _problem("startTime", "is not in the future")
    if end <= start:
        yield _problem("endTime", "is not after startTime")
    if end > to_unix(now + MAX_AHEAD):
        yield _problem("endTime", "is more than ten years ahead")


def _tiers_problems(content: DraftContent) -> Iterator[Problem]:
    seen: set[str] = set()
    for index, tier in enumerate(content.tiers):
        path = f"tiers[{index}]"
        name = tier.name.strip().casefold()
        if not name:
            yield _problem(f"{path}.name", "is blank")
        elif name in seen:
            yield _problem(f"{path}.name", "another tier has this name")
        seen.add(name)
        yield from _tier_problems(tier, content, path)
    if content.max_tickets is None and ticket_limit(content) > MAX_TICKETS:
        yield _problem("maxTickets", f"the tiers together hold more than {MAX_TICKETS}")


def _tier_problems(tier: TierContent, content: DraftContent, path: str) -> Iterator[Problem]:
    if int(tier.price_wei) > MAX_PRICE_WEI:
        yield _problem(f"{path}.priceWei", f"is more than {MAX_PRICE_WEI}")
    start, end, event_end = sale_window(tier, content)
    if start < 0:
        yield _problem(f"{path}.saleStart", "is before 1970")
    if start >= event_end:
        yield _problem(f"{path}.saleStart", "is not before the event's end")
    if end > event_end:
        yield _problem(f"{path}.saleEnd", "is after the event's end")
    if tier.sale_end is not None and end <= start:
        yield _problem(f"{path}.saleEnd", "is not after saleStart")


def _rules_problems(content: DraftContent) -> Iterator[Problem]:
    rules = content.rules
    if rules.gift_policy == "limited" and rules.max_gifts == 0:
        yield _problem("rules.maxGifts", "at least 1 under the policy limited")
    if 0 < rules.resale_cap_bps < WHOLE_BPS:
        yield _problem(
            "rules.resaleCapBps", "0, or at least 10000: a seller may always recover the face value"
        )


def sale_window(tier: TierContent, content: DraftContent) -> tuple[int, int, int]:
    """Return Unix seconds of a tier's sale start and end, and of the event's end; 0 where none was said."""
    start = 0 if tier.sale_start is None else to_unix(tier.sale_start)
    end = 0 if tier.sale_end is None else to_unix(tier.sale_end)
    return start, end, to_unix(content.end_time)


def in_utc(content: DraftContent) -> DraftContent:
    """Return checked content with every moment in UTC, whatever offset it was written with."""
    tiers = [
        structs.replace(tier, sale_start=_utc(tier.sale_start), sale_end=_utc(tier.sale_end))
        for tier in content.tiers
    ]
    return structs.replace(
        content,
        start_time=content.start_time.astimezone(UTC),
        end_time=content.end_time.astimezone(UTC),
        tiers=tiers,
    )


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.astimezone(UTC)


def ticket_limit(content: DraftContent) -> int:
    """Return the most tickets that all tiers together may sell."""
    if content.max_tickets is not None:
        return content.max_tickets
    return sum(tier.supply for tier in content.tiers)


def remaining(*, supply: int, sold: int, max_tickets: int, sold_tickets: int) -> int:
    """Return what is left of a tier, as `TicketSales._remaining` counts, never below 0."""
    return max(0, min(supply - sold, max_tickets - sold_tickets))


def status(*, cancelled: bool, ends_at: datetime, now: datetime) -> Status:
    """Return what a published event is now."""
    if cancelled:
        return "cancelled"
    return "past" if ends_at <= now else "upcoming"


def sale_state(
    *, cancelled: bool, left: int, opens_at: datetime | None, closes_at: datetime, now: datetime
) -> SaleState:
    """Return whether a tier is on sale now; ``opens_at`` None is at once, at ``closes_at`` it is too late."""
    if cancelled:
        return "cancelled"
    if closes_at <= now:
        return "closed"
    if opens_at is not None and now < opens_at:
        return "not_open"
    return "on_sale" if left else "sold_out"


def _problem(path: str, reason: str) -> Problem:
    return {"path": path, "reason": reason}
