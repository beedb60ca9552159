"""Brings a chain to its head again and again: database URL, node URL, what to follow as JSON."""

import asyncio
import sys
from contextlib import suppress

import msgspec

from echain.admission.onchain import AdmissionProjector
from echain.chain.follow import FollowedChain
from echain.chain.hints import Bringer
from echain.chain.ingest import Projection
from echain.chain.rpc import Rpc
from echain.events.onchain import EventProjector
from echain.infra.database import Database
from echain.kernel.errors import EchainError
from echain.tickets.onchain import TicketProjector


async def hint(database_url: str, node_url: str, chain: FollowedChain) -> None:
    database = await Database.connect(database_url, size=2, name="hints")
    rpc = Rpc([node_url], chain_id=chain.chain_id)
    projection = Projection((EventProjector(), TicketProjector(), AdmissionProjector()))
    bringer = Bringer(rpc, database, projection, chain)
    sys.stdout.write("working\n")
    sys.stdout.flush()
    while True:
        with suppress(EchainError):
            await bringer.bring((await rpc.head()).number)


if __name__ == "__main__":
    asyncio.run(hint(sys.argv[1], sys.argv[2], msgspec.json.decode(sys.argv[3], type=FollowedChain)))
