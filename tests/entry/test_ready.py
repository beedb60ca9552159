"""`/health/ready` sends nobody to a process that still imports or has no database."""

from __future__ import annotations

import pytest
from tests.edge.http_client import Client

from echain.edge.http import StoredIdempotency, application
from echain.entry import health
from echain.infra.database import Database
from echain.kernel.time import utc_now


def client_of(database: Database, warm: list[bool]) -> Client:
    async def nobody(*_: object) -> None:
        return None

    app = application(
        health.endpoints(database, None, {}, warm=lambda: warm[-1]),
        authenticate=nobody,
        clock=utc_now,
        idempotency=StoredIdempotency(database),
        title="echain",
        version="1",
    )
    return Client(app)


async def test_a_process_is_ready_once_it_is_warm_and_alive_before(database: Database) -> None:
    warm = [False]
    client = client_of(database, warm)
    assert (await client("GET", "/health/ready")).status == 503
    assert (await client("GET", "/health/live")).status == 200
    warm.append(True)
    assert (await client("GET", "/health/ready")).status == 200


@pytest.mark.parametrize("warm", [False, True])
async def test_a_process_without_its_database_is_not_ready(warm: bool) -> None:
    client = client_of(Database.lazy("postgresql://nobody@127.0.0.1:1/none"), [warm])
    assert (await client("GET", "/health/ready")).status == 503
