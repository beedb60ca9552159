"""PostgreSQL: a lean pool that hands connections out in order of arrival and does no round trip of its own.

asyncpg's stock pool resets a connection on each release, which costs a third of the throughput of small
statements. Nothing here changes session state, so nothing needs a reset; what a transaction leaves behind is
rolled back where it was opened.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Self, TypeAlias

import asyncpg
import msgspec

from echain.infra.metrics import Metrics
from echain.infra.statements import statement_recorder
from echain.infra.traces import current
from echain.kernel.errors import EchainError, Kind

Connection: TypeAlias = asyncpg.Connection
"""One statement is one snapshot here: outside a transaction each commits by itself."""

Tx: TypeAlias = Connection
"""The same, inside a transaction that whoever opened it will commit."""

Row: TypeAlias = asyncpg.Record

CONNECT_SECONDS: Final = 5.0
WAIT_SECONDS: Final = 10.0
_CLOSE_SECONDS: Final = 1.0
_CACHED_STATEMENTS: Final = 1024
_QUERY_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)
_JSONB_VERSION: Final = b"\x01"

_HANGS_SECONDS: Final = 1.0  # beyond the statement timeout
_WATCHED: Final = {"tcp_keepalives_idle": "2", "tcp_keepalives_interval": "1", "tcp_keepalives_count": "2"}
"""A machine that is cut off is noticed by the server within four seconds, and its locks are free again."""

_LOST: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    # By the statement timeout, or by an operator.
    asyncpg.QueryCanceledError,
    # The session was silent for longer than whoever opened it promised.
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.IdleSessionTimeoutError,
    # What is raised on a connection that heard the server's farewell, but not yet the end of its socket.
    asyncpg.InternalClientError,
)
"""The server says that it cannot serve; whatever ran is not committed, or not known to be."""

_BROKEN: Final = (OSError, asyncpg.InterfaceError)
"""These mean a lost server only when the connection is gone; else they are someone's bug."""


class DatabaseUnavailable(EchainError):
    """The database does not answer; try again in some seconds."""

    kind = Kind.UNAVAILABLE
    code = "database.unavailable"


class AccountGone(EchainError):
    """This account was erased just now; sign in again for a new one."""

    kind = Kind.UNAUTHENTICATED
    code = "auth.account_gone"


_NO_SUCH_USER: Final = 'is not present in table "users".'
"""What PostgreSQL says to who writes about somebody that was erased since their request was let in."""


