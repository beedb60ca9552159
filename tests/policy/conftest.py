"""One world for all tests of who may what: what each request does is undone."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

import pytest
import pytest_asyncio
from tests.policy.cast import world
from tests.policy.program import endpoints
from tests.policy.world import World

from echain.edge.http import Endpoint
from echain.infra.embedded.anvil import Anvil


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def everything(
    fresh_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[World, None]:
    folder = tmp_path_factory.mktemp("matrix")
    with Anvil(folder / "anvil", home=folder) as anvil:
        async with world(anvil, fresh_database(), folder / "home") as made:
            yield made


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> list[Endpoint]:
    """Every route as the program declares it."""
    return endpoints(tmp_path_factory.mktemp("policy"))
