"""Every route that the program has, told by the program itself."""

from __future__ import annotations

from pathlib import Path

from tests.policy.policies import Policy
from tests.policy.routes import ROUTES

from echain.accounts.accesstokens import AccessTokens
from echain.accounts.service import authenticator
from echain.edge.http import Endpoint
from echain.edge.http.docs import docs_endpoints
from echain.edge.http.openapi import openapi_endpoint
from echain.entry.addressbook import AddressBook
from echain.entry.connections import Services
from echain.entry.settings import read
from echain.entry.wiring import endpoints_of
from echain.infra.cache import Cache
from echain.infra.database import Database
from echain.infra.metrics import Metrics
from echain.kernel.time import utc_now

NOWHERE = "postgresql://nobody@127.0.0.1:1/none"

EVERYTHING: dict[str, str] = {
    "ECHAIN_DEVNET": "true",
}
"""Settings under which no route is missing: those of parts that are optional."""


def endpoints(home: Path) -> list[Endpoint]:
    """Return the routes of the `api` role, unconnected, with everything that can be switched on."""
    config = read({"ECHAIN_HOME": str(home), **EVERYTHING})
    nowhere = Database.lazy(NOWHERE)
    parts = Services(nowhere, None, Cache(NOWHERE, None), {}, Metrics())
    users = authenticator(nowhere, utc_now, AccessTokens(config.token_keys, issuer=config.public_url))
    own = endpoints_of(config, parts, AddressBook(config, nowhere), {}, users)
    document = openapi_endpoint(own, title="echain", version="1", description="")
    return [*own, document, *docs_endpoints()]


def name_of(endpoint: Endpoint) -> str:
    """Return the word by which the table knows a route."""
    return f"{endpoint.method} {endpoint.path}"


def policies_of(name: str) -> tuple[Policy, ...]:
    """Return what the table says of a route."""
    row = ROUTES[name]
    return (row,) if isinstance(row, Policy) else row
