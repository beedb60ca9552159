"""Webhooks with what they need: secrets and receivers of the configuration, chains by their followers."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Final

from echain.chain.hints import Bring, StillBehind
from echain.chain.rpc import Rpc
from echain.edge.http import Endpoint
from echain.entry.addressbook import AddressBook
from echain.entry.connections import Services
from echain.entry.hints import bringing
from echain.infra.config import Config
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

RECEIVERS_AT_ONCE: Final = 128
"""Receivers that one worker posts to at a time. They mostly wait, and those that hang keep no place long."""


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
        chain_id: _network(parts.rpcs[chain_id], bring)
        for chain_id, bring in bringing(config, parts, book).items()
    }
    return jobs.handlers(courier, networks, utc_now, measures)


def _targets(config: Config) -> Rules:
    return Rules(http=config.webhook_http, private=config.webhook_private_targets)


def _network(rpc: Rpc, bring: Bring) -> Network:
    async def bring_soon(block_number: int) -> None:
        try:
            await bring(block_number)
        except StillBehind as error:
            raise NotYet(error.message) from error

    return Network(rpc, bring_soon)
