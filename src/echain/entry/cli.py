"""The command line. Each command imports what it needs when it runs, so that none waits for the others."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from echain.kernel.errors import EchainError, Kind

if TYPE_CHECKING:
    from echain.entry.jobdesk import JobDesk
    from echain.infra.config import Config

QUEUES = ("sync", "webhook", "notification", "media", "chain")
JOB_STATES = ("waiting", "later", "running", "dead")
"""As `infra.jobs` has them, which is imported when a command needs it; a test compares."""

MOMENT = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ"])

_EXIT_CODES = {Kind.INVALID: 2, Kind.UNAVAILABLE: 69, Kind.CONFLICT: 73}
"""As sysexits.h has them: usage, service unavailable, cannot create; everything else is 1."""


def main() -> None:
    """Run the command line; a known reason is told in one sentence, not in a traceback."""
    try:
        commands(standalone_mode=False)
    except click.exceptions.Exit as finished:
        sys.exit(finished.exit_code)
    except click.Abort:
        sys.exit(130)
    except KeyboardInterrupt:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except EchainError as error:
        click.secho(f"echain: {error.message}", fg="red", err=True)
        sys.exit(_EXIT_CODES.get(error.kind, 1))


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="echain")
def commands() -> None:
    """Sell event tickets on a public chain and admit their holders at the door."""


@commands.command()
def up() -> None:
    """Run everything on this machine until Ctrl-C."""
    settings = _configured("up")
    from echain.entry.up import up as run

    asyncio.run(run(settings))


@commands.command()
@click.option("--exit", "leave", is_flag=True, help="Leave after the journey, with its verdict as exit code.")
@click.option("--picture", type=click.Path(dir_okay=False, path_type=Path), help="Save the table as SVG.")
def demo(leave: bool, picture: Path | None) -> None:
    """Run everything and play the journey of a ticket: sold, passed on, admitted, refunded."""
    from echain.entry.demo import demo as play

    sys.exit(asyncio.run(play(_configured("demo"), leave=leave, picture=picture)))


@commands.command()
def api() -> None:
    """Serve the REST interface."""
    settings = _configured("api")
    from echain.entry.api import serve

    serve(settings)


@commands.command()
def realtime() -> None:
    """Serve live updates: Socket.IO, WebSocket and server-sent events."""
    settings = _configured("realtime")
    from echain.entry.realtime import serve

    _run(serve(settings))


@commands.command()
def indexer() -> None:
    """Follow the configured chains."""
    settings = _configured("indexer")
    from echain.entry.indexer import follow

    _run(follow(settings))


@commands.command()
@click.option("--chain", "chain_id", type=int, required=True, help="Id of a configured chain.")
def rebuild(chain_id: int) -> None:
    """Fold a chain's projections anew from its stored logs, while it is followed and read; then swap them."""
    settings = _configured("rebuild")
    from echain.entry.indexer import rebuild as run

    done = asyncio.run(run(settings, chain_id))
    click.echo(
        f"{done.logs:,} logs folded, {done.changed:,} rows were not the same;"
        f" the indexer waited {done.swap_seconds * 1e3:,.0f} ms"
    )


@commands.command()
def worker() -> None:
    """Run jobs and send the platform's own transactions."""
    settings = _configured("worker")
    from echain.entry.worker import work

    _run(work(settings))


@commands.group(invoke_without_command=True)
@click.pass_context
def jobs(context: click.Context) -> None:
    """Show how many background jobs are in which state."""
    if context.invoked_subcommand is None:
        _at_jobs(lambda desk: desk.counts())


@jobs.command("list")
@click.option("--queue", type=click.Choice(QUEUES), help="Only of this queue.")
@click.option("--state", type=click.Choice(JOB_STATES), help="Only in this state.")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most so many."
)
def list_jobs(queue: str | None, state: str | None, limit: int) -> None:
    """List jobs that have not ended, the newest first."""
    _at_jobs(lambda desk: desk.listing(queue=queue, state=state, limit=limit))


@jobs.command("show")
@click.argument("job_id", metavar="ID", type=click.IntRange(1, 2**63 - 1))
def show_job(job_id: int) -> None:
    """Tell a job's story: its payload, each try, each error; for a week after its end."""
    _at_jobs(lambda desk: desk.show(job_id))


@jobs.command("retry")
@click.argument("job_id", metavar="[ID]", type=click.IntRange(1, 2**63 - 1), required=False)
@click.option("--all", "every", is_flag=True, help="All dead letters, or those of a queue.")
@click.option("--queue", type=click.Choice(QUEUES), help="With --all: only of this queue.")
def retry_jobs(job_id: int | None, every: bool, queue: str | None) -> None:
    """Give dead letters all their tries again."""
    if (job_id is None) != every or (queue is not None and not every):
        raise click.UsageError("name a job by its ID, or say --all, with or without --queue")
    _at_jobs(lambda desk: desk.retry(job_id, queue=queue))


@jobs.command("drop")
@click.argument("job_id", metavar="ID", type=click.IntRange(1, 2**63 - 1))
def drop_job(job_id: int) -> None:
    """Take a dead letter away for good."""
    _at_jobs(lambda desk: desk.drop(job_id))


