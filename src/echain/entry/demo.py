"""`echain demo`: the whole platform on this machine, one real sale, and then the doors stay open."""

from __future__ import annotations

import asyncio
import re
import signal
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from echain.chain import deploy, deploystore
from echain.chain.rpc import Rpc
from echain.entry.journey import Journey, Step, StepFailed
from echain.entry.up import Platform, running
from echain.infra.config import Config
from echain.infra.database import Database
from echain.kernel.evm import to_hex

_RECORDING_WIDTH = 132
_ROOM_FOR_HASHES = 160
_FONT_LINKS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
"""The library's picture asks another site for its font; ours asks nobody."""


async def demo(config: Config, *, leave: bool, picture: Path | None = None) -> int:
    """Play the journey and return its verdict as an exit code; without ``leave``, serve until Ctrl-C first.

    ``picture`` receives the table as SVG.

    Raises:
        StepFailed: there is no devnet to play on.
    """
    if not config.devnet:
        raise StepFailed("the demo gives people coins and forces a reorg, so it plays on a devnet only")
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    console = Console(
        highlight=False, record=picture is not None, width=_RECORDING_WIDTH if picture else None
    )
    console.print("Starting PostgreSQL, Redis, an EVM node, the contracts and four roles …")
    began = time.monotonic()
    async with running(config, logs=config.home / "logs") as platform:
        console.print(f"Ready in {time.monotonic() - began:.1f} s at [bold]{platform.base_url}[/]")
        passed = await _shown(platform, console, stop)
        if picture is not None:
            svg = _FONT_LINKS.sub("", console.export_svg(title="make demo"))
            await asyncio.to_thread(picture.write_text, svg)
        if not leave:
            _invite(console, platform)
            await stop.wait()
    return 0 if passed else 1


async def _shown(platform: Platform, console: Console, stop: asyncio.Event) -> bool:
    """Play the journey under a table that grows; return whether every step held."""
    steps: list[Step] = []
    began = time.monotonic()
    # The nonce's cookie must come back, also to an address without a name, which the stock jar leaves out.
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar) as http, _journey(platform, http) as journey:
        with Live(table_of(steps, console.width), console=console, refresh_per_second=8) as live:
            async for step in journey.run():
                steps.append(step)
                live.update(table_of(steps, console.width))
                if stop.is_set():
                    return False
    passed = all(step.failure is None for step in steps)
    console.print()
    color, word = ("green", "held") if passed else ("red", "failed")
    console.print(f"[{color}]{len(steps)} steps {word}[/] in {time.monotonic() - began:.1f} s")
    return passed


@asynccontextmanager
async def _journey(platform: Platform, http: aiohttp.ClientSession) -> AsyncGenerator[Journey, None]:
    chain = platform.config.chains[0]
    database = await Database.connect(platform.database_url, size=1, name="demo")
    try:
        deployment = await deploy.recorded(database, chain.chain_id)
        placed = await deploystore.read(database, chain.chain_id)
    finally:
        await database.close()
    if deployment is None:
        raise StepFailed("the contracts are not deployed")
    hashes = [to_hex(one.transaction_hash) for one in placed if one.transaction_hash is not None]
    rpc = Rpc(chain.rpc_urls, chain_id=chain.chain_id)
    try:
        yield Journey(http, platform.base_url, platform.realtime_url, rpc, chain.chain_id, deployment, hashes)
    finally:
        await rpc.close()


def table_of(steps: Sequence[Step], width: int) -> Table:
    """Return the journey so far: a tick, a time and the transaction hashes a step, whole where they fit."""
    spelled = str if width >= _ROOM_FOR_HASHES else _short
    table = Table(title="The journey of a ticket", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    table.add_column("Step", ratio=4)
    table.add_column("Time", justify="right", no_wrap=True)
    table.add_column("Seen", ratio=4)
    table.add_column("Transaction", no_wrap=True)
    for step in steps:
        mark = Text("✗", "red") if step.failure else Text("✓", "green")
        seen = Text(step.failure, "red") if step.failure else Text(step.note)
        table.add_row(mark, step.title, f"{step.seconds:.2f} s", seen, "\n".join(map(spelled, step.hashes)))
    return table


def _short(transaction_hash: str) -> str:
    return f"{transaction_hash[:10]}…{transaction_hash[-6:]}"


def _invite(console: Console, platform: Platform) -> None:
    console.print(
        f"\nStill serving. Events [bold]{platform.base_url}/events[/] · "
        f"documentation [bold]{platform.base_url}/docs[/] · "
        f"node [bold]{platform.config.chains[0].rpc_urls[0]}[/]\nCtrl-C stops everything."
    )
