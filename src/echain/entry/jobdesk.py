"""`echain jobs`: what an operator sees of the background jobs, and what may be done about the dead ones."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from echain.entry.operators import at_keyboard
from echain.entry.parts import database_url_of
from echain.infra import audit
from echain.infra.config import Config
from echain.infra.database import Database
from echain.infra.jobs import ledger
from echain.infra.jobs.ledger import Counts, Listed, Step, Story
from echain.kernel.time import utc_now

_STYLES: Final = {
    "waiting": "cyan",
    "later": "blue",
    "running": "green",
    "dead": "bold red",
    "done": "green",
    "dropped": "dim",
}
_OLD_SECONDS: Final = 60.0
_WIDE: Final = 200
"""Columns of output that goes into a file, where folded lines would be hard to search."""


async def at_desk(config: Config, ask: Callable[[JobDesk], Awaitable[None]]) -> None:
    """Ask for something at the desk of this installation's jobs.

    Raises:
        ConfigError: no database is named, and none runs from this home.
        DatabaseUnavailable: it does not answer.
    """
    database = await Database.connect(database_url_of(config), size=2, name="echain jobs list")
    try:
        await ask(JobDesk(database, Console(width=None if sys.stdout.isatty() else _WIDE, highlight=False)))
    finally:
        await database.close()


class JobDesk:
    """Prints what the ledger of the jobs says."""

    def __init__(self, database: Database, console: Console) -> None:
        self._database = database
        self._console = console

    async def counts(self) -> None:
        counts = await ledger.count(self._database)
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("queue")
        for heading in ("waiting", "later", "running", "dead", "oldest waits"):
            table.add_column(heading, justify="right")
        for one in counts:
            table.add_row(*_counted(one))
        self._console.print(table)
        dead = sum(one.dead for one in counts)
        if dead:
            self._console.print()
            self._console.print(
                f"{dead:,} dead: see `echain jobs list --state dead`, then retry or drop them."
            )

    async def listing(self, *, queue: str | None, state: str | None, limit: int) -> None:
        found = await ledger.listing(self._database, queue=queue, state=state, limit=limit)
        if not found:
            self._console.print("no such jobs")
            return
        now = utc_now()
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading, justify in (("id", "right"), ("kind", "left"), ("queue", "left"), ("state", "left")):
            table.add_column(heading, justify="right" if justify == "right" else "left", no_wrap=True)
        table.add_column("tries", justify="right")
        for heading in ("created", "due", "progress"):
            table.add_column(heading, no_wrap=True)
        table.add_column("last error", no_wrap=True, overflow="ellipsis")
        for one in found:
            table.add_row(*_row(one, now))
        self._console.print(table)

    async def show(self, job_id: int) -> None:
        """Print a job's story.

        Raises:
            NoSuchJob: nothing is known of it.
        """
        story = await ledger.story(self._database, job_id)
        head = Text.assemble((f"job {story.job_id}", "bold"), " is ", (story.state, _STYLES[story.state]))
        self._console.print(head)
        table = Table(box=None, pad_edge=False, show_header=False)
        for name, value in _facts(story):
            table.add_row(Text(name, "dim"), Text(_plain(value)))
        self._console.print(table)
        self._console.print()
        steps = Table(box=None, pad_edge=False, show_header=False)
        for step in story.steps:
            steps.add_row(*_told(step))
        self._console.print(steps)
        traces = [step.traceback for step in story.steps if step.traceback]
        if traces:
            self._console.print()
            self._console.print(Text(_plain(traces[-1].rstrip()), "dim"))

    async def retry(self, job_id: int | None, *, queue: str | None) -> None:
        """Let one dead letter, those of a queue, or all wait again.

        Raises:
            NoSuchJob: ``job_id`` is given and there is none.
            NotDead: it waits or runs.
        """
        async with self._database.transaction() as tx:
            number = await ledger.revive_in(tx, job_id, queue=queue)
            about = "job:all" if job_id is None else f"job:{job_id}"
            diff = {"count": [None, number], "queue": [None, queue]}
            if number:
                await audit.record(tx, at_keyboard(), "job.retried", resource=about, now=utc_now(), diff=diff)
        self._console.print("1 job waits again" if number == 1 else f"{number:,} jobs wait again")

    async def drop(self, job_id: int) -> None:
        """Take a dead letter away.

        Raises:
            NoSuchJob: there is none.
            NotDead: it waits or runs.
        """
        async with self._database.transaction() as tx:
            await ledger.drop_in(tx, job_id)
            await audit.record(tx, at_keyboard(), "job.dropped", resource=f"job:{job_id}", now=utc_now())
        self._console.print(f"job {job_id} is gone")


def _counted(one: Counts) -> tuple[Text, ...]:
    old = one.oldest_seconds > _OLD_SECONDS
    return (
        Text(_plain(one.queue)),
        *(_number(number, style) for number, style in ((one.waiting, "cyan"), (one.later, "blue"))),
        _number(one.running, "green"),
        _number(one.dead, "bold red"),
        Text(_span(one.oldest_seconds) if one.waiting else "-", "bold yellow" if old else "dim"),
    )


def _number(number: int, style: str) -> Text:
    return Text(f"{number:,}", style if number else "dim")


def _row(one: Listed, now: datetime) -> tuple[Text, ...]:
    due = _ago(now - one.due_at) if one.state in ("waiting", "later") else ""
    progress = "" if one.total is None or one.done is None else _share(one.done, one.total)
    return (
        Text(str(one.job_id)),
        Text(_plain(one.kind)),
        Text(_plain(one.queue)),
        Text(one.state, _STYLES[one.state]),
        Text(str(one.tries), "" if one.tries else "dim"),
        Text(_ago(now - one.created_at)),
        Text(due, "dim"),
        Text(progress),
        Text(_plain(one.error or "").splitlines()[0] if one.error else "", "red"),
    )


def _facts(story: Story) -> list[tuple[str, str]]:
    facts = [("kind", story.kind), ("queue", story.queue), ("tries", str(story.tries)), ("key", story.key)]
    if story.done is not None and story.total is not None:
        facts.append(("progress", _share(story.done, story.total)))
    facts.append(("payload", None if story.payload is None else _indented(story.payload)))
    return [(name, value) for name, value in facts if value is not None]


def _indented(payload: str) -> str:
    try:
        return msgspec.json.format(payload.encode(), indent=2).decode()
    except msgspec.DecodeError:
        return payload


def _told(step: Step) -> tuple[Text, ...]:
    style = "red" if step.error else ""
    at = step.at.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    return Text(at, "dim"), Text(step.what, style), Text(_plain(step.error or ""), style)


def _share(done: int, total: int) -> str:
    return f"{done:,} of {total:,}" + (f" ({done * 100 // total} %)" if total else "")


def _ago(span: timedelta) -> str:
    seconds = span.total_seconds()
    return f"{_span(seconds)} ago" if seconds >= 0 else f"in {_span(-seconds)}"


def _span(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size * 2:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _plain(text: str) -> str:
    """Return text without what a terminal would obey; errors and payloads may come from strangers."""
    return "".join(one if one.isprintable() or one == "\n" else "\N{REPLACEMENT CHARACTER}" for one in text)
