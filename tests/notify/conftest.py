"""A town for every test: a shop, people, a post office, and what runs between them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.notify.town import Town, founded


@pytest.fixture
async def town(database_url: str) -> AsyncIterator[Town]:
    """The relay and one worker run; the mail server takes everything."""
    async with founded(database_url) as town:
        yield town


@pytest.fixture
async def silent_town(database_url: str) -> AsyncIterator[Town]:
    """Nothing runs until the test lets it."""
    async with founded(database_url, works=False) as town:
        yield town
