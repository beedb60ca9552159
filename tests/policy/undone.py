"""A database in which nothing lasts: what one request changes is gone before the next one comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from echain.infra.database import Connection, Database, connect

NESTED_SECONDS = 5.0
"""Who waits longer has asked for a second connection while holding the only one."""


class Undone(Database):
    """One connection, lent to one at a time; between `begin` and its end all is one transaction.

    Transactions of the application become savepoints in it, so that they commit and roll back as ever.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url, size=1, name="policy")
        self._only: Connection | None = None
        self._turn = asyncio.Lock()

    async def open(self) -> None:
        self._only = await connect(self._url, name="policy")

    async def shut(self) -> None:
        assert self._only is not None
        await self._only.close()

    async def _acquire(self) -> Connection:
        assert self._only is not None
        async with asyncio.timeout(NESTED_SECONDS):
            await self._turn.acquire()
        return self._only

    def _give_back(self, connection: Connection) -> None:  # noqa: ARG002 - there is only one
        self._turn.release()

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[None, None]:
        """Undo at the end whatever is done meanwhile."""
        assert self._only is not None
        transaction = self._only.transaction()
        await transaction.start()
        try:
            yield
        finally:
            await transaction.rollback()
