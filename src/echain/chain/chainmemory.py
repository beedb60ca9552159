"""Notices when a node has another chain than it had, or less of it."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from echain.chain import sendstore as store
from echain.chain.hand import Hand
from echain.chain.rpc import ChainUnreachable
from echain.infra.database import Connection
from echain.kernel.evm import Hash32, quantity

PATIENCE_SECONDS: Final = 5.0
"""How long a node may lag behind what we know to be mined before it is believed to have lost it."""

_log = structlog.get_logger(__name__)


class ChainMemory:
    """What the platform knows of the chain that its nonces belong to."""

    def __init__(self, hand: Hand) -> None:
        self._hand = hand
        self._genesis: Hash32 | None = None
        self._rewound_since: float | None = None

    def forget(self) -> None:
        """Look at the chain anew before the next nonce is given out."""
        self._genesis = None

    async def recognize(self, connection: Connection) -> Hash32:
        """Return the genesis block's hash; give up the nonces of a chain that has another one.

        Only a devnet begins anew.
        """
        if self._genesis is not None:
            return self._genesis
        genesis = await self._hand.rpc.header(quantity(0))
        if genesis is None:
            raise ChainUnreachable("the node does not know its own genesis block")
        known = await store.sender_state(connection, self._hand.chain.chain_id, self._hand.address)
        if known is not None and known[1] != genesis.hash:
            _log.warning("send.chain_began_anew", chain=self._hand.chain.chain_id)
            failure = {"error": "chain_began_anew", "message": "the chain it was sent to is no more"}
            async with connection.transaction():
                await store.begin_anew(connection, self._hand.chain.chain_id, self._hand.address, failure)
        self._genesis = genesis.hash
        return genesis.hash

    async def is_rewound(self, connection: Connection, next_mined: int) -> bool:
        """Return whether the node has fewer of our transactions than we know to be mined."""
        known = await store.sender_state(connection, self._hand.chain.chain_id, self._hand.address)
        if known is None or known[0] <= next_mined:
            self.is_whole()
            return False
        await self.rewound(connection, next_mined)
        return True

    async def rewound(self, connection: Connection, next_mined: int) -> None:
        """Bring back what a node has lost for good: a crash, or a reorg deeper than any was thought to be.

        A node that only lags is given some seconds. What is brought back is sent again byte for byte.
        """
        now = asyncio.get_running_loop().time()
        self._rewound_since = self._rewound_since or now
        if now - self._rewound_since < PATIENCE_SECONDS:
            return
        self._rewound_since = None
        self.forget()
        await self.recognize(connection)
        async with connection.transaction():
            revived = await store.unmined_from(
                connection, self._hand.chain.chain_id, self._hand.address, next_mined
            )
            if not revived:
                await store.rewind(connection, self._hand.chain.chain_id, self._hand.address, next_mined)
        _log.error("send.chain_rewound", chain=self._hand.chain.chain_id, nonce=next_mined, revived=revived)

    def is_whole(self) -> None:
        """Take note that the node has all that we know of."""
        self._rewound_since = None
