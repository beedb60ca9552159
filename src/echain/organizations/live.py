"""Who may hear the channels of organizers: members who see sales, for as long as they do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final
from uuid import UUID

import asyncpg
import structlog

from echain.edge.http import Caller
from echain.edge.live.access import ChannelPrivate, Grant, Identity
from echain.infra.database import Database, DatabaseUnavailable, connect
from echain.kernel.evm import checksum, parse_address
from echain.organizations import service
from echain.organizations.types import Permission

PREFIX: Final = "organizer:"
_RETRY_SECONDS: Final = 1.0

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("echain.organizations")


class OrganizerChannels:
    """Grants the channel of an organizer's wallet; asks the database each time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def grant(self, name: str, identity: Identity | None) -> Grant:
        """Return the channel of a wallet, for members of its organization whose role shows them sales.

        Raises:
            Invalid: the name is no address.
            ChannelPrivate: nobody signed in, or who did is none of them; it is not told which.
            DatabaseUnavailable: nobody can tell now.
        """
        wallet = parse_address(name, path="channel")
        if identity is None:
            raise ChannelPrivate
        async with self._database.connection() as connection:
            standing = await service.standing_to(connection, Caller("user", identity.user), wallet)
        if standing is None or not service.allows(standing, Permission.SALES_READ):
            raise ChannelPrivate
        return Grant(f"{PREFIX}{checksum(wallet)}", private=True)


async def follow(database_url: str, changed: Callable[[UUID | None], None]) -> None:
    """Call ``changed`` with each user whose standing changes, until cancelled; takes a connection of its own.

    None stands for everybody: whoever begins to listen, or comes back after an outage, has missed some.
    """
    hears = True
    while True:
        try:
            await _listen(database_url, changed)
            hears = True
        except DatabaseUnavailable as error:
            if hears:
                _log.warning("organizations.changes_unheard", reason=error.message)
            hears = False
        await asyncio.sleep(_RETRY_SECONDS)


async def _listen(database_url: str, changed: Callable[[UUID | None], None]) -> None:
    connection = await connect(database_url, name="echain standing")
    lost = asyncio.Event()

    def ended(_connection: object) -> None:
        lost.set()

    def heard(_connection: object, _pid: int, _channel: str, payload: object) -> None:
        changed(UUID(str(payload)))

    try:
        connection.add_termination_listener(ended)
        await connection.add_listener(service.STANDING_CHANNEL, heard)
        changed(None)
        await lost.wait()
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise DatabaseUnavailable from error
    finally:
        connection.terminate()
