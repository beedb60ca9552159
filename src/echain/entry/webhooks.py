"""Webhooks with what they need: secrets and receivers of the configuration, chains by their followers."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Final

from echain.chain import store as logstore
from echain.chain.follow import Follower
from echain.edge.http import Endpoint
from echain.entry.addressbook import AddressBook
from echain.entry.connections import Services
from echain.entry.indexer import followed, projectors
from echain.infra.config import ChainConfig, Config
from echain.infra.crypto import DataKeys
from echain.infra.jobs import Handlers
from echain.infra.outbound import Outbound, Rules
from echain.kernel.time import utc_now
from echain.webhooks import jobs, rest
from echain.webhooks.coinbase import Secrets
from echain.webhooks.courier import Courier
from echain.webhooks.hints import Network, NotYet
from echain.webhooks.measures import Measures

_USER_AGENT: Final = "echain-webhooks/1"


def webhook_endpoints(config: Config, parts: Services) -> list[Endpoint]:
    """Return the routes of webhooks, in and out."""
    secrets = Secrets(config.coinbase_commerce_secrets, config.coinbase_cdp_secrets)
    return [
        *rest.incoming(parts.database, secrets, Measures(parts.metrics)),
        *rest.endpoints(parts.database, DataKeys(config.data_keys), _targets(config)),
    ]


def webhook_handlers(config: Config, parts: Services, book: AddressBook, stack: AsyncExitStack) -> Handlers:
    """Return what runs the jobs of webhooks; ``stack`` ends what is under way."""
    measures = Measures(parts.metrics)
    outbound = Outbound(_targets(config), user_agent=_USER_AGENT)
    stack.push_async_callback(outbound.close)
    courier = Courier(parts.database, DataKeys(config.data_keys), outbound, utc_now, measures)
    parts.metrics.on_scrape(lambda: jobs.measure(parts.database, measures, utc_now))
    networks = {
        chain.chain_id: _network(config, parts, book, chain)
        for chain in config.chains
        if chain.chain_id in parts.rpcs
    }
    return jobs.handlers(courier, networks, utc_now, measures)


def _targets(config: Config) -> Rules:
    return Rules(http=config.webhook_http, private=config.webhook_private_targets)


def _network(config: Config, parts: Services, book: AddressBook, chain: ChainConfig) -> Network:
    """Return a chain with what brings it up to a block; of many who ask at once, one reads for all."""
    reading = asyncio.Lock()

    async def bring(block_number: int) -> None:
        deployment = book.deployments.get(chain.chain_id)
        if deployment is None:
            raise NotYet("the contracts of the chain are not deployed yet")
        async with reading:
            if not await _reaches(parts, chain.chain_id, block_number):
                follower = Follower(
                    parts.rpcs[chain.chain_id],
                    parts.database,
                    projectors(),
                    followed(config, chain, deployment),
                    clock=utc_now,
                )
                await follower.catch_up()

    return Network(parts.rpcs[chain.chain_id], bring)


async def _reaches(parts: Services, chain_id: int, block_number: int) -> bool:
    """Return whether the indexer has read that far already, as it has nearly always."""
    async with parts.database.connection() as connection:
        try:
            cursor = await logstore.read_cursor(connection, chain_id)
        except logstore.NotFollowed:
            return False
    return cursor.block_number >= block_number
