"""The relay of one process, with what every slice does about messages."""

from __future__ import annotations

from echain.entry.connections import Services
from echain.infra.relay import Handler, Relay
from echain.kernel.time import utc_now
from echain.webhooks import spread


def relay_of(parts: Services) -> Relay:
    """Return the relay; under a handler's name its place is kept, so a name never changes."""
    handlers: dict[str, Handler] = {spread.NAME: spread.handler(utc_now, settled=False)}
    settled_handlers: dict[str, Handler] = {spread.NAME: spread.handler(utc_now, settled=True)}
    return Relay(parts.database, parts.redis, handlers, settled_handlers, metrics=parts.metrics)
