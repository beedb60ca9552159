"""The application: every slice's endpoints with what they need, by hand."""

from __future__ import annotations

from importlib.metadata import version

from echain.accounts import rest as accounts_rest
from echain.accounts import service as accounts
from echain.edge.http import Application, Endpoint, StoredIdempotency, application
from echain.entry import health
from echain.entry.connections import Services
from echain.infra.config import Config
from echain.kernel.time import utc_now


def application_of(config: Config, parts: Services) -> Application:
    """Return the ASGI application with every slice's endpoints."""
    authenticator = accounts.authenticator(parts.database, utc_now)
    chain_ids = [chain.chain_id for chain in config.chains]
    endpoints: list[Endpoint] = [
        *accounts_rest.endpoints(
            parts.database, authenticator, public_url=config.public_url, chain_ids=chain_ids
        ),
        *health.endpoints(parts.database, parts.redis, parts.rpcs),
    ]
    return application(
        endpoints,
        authenticate=authenticator,
        clock=utc_now,
        idempotency=StoredIdempotency(parts.database),
        title="echain",
        version=version("echain"),
    )
