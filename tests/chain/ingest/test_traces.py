"""Ingested batches and calls of nodes as traces tell of them: what and how many, never what about."""

from __future__ import annotations

import asyncio

from tests.chain.ingest.blocktree import ROOTS, grow_many
from tests.chain.ingest.forknode import ForkNode
from tests.chain.ingest.projections import projectors
from tests.infra.spans import Memory

from echain.chain.follow import FollowedChain, Follower
from echain.chain.rpc import Rpc
from echain.infra.database import Database
from echain.infra.traces import Traces


async def test_an_ingested_batch_is_told_of_with_its_statements(
    node: ForkNode, rpc: Rpc, database: Database
) -> None:
    node.tip = grow_many(None, 12, 1)
    memory = Memory()
    chain = FollowedChain(chain_id=node.chain_id, roots=ROOTS, confirmations=3, block_seconds=0.2)
    await Follower(rpc, database, projectors(), chain, traces=Traces(memory, share=1)).catch_up()
    await asyncio.sleep(0)
    batches = memory.named("ingest")
    assert batches
    assert sum(int(one.facts["echain.blocks"]) for one in batches) == node.tip.block.number + 1
    assert {one.facts["echain.outcome"] for one in batches} == {"extended"}
    assert all(one.facts["echain.chain_id"] == node.chain_id and one.ended for one in batches)
    below = memory.below(batches[0])
    assert (below[0], below[-1]) == ("BEGIN", "COMMIT")
    assert "UPDATE chain_cursors" in below


async def test_a_call_of_a_node_is_a_part_by_its_method_and_endpoint(node: ForkNode, rpc: Rpc) -> None:
    node.tip = grow_many(None, 3, 1)
    memory = Memory()
    who = "0x" + "5e" * 20
    with Traces(memory, share=1).told("request"):
        await rpc.batch(
            [("eth_getLogs", ({"address": who, "fromBlock": "0x0", "toBlock": "0x0"},)), ("eth_chainId", ())]
        )
    await rpc.call("eth_chainId")
    (call,) = memory.named("rpc eth_getLogs")
    assert call.kind == "client"
    assert call.facts == {
        "rpc.method": "eth_getLogs",
        "echain.rpc_calls": 2,
        "echain.chain_id": node.chain_id,
        "echain.rpc_endpoint": "1 127.0.0.1",
    }
    assert who not in str(memory.spans)
    assert all(one.parent is not None for one in memory.spans[1:])
