"""`echain up`: everything on this machine as children of one process, none of which outlives it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec
import structlog

from echain.chain.deploy import Deployment
from echain.entry.deployment import deploy
from echain.entry.parts import Parts, exclusive
from echain.infra.config import Config, environment_of
from echain.infra.embedded import child
from echain.infra.migrate import migrate
from echain.kernel.errors import EchainError, Kind

ROLES: Final = ("api", "indexer", "worker", "realtime")

_WATCH_SECONDS: Final = 0.1
_FIRST_PAUSE_SECONDS: Final = 0.25
_LONGEST_PAUSE_SECONDS: Final = 10.0
_HEALTHY_SECONDS: Final = 30.0
_PATIENCE_SECONDS: Final = 10.0
_READY_SECONDS: Final = 60.0

_log = structlog.get_logger(__name__)


class AddressTaken(EchainError):
    """Another program listens where the API or live updates should; stop it or set another port."""

    kind = Kind.CONFLICT
    code = "up.address_taken"


class NotReady(EchainError):
    """The API or live updates did not become ready; the log says why."""

    kind = Kind.UNAVAILABLE
    code = "up.not_ready"


class Platform(msgspec.Struct, frozen=True):
    """A running installation: where its API and its live updates are, and its configuration, all filled in.

    ``deployments`` has the contracts that stand on a devnet, with the transactions that this start sent.
    """

    base_url: str
    realtime_url: str
    config: Config
    deployments: Mapping[int, Deployment]

    @property
    def database_url(self) -> str:
        return self.config.database_url or ""


class Role:
    """One role as a child process, started again when it ends by itself, later each time."""

    def __init__(self, name: str, environment: Mapping[str, str], logs: Path | None) -> None:
        self.name = name
        self._environment = environment
        self._logs = logs
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._pause_seconds = _FIRST_PAUSE_SECONDS
        self._next_start = 0.0

    def start(self) -> None:
        command = [sys.executable, "-m", "echain.entry.cli", self.name]
        if self._logs is None:
            self._process = self._spawn(command, 2)
        else:
            self._logs.mkdir(parents=True, exist_ok=True)
            with (self._logs / f"{self.name}.log").open("ab") as log:
                self._process = self._spawn(command, log.fileno())
        self._started_at = time.monotonic()

    def _spawn(self, command: Sequence[str], output: int) -> subprocess.Popen[bytes]:
        return child.spawn(command, output=output, parting=signal.SIGTERM, environment=self._environment)

    def watch(self) -> None:
        """Start the process again when it has ended and its pause is over."""
        if self._process is None or self._process.poll() is None:
            return
        now = time.monotonic()
        if self._next_start == 0.0:
            if now - self._started_at > _HEALTHY_SECONDS:
                self._pause_seconds = _FIRST_PAUSE_SECONDS
            _log.warning(
                "role.ended",
                name=self.name,
                status=self._process.returncode,
                again_in_seconds=self._pause_seconds,
            )
            self._next_start = now + self._pause_seconds
            self._pause_seconds = min(self._pause_seconds * 2, _LONGEST_PAUSE_SECONDS)
        elif now >= self._next_start:
            self._next_start = 0.0
            self.start()

    def ask_to_end(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def end(self) -> None:
        """Wait for the process after `ask_to_end`; kill it when it does not end."""
        if self._process is not None:
            child.stop(self._process, signal.SIGTERM, patience_seconds=_PATIENCE_SECONDS)


@asynccontextmanager
async def running(config: Config, *, logs: Path | None = None) -> AsyncGenerator[Platform, None]:
    """Run the whole platform while the block lasts: embedded parts, schema, contracts, roles.

    Yields once API and live updates are ready. The roles write to standard error, or to files below ``logs``.

    Raises:
        HomeInUse: another process runs from this home.
        AddressTaken: the API's port, or that of live updates, is not free.
        PartFailed: an embedded part did not start.
        NotReady: they did not become ready within a minute.
    """
    with exclusive(config.home):
        _require_free(config.host, config.port, "ECHAIN_PORT")
        _require_free(config.host, config.realtime_port, "ECHAIN_REALTIME_PORT")
        parts = Parts(config)
        config = parts.start()
        try:
            assert config.database_url is not None, "parts.start() names one"
            await migrate(config.database_url)
            environment = _environment(config)
            roles = [Role(name, environment | _metrics_port(config, name), logs) for name in ROLES]
            async with _supervised(parts, roles):
                # While the roles start; they wait for contracts that do not stand yet.
                deployed = await _deployed(config)
                base_url = _url(config, config.port)
                realtime_url = _url(config, config.realtime_port)
                await _until_ready(base_url)
                await _until_ready(realtime_url)
                yield Platform(base_url, realtime_url, config, deployed)
        finally:
            parts.stop()


async def up(config: Config) -> None:
    """Run everything until SIGINT or SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    began = time.monotonic()
    opening = asyncio.create_task(_serve(config, stop, began))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((opening, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not opening.done():
        opening.cancel()
    with suppress(asyncio.CancelledError):
        await opening


async def _serve(config: Config, stop: asyncio.Event, began: float) -> None:
    async with running(config) as platform:
        chain = platform.config.chains[0]
        _log.info(
            "echain.ready",
            seconds=round(time.monotonic() - began, 2),
            api=platform.base_url,
            docs=f"{platform.base_url}/docs",
            live=platform.realtime_url,
            chain=chain.chain_id,
            rpc=chain.rpc_urls[0] if platform.config.devnet else "external",
        )
        await stop.wait()


async def _deployed(config: Config) -> dict[int, Deployment]:
    if not config.devnet:
        return {}
    return {chain.chain_id: await deploy(config, chain.chain_id) for chain in config.chains}


@asynccontextmanager
async def _supervised(parts: Parts, roles: Sequence[Role]) -> AsyncGenerator[None, None]:
    for role in roles:
        role.start()
    watching = asyncio.create_task(_watch(parts, roles))
    try:
        yield
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        for role in roles:
            role.ask_to_end()
        for role in roles:
            role.end()


async def _watch(parts: Parts, roles: Sequence[Role]) -> None:
    while True:
        await asyncio.sleep(_WATCH_SECONDS)
        try:
            parts.revive()
        except child.PartFailed as error:
            _log.error("part.failed", reason=error.message)
            await asyncio.sleep(1)
        for role in roles:
            role.watch()


def _environment(config: Config) -> dict[str, str]:
    others = {name: value for name, value in os.environ.items() if not name.startswith("ECHAIN_")}
    return others | environment_of(config)


def _metrics_port(config: Config, role: str) -> dict[str, str]:
    """Return the variable by which each role serves its metrics beside the others'."""
    if not config.metrics_port:
        return {}
    return {"ECHAIN_METRICS_PORT": str(config.metrics_port + ROLES.index(role))}


def _url(config: Config, port: int) -> str:
    host = "127.0.0.1" if config.host in ("0.0.0.0", "::") else config.host  # noqa: S104 - compared, not bound
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _require_free(host: str, port: int, variable: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise AddressTaken(
                f"{host}:{port} cannot be listened on ({error.strerror}); set {variable}"
            ) from error


async def _until_ready(base_url: str) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not await asyncio.to_thread(_answers, f"{base_url}/health/ready"):
        if time.monotonic() > deadline:
            raise NotReady
        await asyncio.sleep(0.05)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):  # noqa: S310 - our own address
            return True
    except OSError:
        return False
