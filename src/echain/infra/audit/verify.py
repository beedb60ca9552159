"""Reads chains again and says of each row whether it stands as it was sealed."""

from __future__ import annotations

import hmac
import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec

from echain.infra.audit import store
from echain.infra.audit.chain import FIRST, PLATFORM, VERSION, AuditKeys
from echain.infra.audit.store import Stored
from echain.infra.database import Connection, Database

MOST_FINDINGS: Final = 1_000
"""Where so much is wrong, more of it helps nobody."""

LATEST: Final = timedelta(hours=1)
"""How long before its seal an entry may say that it was written; usually it is a quarter of a second.

It bounds how far back somebody can date what they insert. A sealer that stood still for longer is told, too.
"""

AHEAD: Final = timedelta(minutes=5)
"""How far the clock of who writes may be ahead of the sealer's."""

PAGE: Final = 2_000
_SEALED: Final = "audit.sealed"
_SEALED_RESOURCE: Final = "organization:"
_UUID: Final = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_OTHER: Final = "the row has another hash than was seen before"

Progress = Callable[[int], None]
"""Is told how many rows have been read, after each page."""


class Finding(msgspec.Struct, frozen=True):
    """Something that is not as it was sealed. ``number`` is the row in its chain, None outside of any."""

    chain: UUID
    number: int | None
    position: int | None
    what: str


class Report(msgspec.Struct):
    """What a check has read and found; nothing found means that nothing is wrong."""

    rows: int = 0
    waiting: int = 0
    ends: dict[UUID, tuple[int, bytes]] = msgspec.field(default_factory=dict)
    findings: list[Finding] = msgspec.field(default_factory=list)

    @property
    def full(self) -> bool:
        return len(self.findings) >= MOST_FINDINGS

    def find(self, chain: UUID, number: int | None, position: int | None, what: str) -> None:
        if not self.full:
            self.findings.append(Finding(chain, number, position, what))


async def verify(
    database: Database,
    keys: AuditKeys,
    *,
    chain: UUID | None = None,
    expected: Mapping[int, bytes] | None = None,
    since: datetime | None = None,
    on_progress: Progress | None = None,
) -> Report:
    """Check one chain or all, from the beginning or from the first row that was sealed ``since``.

    That no entry stands beside the chains is always checked of all that there are.
    ``expected`` holds hashes by number that somebody wrote down of ``chain``. Reads a page at a time, each in
    its own snapshot; what is written meanwhile does not disturb.
    """
    report = Report()
    async with database.connection() as connection:
        chains = [chain] if chain is not None else await store.chains(connection)
        # The platform's first: it says where the others were seen to end.
        chains.sort(key=lambda one: one != PLATFORM)
        told: dict[UUID, tuple[int, bytes]] = {}
        if chain is not None:
            told = await _told_of(connection, chain)
        for one in chains:
            marks = _Marks(expected or {})
            if one in told:
                marks.add(*told.pop(one))
            await _Chain(one, keys, report, marks, told).run(connection, since, on_progress or _nobody)
        if chain is None:
            for gone, (number, _) in told.items():
                report.find(gone, None, None, f"the chain is gone; it was seen to have {number:,} rows")
        for position, organization in await store.unchained(connection, chain, MOST_FINDINGS):
            what = "an entry that no chain holds and that does not wait: inserted, or taken out of its chain"
            report.find(organization or PLATFORM, None, position, what)
        for position in await store.lost(connection, MOST_FINDINGS):
            report.find(PLATFORM, None, position, "the entry waited to be chained and is gone")
        report.waiting = (await store.lag(connection))[0]
    return report


async def _told_of(connection: Connection, chain: UUID) -> dict[UUID, tuple[int, bytes]]:
    """Return what the platform's chain says last of another's end."""
    diff = await store.last_diff(connection, _SEALED, f"{_SEALED_RESOURCE}{chain}")
    end = None if diff is None else _end_of(diff)
    return {} if end is None else {chain: end}