@commands.command()
def migrate() -> None:
    """Bring the database's schema up to date."""
    from echain.infra.migrate import migrate as run

    settings = _configured("migrate")
    if settings.database_url is None:
        raise click.UsageError(
            "ECHAIN_DATABASE_URL is not set; `echain up` migrates its embedded database itself"
        )
    asyncio.run(run(settings.database_url))
    click.echo("the schema is up to date")


@commands.command()
@click.option("--chain", "chain_id", type=int, required=True, help="Id of a configured chain.")
def deploy(chain_id: int) -> None:
    """Deploy the contracts to a chain; twice changes nothing."""
    from echain.entry.deployment import deploy_to

    for line in asyncio.run(deploy_to(_configured("deploy"), chain_id)):
        click.echo(line)


@commands.command()
@click.option("--rotate", is_flag=True, help="Seal everything anew with the first key.")
def keys(rotate: bool) -> None:
    """Show how many values of personal data each data key still seals, and the keys of access tokens."""
    settings = _configured("keys")
    from echain.entry.datakeys import attend, token_keys

    for line in [*asyncio.run(attend(settings, rotate=rotate)), *token_keys(settings)]:
        click.echo(line)


@commands.group()
def audit() -> None:
    """Read and check the log of what was changed, by whom."""


@audit.command("verify")
@click.option("--organization", metavar="ID", help="Only this chain; `platform` for the platform's own.")
@click.option(
    "--expect", "expected", multiple=True, metavar="N:HASH", help="What row N had when it was written down."
)
@click.option(
    "--since",
    type=MOMENT,
    metavar="TIME",
    help="Only what was sealed since; what was before is taken as it is.",
)
def verify_audit(organization: str | None, expected: tuple[str, ...], since: datetime | None) -> None:
    """Find each row that was altered, removed, inserted or moved; exits with 1 when there is one."""
    chain = _chain_of(organization)
    if expected and chain is None:
        raise click.UsageError("--expect needs --organization: each has its own numbers")
    settings = _configured("audit")
    from echain.entry.auditdesk import check

    sound = asyncio.run(check(settings, chain=chain, expected=_expected(expected), since=_in_utc(since)))
    sys.exit(0 if sound else 1)


@audit.command("show")
@click.option("--organization", metavar="ID", help="Only of this organization; `platform` for no one's.")
@click.option("--actor", metavar="ID", help="Only what this user, gate or operator did.")
@click.option("--resource", metavar="KIND:ID", help="Only what was done to this.")
@click.option("--action", help="Only such actions; the beginning is enough, like `event.`.")
@click.option("--since", type=MOMENT, metavar="TIME", help="Only what was done since; UTC.")
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=50, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def show_audit(
    *,
    organization: str | None,
    actor: str | None,
    resource: str | None,
    action: str | None,
    since: datetime | None,
    limit: int,
    as_json: bool,
) -> None:
    """Show who changed what, the newest first."""
    chain = _chain_of(organization)
    settings = _configured("audit")
    from echain.entry.auditdesk import show
    from echain.infra.audit.reading import AuditFilter

    sought = AuditFilter(actor=actor, resource=resource, action=action, since=_in_utc(since))
    asyncio.run(show(settings, sought, chain=chain, limit=limit, as_json=as_json))


@commands.command()
def config() -> None:
    """Show the configuration as it is understood, secrets hidden."""
    settings = _configured("config")
    from echain.entry.report import show_config

    show_config(settings)


@commands.command()
def doctor() -> None:
    """Check that every part is there and answers; exits with 1 when one is not."""
    from echain.entry.report import examine

    sys.exit(0 if asyncio.run(examine(_configured("doctor"))) else 1)


def _at_jobs(ask: Callable[[JobDesk], Coroutine[Any, Any, None]]) -> None:
    settings = _configured("jobs")
    from echain.entry.jobdesk import at_desk

    asyncio.run(at_desk(settings, ask))


def _chain_of(organization: str | None) -> UUID | None:
    if organization is None or organization == "platform":
        return None if organization is None else UUID(int=0)
    try:
        return UUID(organization)
    except ValueError:
        raise click.UsageError("an organization is named by its UUID, or `platform`") from None


def _expected(given: tuple[str, ...]) -> dict[int, bytes]:
    """Return hashes by row number."""
    found: dict[int, bytes] = {}
    for one in given:
        named = re.fullmatch(r"([1-9][0-9]{0,17}):([0-9a-f]{64})", one)
        if named is None:
            raise click.UsageError(
                "--expect takes N:HASH as `audit verify` and the log's audit.sealed say it"
            )
        found[int(named[1])] = bytes.fromhex(named[2])
    return found


def _in_utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=UTC)


def _configured(role: str) -> Config:
    from echain.entry.settings import configure_logs, read

    settings = read(os.environ)
    configure_logs(settings, role=role)
    return settings


def _run(role: Coroutine[Any, Any, None]) -> None:
    import uvloop

    uvloop.run(role)


if __name__ == "__main__":
    main()
