"""Routes of the transparency pages; anybody may read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from echain.chain.chains import Chain
from echain.chain.rpc import Rpc
from echain.edge.http import Call, Endpoint, Nothing, get
from echain.events import service as events
from echain.events.types import EventNotFound
from echain.infra.database import Database
from echain.insights import service
from echain.insights.audit import Auditor
from echain.insights.types import ChainTotals, EventPath, MovementFilter, Transparency

TAG: Final = "transparency"


def endpoints(database: Database, rpcs: Mapping[int, Rpc], chains: Mapping[int, Chain]) -> list[Endpoint]:
    """Return the routes; ``rpcs`` and ``chains`` are those of the chains that are served, by id."""
    auditor = Auditor(rpcs, {chain_id: chain.unit_scale for chain_id, chain in chains.items()})

    @get(
        "/api/v1/transparency",
        summary="Sum up what was paid in, refunded, withdrawn and kept as fees, by chain",
        tag=TAG,
        answer=list[ChainTotals],
    )
    async def platform(_call: Call[Nothing, Nothing, Nothing]) -> list[ChainTotals]:
        return await service.platform(database, chains)

    @get(
        "/api/v1/events/{id}/transparency",
        summary="Show every sale, transfer, refund and payout of an event, and compare with the contract",
        tag=TAG,
        path_params=EventPath,
        query=MovementFilter,
        answer=Transparency,
        errors=(EventNotFound,),
    )
    async def event(call: Call[EventPath, MovementFilter, Nothing]) -> Transparency:
        which = await events.published(database, call.path.id)
        if which.chain_id not in chains:
            raise EventNotFound
        return await service.event(database, auditor, chains[which.chain_id], which, call.query)

    return [platform, event]
