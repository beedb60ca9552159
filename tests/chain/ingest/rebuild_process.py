"""A rebuild of its own, for tests that kill it: database URL, chain id. It says when it begins."""

import asyncio
import sys

from echain.admission.onchain import AdmissionProjector
from echain.chain.ingest import Projection
from echain.chain.rebuild import rebuild
from echain.events.onchain import EventProjector
from echain.infra.database import Database
from echain.tickets.onchain import TicketProjector


async def run(database_url: str, chain_id: int) -> None:
    database = await Database.connect(database_url, size=1, name="rebuild")
    async with database.session() as connection:
        sys.stdout.write("working\n")
        sys.stdout.flush()
        projectors = (EventProjector(), TicketProjector(), AdmissionProjector())
        await rebuild(connection, chain_id, Projection(projectors))


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], int(sys.argv[2])))
