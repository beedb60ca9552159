"""Who may use a sending key on a chain: one connection of one process at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from echain.infra.database import Connection, Database
from echain.kernel.errors import EchainError, Kind
from echain.kernel.evm import Address, to_hex

_POLL_SECONDS: Final = 0.2
_RELEASE: Final = "SELECT pg_advisory_unlock_all()"
_TRY: Final = "SELECT pg_try_advisory_lock(hashtextextended($1, 0))"


class KeyInUse(EchainError):
    """Another process sends with this key on this chain; stop it first or use another key."""

    kind = Kind.CONFLICT
    code = "chain.key_in_use"


@asynccontextmanager
async def turn(
    database: Database, chain_id: int, sender: Address, *, patience_seconds: float | None = None
) -> AsyncGenerator[Connection, None]:
    """Wait for the turn and lend the connection that holds it.

    The turn is a session lock of that very connection: what is written through it is written by whoever has
    the turn, and a process that lost its connection lost its turn with it.

    Raises:
        KeyInUse: the turn did not come within ``patience_seconds``; None waits for ever.
    """
    name = f"echain.send:{chain_id}:{to_hex(sender)}"
    deadline = None if patience_seconds is None else asyncio.get_running_loop().time() + patience_seconds
    while True:
        async with database.connection() as connection:
            if await connection.fetchval(_TRY, name):
                try:
                    yield connection
                finally:
                    await _give_up(connection)
                return
        if deadline is not None and asyncio.get_running_loop().time() >= deadline:
            raise KeyInUse
        await asyncio.sleep(_POLL_SECONDS)


async def _give_up(connection: Connection) -> None:
    """Release the lock; where that cannot be said any more, end the session, which releases it too."""
    try:
        await connection.execute(_RELEASE)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        connection.terminate()
    except asyncio.CancelledError:
        connection.terminate()
        raise
