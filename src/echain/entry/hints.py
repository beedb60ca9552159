"""What brings each chain up to a block that a webhook or a look-up speaks of."""

from __future__ import annotations

from collections.abc import Mapping

from echain.chain.hints import Bring, Bringer, StillBehind
from echain.chain.ingest import Projection
from echain.entry.addressbook import AddressBook
from echain.entry.connections import Services
from echain.entry.indexer import followed, projectors
from echain.infra.config import ChainConfig, Config


def bringing(config: Config, parts: Services, book: AddressBook) -> Mapping[int, Bring]:
    """Return it for every chain that has a node."""
    return {
        chain.chain_id: _bring(config, parts, book, chain)
        for chain in config.chains
        if chain.chain_id in parts.rpcs
    }


def _bring(config: Config, parts: Services, book: AddressBook, chain: ChainConfig) -> Bring:
    ready: dict[object, Bringer] = {}

    async def bring(block_number: int) -> None:
        deployment = book.deployments.get(chain.chain_id)
        if deployment is None:
            raise StillBehind("the contracts of the chain are not deployed yet")
        if deployment not in ready:
            # A devnet that began anew has other contracts.
            ready.clear()
            ready[deployment] = Bringer(
                parts.rpcs[chain.chain_id],
                parts.database,
                Projection(projectors()),
                followed(config, chain, deployment),
            )
        await ready[deployment].bring(block_number)

    return bring
