"""The `worker` role: runs jobs, has POAPs minted, sends the platform's own transactions."""

from __future__ import annotations

from contextlib import AsyncExitStack

import structlog

from echain.admission.jobs import CHECK_IN, CheckInSweep
from echain.chain.chains import configured
from echain.chain.contracts import contract
from echain.chain.deploy import Deployment
from echain.chain.fees import Fees
from echain.chain.keys import Key
from echain.chain.send import Sender
from echain.chain.sendrules import Policy
from echain.entry.addressbook import AddressBook
from echain.entry.connections import Services, expose, services
from echain.entry.deployment import platform_key
from echain.entry.jobs import handlers_of, schedules
from echain.entry.relays import relays
from echain.entry.stopping import until_stopped
from echain.entry.warming import warm_transactions
from echain.entry.webhooks import RECEIVERS_AT_ONCE
from echain.infra.config import Config
from echain.infra.jobs import Queue, QueueMetrics, Workers
from echain.infra.jobs.workers import PLACES
from echain.kernel.money import Wei
from echain.kernel.time import utc_now

_log = structlog.get_logger(__name__)


async def work(config: Config) -> None:
    """Work until SIGINT or SIGTERM.

    Raises:
        KeyUnusable: the platform has no key to sign with.
    """
    key = platform_key(config)
    async with AsyncExitStack() as stack:
        parts = await services(config, stack, name="echain worker")
        await expose(config, parts, stack)
        QueueMetrics(parts.metrics, parts.database)
        book = AddressBook(config, parts.database)
        senders = [_send(config, parts, book, key, chain_id) for chain_id in parts.rpcs]
        check_ins = CheckInSweep(parts.database, utc_now, relays(config, key))
        assert config.database_url is not None, "services has checked it"
        workers = Workers(
            config.database_url,
            parts.database,
            handlers_of(config, parts, book, stack),
            parts.metrics,
            schedules=schedules(),
            places={**PLACES, Queue.WEBHOOK: RECEIVERS_AT_ONCE},
            traces=parts.traces,
        )
        await until_stopped(book.keep_reading(), workers.run(), check_ins.run(), *senders)


async def _send(config: Config, parts: Services, book: AddressBook, key: Key, chain_id: int) -> None:
    await warm_transactions()
    deployment = await book.wait_for(chain_id)
    rpc = parts.rpcs[chain_id]
    known = configured(config.chain(chain_id), devnet=config.devnet)
    fees = Fees(rpc, known)
    _log.info("worker.sending", chain=chain_id)
    try:
        policy = policy_of(config, deployment)
        sender = Sender(rpc, parts.database, key, known, fees=fees, policy=policy, clock=utc_now)
        await sender.run()
    finally:
        await fees.close()


def policy_of(config: Config, deployment: Deployment) -> Policy:
    """Return what the platform's key may do on a chain: check attendees in, and nothing else."""
    poap = contract("Poap")
    return Policy(
        allowed=[(deployment.poap, poap.selector(CHECK_IN))],
        cap_per_transaction_wei=Wei(config.spend_cap_per_transaction_wei),
        cap_per_hour_wei=Wei(config.spend_cap_per_hour_wei),
    )
