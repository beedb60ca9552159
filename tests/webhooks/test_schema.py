"""What the routes do is what the published document says, whatever somebody who signed in sends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

from tests.accounts.people import LASTING
from tests.edge.serving import fuzz, served
from tests.webhooks.office import KEYS, LOOPBACK, SECRETS, Office, Person

from echain.accounts import service as accounts
from echain.edge.http import Application, StoredIdempotency, application
from echain.infra.database import Database
from echain.infra.metrics import Metrics
from echain.webhooks import rest
from echain.webhooks.measures import Measures

SETTINGS = """
[checks.positive_data_acceptance]
# A receiver must be one that may be posted to, and a channel one's own: no part of a schema.
expected-statuses = ["2xx", "3xx", "401", "403", "404", "409", "422"]

[[operations]]
include-path-regex = "^/api/v1/webhook-subscriptions/"
exclude-method = "DELETE"
parameters = {{ id = "{subscription}", delivery = "{delivery}" }}
"""


def app(url: str, office: Office) -> Application:
    """Return the application for a server's own loop."""
    database = Database.lazy(url, size=4, name="fuzzed")

    @asynccontextmanager
    async def closing() -> AsyncIterator[None]:
        yield
        await database.close()

    return application(
        [
            *rest.incoming(database, SECRETS, Measures(Metrics())),
            *rest.endpoints(database, KEYS, LOOPBACK),
        ],
        authenticate=accounts.authenticator(database, office.clock, LASTING),
        clock=office.clock,
        idempotency=StoredIdempotency(database),
        title="echain",
        version="1",
        lifespan=closing,
    )


async def test_a_fuzzer_finds_nothing(office_url: str, office: Office, tmp_path: Path) -> None:
    ada: Person = await office.person()
    made = await ada.subscribe("http://127.0.0.1:9/")
    await office.tell([office.message(ada.channel)])
    (delivery,) = await ada.log(made)
    settings = SETTINGS.format(subscription=made["id"], delivery=delivery["id"])
    token = ada.client.defaults["authorization"].removeprefix("Bearer ")
    with served(app(office_url, office)) as url:
        fuzz(url, tmp_path, token=token, examples=5, settings=settings)
    made_by_it = await office.database.fetch(
        "SELECT url FROM webhook_subscriptions WHERE id <> $1", UUID(made["id"])
    )
    assert made_by_it, "the fuzzer got past the door"
