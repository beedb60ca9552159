"""`make bench`: run the measurements, print their table, keep it in `bench/results.json`."""

from __future__ import annotations

import asyncio
import importlib
import os
import platform
import subprocess
import sys
import time
import traceback
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
    "bench.http_full": ("http_full_ratio",),
    "bench.orders": (
        *("order_rps", "order_ms_p50", "order_ms_p99"),
        *("order_rps_alone", "order_ms_p50_alone", "order_ms_p99_alone"),
    ),
    "bench.scan": (
        *("scan_rps", "scan_ms_p50", "scan_ms_p99"),
        *("scan_rps_2_gates", "scan_ms_p50_2_gates", "scan_ms_p99_2_gates"),
    ),
    "bench.signin": ("signin_rps",),
    "bench.ingest": (
        *("backfill_logs_per_s", "backfill_old_logs_per_s"),
        *("mined_visible_ms_p50", "mined_visible_ms_p99"),
    ),
    "bench.reorg": ("reorg64_ms", "rebuild_logs_per_s", "rebuild_wait_ms"),
    "bench.ponder": (
        *("backfill_anvil_logs_per_s", "mined_visible_anvil_ms_p50", "mined_visible_anvil_ms_p99"),
    ),
    "bench.fanout": (
        *("fanout_us_per_delivery", "fanout_us_per_delivery_1000", "fanout_us_per_delivery_5000"),
        *("fanout_last_ms_p50", "fanout_last_ms_p50_1000", "fanout_last_ms_p50_5000"),
        *("fanout_ws_us_per_delivery", "fanout_ws_us_per_delivery_1000", "fanout_ws_us_per_delivery_5000"),
        *("fanout_ws_last_ms_p50", "fanout_ws_last_ms_p50_1000", "fanout_ws_last_ms_p50_5000"),
        *("socket_kb_per_connection", "socket_ws_kb_per_connection"),
        *("resume_10000_s", "resume_ws_10000_s"),
    ),
    "bench.webhooks": (
        *("webhook_ack_ms_p50", "webhook_done_ms_p50", "webhook_ack_ms_p99", "webhook_done_ms_p99"),
    ),
    "bench.jobs": ("job_start_ms_p50", "job_start_ms_p99"),
    "bench.jobrate": ("jobs_per_s", "job_effects_per_s"),
    "bench.live": (
        *("mined_client_ms_p50", "mined_client_ms_p99"),
        *("mined_client_1000_ms_p50", "mined_client_1000_ms_p99"),
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
    """Measure and print; earlier rows with other names stay in the results.

    A measurement that fails is told and the others go on; the exit code is 1 then.
    """
    console = Console()
    modules = [name for name, rows in MEASUREMENTS.items() if only is None or only in rows]
    if not modules:
        known = ", ".join(row for rows in MEASUREMENTS.values() for row in rows)
        raise click.UsageError(f"there is no row {only}; there are {known}")
    measured: list[Row] = []
    failed: list[str] = []
    for name in modules:
        console.print(f"measuring {', '.join(MEASUREMENTS[name])} …")
        began = time.monotonic()
        try:
            rows = measured_by(name)
        except Exception:  # noqa: BLE001 - whatever it was, the other measurements are worth having
            traceback.print_exc()
            failed.append(name)
            continue
        keep(rows)
        measured += rows
        console.print(f"  took {time.monotonic() - began:.0f} s")
    show(console, measured)
    if failed:
        console.print(f"[bold red]not measured:[/] {', '.join(failed)}", highlight=False)
        sys.exit(1)


def measured_by(module: str) -> list[Row]:
    """Run a module's measurement.

    Raises:
        LookupError: its rows are not those that `MEASUREMENTS` says, by which they are asked for.
    """
    rows: list[Row] = asyncio.run(importlib.import_module(module).measure())
    if {row.name for row in rows} != set(MEASUREMENTS[module]):
        raise LookupError(f"{module} measured {', '.join(row.name for row in rows)}")
    return rows


def show(console: Console, rows: Sequence[Row]) -> None:
    """Print the table, then the notes, each once with the rows that it is about."""
    console.print(table_of(rows))
    for note in dict.fromkeys(row.note for row in rows):
        about = ", ".join(row.name for row in rows if row.note == note)
        console.print(f"[bold]{about}[/]: {note}", highlight=False)


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
        table.add_row(row.name, f"{row.value:,.4g} {row.unit}", floor, ratio, beside(row))
    return table


def beside(row: Row) -> str:
    """Return a line a peer: how many times its figure ours is, or why it has none."""
    there = [f"{row.value / peer:.2f}x {name} ({peer:,.4g})" for name, peer in row.peers.items() if peer]
    return "\n".join(there + [f"{name} missing: {reason}" for name, reason in row.missing.items()])


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
