"""Two real providers, each behind an address of its own, and a site that knows the first."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.accounts.oidc.world import Front, RealProvider, Site, Visitor, fronting, serving

from echain.infra.database import Database

TABLES = ("oidc_starts", "identities", "sessions", "wallets", "users", "outbox")


@pytest.fixture
async def database_url(module_database_url: str) -> str:
    """One database for a module's many small tests, of which no user is left; the audit log stays."""
    pool = await Database.connect(module_database_url, size=1, name="test")
    for table in TABLES:
        await pool.execute(f"DELETE FROM {table}")
    await pool.close()
    return module_database_url


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