def _end_of(diff: str) -> tuple[int, bytes] | None:
    try:
        told: dict[str, Any] = msgspec.json.decode(diff)
        return int(told["number"][1]), bytes.fromhex(told["hash"][1].removeprefix("0x"))
    except (msgspec.DecodeError, LookupError, TypeError, ValueError, AttributeError):
        return None


def _nobody(_: int) -> None:
    """Take word of the progress."""


class _Marks:
    """Hashes that were seen in a chain, by number: by its head, by the platform's chain, by somebody."""

    def __init__(self, seen: Mapping[int, bytes]) -> None:
        self._seen = {number: {digest} for number, digest in seen.items()}

    def add(self, number: int, digest: bytes) -> None:
        self._seen.setdefault(number, set()).add(digest)

    def hold(self, number: int, digest: bytes) -> bool:
        """Return whether a row's hash is what was seen of it, if anything was; it is not asked for again."""
        return self._seen.pop(number, {digest}) == {digest}

    def up_to(self, number: int) -> list[int]:
        return sorted(one for one in self._seen if one <= number)

    def left(self) -> list[int]:
        return sorted(self._seen)

    def forget(self, first: int, last: int) -> None:
        for number in [number for number in self._seen if first <= number <= last]:
            del self._seen[number]


@dataclass
class _Odd:
    """Rows in succession whose moment does not fit their seal's, ``most`` by the one that fits least."""

    first: int
    last: int
    position: int
    most: timedelta
    back: bool


