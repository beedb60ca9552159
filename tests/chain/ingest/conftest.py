"""A chain of its own for every test, served by a node that can fork, and what the projections say of it."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable

import pytest
from tests.chain.ingest.forknode import ForkNode
from tests.chain.ingest.projections import Followed

from echain.chain.rpc import Rpc
from echain.infra.database import Database

_chain_ids = itertools.count(1_000)


@pytest.fixture(scope="session")
def shared_database_url(fresh_database: Callable[[], str]) -> str:
    """One database for all of these tests: each has a chain of its own in it."""
    return fresh_database()


@pytest.fixture
async def database(shared_database_url: str) -> AsyncIterator[Database]:
    pool = await Database.connect(shared_database_url, size=10, name="test")
    yield pool
    await pool.close()


@pytest.fixture
async def node() -> AsyncIterator[ForkNode]:
    async with ForkNode(next(_chain_ids)).serving() as node:
        yield node


@pytest.fixture
async def rpc(node: ForkNode) -> AsyncIterator[Rpc]:
    rpc = Rpc([node.url], chain_id=node.chain_id, timeout=5)
    yield rpc
    await rpc.close()


@pytest.fixture
def followed(node: ForkNode, rpc: Rpc, database: Database) -> Followed:
    return Followed(node, rpc, database)
