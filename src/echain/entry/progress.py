"""Shows how a backfill goes: a bar on a terminal, a line in the log every some seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

import structlog
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from echain.chain.follow import Progress
from echain.chain.rebuild import Rebuilding

_EVERY_SECONDS: Final = 5.0

_log = structlog.get_logger(__name__)


def shown(chain_name: str, console: Console) -> Callable[[Progress], None]:
    """Return what to tell of each range of a backfill of this chain."""
    return _Bar(chain_name, console) if console.is_terminal else _Lines(chain_name)


@contextmanager
def folding(chain_name: str, console: Console) -> Generator[Callable[[Rebuilding], None]]:
    """Show how a rebuild goes while the block lasts: logs, logs a second, the time left."""
    with _columns("logs", console) as bar:
        task = bar.add_task(f"Folding {chain_name}", total=None, speed=0.0)

        def show(progress: Rebuilding) -> None:
            bar.update(task, completed=progress.logs, total=progress.total, speed=progress.logs_per_second)

        yield show


def _columns(unit: str, console: Console) -> Bar:
    return Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit + "  {task.fields[speed]:,.0f} logs/s"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


class _Bar:
    """Blocks, logs a second and the time left; it comes with the first range and goes with the last."""

    def __init__(self, chain_name: str, console: Console) -> None:
        self._name = chain_name
        self._bar = _columns("blocks", console)
        self._task: TaskID | None = None

    def __call__(self, progress: Progress) -> None:
        if self._task is None:
            self._task = self._bar.add_task(f"Reading {self._name}", total=None, speed=0.0)
        self._bar.update(
            self._task,
            completed=progress.reached - progress.first + 1,
            total=progress.target - progress.first + 1,
            speed=progress.logs_per_second,
        )
        # Begun when there is something to see.
        self._bar.start()
        if progress.reached >= progress.target:
            self._bar.stop()
            self._bar.remove_task(self._task)
            self._task = None


class _Lines:
    def __init__(self, chain_name: str) -> None:
        self._name = chain_name
        self._told = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        done = progress.reached >= progress.target
        if not done and time.monotonic() - self._told < _EVERY_SECONDS:
            return
        self._told = time.monotonic()
        _log.info(
            "indexer.reading",
            chain=self._name,
            block=progress.reached,
            of=progress.target,
            logs_per_second=round(progress.logs_per_second),
            seconds_left=round(progress.eta_seconds or 0),
        )