class _Chain:
    """One chain while it is read."""

    def __init__(
        self,
        chain: UUID,
        keys: AuditKeys,
        report: Report,
        marks: _Marks,
        told: dict[UUID, tuple[int, bytes]],
    ) -> None:
        self._chain = chain
        self._keys = keys
        self._report = report
        self._marks = marks
        self._told = told
        self._number = 0
        self._previous: list[bytes] = [FIRST]
        """What the hash before may be: as stored, and as it ought to be; nothing when it is not known."""
        self._age: int | None = None
        self._odd: _Odd | None = None

    async def run(self, connection: Connection, since: datetime | None, on_progress: Progress) -> None:
        """Read the chain, then see that it ends where its head says."""
        head = (await store.ends(connection, [self._chain]))[self._chain].head
        if head is not None:
            self._marks.add(*head)
        if since is not None:
            await self._start(connection, since)
        async for page in self._pages(connection):
            for row in page:
                self._check(row)
            self._report.rows += len(page)
            on_progress(self._report.rows)
            if self._report.full:
                return
        await self._end(connection)

    async def _start(self, connection: Connection, since: datetime) -> None:
        """Begin after the last row that was sealed before ``since``, whose hash is taken as it stands."""
        before = await store.last_before(connection, self._chain, since)
        if before is None:
            return
        self._number, self._previous = before[0], [before[1]]
        for number in self._marks.up_to(self._number):
            stored = await store.hash_at(connection, self._chain, number)
            if not self._marks.hold(number, stored or b""):
                self._find(number, None, _OTHER if stored is not None else "the row is missing")

    async def _pages(self, connection: Connection) -> AsyncIterator[list[Stored]]:
        while True:
            page = await store.links_after(connection, self._chain, self._number, PAGE)
            yield page
            if len(page) < PAGE:
                return

    def _check(self, row: Stored) -> None:
        number, position = row.seal.number, row.position
        if number > self._number + 1:
            self._missing(self._number + 1, number - 1)
            self._previous = []
        self._number = number
        if not self._marks.hold(number, row.hash):
            self._find(number, position, _OTHER)
        right = self._right(row)
        if right is None:
            self._previous = [row.hash]
        elif hmac.compare_digest(right, row.hash):
            self._previous = [row.hash]
            self._note_told(row)
            self._note_moment(row)
        else:
            self._find(number, position, "the row is not as it was sealed: altered, moved, or not ours")
            self._previous = [row.hash, right]

    def _right(self, row: Stored) -> bytes | None:
        """Return the hash that a row ought to have; None where it cannot be known, which is then told."""
        number, position, entry, seal = row.seal.number, row.position, row.entry, row.seal
        age = self._keys.age(seal.key_id)
        if row.version != VERSION:
            self._find(number, position, f"the row is of version {row.version}, which nobody here writes")
        elif age is None:
            name = seal.key_id.hex()
            self._find(number, position, f"the row is sealed with key {name}, not one of ECHAIN_AUDIT_KEYS")
        elif entry is None:
            self._find(number, position, "the entry of this row is missing")
        elif entry.chain != self._chain:
            self._find(number, position, f"the entry was moved here, or to {_name(entry.chain)} from here")
        elif not self._previous:
            self._find(number, position, "the row cannot be checked without the one before it")
        else:
            if self._age is not None and age > self._age:
                self._find(number, position, "the row is sealed with an older key than one before it")
            self._age = age if self._age is None else min(age, self._age)
            rights = [self._keys.hash(previous, entry, seal) for previous in self._previous]
            return next((right for right in rights if right == row.hash), rights[0])
        return None

    def _note_moment(self, row: Stored) -> None:
        """Judge the moment that a sound row claims; of rows in succession one finding is made."""
        assert row.entry is not None, "a sound row has its entry"
        late = row.seal.sealed_at - row.entry.at
        if -AHEAD <= late <= LATEST:
            return
        odd, number = self._odd, row.seal.number
        if odd is not None and odd.last == number - 1 and odd.back == (late > LATEST):
            odd.last, odd.most = number, max(odd.most, abs(late))
            return
        self._tell_odd()
        self._odd = _Odd(number, number, row.position, abs(late), back=late > LATEST)

    def _tell_odd(self) -> None:
        odd, self._odd = self._odd, None
        if odd is None:
            return
        rows = (
            "the row says that it was"
            if odd.first == odd.last
            else f"rows to {odd.last:,} say that they were"
        )
        apart = timedelta(seconds=round(odd.most.total_seconds()))
        why = "dated back, or no sealer ran for so long" if odd.back else "dated ahead, or clocks differ"
        what = f"{rows} written up to {apart} {'before' if odd.back else 'after'} the seal: {why}"
        self._find(odd.first, odd.position, what)

    def _note_told(self, row: Stored) -> None:
        """Remember what a sound row of the platform's chain says of another chain's end."""
        entry = row.entry
        if self._chain != PLATFORM or entry is None or entry.action != _SEALED:
            return
        end = _end_of(entry.diff)
        named = re.fullmatch(rf"{_SEALED_RESOURCE}({_UUID})", entry.resource)
        # Whoever has the database can have any entry sealed; what makes no sense must not stop the check.
        if end is not None and named is not None and entry.actor_kind == "system":
            self._told[UUID(named[1])] = end

    async def _end(self, connection: Connection) -> None:
        self._tell_odd()
        for number in self._marks.left():
            what = f"the row was seen before, but the chain ends at {self._number:,}: its end is cut off"
            self._find(number, None, what)
        head = (await store.ends(connection, [self._chain]))[self._chain].head
        if self._number and (head is None or head[0] < self._number):
            at = "is missing" if head is None else f"says {head[0]:,}"
            self._find(
                self._number, None, f"the chain's head {at}, but the chain goes on to {self._number:,}"
            )
        if self._number and len(self._previous) > 0:
            self._report.ends[self._chain] = self._number, self._previous[0]

    def _missing(self, first: int, last: int) -> None:
        self._marks.forget(first, last)
        what = "the row is missing" if first == last else f"the rows from here to {last:,} are missing"
        self._find(first, None, what)

    def _find(self, number: int, position: int | None, what: str) -> None:
        self._report.find(self._chain, number, position, what)


def _name(chain: UUID) -> str:
    return "the platform's chain" if chain == PLATFORM else f"organization {chain}"
