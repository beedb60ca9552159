"""The audit log as people are shown it, the newest entry first."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, TypeAlias
from uuid import UUID

import msgspec

from echain.infra.audit.chain import COLUMNS, PLATFORM, Entry
from echain.infra.audit.store import entry_of
from echain.infra.database import Connection, Row
from echain.kernel.evm import checksum
from echain.kernel.paging import MAX_PER_PAGE, Page, PageInfo

DEFAULT_LIMIT: Final = 50
Moment: TypeAlias = Annotated[datetime, msgspec.Meta(tz=True)]

_ENTRY: Final = len(Entry.__struct_fields__)
_LONGEST: Final = 19


class Actor(msgspec.Struct, frozen=True, rename="camel"):
    """Who acted: a user, a gate, an operator at the command line, the system, or somebody anonymous.

    ``credential`` is the session or API key that was shown, as ``session:<id>`` or ``key:<id>``.
    """

    kind: str
    id: str
    address: str | None
    credential: str


class AuditEntry(msgspec.Struct, frozen=True, rename="camel"):
    """What somebody changed. ``diff`` has the old and the new value of each field; ``•••`` is not told.

    ``number`` and ``hash`` are the entry's place in its organization's chain; null until it is sealed, which
    takes a second.
    """

    id: UUID
    number: int | None
    at: datetime
    actor: Actor
    action: str
    resource: str
    organization_id: UUID | None
    request_id: str
    diff: dict[str, list[Any]]
    hash: str | None


class AuditFilter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which entries. ``resource`` is as an entry has it, ``action`` may be its beginning, like ``event.``."""

    actor: Annotated[str, msgspec.Meta(max_length=80)] | None = None
    resource: Annotated[str, msgspec.Meta(max_length=200)] | None = None
    action: Annotated[str, msgspec.Meta(max_length=80, pattern="^[a-z][a-z_.]*$")] | None = None
    since: Moment | None = None
    until: Moment | None = None
    cursor: Annotated[str, msgspec.Meta(max_length=_LONGEST, pattern="^[0-9]+$")] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_PER_PAGE)] = DEFAULT_LIMIT


class Found(msgspec.Struct, frozen=True):
    """An entry with what only operators are shown: the sealed address that it came from."""

    position: int
    entry: AuditEntry
    commitment: bytes | None
    sealed_client: bytes | None


async def page(connection: Connection, sought: AuditFilter, *, chain: UUID | None = None) -> Page[AuditEntry]:
    """Return a page of one chain (`PLATFORM` for the platform's), or of all chains."""
    found = await search(connection, sought, chain=chain, limit=sought.limit + 1)
    shown = found[: sought.limit]
    following = str(shown[-1].position) if len(found) > sought.limit else None
    return Page([one.entry for one in shown], PageInfo(per_page=sought.limit, next_cursor=following))


async def search(
    connection: Connection, sought: AuditFilter, *, chain: UUID | None, limit: int
) -> list[Found]:
    """Return entries below the cursor, the newest first."""
    given: list[tuple[str, object]] = []
    if chain is not None:
        given.append(("entry.organization_id IS NOT DISTINCT FROM {}", None if chain == PLATFORM else chain))
    for name, condition in _CONDITIONS.items():
        value: str | datetime | None = getattr(sought, name)
        if value is not None:
            given.append((condition, int(str(value)) if name == "cursor" else value))
    conditions = " AND ".join(text.format(f"${place}") for place, (text, _) in enumerate(given, 2)) or "TRUE"
    rows = await connection.fetch(_SEARCH.format(conditions), limit, *(value for _, value in given))
    return [_found(row) for row in rows]


_CONDITIONS: Final = {
    "actor": "entry.actor_id = {}",
    "resource": "entry.resource = {}",
    "action": "starts_with(entry.action, {})",
    "since": "entry.at >= {}",
    "until": "entry.at < {}",
    "cursor": "entry.position < {}",
}
"""By the filter's fields; only what is asked for stands in the statement, so that an index can serve it."""

_SEARCH: Final = f"""
    SELECT {COLUMNS}, link.number, link.hash, client.sealed
      FROM audit_entries AS entry
      LEFT JOIN audit_links AS link ON link.position = entry.position
      LEFT JOIN audit_clients AS client ON client.entry_id = entry.id
     WHERE {{}}
     ORDER BY entry.position DESC LIMIT $1
"""  # noqa: S608 -- constants


def _found(row: Row) -> Found:
    entry = entry_of(row)
    number, digest, sealed = row[_ENTRY:]
    address = None if entry.actor_address is None else checksum(entry.actor_address)
    shown = AuditEntry(
        id=entry.id,
        number=number,
        at=entry.at,
        actor=Actor(entry.actor_kind, entry.actor_id, address, entry.credential),
        action=entry.action,
        resource=entry.resource,
        organization_id=entry.organization_id,
        request_id=entry.request_id,
        diff=msgspec.json.decode(entry.diff),
        hash=None if digest is None else digest.hex(),
    )
    return Found(entry.position, shown, entry.client, sealed)
