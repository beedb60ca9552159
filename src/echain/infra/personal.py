"""What is held of one person: shown to them and erased, whichever part of the platform holds it.

A part says in statements what it holds, and how it forgets it; `accounts` asks all of them, and `entry` says
which there are.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, TypeAlias
from uuid import UUID

import msgspec

from echain.infra.database import Connection, Row, Tx
from echain.kernel.evm import Address, checksum, to_hex

ADDRESS_BYTES: Final = 20


class Subject(msgspec.Struct, frozen=True):
    """Whom it is about: a user, and the wallets that signed in as them."""

    user_id: UUID
    wallets: tuple[Address, ...]


Opened: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]
Forget: TypeAlias = Callable[[Tx, Subject, datetime], Awaitable[None]]


class Section(msgspec.Struct, frozen=True):
    """One kind of what is held.

    ``statement`` selects rows beside a table ``subject (user_id, wallets)`` of one row. Its column ``key`` is
    a text that tells them apart and gives their order; the others are named as they are shown. ``opened``
    makes of a row what is shown, where a value is sealed.
    """

    name: str
    about: str
    statement: str
    opened: Opened | None = None


async def _nothing(_tx: Tx, _subject: Subject, _now: datetime) -> None:
    """Hold nothing back, and hold nothing to forget."""


class Holding(msgspec.Struct, frozen=True):
    """What one part holds of people.

    ``forget`` erases it in the transaction that erases everything. ``lock`` runs before anything is erased:
    it takes the part's own locks, and raises where somebody else depends on this person.
    """

    sections: Sequence[Section] = ()
    forget: Forget = _nothing
    lock: Forget = _nothing


async def read(
    connection: Connection, section: Section, subject: Subject, *, after: str | None, limit: int
) -> tuple[list[dict[str, Any]], str | None]:
    """Return the next rows of a section after a key, and the key to go on after; None at the end."""
    rows = await connection.fetch(
        f"""
        WITH subject AS (SELECT $1::uuid AS user_id, $2::bytea[] AS wallets)
        SELECT * FROM ({section.statement}) AS held
         WHERE $3::text IS NULL OR key COLLATE "C" > $3
         ORDER BY key COLLATE "C" LIMIT $4
        """,  # noqa: S608 -- a section's own constant
        subject.user_id,
        list(subject.wallets),
        after,
        limit + 1,
    )
    page = rows[:limit]
    return [_shown(row, section.opened) for row in page], page[-1]["key"] if len(rows) > limit else None


def _shown(row: Row, opened: Opened | None) -> dict[str, Any]:
    held = {name: value for name, value in row.items() if name != "key"}
    if opened is not None:
        held = opened(held)
    return {name: _plain(value) for name, value in held.items()}


def _plain(value: Any) -> Any:
    """Return a value as the API spells it: addresses in EIP-55, other bytes in hex, amounts as text."""
    if isinstance(value, bytes):
        return checksum(Address(value)) if len(value) == ADDRESS_BYTES else to_hex(value)
    return str(value) if isinstance(value, Decimal) else value
