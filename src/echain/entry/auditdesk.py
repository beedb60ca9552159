"""`echain audit`: the log read for people, and checked."""

from __future__ import annotations

import sys
import time
from datetime import datetime
from typing import Final
from uuid import UUID

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from echain.entry.parts import database_url_of
from echain.infra.audit import ClientSeals, reading
from echain.infra.audit.chain import PLATFORM, AuditKeys
from echain.infra.audit.reading import AuditFilter, Found
from echain.infra.audit.verify import MOST_FINDINGS, Report, verify
from echain.infra.config import Config
from echain.infra.crypto import DataKeys, Unopenable
from echain.infra.database import Database
from echain.kernel.time import rfc3339

PAGE: Final = 100
_TELL_SECONDS: Final = 2.0
_WIDE: Final = 200


async def check(
    config: Config, *, chain: UUID | None, expected: dict[int, bytes], since: datetime | None
) -> bool:
    """Print of each row that is not as it was sealed which it is; return whether all is well.

    Raises:
        ConfigError: no database is named, and none runs from this home.
        DatabaseUnavailable: it does not answer.
    """
    database = await Database.connect(database_url_of(config), size=2, name="echain audit verify")
    began = told = time.monotonic()

    def progress(rows: int) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= _TELL_SECONDS:
            told = now
            click.echo(f"{rows:,} rows, {rows / (now - began):,.0f} a second", err=True)

    try:
        report = await verify(
            database,
            AuditKeys(config.audit_keys),
            chain=chain,
            expected=expected,
            since=since,
            on_progress=progress,
        )
    finally:
        await database.close()
    for line in _told(report, time.monotonic() - began):
        click.echo(line)
    return not report.findings


def _told(report: Report, seconds: float) -> list[str]:
    lines = [
        f"{name_of(chain)}: {number}:{end.hex()}" for chain, (number, end) in sorted(report.ends.items())
    ]
    for one in report.findings:
        place = name_of(one.chain) if one.number is None else f"{name_of(one.chain)}, row {one.number:,}"
        entry = "" if one.position is None else f" (entry {one.position:,})"
        lines.append(f"WRONG  {place}{entry}: {one.what}")
    if report.full:
        lines.append(f"more than {MOST_FINDINGS:,} rows are wrong; the rest was not read")
    if report.waiting:
        lines.append(f"{report.waiting:,} entries wait to be sealed; the indexer does that")
    verdict = f"{len(report.findings):,} findings" if report.findings else "nothing was changed"
    lines.append(f"{report.rows:,} rows in {seconds:,.1f} s: {verdict}")
    return lines


def name_of(chain: UUID) -> str:
    return "platform" if chain == PLATFORM else f"organization {chain}"


async def show(config: Config, sought: AuditFilter, *, chain: UUID | None, limit: int, as_json: bool) -> None:
    """Print entries, the newest first.

    Raises:
        ConfigError: no database is named, and none runs from this home.
        DatabaseUnavailable: it does not answer.
    """
    seals = ClientSeals(DataKeys(config.data_keys))
    database = await Database.connect(database_url_of(config), size=2, name="echain audit show")
    console = Console(width=None if sys.stdout.isatty() else _WIDE, highlight=False, soft_wrap=True)
    try:
        async with database.connection() as connection:
            while limit > 0:
                found = await reading.search(connection, sought, chain=chain, limit=min(PAGE, limit))
                _print(found, seals, console, as_json=as_json)
                limit -= PAGE
                if len(found) < PAGE:
                    return
                sought = msgspec.structs.replace(sought, cursor=str(found[-1].position))
    finally:
        await database.close()


def _print(found: list[Found], seals: ClientSeals, console: Console, *, as_json: bool) -> None:
    if as_json:
        for one in found:
            shown = msgspec.to_builtins(one.entry) | {"client": client_of(one, seals)}
            click.echo(msgspec.json.encode(shown).decode())
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    for one in found:
        entry = one.entry
        number = "waits" if entry.number is None else str(entry.number)
        table.add_row(
            Text(rfc3339(entry.at), "dim"),
            Text(number, "dim"),
            Text(f"{entry.actor.kind} {entry.actor.address or entry.actor.id}"),
            Text(entry.action, "bold"),
            Text(entry.resource),
            Text(client_of(one, seals) or "", "dim"),
            Text(_plain(msgspec.json.encode(entry.diff).decode())),
        )
    console.print(table)


def client_of(one: Found, seals: ClientSeals) -> str | None:
    """Return where an entry came from, None where nobody knows or it was erased."""
    if one.sealed_client is None or one.commitment is None:
        return None
    try:
        return seals.open(one.entry.id, one.sealed_client, one.commitment) or "ALTERED"
    except Unopenable:
        return "UNOPENABLE"


def _plain(text: str) -> str:
    """Return text without what a terminal would obey."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)
