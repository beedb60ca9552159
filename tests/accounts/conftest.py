"""The sign-in routes on the real application and database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from tests.accounts.people import PUBLIC_URL, SAFARI, TOKENS, Browser, Clock, Process, Wallet

from echain.accounts import rest, service
from echain.accounts.accesstokens import AccessTokens
from echain.edge.http import StoredIdempotency, application
from echain.edge.http.limits import Limits
from echain.infra.database import Database

CHAIN_IDS = (84532, 1)


@pytest.fixture(scope="module")
def module_database_url(fresh_database: Callable[[], str]) -> str:
    """One database for a module's many small tests; `database` empties it."""
    return fresh_database()


@pytest.fixture
async def database(module_database_url: str) -> AsyncIterator[Database]:
    pool = await Database.connect(module_database_url, size=10, name="test")
    for table in ("api_keys", "sessions", "wallets", "users", "sign_in_nonces", "outbox"):
        await pool.execute(f"DELETE FROM {table}")
    yield pool
    await pool.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def start(database: Database, clock: Clock) -> Callable[..., Process]:
    """Call it for another API process, on the same database if not told otherwise."""

    def process(
        public_url: str = PUBLIC_URL,
        database: Database = database,
        tokens: AccessTokens = TOKENS,
        limits: Limits | None = None,
    ) -> Process:
        authenticator = service.authenticator(database, clock, tokens)
        app = application(
            rest.endpoints(database, authenticator, public_url=public_url, chain_ids=CHAIN_IDS),
            authenticate=authenticator,
            clock=clock,
            idempotency=StoredIdempotency(database),
            origins=[public_url],
            csrf=authenticator.tokens.csrf.holds,
            limits=limits,
            title="echain",
            version="1",
        )
        return Process(app, authenticator)

    return process


@pytest.fixture
def process(start: Callable[..., Process]) -> Process:
    return start()


@pytest.fixture
def browser(process: Process) -> Browser:
    return Browser(process)


@pytest.fixture
def other_browser(process: Process) -> Browser:
    return Browser(process, user_agent=SAFARI, client="198.51.100.7")


@pytest.fixture
def wallet(clock: Clock) -> Wallet:
    return Wallet(clock)


@pytest.fixture
def rows(database: Database) -> Callable[[], Any]:
    """Call it for the number of rows that signing in writes, by table."""

    async def count() -> dict[str, int]:
        tables = (
            "users",
            "wallets",
            "sessions",
            "refresh_tokens",
            "sign_in_nonces",
            "outbox",
        )
        return {table: await database.fetchval(f"SELECT count(*) FROM {table}") for table in tables}

    return count
