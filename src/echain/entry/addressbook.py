"""Where the contracts stand, kept up to date for a process that may start before they do."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from echain.chain.deploy import Deployment
from echain.entry.deployment import deployments
from echain.infra.config import Config
from echain.infra.database import Database, DatabaseUnavailable

_MISSING_SECONDS: Final = 0.5
_COMPLETE_SECONDS: Final = 10.0
"""How often the book is read: contracts that are deployed anew on a devnet are noticed, too."""


class AddressBook:
    """The deployments of all configured chains as of the last reading."""

    def __init__(self, config: Config, database: Database) -> None:
        self._config = config
        self._database = database
        self._found: dict[int, Deployment] = {}
        self._arrived: dict[int, asyncio.Event] = {chain.chain_id: asyncio.Event() for chain in config.chains}

    @property
    def deployments(self) -> Mapping[int, Deployment]:
        return self._found

    async def wait_for(self, chain_id: int) -> Deployment:
        """Return a chain's deployment, waiting until there is one while `keep_reading` runs."""
        await self._arrived[chain_id].wait()
        return self._found[chain_id]

    async def read(self) -> None:
        """Read the book once.

        Raises:
            DatabaseUnavailable: what was read before still stands.
        """
        self._found = await deployments(self._config, self._database)
        for chain_id in self._found:
            self._arrived[chain_id].set()

    async def keep_reading(self) -> None:
        """Read now and then until cancelled; a database that is away is waited for."""
        while True:
            try:
                await self.read()
            except DatabaseUnavailable:
                await asyncio.sleep(_MISSING_SECONDS)
                continue
            complete = len(self._found) == len(self._arrived)
            await asyncio.sleep(_COMPLETE_SECONDS if complete else _MISSING_SECONDS)
