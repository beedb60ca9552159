"""What the door does is what the published document says, whatever a gate sends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.accounts.people import Clock
from tests.admission.house import CODE_KEY, House
from tests.edge.serving import fuzz, served

from echain.admission import rest, service
from echain.edge.http import Application, StoredIdempotency, application
from echain.infra.database import Database
from echain.kernel.time import utc_now

SETTINGS = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", "401", "403", "404", "409", "422"]

[[operations]]
include-path-regex = "^/api/v1/gates/"
parameters = {{ id = "{gate}" }}

[[operations]]
include-path-regex = "^/api/v1/tickets/"
parameters = {{ id = "{ticket}" }}
"""


def app(url: str, house: House) -> Application:
    """Return the door's application for a server's own loop."""
    database = Database.lazy(url, size=4, name="fuzzed")

    @asynccontextmanager
    async def closing() -> AsyncIterator[None]:
        yield
        await database.close()

    return application(
        rest.endpoints(database, house.intents, code_key=CODE_KEY, relays={}),
        authenticate=service.gate_authenticator(database, utc_now),
        clock=utc_now,
        idempotency=StoredIdempotency(database),
        title="echain",
        version="1",
        lifespan=closing,
    )


async def test_a_fuzzer_with_a_gates_secret_finds_nothing(
    module_database_url: str, database: Database, tmp_path: Path
) -> None:
    """Some seconds: every boundary of what a gate may send. Users' credentials are fuzzed elsewhere."""
    house = House(database, Clock(utc_now()))
    event, ada = await house.event(), await house.person()
    gate = await house.open_gate(event)
    settings = SETTINGS.format(gate=gate.id, ticket=await house.sell(event, 7, ada))
    with served(app(module_database_url, house)) as url:
        fuzz(
            url,
            tmp_path,
            token=gate.secret,
            examples=5,
            only="gates/[^/]+/(scan|undo|tickets)|checkin",
            settings=settings,
        )
    assert {scan["verdict"] for scan in await house.scans()} >= {"malformed", "admitted"}
