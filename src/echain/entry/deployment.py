"""Brings the contracts onto a chain, and knows where they stand."""

from __future__ import annotations

from contextlib import AsyncExitStack

from echain.chain import deploy as contracts
from echain.chain.chains import configured
from echain.chain.deploy import Deployment
from echain.chain.keys import Key
from echain.chain.keys import platform_key as key_of
from echain.chain.rpc import Rpc
from echain.entry.connections import Services, services
from echain.entry.operators import at_keyboard
from echain.infra import audit
from echain.infra.config import ChainConfig, Config
from echain.infra.database import Database
from echain.kernel.evm import checksum, to_hex
from echain.kernel.time import utc_now


def platform_key(config: Config) -> Key:
    """Return the key that the platform signs with.

    Raises:
        KeyUnusable: none is configured, and this is not a devnet.
    """
    return key_of(
        plain=config.platform_key,
        keystore=config.keystore,
        password=config.keystore_password,
        devnet=config.devnet,
    )


async def deploy(config: Config, chain_id: int, *, actor: audit.Actor = audit.SYSTEM) -> Deployment:
    """Deploy what is missing on a configured chain and return where all of it stands.

    Raises:
        KeyUnusable, CodeDiffers, DeploymentFailed, ChainUnreachable, DatabaseUnavailable: as they say.
    """
    async with AsyncExitStack() as stack:
        parts = await services(config, stack)
        return await _deploy(config, parts, config.chain(chain_id), actor)


async def deploy_to(config: Config, chain_id: int) -> list[str]:
    """Deploy and return what to tell a person, a line a contract and transaction."""
    return described(await deploy(config, chain_id, actor=at_keyboard()))


def described(deployment: Deployment) -> list[str]:
    """Return a line a contract, then a line a transaction."""
    return [
        f"EventFactory {checksum(deployment.factory)}",
        f"EventTicket  {checksum(deployment.implementation)}",
        f"Poap         {checksum(deployment.poap)}",
        f"from block   {deployment.from_block}",
        *(f"transaction  {to_hex(sent)}" for sent in deployment.transaction_hashes),
    ]


async def deployments(config: Config, database: Database) -> dict[int, Deployment]:
    """Return where each chain's contracts stand: as configured, else as recorded when we deployed them."""
    found = [await _deployment(database, one) for one in config.chains]
    return {one.chain_id: one for one in found if one is not None}


async def _deployment(database: Database, one: ChainConfig) -> Deployment | None:
    if one.factory is None or one.poap is None or one.implementation is None:
        return await contracts.recorded(database, one.chain_id)
    return Deployment(
        chain_id=one.chain_id,
        factory=one.factory,
        poap=one.poap,
        implementation=one.implementation,
        from_block=one.from_block,
    )


async def _deploy(config: Config, parts: Services, one: ChainConfig, actor: audit.Actor) -> Deployment:
    rpc: Rpc = parts.rpcs[one.chain_id]
    return await contracts.deploy(
        rpc,
        parts.database,
        platform_key(config),
        configured(one, devnet=config.devnet),
        treasury=config.treasury,
        fee_bps=config.fee_bps,
        actor=actor,
        now=utc_now(),
    )
