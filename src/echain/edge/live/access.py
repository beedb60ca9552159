"""Who may hear what: identities, channels, limits and origins, without knowing what a channel is about."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from datetime import datetime
from typing import TypeAlias
from urllib.parse import urlsplit
from uuid import UUID

import msgspec

from echain.kernel.errors import EchainError, Kind


class Identity(msgspec.Struct, frozen=True):
    """Which user a token stands for, by which session, and until when.

    ``address`` is the user's wallet in EIP-55 spelling; None when they signed in without one.
    """

    session: UUID
    address: str | None
    expires_at: datetime
    user: UUID


class Grant(msgspec.Struct, frozen=True):
    """A channel that somebody may join: its canonical name, and whether that takes an identity."""

    channel: str
    private: bool


Identify: TypeAlias = Callable[[str], Awaitable[Identity | None]]
"""Returns whom a token stands for, None when it holds no longer or never did."""

Policy: TypeAlias = Callable[[str, Identity | None], Awaitable[Grant]]
"""Returns what joining a channel name grants; raises an `EchainError` that says why not."""


class Limits(msgspec.Struct, frozen=True):
    """Bounds of one process.

    ``backlog_bytes`` is what may wait for one connection before it counts as slow; ``stuck_seconds`` is how
    long it may stay so. ``ops_per_second`` with ``ops_burst`` bound what a connection may ask. Addresses of
    this machine are not counted unless ``count_loopback``: a proxy stands there. ``proxies`` are networks
    whose ``X-Forwarded-For`` says which address is counted in place of theirs.
    """

    connections: int = 20_000
    per_address: int = 512
    count_loopback: bool = False
    proxies: tuple[str, ...] = ()
    channels: int = 100
    ops_per_second: float = 20.0
    ops_burst: int = 60
    message_bytes: int = 100_000
    backlog_bytes: int = 64 * 1024
    stuck_seconds: float = 30.0


class Timing(msgspec.Struct, frozen=True):
    """How long things may take, in seconds; the first two are Engine.IO's."""

    ping_interval: float = 25.0
    ping_timeout: float = 20.0
    upgrade: float = 10.0
    hello: float = 15.0
    request: float = 10.0
    keep_alive: float = 65.0
    resolution: float = 0.5
    closing: float = 2.0


class TokenInvalid(EchainError):
    """This token does not hold, or no longer; sign in again or refresh it."""

    kind = Kind.UNAUTHENTICATED
    code = "live.token_invalid"


class ChannelUnknown(EchainError):
    """There is no such channel; see docs/live.md for those there are."""

    kind = Kind.NOT_FOUND
    code = "live.channel_unknown"


class ChannelPrivate(EchainError):
    """This channel is somebody else's, or needs a token: send one in the handshake or by auth."""

    kind = Kind.FORBIDDEN
    code = "live.channel_private"


class TooManyChannels(EchainError):
    """The connection has as many channels as one may have; leave some first."""

    kind = Kind.LIMITED
    code = "live.too_many_channels"


class TooFast(EchainError):
    """The connection asks faster than one may; wait a second."""

    kind = Kind.LIMITED
    code = "live.too_fast"


class NotReady(EchainError):
    """The messages are not at hand now; try again in some seconds."""

    kind = Kind.UNAVAILABLE
    code = "live.not_ready"


class RequestMalformed(EchainError):
    """This cannot be read; see docs/live.md for what can be said."""

    kind = Kind.INVALID
    code = "live.malformed"


class Origins:
    """The web origins whose pages may connect."""

    def __init__(self, urls: Collection[str]) -> None:
        self._allowed = {spelling for url in urls for spelling in _spellings(url)}

    def admits(self, origin: str) -> bool:
        return origin.lower().rstrip("/") in self._allowed


def _spellings(url: str) -> list[str]:
    """Return an origin, and its other loopback names when it has one: people type either."""
    parts = urlsplit(url)
    origin = f"{parts.scheme}://{parts.netloc}".lower()
    if parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        return [origin]
    port = "" if parts.port is None else f":{parts.port}"
    return [f"{parts.scheme}://{host}{port}" for host in ("localhost", "127.0.0.1", "[::1]")]
