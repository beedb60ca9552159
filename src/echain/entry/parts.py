"""The embedded parts of one installation: those for which the configuration names nothing external."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import msgspec
import structlog

from echain.infra.config import ChainConfig, Config, ConfigError
from echain.infra.embedded import child
from echain.infra.embedded.anvil import Anvil
from echain.infra.embedded.postgres import Postgres
from echain.infra.embedded.redis import Redis
from echain.kernel.errors import EchainError, Kind

_log = structlog.get_logger(__name__)


class HomeInUse(EchainError):
    """Another echain runs from this home folder; stop it or set another ECHAIN_HOME."""

    kind = Kind.CONFLICT
    code = "home.in_use"


class Part(Protocol):
    """A child that keeps its address over restarts."""

    @property
    def running(self) -> bool: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...


class Parts:
    """PostgreSQL, Redis and the devnet's node, as far as they are embedded here."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.node: Anvil | None = None
        self._started: dict[str, Part] = {}

    def start(self) -> Config:
        """Start what is not external and return the configuration with the addresses of all.

        Raises:
            PartFailed: one did not start; the others are stopped.
        """
        try:
            self._start_postgres()
            self._start_redis()
            self._start_node()
        except BaseException:
            self.stop()
            raise
        return self.config

    def stop(self) -> None:
        """Stop all in the reverse order."""
        while self._started:
            self._started.popitem()[1].stop()

    def revive(self) -> None:
        """Start again what has ended by itself."""
        for name, part in self._started.items():
            if not part.running:
                _log.warning("part.restarted", part=name)
                part.start()

    def _start_postgres(self) -> None:
        if self.config.database_url is not None:
            return
        server = Postgres(self.config.home / "postgres")
        self._start("PostgreSQL", server)
        self.config = msgspec.structs.replace(self.config, database_url=server.url("postgres"))

    def _start_redis(self) -> None:
        if self.config.redis_url is not None:
            return
        server = Redis(self.config.home / "redis")
        self._start("Redis", server)
        self.config = msgspec.structs.replace(self.config, redis_url=server.url)

    def _start_node(self) -> None:
        chains = self.config.chains
        if not self.config.devnet or any(chain.rpc_urls for chain in chains):
            return
        followed: list[ChainConfig] = []
        for place, chain in enumerate(chains):
            folder = "anvil" if place == 0 else f"anvil-{chain.chain_id}"
            node = Anvil(
                self.config.home / folder,
                home=self.config.home,
                chain_id=chain.chain_id,
                block_seconds=self.config.devnet_block_seconds,
                port=child.free_port(self.config.devnet_port + place),
            )
            self._start(folder, node)
            self.node = self.node or node
            followed.append(msgspec.structs.replace(chain, rpc_urls=(node.url,), ws_urls=(node.ws_url,)))
        self.config = msgspec.structs.replace(self.config, chains=tuple(followed))

    def _start(self, name: str, part: Part) -> None:
        part.start()
        self._started[name] = part


def database_url_of(config: Config) -> str:
    """Return where the database is: the one that is set, or the embedded one while it runs from this home.

    Raises:
        ConfigError: none is set, and none runs here.
    """
    if config.database_url is not None:
        return config.database_url
    server = Postgres(config.home / "postgres")
    if not (server.data / "postmaster.pid").exists():
        raise ConfigError(
            ["ECHAIN_DATABASE_URL is missing, and `echain up` does not run from this ECHAIN_HOME"]
        )
    return server.url("postgres")


@contextmanager
def exclusive(home: Path) -> Generator[None, None, None]:
    """Hold ``home`` for this process alone; the hold ends with the process, however it ends.

    Raises:
        HomeInUse: another process holds it.
    """
    home.mkdir(parents=True, exist_ok=True)
    handle = os.open(home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise HomeInUse(f"another echain runs from {home}; stop it or set another ECHAIN_HOME") from error
    try:
        yield
    finally:
        os.close(handle)
