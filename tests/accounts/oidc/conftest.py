"""Two real providers, each behind an address of its own, and a site that knows the first."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.accounts.oidc.world import Front, RealProvider, Site, Visitor, fronting, serving

from echain.infra.database import Database


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A pool of this test's own database, which the site uses as well."""
    pool = await Database.connect(database_url, size=4, name="test")
    yield pool
    await pool.close()


@pytest.fixture(scope="session")
def real_corp() -> Iterator[RealProvider]:
    provider = RealProvider()
    yield provider
    provider.close()


@pytest.fixture(scope="session")
def real_other() -> Iterator[RealProvider]:
    provider = RealProvider()
    yield provider
    provider.close()


@pytest.fixture
async def corp(real_corp: RealProvider) -> AsyncIterator[Front]:
    async with fronting("corp", real_corp) as front:
        yield front


@pytest.fixture
async def other(real_other: RealProvider) -> AsyncIterator[Front]:
    async with fronting("other", real_other) as front:
        yield front


@pytest.fixture
async def site(database_url: str, tmp_path: Path, corp: Front) -> AsyncIterator[Site]:
    async with serving(database_url, tmp_path, corp) as one:
        yield one


@pytest.fixture
async def ada(site: Site) -> AsyncIterator[Visitor]:
    async with site.visitor() as visitor:
        yield visitor


@pytest.fixture
async def mallory(site: Site) -> AsyncIterator[Visitor]:
    async with site.visitor() as visitor:
        yield visitor
