"""One leader a chain: whoever holds the chain's lock follows it, the others stand by.

The lock belongs to a session of PostgreSQL, and PostgreSQL ends sessions that are silent. So a leader that
was killed, paused, cut off or is stuck loses its lead without anybody having to notice. The lock only spares
work: what keeps two indexers from doubling anything is the lock on the chain's cursor, in every transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import asyncpg
import structlog

from echain.infra.database import Connection, Database, DatabaseUnavailable, Tx

SILENCE_SECONDS: Final = 3
"""How long a session may say nothing, as the leader's or within a transaction, before it is ended."""

_BEAT_SECONDS: Final = 0.5
_BEAT_PATIENCE_SECONDS: Final = 2.0
_STANDBY_SECONDS: Final = 0.25
_PARTING_SECONDS: Final = 2.0

_TRY: Final = "SELECT pg_try_advisory_lock(hashtextextended($1, 0))"

_LIMIT: Final = """
    SELECT set_config('idle_in_transaction_session_timeout', $1, TRUE),
           set_config('synchronous_commit', 'off', TRUE)
"""

_EVICT: Final = """
    SELECT pg_terminate_backend(holder.pid)
    FROM pg_stat_activity AS waiting
    CROSS JOIN LATERAL unnest(pg_blocking_pids(waiting.pid)) AS blocking (pid)
    JOIN pg_stat_activity AS holder ON holder.pid = blocking.pid
    WHERE waiting.datname = current_database() AND waiting.wait_event_type = 'Lock'
      AND waiting.query LIKE '%chain_cursors%'
      AND holder.wait_event IN ('ClientRead', 'ClientWrite')
      AND holder.state_change < clock_timestamp() - make_interval(secs => $1)
"""

_log = structlog.get_logger(__name__)


async def lead(database: Database, chain_id: int, work: Callable[[], Awaitable[None]]) -> None:
    """Wait to be the chain's leader, then do ``work`` as long as that lasts, at most until it returns.

    Raises:
        DatabaseUnavailable: there is no session, or the lead is lost; ``work`` was cancelled.
    """
    async with database.session() as connection:
        await connection.execute(f"SET idle_session_timeout = '{SILENCE_SECONDS}s'")
        while not await connection.fetchval(_TRY, f"follow:{chain_id}"):
            await asyncio.sleep(_STANDBY_SECONDS)
        _log.info("leading", chain_id=chain_id)
        tasks = (asyncio.ensure_future(work()), asyncio.create_task(_beat(connection)))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            # A rollback on a connection that is cut off never ends; it is left to itself.
            await asyncio.wait(tasks, timeout=_PARTING_SECONDS)
        for task in done:
            task.result()


async def limit(tx: Tx) -> None:
    """Bound how long this transaction may hold the cursor in silence, as when its process is paused.

    Its commit does not wait for the disk: a crash of the server may take it back, whole, and the chain is
    read again from where the cursor then stands. Whoever commits durably after it makes it durable, too.
    """
    await tx.execute(_LIMIT, f"{SILENCE_SECONDS}s")


async def _beat(connection: Connection) -> None:
    """Talk, so that the session lives; fail when it does not answer.

    The server ends who is silent between statements, but waits for the rest of a COPY for ever. So whoever
    is silent while others wait for the cursor that it holds is ended from here.
    """
    while True:
        await asyncio.sleep(_BEAT_SECONDS)
        try:
            await connection.execute(_EVICT, float(SILENCE_SECONDS), timeout=_BEAT_PATIENCE_SECONDS)
        except (TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            raise DatabaseUnavailable("the leader's session is lost") from error
