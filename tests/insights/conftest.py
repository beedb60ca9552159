"""The transparency pages on the real application, database and chain."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.admission.theatre import DEVNET, Theatre, opened
from tests.edge.http_client import Client
from tests.pages.reading import SITE

from echain.chain.rpc import Rpc
from echain.edge.http import Caller, StoredIdempotency, application
from echain.infra.database import Database
from echain.infra.embedded.anvil import Anvil
from echain.insights import pages, rest
from echain.kernel.time import utc_now


@pytest.fixture
async def theatre(anvil: Anvil, database: Database) -> AsyncIterator[Theatre]:
    rpc = Rpc([anvil.url], chain_id=DEVNET.chain_id)
    try:
        yield await opened(anvil, database, rpc)
    finally:
        await rpc.close()


def client_of(theatre: Theatre, rpc: Rpc) -> Client:
    """Return anybody, before an application that asks this node."""

    async def nobody(_headers: object, _cookies: object) -> Caller | None:
        return None

    rpcs, chains = {DEVNET.chain_id: rpc}, {DEVNET.chain_id: DEVNET}
    return Client(
        application(
            [
                *rest.endpoints(theatre.database, rpcs, chains),
                *pages.endpoints(theatre.database, SITE, rpcs, chains),
            ],
            authenticate=nobody,
            clock=utc_now,
            idempotency=StoredIdempotency(theatre.database),
            title="echain",
            version="1",
        )
    )


@pytest.fixture
def anyone(theatre: Theatre) -> Client:
    return client_of(theatre, theatre.rpc)
