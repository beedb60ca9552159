"""`make bench`: run the measurements, print their table, keep it in `bench/results.json`."""

from __future__ import annotations

import asyncio
import importlib
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec
from rich import box
from rich.console import Console
from rich.table import Table

from bench.rows import Row

RESULTS = Path(__file__).parent / "results.json"

MEASUREMENTS = {
    "bench.http_api": ("http_cached_rps", "http_row_rps", "http_list_rps", "http_insert_rps"),
    "bench.orders": ("order_rps",),
    "bench.scan": ("scan_rps",),
    "bench.signin": ("signin_rps",),
    "bench.ingest": (
        *("backfill_logs_per_s", "backfill_old_logs_per_s"),
        *("mined_visible_ms_p50", "mined_visible_ms_p99"),
    ),
}
"""Each module's rows; its ``measure`` runs them all, because they share what they start."""


class Result(Row, frozen=True, kw_only=True):
    """A row as it is kept: with the machine and the commit that it was measured on."""

    machine: str
    commit: str


@click.command()
@click.option("--only", help="Run only the measurement with this row.")
def main(only: str | None) -> None:
    """Measure and print; earlier rows with other names stay in the results."""
    console = Console()
    modules = [name for name, rows in MEASUREMENTS.items() if only is None or only in rows]
    if not modules:
        known = ", ".join(row for rows in MEASUREMENTS.values() for row in rows)
        raise click.UsageError(f"there is no row {only}; there are {known}")
    measured: list[Row] = []
    for name in modules:
        console.print(f"measuring {', '.join(MEASUREMENTS[name])} …")
        measured += asyncio.run(importlib.import_module(name).measure())
    keep(measured)
    console.print(table_of(measured))
    for note in dict.fromkeys(row.note for row in measured):
        rows = ", ".join(row.name for row in measured if row.note == note)
        console.print(f"[bold]{rows}[/]: {note}", highlight=False)


def keep(rows: Sequence[Row]) -> None:
    """Write the rows over those of the same name."""
    before = msgspec.json.decode(RESULTS.read_bytes(), type=list[Result]) if RESULTS.exists() else []
    names = {row.name for row in rows}
    fresh = [Result(**msgspec.structs.asdict(row), machine=machine(), commit=commit()) for row in rows]
    kept = [row for row in before if row.name not in names]
    RESULTS.write_bytes(msgspec.json.format(msgspec.json.encode(kept + fresh)) + b"\n")


def table_of(rows: Sequence[Row]) -> Table:
    """Return the figures with their ratios: to the floor of this machine, and to each peer."""
    table = Table(title=machine(), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("Row", no_wrap=True)
    for column in ("Value", "Floor", "Of floor"):
        table.add_column(column, justify="right")
    table.add_column("Beside peers")
    for row in rows:
        ratio = f"{row.value / row.floor:.2f}" if row.floor else ""
        floor = f"{row.floor:,.4g}" if row.floor else ""
        peers = "\n".join(f"{row.value / peer:.1f}x {name} ({peer:,g})" for name, peer in row.peers.items())
        table.add_row(row.name, f"{row.value:,.4g} {row.unit}", floor, ratio, peers)
    return table


def machine() -> str:
    cores = len(os.sched_getaffinity(0))
    return f"{platform.machine()}, {cores} cores, Python {platform.python_version()}"


def commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    main()
