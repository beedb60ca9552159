"""What a chain's row says of its nodes is kept, and what the nodes then answer is enough."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from tests.chain.ingest.blocktree import ROOTS, grow_many
from tests.chain.ingest.forknode import ForkNode, Refusal
from tests.chain.ingest.projections import Followed, projectors

from echain.chain.chains import KNOWN, chain, configured
from echain.chain.follow import FollowedChain, Follower
from echain.chain.manners import Manners
from echain.chain.rpc import Rpc, RpcRefused
from echain.infra.config import ChainConfig
from echain.infra.database import Database


class Strict(ForkNode):
    """Keeps rules as Hedera's relay does, on a smaller scale, and counts who breaks them."""

    wide = 5
    batch = 7

    def __init__(self, chain_id: int) -> None:
        super().__init__(chain_id)
        self.widest: dict[bool, int] = {True: 0, False: 0}
        self.batches: list[int] = []
        self.immature = 0

    def result(self, method: str, params: Any) -> Any:
        if method == "eth_getLogs" and "fromBlock" in params[0]:
            span = int(params[0]["toBlock"], 16) - int(params[0]["fromBlock"], 16) + 1
            alone = len(params[0]["address"]) == 1
            self.widest[alone] = max(self.widest[alone], span)
            if not alone and span > self.wide:
                raise Refusal(-32000, f"Exceeded maximum block range: {self.wide}")
            if self.immature:
                self.immature -= 1
                raise Refusal(-32015, "Dependent service returned immature records")
        return super().result(method, params)

    def _answers(self, body: Any) -> Any:
        self.batches.append(len(body) if isinstance(body, list) else 1)
        if isinstance(body, list) and len(body) > self.batch:
            error = {"code": -32203, "message": f"Batch request amount {len(body)} exceeds max {self.batch}"}
            return {"jsonrpc": "2.0", "id": None, "error": error}
        return super()._answers(body)


@pytest.fixture
async def strict() -> AsyncIterator[Strict]:
    async with Strict(77_001).serving() as node:
        yield node


async def followed_through(strict: Strict, database: Database, manners: Manners, **changes: Any) -> Followed:
    rpc = Rpc([strict.url], chain_id=strict.chain_id, timeout=5, manners=manners)
    followed = Followed(strict, rpc, database)
    settings = {"confirmations": 0, "block_seconds": 0.2, "resettable": True, **changes}
    chain_ = FollowedChain(chain_id=strict.chain_id, roots=ROOTS, **settings)
    try:
        await Follower(rpc, database, projectors(), chain_).catch_up()
    finally:
        await rpc.close()
    return followed


async def test_wide_ranges_are_asked_contract_by_contract_where_the_row_says_so(
    strict: Strict, database: Database
) -> None:
    strict.tip = grow_many(None, 140, 31)
    manners = Manners(true_blooms=False, multi_address_span=strict.wide)
    followed = await followed_through(strict, database, manners, max_log_span=40, blooms=False)
    assert await followed.differences(strict.tip) == []
    assert strict.widest[True] > strict.wide >= strict.widest[False]


async def test_batches_shrink_to_what_a_node_takes_and_stay_small(strict: Strict, database: Database) -> None:
    strict.tip = grow_many(None, 140, 32)
    followed = await followed_through(strict, database, Manners(), max_log_span=5)
    assert await followed.differences(strict.tip) == []
    too_large = [place for place, size in enumerate(strict.batches) if size > strict.batch]
    assert too_large
    assert len(too_large) < 12, "a refusal taught nothing"


async def test_what_passes_by_itself_is_waited_for_where_the_row_says_so(
    strict: Strict, database: Database
) -> None:
    strict.tip = grow_many(None, 30, 33)
    strict.wide = 1_000
    strict.immature = 2
    followed = await followed_through(strict, database, Manners(later_codes=(-32015,)))
    assert await followed.differences(strict.tip) == []
    strict.immature = 1_000
    strict.tip = grow_many(strict.tip, 100, 34)
    with pytest.raises(RpcRefused):
        await followed_through(strict, database, Manners(), max_log_span=1)


def test_a_fork_that_hashes_headers_anew_is_survived_by_configuration() -> None:
    config = ChainConfig(chain_id=8453, name="Base", rpc_urls=("http://x",))
    assert configured(config).manners == chain(8453).manners
    doubted = configured(msgspec.structs.replace(config, header_hashes=False)).manners
    assert (doubted.header_hashes, doubted.receipt_roots, doubted.true_blooms) == (False, False, True)


def test_each_known_chain_says_what_its_nodes_prove() -> None:
    assert all(one.manners.batch_limit <= 100 for one in KNOWN.values())
    for chain_id in (8453, 84532, 10):
        assert chain(chain_id).manners.receipt_roots
        assert chain(chain_id).finalized_tag
    for chain_id in (295, 296):
        hedera = chain(chain_id)
        assert not hedera.reorganizes
        assert not hedera.finalized_tag
        assert not hedera.manners.true_blooms
        assert not hedera.manners.subscriptions
        assert hedera.widest_log_span == 1_000
        assert set(hedera.manners.later_codes) == {-32015, -32020}
        assert chain(chain_id, devnet=True).unit_scale == 1
    # Blocks of two seconds: a week of them is the widest query, whatever else is configured.
    week = 7 * 86_400 // 2
    assert msgspec.structs.replace(chain(296), max_log_span=10**9).widest_log_span == week
