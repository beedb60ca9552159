"""An indexer of its own, for tests that kill it: database URL, node URLs, what to follow as JSON.

Then its name, and "ethereum" where the nodes' headers and receipts are to be proven.
It writes a line once it is about to work, so that a kill finds it at work however slow the machine is.
"""

import asyncio
import sys

import msgspec

from echain.admission.onchain import AdmissionProjector
from echain.chain.follow import FollowedChain, Follower
from echain.chain.manners import LIKE_ETHEREUM
from echain.chain.rpc import Rpc
from echain.events.onchain import EventProjector
from echain.infra.database import Database
from echain.tickets.onchain import TicketProjector


async def follow(
    database_url: str, node_urls: str, chain: FollowedChain, name: str = "indexer", manners: str = ""
) -> None:
    database = await Database.connect(database_url, size=4, name=name)
    rpc = Rpc(
        node_urls.split(","),
        chain_id=chain.chain_id,
        timeout=2.0 if manners else 10.0,
        manners=LIKE_ETHEREUM if manners else None,
        confirmations=chain.confirmations,
    )
    projectors = (EventProjector(), TicketProjector(), AdmissionProjector())
    sys.stdout.write("working\n")
    sys.stdout.flush()
    await Follower(rpc, database, projectors, chain).run()


if __name__ == "__main__":
    database_url, node_urls, chain, *more = sys.argv[1:]
    asyncio.run(follow(database_url, node_urls, msgspec.json.decode(chain, type=FollowedChain), *more))