class Database:
    """A pool of at most ``size`` connections to one PostgreSQL database.

    Connections open when they are needed and stay. Those that wait are served in order of arrival. When the
    server goes away every use raises `DatabaseUnavailable`; when it is back the next use connects again.
    """

    def __init__(
        self,
        url: str,
        *,
        size: int,
        name: str,
        metrics: Metrics | None = None,
        statement_seconds: float | None = None,
    ) -> None:
        self._url = url
        self._statement_seconds = statement_seconds
        self._size = size
        self._name = name
        self._idle: deque[Connection] = deque()
        self._waiting: deque[asyncio.Future[Connection]] = deque()
        self._open = 0
        self._closed = False
        self._openings: set[asyncio.Task[None]] = set()
        self._told: dict[Connection, Callable[[Any], None]] = {}
        self._measure(metrics or Metrics())

    @classmethod
    async def connect(
        cls, url: str, *, size: int = 10, name: str = "echain", statement_seconds: float | None = None
    ) -> Self:
        """Return a pool whose first connection stands.

        ``name`` is what the server lists it as. ``statement_seconds`` bounds every statement, by the server
        and, should that hang, from here.

        Raises:
            DatabaseUnavailable: nothing answers at ``url`` within 5 s.
        """
        database = cls(url, size=size, name=name, statement_seconds=statement_seconds)
        database._give_back(await database._acquire())
        return database

    @classmethod
    def lazy(
        cls,
        url: str,
        *,
        size: int = 10,
        name: str = "echain",
        metrics: Metrics | None = None,
        statement_seconds: float | None = None,
    ) -> Self:
        """Return a pool that connects at its first use, for those who start before their database does.

        What it does is measured in ``metrics``, which are one pool's alone.
        """
        return cls(url, size=size, name=name, metrics=metrics, statement_seconds=statement_seconds)

    def _measure(self, metrics: Metrics) -> None:
        metrics.gauge("echain_database_connections", "Open connections of the pool.").set_function(
            lambda: self._open
        )
        metrics.gauge("echain_database_connections_idle", "Connections that nobody uses.").set_function(
            lambda: len(self._idle)
        )
        metrics.gauge("echain_database_waiting", "Who waits for a connection.").set_function(
            lambda: len(self._waiting)
        )
        self._waited = metrics.histogram(
            "echain_database_wait_seconds", "How long a connection was waited for when none was idle."
        ).observe
        self._queried = metrics.histogram(
            "echain_database_query_seconds",
            "How long a statement took that was its own transaction.",
            buckets=_QUERY_SECONDS,
        ).observe
        self._committed = metrics.histogram(
            "echain_database_transaction_seconds",
            "How long a transaction was open, to its commit or rollback.",
            buckets=_QUERY_SECONDS,
        ).observe

    async def close(self) -> None:
        """Close idle connections now and busy ones as they come back; those that wait are refused."""
        self._closed = True
        for opening in self._openings:
            opening.cancel()
        while self._waiting:
            _refuse(self._waiting.popleft(), DatabaseUnavailable("the pool is closed"))
        idle, self._idle = self._idle, deque()
        self._open -= len(idle)
        await asyncio.gather(*(_close(connection) for connection in idle))

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[Connection, None]:
        """Lend a connection on which each statement is its own transaction.

        Raises:
            DatabaseUnavailable: the server is gone, or no connection came free within 10 s.
            AccountGone: what was written belongs to a user who was erased meanwhile.
        """
        connection = await self._acquire()
        try:
            yield connection
        except (*_LOST, *_BROKEN) as error:
            raise self._translated(error, connection) from error
        except asyncpg.ForeignKeyViolationError as error:
            if (getattr(error, "detail", None) or "").endswith(_NO_SUCH_USER):
                raise AccountGone from error
            raise
        finally:
            self._give_back(connection)

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Tx, None]:
        """Lend a connection inside a READ COMMITTED transaction: committed at its end, rolled back on errors.

        Raises:
            DatabaseUnavailable: the server is gone. When that happens during COMMIT nobody knows the outcome.
        """
        async with self.connection() as connection:
            began = time.perf_counter()
            try:
                async with connection.transaction():
                    yield connection
            finally:
                self._committed(time.perf_counter() - began)

    @asynccontextmanager
    async def session(self) -> AsyncGenerator[Connection, None]:
        """Open a connection beside the pool, for session locks and temporary tables; it ends with the block.

        Raises:
            DatabaseUnavailable: the server is gone or refuses.
        """
        connection = await connect(self._url, name=self._name)
        try:
            yield connection
        except (*_LOST, *_BROKEN) as error:
            raise self._translated(error, connection) from error
        finally:
            # Not closed politely: a server that hangs would be waited for, and there is nothing to say.
            connection.terminate()

    async def fetch(self, query: str, *args: object) -> list[Row]:
        """Return all rows of one statement on its own connection."""
        connection = await self._acquire()
        began = time.perf_counter()
        try:
            return await connection.fetch(query, *args)
        except (*_LOST, *_BROKEN) as error:
            raise self._translated(error, connection) from error
        finally:
            self._queried(time.perf_counter() - began)
            self._give_back(connection)

    async def fetchrow(self, query: str, *args: object) -> Row | None:
        """Return the first row of one statement, or None."""
        connection = await self._acquire()
        began = time.perf_counter()
        try:
            return await connection.fetchrow(query, *args)
        except (*_LOST, *_BROKEN) as error:
            raise self._translated(error, connection) from error
        finally:
            self._queried(time.perf_counter() - began)
            self._give_back(connection)

    async def fetchval(self, query: str, *args: object) -> Any:
        """Return the first column of the first row of one statement, or None."""
        row = await self.fetchrow(query, *args)
        return None if row is None else row[0]

    async def execute(self, query: str, *args: object) -> str:
        """Run one statement that commits by itself and return its command tag."""
        connection = await self._acquire()
        began = time.perf_counter()
        try:
            return await connection.execute(query, *args)
        except (*_LOST, *_BROKEN) as error:
            raise self._translated(error, connection) from error
        finally:
            self._queried(time.perf_counter() - began)
            self._give_back(connection)

    def _translated(self, error: Exception, connection: Connection) -> BaseException:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            # That its rollback failed must not hide that the caller is to end.
            connection.terminate()
            return asyncio.CancelledError()
        # Where statements are bounded, one that is late means a server that hangs.
        hung = self._statement_seconds is not None and isinstance(error, TimeoutError)
        if hung or isinstance(error, _LOST) or connection.is_closed():
            connection.terminate()
            return DatabaseUnavailable()
        return error

    async def _acquire(self) -> Connection:
        if self._closed:
            raise DatabaseUnavailable("the pool is closed")
        while self._idle and not self._waiting:
            connection = self._idle.pop()
            if not connection.is_closed():
                return self._lent(connection)
            self._open -= 1
        began = time.perf_counter()
        future: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        if self._open < self._size:
            self._open_one()
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                return self._lent(await future)
        except TimeoutError as error:
            raise DatabaseUnavailable(
                f"no connection came free within {WAIT_SECONDS:.0f} s", size=self._size
            ) from error
        except asyncio.CancelledError:
            # Handed over in the very moment of the cancellation: it must not be lost.
            if future.done() and not future.cancelled() and future.exception() is None:
                self._give_back(future.result())
            raise
        finally:
            future.cancel()
            self._waited(time.perf_counter() - began)

    def _lent(self, connection: Connection) -> Connection:
        """Have what runs on it told of while it is lent, where the borrower's work is."""
        span = current()
        if span is not None:
            self._told[connection] = teller = statement_recorder(span)
            connection.add_query_logger(teller)
        return connection

    def _give_back(self, connection: Connection) -> None:
        if self._told and (teller := self._told.pop(connection, None)) is not None:
            connection.remove_query_logger(teller)
        if connection.is_closed():
            self._open -= 1
            self._open_for_next()
            return
        task = asyncio.current_task()
        cut_off = task is not None and task.cancelling() > 0
        if self._closed or cut_off or connection.is_in_transaction():
            # In a transaction, or its BEGIN may still arrive: the server undoes it when the socket closes.
            connection.terminate()
            self._open -= 1
            self._open_for_next()
            return
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(connection)
                return
        self._idle.append(connection)

    def _open_for_next(self) -> None:
        if self._waiting and not self._closed:
            self._open_one()

    def _open_one(self) -> None:
        """Open a connection aside and hand it to whoever waits longest by then."""
        self._open += 1
        task = asyncio.get_running_loop().create_task(self._opening())
        self._openings.add(task)
        task.add_done_callback(self._openings.discard)

    async def _opening(self) -> None:
        try:
            connection = await connect(self._url, name=self._name, statement_seconds=self._statement_seconds)
        except DatabaseUnavailable as error:
            self._open -= 1
            # One refused attempt speaks for all who wait: none of them is served sooner by asking again.
            while self._waiting and self._open == 0:
                _refuse(self._waiting.popleft(), error)
            if self._waiting:
                _refuse(self._waiting.popleft(), error)
            return
        except BaseException as error:
            self._open -= 1
            while self._waiting:
                _refuse(self._waiting.popleft(), error)
            if isinstance(error, asyncio.CancelledError):
                raise
            return
        self._give_back(connection)


