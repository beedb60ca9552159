"""Brings a chain up to a block that somebody speaks of: a webhook's hint, a receipt that is looked up.

It is the follower's own way, from whatever process, beside the leader: both take turns by the chain's cursor,
and what one has written the other finds known. A hint is never written itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from echain.chain import store
from echain.chain.follow import FollowedChain, Follower
from echain.chain.headers import ChainMoved
from echain.chain.ingest import Projection
from echain.chain.rpc import Rpc
from echain.infra.database import Database
from echain.kernel.errors import EchainError, Kind
from echain.kernel.time import Clock, utc_now

NEAR_BLOCKS: Final = 256
"""History further back than that is the indexer's to read, not for somebody who waits."""

_TRIES: Final = 3

Bring: TypeAlias = Callable[[int], Awaitable[None]]
"""Brings one chain at least up to the block with this number."""


class StillBehind(EchainError):
    """The projections cannot be brought to that block yet; ask again in some seconds."""

    kind = Kind.UNAVAILABLE
    code = "chain.still_behind"


class Bringer:
    """Brings one chain up to blocks; of many who ask a process at once, one reads for all."""

    def __init__(
        self,
        rpc: Rpc,
        database: Database,
        projection: Projection,
        followed: FollowedChain,
        *,
        clock: Clock = utc_now,
    ) -> None:
        self._rpc = rpc
        self._database = database
        self._projection = projection
        self._followed = followed
        self._clock = clock
        self._turn = asyncio.Lock()

    async def bring(self, block_number: int) -> None:
        """Return once the projections have the node's present block of that number.

        Raises:
            StillBehind: the node does not have the block, or too much is missing before it.
            ChainUnreachable, RpcRefused, ChainMoved, LogsMissing: the node does not give what is needed.
            FinalityBroken: the node's chain leaves ours below finality.
        """
        async with self._turn:
            if not await self._has(block_number):
                await self._read(block_number)

    async def _has(self, block_number: int) -> bool:
        try:
            async with self._database.connection() as connection:
                cursor = await store.read_cursor(connection, self._followed.chain_id)
                kept = await store.hashes(connection, cursor.chain_id, block_number, block_number)
        except store.NotFollowed:
            return False
        if block_number > cursor.block_number:
            return False
        if block_number not in kept:
            # Final, and without a log of ours.
            return True
        block = await self._rpc.header(hex(block_number))
        return block is not None and block.hash == kept[block_number]

    async def _read(self, block_number: int) -> None:
        follower = Follower(
            self._rpc, self._database, self._projection.projectors, self._followed, clock=self._clock
        )
        for turn in range(_TRIES):
            head = await self._rpc.head()
            if head.number < block_number:
                raise StillBehind(f"our node does not have block {block_number} yet")
            await follower.start()
            if head.number - follower.reached > NEAR_BLOCKS:
                raise StillBehind(f"the indexer still reads the blocks before {block_number}")
            try:
                await follower.reach(head)
            except ChainMoved:
                if turn == _TRIES - 1:
                    raise
            else:
                if follower.reached < block_number:
                    raise StillBehind(f"no second node of ours has block {block_number} yet")
                return


async def bring(
    rpc: Rpc,
    database: Database,
    projection: Projection,
    followed: FollowedChain,
    *,
    block_number: int,
    clock: Clock = utc_now,
) -> None:
    """Bring a chain's projections at least up to a block, once; see `Bringer.bring`."""
    await Bringer(rpc, database, projection, followed, clock=clock).bring(block_number)
