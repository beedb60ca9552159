"""Entries for tests, written as slices write them, sealed and verified with keys of the tests."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import UUID

from echain.infra import audit
from echain.infra.audit.chain import AuditKeys
from echain.infra.audit.sealer import BATCH, Sealer
from echain.infra.audit.verify import Finding, Report, verify
from echain.infra.crypto import DataKeys
from echain.infra.database import Database
from echain.infra.secret import Secret
from echain.kernel.evm import Address
from echain.kernel.time import utc_now

KEY, OTHER_KEY = "a1" * 32, "b2" * 32
KEYS = AuditKeys([Secret(KEY)])
DATA_KEYS = DataKeys([Secret("c3" * 32)])
SEALS = audit.ClientSeals(DATA_KEYS)
JAZZ, OPERA = UUID(int=0xA), UUID(int=0xB)
"""Two organizations."""

NOW = datetime(2026, 11, 26, 9, 0, tzinfo=UTC)
ADA = audit.Actor("user", str(UUID(int=1)), Address(bytes(range(20))), f"session:{UUID(int=2)}")


async def write(
    database: Database,
    *numbers: int,
    organization: UUID | None = JAZZ,
    diff: audit.Diff | None = None,
    actor: audit.Actor = ADA,
    at: datetime | None = None,
) -> None:
    """Write an entry a number, each in its own transaction, now or as if it had been then."""
    for number in numbers:
        async with database.transaction() as tx:
            await audit.record(
                tx,
                actor,
                "event.draft_replaced",
                resource=f"event:{number}",
                now=at or utc_now(),
                organization=organization,
                diff=diff or {"title": [f"old {number}", f"new {number}"]},
                request_id=f"request-{number}",
            )


async def seal_all(database: Database, keys: AuditKeys = KEYS, *, at: datetime | None = None) -> None:
    """Seal what waits, as the leader does, now or as if it were then."""
    sealer = Sealer(database, keys, clock=utc_now if at is None else lambda: at)
    async with database.session() as connection:
        while await sealer.seal(connection) == BATCH:
            pass


async def tell_ends(database: Database, keys: AuditKeys = KEYS) -> None:
    """Seal what waits and have the platform's chain told where the others end, as the leader does."""
    sealer = Sealer(database, keys)
    async with database.session() as connection:
        await sealer.seal(connection)
        await sealer.tell(connection)
        await sealer.seal(connection)


async def check(
    database: Database,
    *,
    chain: UUID | None = None,
    expected: Mapping[int, bytes] | None = None,
    since: datetime | None = None,
    keys: AuditKeys = KEYS,
) -> Report:
    return await verify(database, keys, chain=chain, expected=expected, since=since)


def named(report: Report) -> list[tuple[UUID, int | None]]:
    """Return the rows that were found wrong, by chain and number."""
    return [(finding.chain, finding.number) for finding in report.findings]


def told(finding: Finding) -> str:
    return f"{finding.chain} {finding.number} {finding.what}"
