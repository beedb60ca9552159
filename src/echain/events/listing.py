"""Lists of events: which, in what order, from where on; each page is one statement.

The text of a statement is put together from constants of this file alone; what people say are its arguments.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Final, Literal
from uuid import UUID

import msgspec

from echain.edge.http.fields import AddressText, Moment, WeiText
from echain.events.store import DRAFT, DRAFTS, PUBLISHED
from echain.events.types import Category, Status
from echain.infra.database import Database, Row
from echain.kernel.errors import Invalid, invalid_field
from echain.kernel.evm import parse_address
from echain.kernel.paging import PageNumber, PageSize
from echain.organizations.service import Reach

Sort = Literal["startTime", "-startTime", "createdAt", "-createdAt"]

_PUBLISHED_AT: Final[dict[str, str]] = {"startTime": "event.starts_at", "createdAt": "event.created_at"}
_DRAFT_AT: Final[dict[str, str]] = {
    "startTime": "(draft.content ->> 'startTime')::timestamptz",
    "createdAt": "draft.created_at",
}

_OF_ORGANIZATION: Final = (
    "event.organizer IN (SELECT address FROM organization_wallets WHERE organization_id = {})"
)
# The second are drafts that name no organization, as the version before writes them.
_DRAFT_OF_MINE: Final = (
    "(draft.organization_id = ANY({}) OR draft.organization_id IS NULL AND draft.organizer = ANY({}))"
)

RANKED: Final = 2_000
"""Among more finds than these the best match means nothing, and ranking them all costs a second: they come by
their start."""


class EventFilter(msgspec.Struct, frozen=True, rename={"chain_id": "chainId", "from_": "from",
                                                       "organization_id": "organizationId",
                                                       "per_page": "perPage"}):  # fmt: skip
    """Which events. ``from`` and ``to`` bound the start; ``mine`` is my organizations', drafts too.

    Pages come by ``page`` with totals, or by ``cursor`` (empty for the first) and ``limit`` without.
    """

    organizer: AddressText | None = None
    organization_id: UUID | None = None
    from_: Moment | None = None
    to: Moment | None = None
    status: Status | None = None
    chain_id: Annotated[int, msgspec.Meta(ge=1, le=2**53)] | None = None
    category: Category | None = None
    mine: bool = False
    sort: Sort = "startTime"
    page: PageNumber | None = None
    per_page: PageSize | None = None
    cursor: Annotated[str, msgspec.Meta(max_length=200)] | None = None
    limit: PageSize | None = None
    fields: (
        Annotated[str, msgspec.Meta(max_length=500, description="Field names, joined by commas")] | None
    ) = None


class EventSearch(msgspec.Struct, frozen=True, rename={"chain_id": "chainId", "from_": "from",
                                                       "max_price_wei": "maxPriceWei",
                                                       "per_page": "perPage"}):  # fmt: skip
    """Words to look for in titles, places, categories and descriptions, best matches first.

    All words must stand; the last one may be a beginning; ``"a phrase"``, ``or`` and ``-not`` work.
    """

    q: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    from_: Moment | None = None
    to: Moment | None = None
    status: Literal["upcoming", "past", "cancelled"] | None = None
    chain_id: Annotated[int, msgspec.Meta(ge=1, le=2**53)] | None = None
    category: Category | None = None
    max_price_wei: WeiText | None = None
    page: PageNumber = 1
    per_page: PageSize = 20
    fields: (
        Annotated[str, msgspec.Meta(max_length=500, description="Field names, joined by commas")] | None
    ) = None


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """Where a page ended: the sort, and the place of its last event in it."""

    sort: Sort
    at: datetime
    id: UUID


class _Arguments:
    """Numbers what people say, so that statements only ever hold ``$1`` and the like."""

    def __init__(self) -> None:
        self.values: list[object] = []

    def __call__(self, value: object) -> str:
        self.values.append(value)
        return f"${len(self.values)}"


def encode_mark(mark: Mark) -> str:
    """Return a mark as an opaque cursor."""
    return base64.urlsafe_b64encode(msgspec.json.encode(mark)).decode("ascii").rstrip("=")


def decode_mark(cursor: str, sort: Sort) -> Mark:
    """Return the mark of a cursor.

    Raises:
        Invalid: not a cursor of this list in this order.
    """
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        mark = msgspec.json.decode(text, type=Mark)
    except (binascii.Error, ValueError, msgspec.DecodeError):
        mark = None
    if mark is None or mark.sort != sort or mark.at.tzinfo is None:
        raise invalid_field("cursor", "not the nextCursor of this list in this order")
    return Mark(mark.sort, _utc(mark.at, "cursor"), mark.id)


def _utc(moment: datetime, path: str) -> datetime:
    """Return a moment in UTC; the first and last hours of time have none there.

    Raises:
        Invalid: the years 1 to 9999 in UTC do not hold it.
    """
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise invalid_field(path, "outside the years 1 to 9999 in UTC") from None


def check_paging(query: EventFilter) -> None:
    """Refuse a request for pages of both kinds.

    Raises:
        Invalid: ``cursor`` or ``limit`` beside ``page`` or ``perPage``.
    """
    by_cursor = [name for name in ("cursor", "limit") if getattr(query, name) is not None]
    if by_cursor and (query.page is not None or query.per_page is not None):
        reason = "pages by number and by cursor exclude each other"
        raise Invalid(
            f"{by_cursor[0]}: {reason}", fields=[{"path": name, "reason": reason} for name in by_cursor]
        )


async def page_of(
    database: Database, query: EventFilter, *, reach: Reach, now: datetime, limit: int, offset: int
) -> tuple[Sequence[Row], int]:
    """Return a page of events with the columns of `store.PUBLISHED`, and how many there are in all."""
    arguments = _Arguments()
    sources = _sources(query, reach, now, arguments, None)
    statement = f"""
        WITH picked AS ({_ordered(sources, query.sort)} LIMIT {arguments(limit)} OFFSET {arguments(offset)}),
             total AS (SELECT count(*) FROM ({" UNION ALL ".join(sources)}) AS every)
        SELECT (SELECT count FROM total) AS total, page.*
          FROM (SELECT) AS always LEFT JOIN ({_resources()}) AS page ON TRUE
         ORDER BY {_order("page.", query.sort)}
    """  # noqa: S608 - constants of this file
    rows = await database.fetch(statement, *arguments.values)
    total: int = rows[0]["total"]
    return [row for row in rows if row["id"] is not None], total


async def page_after(
    database: Database,
    query: EventFilter,
    mark: Mark | None,
    *,
    reach: Reach,
    now: datetime,
    limit: int,
) -> Sequence[Row]:
    """Return the events after ``mark``, those with the columns of `store.PUBLISHED` and their ``sort_at``."""
    arguments = _Arguments()
    sources = _sources(query, reach, now, arguments, mark)
    statement = f"""
        WITH picked AS ({_ordered(sources, query.sort)} LIMIT {arguments(limit)})
        {_resources()} ORDER BY {_order("", query.sort)}
    """
    return await database.fetch(statement, *arguments.values)


async def search(
    database: Database, query: EventSearch, *, now: datetime, limit: int, offset: int
) -> tuple[Sequence[Row], int]:
    """Return a page of the published events that match words, best first, and how many there are in all."""
    arguments = _Arguments()
    words = arguments(query.q)
    conditions = _published_conditions(query, now, arguments)
    if query.max_price_wei is not None:
        conditions.append(f"event.ticket_price_wei <= {arguments(int(query.max_price_wei))}")
    where = " AND ".join(conditions) or "TRUE"
    statement = f"""
        WITH words AS (
            -- The last word may be a beginning: people see results while they type.
            SELECT (plain::text || CASE WHEN plain::text LIKE '%''' THEN ':*' ELSE '' END)::tsquery AS q
              FROM websearch_to_tsquery('simple', {words}) AS plain
        ), found AS MATERIALIZED (
            SELECT event.id, event.starts_at, told.hash
              FROM words, metadata_documents AS told JOIN events AS event ON event.metadata_hash = told.hash
             WHERE told.search @@ words.q AND {where}
            UNION ALL
            SELECT event.id, event.starts_at, NULL
              FROM words, events AS event
              LEFT JOIN metadata_documents AS told ON told.hash = event.metadata_hash
             WHERE to_tsvector('simple', event.name) @@ words.q AND told.hash IS NULL AND {where}
        ), ranked AS (
            SELECT found.id, found.starts_at,
                   CASE WHEN (SELECT count(*) FROM found) > {RANKED} THEN 0 ELSE coalesce((
                       SELECT ts_rank(told.search, words.q) FROM words, metadata_documents AS told
                        WHERE told.hash = found.hash), 0) END AS rank
              FROM found
        ), picked AS (
            SELECT id, rank, starts_at FROM ranked ORDER BY rank DESC, starts_at, id
             LIMIT {arguments(limit)} OFFSET {arguments(offset)}
        )
        SELECT (SELECT count(*) FROM found) AS total, page.*
          FROM (SELECT) AS always LEFT JOIN (
                   SELECT {PUBLISHED}, picked.rank
                     FROM picked JOIN published_events AS event ON event.id = picked.id
               ) AS page ON TRUE
         ORDER BY page.rank DESC, page.starts_at, page.id
    """  # noqa: S608 - constants of this file
    rows = await database.fetch(statement, *arguments.values)
    total: int = rows[0]["total"]
    return [row for row in rows if row["id"] is not None], total


def _sources(
    query: EventFilter, reach: Reach, now: datetime, arguments: _Arguments, mark: Mark | None
) -> list[str]:
    """Return the SELECTs that together hold every event or draft of a list, with its place in the order."""
    column = query.sort.removeprefix("-")
    sources: list[str] = []
    if query.status != "draft":
        conditions = _published_conditions(query, now, arguments)
        if query.organizer is not None:
            conditions.append(
                f"event.organizer = {arguments(parse_address(query.organizer, path='organizer'))}"
            )
        if query.organization_id is not None:
            conditions.append(_OF_ORGANIZATION.format(arguments(query.organization_id)))
        if query.mine:
            conditions.append(f"event.organizer = ANY({arguments(reach.every_wallet)})")
        sources.append(_published_source(_PUBLISHED_AT[column], conditions, mark, query.sort, arguments))
    if query.status == "draft" or (query.mine and query.status is None):
        conditions = _draft_conditions(query, reach, arguments)
        sources.append(_draft_source(_DRAFT_AT[column], conditions, mark, query.sort, arguments))
    return sources


def _published_source(
    at: str, conditions: list[str], mark: Mark | None, sort: Sort, arguments: _Arguments
) -> str:
    where = " AND ".join([*conditions, *_after(at, "event.id", mark, sort, arguments)]) or "TRUE"
    return f"""SELECT event.id, {at} AS sort_at FROM events AS event
        LEFT JOIN metadata_documents AS told ON told.hash = event.metadata_hash
        WHERE {where}"""  # noqa: S608 - constants of this file


def _draft_source(
    at: str, conditions: list[str], mark: Mark | None, sort: Sort, arguments: _Arguments
) -> str:
    where = " AND ".join([*conditions, *_after(at, "draft.id", mark, sort, arguments)])
    return f"SELECT draft.id, {at} AS sort_at FROM event_drafts AS draft WHERE {where}"  # noqa: S608 - constants


def _published_conditions(
    query: EventFilter | EventSearch, now: datetime, arguments: _Arguments
) -> list[str]:
    conditions: list[str] = []
    if query.from_ is not None:
        conditions.append(f"event.starts_at >= {arguments(_utc(query.from_, 'from'))}")
    if query.to is not None:
        conditions.append(f"event.starts_at < {arguments(_utc(query.to, 'to'))}")
    if query.chain_id is not None:
        conditions.append(f"event.chain_id = {arguments(query.chain_id)}")
    if query.category is not None:
        conditions.append(f"told.category = {arguments(query.category)}")
    if query.status == "cancelled":
        conditions.append("event.cancelled")
    elif query.status == "past":
        conditions.append(f"NOT event.cancelled AND event.ends_at <= {arguments(now)}")
    elif query.status == "upcoming":
        conditions.append(f"NOT event.cancelled AND event.ends_at > {arguments(now)}")
    return conditions


def _draft_conditions(query: EventFilter, reach: Reach, arguments: _Arguments) -> list[str]:
    starts_at = _DRAFT_AT["startTime"]
    conditions = [
        _DRAFT_OF_MINE.format(arguments(reach.organizations), arguments(reach.wallets)),
        "draft.deleted_at IS NULL",
        "event_of_draft(draft.id) IS NULL",
    ]
    if query.organization_id is not None:
        conditions.append(f"draft.organization_id = {arguments(query.organization_id)}")
    if query.organizer is not None:
        conditions.append(f"draft.organizer = {arguments(parse_address(query.organizer, path='organizer'))}")
    if query.from_ is not None:
        conditions.append(f"{starts_at} >= {arguments(_utc(query.from_, 'from'))}")
    if query.to is not None:
        conditions.append(f"{starts_at} < {arguments(_utc(query.to, 'to'))}")
    if query.chain_id is not None:
        conditions.append(f"draft.chain_id = {arguments(query.chain_id)}")
    if query.category is not None:
        conditions.append(f"draft.content ->> 'category' = {arguments(query.category)}")
    return conditions


def _after(at: str, key: str, mark: Mark | None, sort: Sort, arguments: _Arguments) -> list[str]:
    if mark is None:
        return []
    comparison = "<" if sort.startswith("-") else ">"
    return [f"({at}, {key}) {comparison} ({arguments(mark.at)}, {arguments(mark.id)})"]


def _ordered(sources: Sequence[str], sort: Sort) -> str:
    return f"{' UNION ALL '.join(sources)} ORDER BY {_order('', sort)}"


def _order(table: str, sort: Sort) -> str:
    direction = " DESC" if sort.startswith("-") else ""
    return f"{table}sort_at{direction}, {table}id{direction}"


def _resources() -> str:
    """Return the SELECT that turns picked ids into resources; what costs is computed for one page only."""
    return f"""
        SELECT {PUBLISHED}, picked.sort_at FROM picked JOIN published_events AS event ON event.id = picked.id
        UNION ALL
        SELECT {DRAFT}, picked.sort_at FROM picked JOIN ({DRAFTS}) ON draft.id = picked.id
    """  # noqa: S608 - constants of this file
