"""An indexer of its own, for tests that kill it: database URL, node URL, what to follow as JSON, its name.

It writes a line once it is about to work, so that a kill finds it at work however slow the machine is.
"""

import asyncio
import sys

import msgspec

from echain.admission.onchain import AdmissionProjector
from echain.chain.follow import FollowedChain, Follower
from echain.chain.rpc import Rpc
from echain.events.onchain import EventProjector
from echain.infra.database import Database
from echain.tickets.onchain import TicketProjector


async def follow(database_url: str, node_url: str, chain: FollowedChain, name: str) -> None:
    database = await Database.connect(database_url, size=4, name=name)
    rpc = Rpc([node_url], chain_id=chain.chain_id)
    projectors = (EventProjector(), TicketProjector(), AdmissionProjector())
    sys.stdout.write("working\n")
    sys.stdout.flush()
    await Follower(rpc, database, projectors, chain).run()


if __name__ == "__main__":
    database_url, node_url, chain, *name = sys.argv[1:]
    asyncio.run(
        follow(database_url, node_url, msgspec.json.decode(chain, type=FollowedChain), *name or ("indexer",))
    )
