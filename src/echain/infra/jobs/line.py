"""The one connection on which a worker listens, takes and settles; those who use it take turns."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from echain.infra.database import Connection, Row, connect
from echain.infra.jobs.statements import CHANNEL

_SETTINGS: Final = """
    SET synchronous_commit = off;
    SET lock_timeout = '2s';
    SET plan_cache_mode = force_generic_plan;
    SET enable_seqscan = off;
"""
"""A pick that is lost with the server is picked again, and an effect's own commit flushes what came before.
Nothing here may wait long for a row: all queues of the worker would wait with it. Planning the statement that
takes jobs costs twice its running, so it is planned once; and as that may be while the queue is empty, by its
indexes, which serve it at any size."""


class Line:
    """Runs statements one after the other, in order of arrival."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._turn = asyncio.Lock()
        self.lost = asyncio.Event()

    async def fetch(self, query: str, *args: object) -> list[Row]:
        async with self._turn:
            return await self._connection.fetch(query, *args)

    async def fetchval(self, query: str, *args: object) -> Any:
        async with self._turn:
            return await self._connection.fetchval(query, *args)

    async def execute(self, query: str, *args: object) -> None:
        async with self._turn:
            await self._connection.execute(query, *args)

    def hang_up(self, _: object) -> None:
        self.lost.set()


@asynccontextmanager
async def open_line(url: str, heard: Callable[[str], None]) -> AsyncGenerator[Line, None]:
    """Lend a line while the block lasts; ``heard`` gets the queue's name of each notification.

    Raises:
        DatabaseUnavailable: nothing answers at ``url``.
    """

    def on_notified(_connection: object, _pid: object, _channel: object, payload: object) -> None:
        heard(str(payload))

    connection = await connect(url, name="echain jobs")
    line = Line(connection)
    try:
        connection.add_termination_listener(line.hang_up)
        await connection.execute(_SETTINGS)
        await connection.add_listener(CHANNEL, on_notified)
        yield line
    finally:
        connection.remove_termination_listener(line.hang_up)
        with suppress(Exception):
            await connection.remove_listener(CHANNEL, on_notified)
            await connection.close(timeout=1)
