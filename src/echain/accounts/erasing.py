"""Showing people all that is held of them, and forgetting it: over every part that `entry` names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec

from echain.accounts import personal
from echain.accounts.types import WalletNeeded
from echain.edge.http import Caller
from echain.infra.database import AccountGone, Connection, Database, Tx
from echain.infra.personal import Holding, Section, Subject, read
from echain.kernel.errors import EchainError, Kind

ROWS_AT_ONCE: Final = 500
FRESH: Final = timedelta(minutes=5)
"""How old a sign-in may be that stands for the signature of somebody without a wallet."""


class AccountBusy(EchainError):
    """The account is being changed at this very moment; try again."""

    kind = Kind.UNAVAILABLE
    code = "auth.account_busy"


class SignInNotFresh(EchainError):
    """Without a wallet to confirm it, this takes a sign-in of the last five minutes; sign in again first."""

    kind = Kind.FORBIDDEN
    code = "auth.sign_in_not_fresh"


class SectionUnknown(EchainError):
    """There is no such section; GET /auth/export names those there are."""

    kind = Kind.NOT_FOUND
    code = "auth.section_unknown"


class Part(msgspec.Struct, frozen=True):
    """One kind of what is held: what it is, its next rows, and the key to ask for more with, if there are."""

    about: str
    rows: list[dict[str, Any]]
    next: str | None


class Export(msgspec.Struct, frozen=True, rename="camel"):
    """All that is held of a person, by kind; each kind's rows in the order of their keys, at most 500."""

    user_id: UUID
    exported_at: datetime
    sections: dict[str, Part]


def sections_of(holdings: Sequence[Holding]) -> dict[str, Section]:
    """Return the sections of all parts by their names.

    Raises:
        ValueError: two have one name.
    """
    found: dict[str, Section] = {}
    for section in (one for holding in holdings for one in holding.sections):
        if found.setdefault(section.name, section) is not section:
            raise ValueError(f"two sections are called {section.name}")
    return found


async def export(tx: Tx, user_id: UUID, sections: Mapping[str, Section], *, now: datetime) -> Export:
    """Return the first rows of everything that is held of a user; ``tx`` is one snapshot.

    Raises:
        AccountGone: it was erased meanwhile.
    """
    subject = await _subject(tx, user_id)
    parts: dict[str, Part] = {}
    for section in sections.values():
        rows, following = await read(tx, section, subject, after=None, limit=ROWS_AT_ONCE)
        parts[section.name] = Part(section.about, rows, following)
    return Export(user_id, now, parts)


async def rest(connection: Connection, user_id: UUID, section: Section, *, after: str) -> Part:
    """Return the next rows of one kind after a key."""
    subject = await _subject(connection, user_id)
    rows, following = await read(connection, section, subject, after=after, limit=ROWS_AT_ONCE)
    return Part(section.about, rows, following)


async def require_fresh(database: Database, user: Caller, *, now: datetime) -> None:
    """Refuse a user who came without a wallet, unless they signed in within the last five minutes.

    Raises:
        WalletNeeded: they have one; it is to confirm.
        SignInNotFresh: it was longer ago.
    """
    async with database.connection() as connection:
        subject = await _subject(connection, user.id)
        if subject.wallets:
            raise WalletNeeded("Sign in with your wallet, which has to confirm this.")
        opened = None if user.session is None else await personal.opened_at(connection, user.session)
    if opened is None or now - opened > FRESH:
        raise SignInNotFresh


async def erase(tx: Tx, user_id: UUID, holdings: Sequence[Holding], *, now: datetime) -> None:
    """Forget a person everywhere, or nowhere: the last of ``holdings`` is that of accounts.

    Locks first, in one order: the wallets and the user, then what each part locks, then the user against
    whoever refers to them by a foreign key. Those hold nothing that this waits for.

    Raises:
        AccountGone: it was erased meanwhile.
        AccountBusy: a wallet came to it meanwhile; nothing is wrong with trying again.
        EchainError: somebody depends on this person; a part says who.
    """
    subject = await personal.lock_person(tx, user_id)
    if subject is None:
        raise AccountGone
    for holding in holdings:
        await holding.lock(tx, subject, now)
    await personal.lock_alone(tx, user_id)
    settled = await personal.subject_of(tx, user_id)
    if settled is None or set(settled.wallets) != set(subject.wallets):
        raise AccountBusy
    for holding in holdings:
        await holding.forget(tx, subject, now)


async def _subject(connection: Connection, user_id: UUID) -> Subject:
    subject = await personal.subject_of(connection, user_id)
    if subject is None:
        raise AccountGone
    return subject
