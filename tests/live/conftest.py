"""Live servers on uvloop, as the role runs them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import uvloop
from tests.live.role import Role
from tests.live.stage import Stage, staged

from echain.infra.embedded.redis import Redis


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with staged() as one:
        yield one


@pytest.fixture
def role(tmp_path: Path, database_url: str, own_redis: Redis) -> Iterator[Callable[..., Role]]:
    """Call it for a role that is not started yet; whatever runs at the end is killed."""
    made: list[Role] = []

    def make(**variables: str) -> Role:
        made.append(Role(tmp_path, database_url, own_redis.url, variables))
        return made[-1]

    yield make
    for one in made:
        one.kill()
