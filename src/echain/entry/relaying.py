"""The relay of one process, with what every slice does about messages."""

from __future__ import annotations

from echain.entry import notifications, security
from echain.entry.connections import Services
from echain.infra.config import Config
from echain.infra.relay import Handler, Relay
from echain.kernel.time import utc_now
from echain.webhooks import spread


def relay_of(config: Config, parts: Services) -> Relay:
    """Return the relay; under a handler's name its place is kept, so a name never changes."""
    listener = notifications.notify_listener(config)
    handlers: dict[str, Handler] = {
        spread.NAME: spread.handler(utc_now, settled=False),
        notifications.NAME: listener.seen,
        security.NAME: security.hearing(config),
    }
    settled_handlers: dict[str, Handler] = {
        spread.NAME: spread.handler(utc_now, settled=True),
        notifications.NAME: listener.settled,
    }
    return Relay(
        parts.database,
        parts.redis,
        handlers,
        settled_handlers,
        metrics=parts.metrics,
        traces=parts.traces,
    )