async def _close(connection: Connection) -> None:
    with suppress(*_LOST, *_BROKEN, TimeoutError):
        await connection.close(timeout=_CLOSE_SECONDS)


def _refuse(future: asyncio.Future[Connection], error: BaseException) -> None:
    if not future.done():
        if isinstance(error, Exception):
            future.set_exception(error)
        else:
            future.cancel()


async def connect(url: str, *, name: str = "echain", statement_seconds: float | None = None) -> Connection:
    """Return one connection outside any pool, for LISTEN and session locks.

    A statement that takes longer than ``statement_seconds`` is ended; None lets it take its time.

    JSONB is plain Python in and out. In a ``jsonb[]`` the items must not be lists, which asyncpg takes for
    another dimension of the array.

    Raises:
        DatabaseUnavailable: nothing answers within 5 s, or the server refuses.
    """
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            connection = await asyncpg.connect(
                url,
                statement_cache_size=_CACHED_STATEMENTS,
                max_cached_statement_lifetime=0,
                command_timeout=None if statement_seconds is None else statement_seconds + _HANGS_SECONDS,
                server_settings={
                    "application_name": name,
                    "jit": "off",
                    "timezone": "UTC",
                    "statement_timeout": f"{(statement_seconds or 0) * 1000:.0f}",
                    **_WATCHED,
                },
            )
            await connection.set_type_codec(
                "jsonb",
                schema="pg_catalog",
                encoder=_encode_jsonb,
                decoder=_decode_jsonb,
                format="binary",
            )
    except (*_LOST, *_BROKEN, TimeoutError, asyncpg.PostgresError) as error:
        raise DatabaseUnavailable(f"the database refuses: {str(error) or type(error).__name__}") from error
    return connection


def _encode_jsonb(value: object) -> bytes:
    return _JSONB_VERSION + msgspec.json.encode(value)


def _decode_jsonb(data: bytes) -> object:
    return msgspec.json.decode(memoryview(data)[1:])
