"""The `indexer` role: follows every configured chain, keeps its projections and relays the outbox."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack

import structlog
from rich.console import Console

from echain.admission.onchain import AdmissionProjector
from echain.chain.chains import configured
from echain.chain.deploy import Deployment
from echain.chain.follow import FollowedChain, Follower
from echain.chain.ingest import Projection
from echain.chain.rebuild import Rebuilt
from echain.chain.rebuild import rebuild as fold_anew
from echain.chain.types import Contract, Projector
from echain.entry.addressbook import AddressBook
from echain.entry.connections import Services, expose, services
from echain.entry.measures import measure_chains
from echain.entry.progress import folding, shown
from echain.entry.relaying import relay_of
from echain.entry.stopping import until_stopped
from echain.events.onchain import EventProjector
from echain.infra.audit.chain import AuditKeys
from echain.infra.audit.sealer import Sealer
from echain.infra.config import ChainConfig, Config
from echain.infra.jobs import QueueMetrics
from echain.kernel.time import utc_now
from echain.tickets.onchain import TicketProjector

_log = structlog.get_logger(__name__)


def projectors() -> Sequence[Projector]:
    """Return every slice's projector, in the order in which they fold."""
    return (EventProjector(), TicketProjector(), AdmissionProjector())


def followed(config: Config, chain: ChainConfig, deployment: Deployment) -> FollowedChain:
    """Return what a follower must know of a chain whose contracts stand."""
    known = configured(chain, devnet=config.devnet)
    return FollowedChain(
        chain_id=chain.chain_id,
        roots=(
            Contract(deployment.factory, "factory", deployment.from_block),
            Contract(deployment.poap, "poap", deployment.from_block),
        ),
        from_block=deployment.from_block,
        confirmations=chain.confirmations,
        finalized_tag=chain.finalized_tag,
        block_seconds=chain.block_seconds,
        max_log_span=known.widest_log_span,
        ws_urls=chain.ws_urls if known.manners.subscriptions else (),
        resettable=config.devnet,
        blooms=known.manners.true_blooms,
    )


async def follow(config: Config) -> None:
    """Follow until SIGINT or SIGTERM; waits for contracts that are not deployed yet."""
    async with AsyncExitStack() as stack:
        parts = await services(config, stack, name="echain indexer")
        await expose(config, parts, stack)
        measure_chains(parts.metrics, parts.database)
        QueueMetrics(parts.metrics, parts.database)
        book = AddressBook(config, parts.database)
        await until_stopped(
            book.keep_reading(),
            relay_of(config, parts).run(),
            Sealer(parts.database, AuditKeys(config.audit_keys), metrics=parts.metrics).run(),
            *(_follow(config, parts, book, chain) for chain in config.chains if chain.rpc_urls),
        )


async def _follow(config: Config, parts: Services, book: AddressBook, chain: ChainConfig) -> None:
    deployment = await book.wait_for(chain.chain_id)
    _log.info("indexer.following", chain=chain.chain_id, from_block=deployment.from_block)
    follower = Follower(
        parts.rpcs[chain.chain_id],
        parts.database,
        projectors(),
        followed(config, chain, deployment),
        clock=utc_now,
        on_progress=shown(chain.name, Console(stderr=True)),
        traces=parts.traces,
    )
    await follower.run()


async def rebuild(config: Config, chain_id: int) -> Rebuilt:
    """Fold a chain's projections anew from its stored logs beside the present ones, and swap them at once.

    Raises:
        Invalid: the chain is not configured.
        NotFollowed: nothing of it was ever indexed.
        RebuildUnderWay: another process rebuilds it.
    """
    async with AsyncExitStack() as stack:
        parts = await services(config, stack, name="echain rebuild")
        chain = config.chain(chain_id)
        show = stack.enter_context(folding(chain.name, Console(stderr=True)))
        async with parts.database.session() as connection:
            return await fold_anew(connection, chain_id, Projection(projectors()), on_progress=show)
