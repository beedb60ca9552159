"""The `realtime` role: brings messages to clients over Socket.IO, WebSocket and server-sent events."""

from __future__ import annotations

import asyncio
import gc
import resource
import socket
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Final

import structlog

from echain.accounts import live as accounts_live
from echain.accounts.accesstokens import AccessTokens
from echain.accounts.admins import Administrators
from echain.edge.live.access import (
    ChannelUnknown,
    Grant,
    Identity,
    Limits,
    Origins,
    Policy,
    Timing,
)
from echain.edge.live.desk import Desk
from echain.edge.live.hub import Hub
from echain.edge.live.past import Past
from echain.edge.live.recent import Recent
from echain.edge.live.server import BACKLOG, Server
from echain.edge.live.verbs import Verb, Verbs
from echain.entry.connections import expose, stores
from echain.entry.stopping import until_stopped
from echain.events import live as events_live
from echain.infra.config import Config
from echain.infra.database import Database, DatabaseUnavailable
from echain.infra.feed import Feed, MessagesGone
from echain.infra.metrics import Metrics
from echain.kernel.errors import EchainError, Kind
from echain.kernel.messages import TYPES
from echain.kernel.time import utc_now
from echain.organizations import live as organizations_live

JOINS: Final[Mapping[str, Verb]] = {
    "join-event": Verb("event:", ("eventId", "event_id", "id")),
    "leave-event": Verb("event:", ("eventId", "event_id", "id"), leaves=True),
    "subscribe:event": Verb("event:", ("eventId", "event_id", "id")),
    "unsubscribe:event": Verb("event:", ("eventId", "event_id", "id"), leaves=True),
    "join-user": Verb("user:", ("address", "userId", "user_id", "id")),
    "leave-user": Verb("user:", ("address", "userId", "user_id", "id"), leaves=True),
}
"""Names by which clients of the existing platform join and leave."""

_PREFILLED: Final = 10_000
"""Messages read at the start, so that those whose process was killed find what they missed in memory."""

_COLLECTED_AFTER: Final = 50_000
"""Objects, as many as some 2,000 connections have; Python's own pace is 700."""

_FILES_ASIDE: Final = 256
_FEW_FILES: Final = 10_000
_RETRY_SECONDS: Final = 0.5
_STATEMENT_SECONDS: Final = 10.0

_log = structlog.get_logger(__name__)


class CannotListen(EchainError):
    """The address cannot be listened on; set another ECHAIN_HOST or ECHAIN_REALTIME_PORT."""

    kind = Kind.CONFLICT
    code = "realtime.cannot_listen"


async def serve(config: Config) -> None:
    """Serve until SIGINT or SIGTERM, then ask all clients to come back later, within some two seconds.

    Starts also while the database is away; clients wait then, and `/health/ready` says 503.

    Raises:
        CannotListen: the address is taken or not ours.
    """
    listening = _listen(config.host, config.realtime_port)
    limits = _limits(config, files=_raise_files())
    async with AsyncExitStack() as stack:
        parts = await stores(config, stack, name="echain realtime", statement_seconds=_STATEMENT_SECONDS)
        await expose(config, parts, stack)
        feed = Feed(parts.database, parts.redis)
        sessions = accounts_live.LiveSessions(
            parts.database, utc_now, AccessTokens(config.token_keys, issuer=config.public_url)
        )
        hub = Hub(Recent(), names_of)
        desk = Desk(
            hub,
            Past(hub, feed),
            policy=policy_of(parts.database, Administrators(config.admins)),
            identify=sessions.identify,
            clock=utc_now,
            metrics=parts.metrics,
            limits=limits,
            timing=Timing(),
        )
        stack.push_async_callback(desk.close)
        server = server_of(config, desk)
        _measure(parts.metrics, desk)
        await server.listen(listening)
        # What exists by now lives as long as the process: collections need not look at it again. Connections
        # leave no cycles behind, as a test sees to; yet when thousands come at once, looking for some at the
        # usual pace takes a third of the time.
        gc.freeze()
        gc.set_threshold(_COLLECTED_AFTER, 20, 20)
        _log.info("realtime.listening", host=config.host, port=config.realtime_port)
        assert config.database_url is not None, "stores has checked it"
        await until_stopped(
            desk.wheel.run(),
            feeding(feed, desk),
            sessions.follow(config.database_url, connected=desk.known_sessions, ended=desk.revoke),
            organizations_live.follow(config.database_url, desk.standing_changed),
        )
        await server.close()


