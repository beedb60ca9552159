"""A tower for every test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.security.tower import Tower, built

from echain.infra.embedded.anvil import Anvil


@pytest.fixture
async def tower(database_url: str, anvil: Anvil) -> AsyncIterator[Tower]:
    """With contracts on a chain; relay and worker run."""
    async with built(database_url, anvil) as tower:
        yield tower


@pytest.fixture
async def inland(database_url: str) -> AsyncIterator[Tower]:
    """Without a chain; relay and worker run."""
    async with built(database_url) as tower:
        yield tower
