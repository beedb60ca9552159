"""What an operator asks first: what is configured, and does it work."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Final

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from echain.entry.connections import services
from echain.entry.health import Health, Status
from echain.entry.health import examine as ask_parts
from echain.infra.config import VARIABLES, Config
from echain.infra.embedded.anvil import Anvil
from echain.infra.embedded.child import PartFailed
from echain.infra.embedded.node import anvil_program
from echain.infra.embedded.postgres import Postgres
from echain.infra.embedded.redis import Redis
from echain.infra.mail import MailDeferred, Mailer
from echain.infra.mailserver import MailServer
from echain.infra.oidcsettings import name_of
from echain.infra.secret import Secret, without_credentials

_MARKS: Final[dict[Status, str]] = {
    "ok": "[green]ok[/]",
    "degraded": "[yellow]degraded[/]",
    "down": "[red]down[/]",
}


_MAIL_SECONDS: Final = 5.0
_WIDE: Final = 240
"""Columns of a table that goes into a file, where folded lines would be hard to search."""


def show_config(config: Config) -> None:
    """Print every variable with what it is understood as; secrets as dots, URLs without their credentials."""
    values = msgspec.structs.asdict(config) | {"chain_ids": tuple(chain.chain_id for chain in config.chains)}
    table = Table(box=None, pad_edge=False)
    for heading in ("Variable", "Value", "Meaning"):
        table.add_column(heading, overflow="fold")
    for variable in VARIABLES:
        if variable.per_provider:
            for provider in config.oidc:
                name = name_of(variable, provider)
                table.add_row(name, shown(getattr(provider, variable.field)), variable.meaning)
            continue
        if not variable.per_chain:
            table.add_row(variable.name, shown(values[variable.field]), variable.meaning)
            continue
        for chain in config.chains:
            name = variable.name.replace("<id>", str(chain.chain_id))
            table.add_row(name, shown(getattr(chain, variable.field)), variable.meaning)
    Console(width=None if sys.stdout.isatty() else _WIDE).print(table)


def shown(value: object) -> str:
    """Return one value as it may be shown to anybody."""
    match value:
        case None | ():
            return "[dim]not set[/]"
        case Secret():
            return str(value)
        case bytes():
            return "0x" + value.hex()
        case tuple():
            return ", ".join(shown(one) for one in value)
        case str() if "://" in value:
            return escape(without_credentials(value))
        case _:
            return escape(str(value))


async def examine(config: Config) -> bool:
    """Print one line a part and return whether all are well.

    External parts are asked; of embedded ones is checked that they could start.
    """
    console = Console(soft_wrap=True)
    good = True
    for name, try_part in _embedded(config):
        try:
            await asyncio.to_thread(try_part)
        except PartFailed as error:
            good = False
            console.print(f"{_MARKS['down']} {name}: {escape(error.message)}")
        else:
            console.print(f"{_MARKS['ok']} {name}: embedded, installed")
    good = await _mail(config, console) and good
    if config.database_url is not None:
        async with AsyncExitStack() as stack:
            parts = await services(config, stack)
            health = await ask_parts(parts.database, parts.redis, parts.rpcs)
        _print_health(console, health)
        good = good and health.status == "ok"
    return good


async def _mail(config: Config, console: Console) -> bool:
    """Say whether e-mail can be sent; that none is configured is no fault."""
    if config.smtp_url is None:
        console.print(
            "[dim]off[/] e-mail: ECHAIN_SMTP_URL is not set; people are told in the app and by push"
        )
        return True
    mailer = Mailer(MailServer.of(config.smtp_url), seconds=_MAIL_SECONDS)
    try:
        await mailer.check()
    except MailDeferred as error:
        console.print(f"{_MARKS['down']} e-mail: {escape(error.message)}")
        return False
    console.print(f"{_MARKS['ok']} e-mail: the server lets us in")
    return True


def _embedded(config: Config) -> list[tuple[str, Callable[[], object]]]:
    parts: list[tuple[str, Callable[[], object]]] = []
    if config.database_url is None:
        parts.append(("PostgreSQL", lambda: Postgres(config.home / "postgres")))
    if config.redis_url is None:
        parts.append(("Redis", lambda: Redis(config.home / "redis")))
    if config.devnet and not any(chain.rpc_urls for chain in config.chains):
        parts.append(
            ("EVM node", lambda: (Anvil(config.home / "anvil", home=config.home), anvil_program(config.home)))
        )
    return parts


def _print_health(console: Console, health: Health) -> None:
    for name, part in (("PostgreSQL", health.database), ("Redis", health.redis)):
        console.print(f"{_MARKS[part.status]} {name}: {escape(part.reason or f'{part.latency_ms} ms')}")
    waited = health.jobs.reason or f"the longest waiting one is due for {health.jobs.oldest_seconds} s"
    console.print(f"{_MARKS[health.jobs.status]} jobs: {escape(waited)}")
    for chain in health.chains:
        detail = chain.reason or f"head {chain.head}, indexed {chain.indexed}"
        console.print(f"{_MARKS[chain.status]} chain {chain.chain_id}: {escape(detail)}")