def server_of(config: Config, desk: Desk) -> Server:
    """Return the listener of this installation."""
    return Server(
        desk,
        Verbs(JOINS),
        Origins([config.public_url, *config.origins]),
        cookie=accounts_live.token_cookie(https=config.public_url.startswith("https:")),
        ready=lambda: desk.hub.started,
    )


def names_of(kind: str) -> Sequence[str]:
    """Return the names under which Socket.IO clients hear a type of message: its own, then its aliases."""
    known = TYPES.get(kind)
    return (kind,) if known is None else (kind, *known.aliases)


def policy_of(database: Database, administrators: Administrators | None = None) -> Policy:
    """Return who may join which channel; without ``administrators`` only appointed ones are known."""
    administrators = administrators or Administrators()
    events = events_live.EventChannels(database)
    organizers = organizations_live.OrganizerChannels(database)

    async def policy(name: str, identity: Identity | None) -> Grant:
        kind, _, rest = name.partition(":")
        match kind:
            case "event":
                return await events.grant(rest)
            case "market" if not rest:
                return Grant("market", private=False)
            case "user":
                return accounts_live.owned_channel(f"{kind}:", rest, identity)
            case "organizer":
                return await organizers.grant(rest, identity)
            case "platform" if not rest:
                return await accounts_live.platform_channel(database, administrators, identity)
            case _:
                raise ChannelUnknown

    return policy


async def feeding(feed: Feed, desk: Desk) -> None:
    """Give every message of the feed to the hub, until cancelled.

    Begins some messages before the newest. When what comes next is kept no more, everybody is told to read
    the state anew, and it goes on with the newest.
    """
    hub = desk.hub
    while True:
        try:
            tip = await feed.tip()
            oldest = await feed.oldest()
        except DatabaseUnavailable:
            await asyncio.sleep(_RETRY_SECONDS)
            continue
        # Whoever hears already is not told again what was said before.
        start = tip if hub.channels else max(tip - _PREFILLED, oldest - 1, 0)
        hub.begin(start)
        desk.past.forget()
        desk.start_over()
        if tip == start:
            hub.start()
        try:
            async for batch in feed.batches(after=start):
                hub.speak(batch)
                if not hub.started and hub.position >= tip:
                    hub.start()
        except MessagesGone as error:
            _log.warning("realtime.messages_gone", **error.details)


def _limits(config: Config, *, files: int) -> Limits:
    return Limits(
        connections=min(config.realtime_connections, max(1, files - _FILES_ASIDE)),
        per_address=config.realtime_per_address,
        proxies=config.trusted_proxies,
    )


def _raise_files() -> int:
    """Allow this process as many open files as the system lets it, and return how many that are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or soft < hard:
        wanted = 1 << 20 if hard == resource.RLIM_INFINITY else hard
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    if soft < _FEW_FILES:
        _log.warning(
            "realtime.few_files",
            limit=soft,
            meaning=f"at most {soft - _FILES_ASIDE} connections; raise `ulimit -n` or LimitNOFILE",
        )
    return soft


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise CannotListen(
            f"{host}:{port} cannot be listened on ({error.strerror}); set ECHAIN_REALTIME_PORT"
        ) from error


def _measure(metrics: Metrics, desk: Desk) -> None:
    """Have all set when it is asked for, so that a delivery costs no more than a plain addition."""
    connections = metrics.gauge("echain_live_connections", "connections of clients, sessions that poll too")
    channels = metrics.gauge("echain_live_channels", "channels that somebody hears")
    deliveries = metrics.counter("echain_live_deliveries_total", "messages given to clients")
    position = metrics.gauge("echain_live_position", "id of the last message given to clients")
    queries = metrics.counter(
        "echain_live_history_queries_total", "questions to the database for old messages"
    )
    counted_deliveries = counted_queries = 0

    async def refresh() -> None:
        nonlocal counted_deliveries, counted_queries
        connections.set(desk.places.taken)
        channels.set(desk.hub.channels)
        deliveries.inc(desk.hub.deliveries - counted_deliveries)
        counted_deliveries = desk.hub.deliveries
        position.set(desk.hub.position)
        queries.inc(desk.past.queries - counted_queries)
        counted_queries = desk.past.queries

    metrics.on_scrape(refresh)
