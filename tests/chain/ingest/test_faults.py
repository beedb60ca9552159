"""Endpoints drop, hang, flood, lag and lie while tickets are sold; what is written is what contracts say."""

from __future__ import annotations

import asyncio
import random
import time
import tracemalloc
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest
from tests.chain.ingest.devnet import Devnet
from tests.chain.ingest.faultproxy import LIES, SILENT, FaultProxy, bomb
from tests.chain.ingest.projections import projectors

from echain.chain.follow import FollowedChain, Follower
from echain.chain.manners import LIKE_ETHEREUM
from echain.chain.rpc import ChainUnreachable, Rpc
from echain.infra.database import Database
from echain.infra.embedded.anvil import Anvil

FINALITY = 12
FORKING_BLOCKS = 400
KNOWN_ALONE = tuple(lie for lie in LIES if not lie.endswith(("a log", "logs", "heads")))
"""Lies that one endpoint is convicted of by its own words.

Logs with the same filter are not among them, nor empty blocks of its own: a lone endpoint is believed.
"""


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    pool = await Database.connect(database_url, size=10, name="test")
    yield pool
    await pool.close()


@pytest.fixture
async def devnet(anvil: Anvil, database: Database) -> Devnet:
    return await Devnet.start(anvil, database)


def client(urls: Sequence[str], devnet: Devnet, timeout: float = 2.0) -> Rpc:
    return Rpc(
        urls, chain_id=devnet.anvil.chain_id, timeout=timeout, manners=LIKE_ETHEREUM, confirmations=FINALITY
    )


@asynccontextmanager
async def following(
    rpc: Rpc, devnet: Devnet, database: Database, chain: FollowedChain
) -> AsyncIterator[None]:
    follower = asyncio.create_task(Follower(rpc, database, projectors(), chain).run())
    try:
        yield
    finally:
        follower.cancel()
        with suppress(asyncio.CancelledError):
            await follower
        await rpc.close()


async def settled(devnet: Devnet, database: Database, *, within: float = 40) -> None:
    began = time.monotonic()
    while differences := await devnet.differences(database):
        assert time.monotonic() - began < within, differences
        await asyncio.sleep(0.05)


async def trade(devnet: Devnet, rng: random.Random, seconds: float, *, reorgs: bool) -> None:
    end = time.monotonic() + seconds
    # Anvil 1.7 forgets the states of older blocks, and breaks its chain when it forks once it has many.
    most = FORKING_BLOCKS if reorgs else 1_000_000
    while (
        time.monotonic() < end
        and int(await asyncio.to_thread(devnet.anvil.rpc, "eth_blockNumber"), 16) < most
    ):
        choice = rng.random()
        if choice < 0.8:
            await asyncio.to_thread(devnet.buy, rng.randrange(1, 6), rng.randint(1, 3))
        elif choice < 0.92 or not reorgs:
            await asyncio.to_thread(devnet.anvil.rpc, "anvil_mine", hex(rng.randint(1, 5)))
        else:
            await asyncio.to_thread(devnet.reorg, rng.randint(1, FINALITY - 1))
        await asyncio.sleep(rng.uniform(0, 0.05))


async def rebuilt(devnet: Devnet, database: Database, rpc: Rpc) -> list[str]:
    """Return where a chain read anew through the honest node differs from what was written."""
    tables = ("chain_logs", "tickets", "sales", "transfers", "contract_escrow", "events", "tiers")

    async def dump() -> list[list[str]]:
        return [
            [row[0] for row in await database.fetch(f"SELECT t::text FROM {table} t ORDER BY 1")]
            for table in tables
        ]

    before = await dump()
    for table in ("chain_cursors", "chain_blocks", *tables, "chain_contracts"):
        await database.execute(f"DELETE FROM {table}")
    for table in ("event_creations", "tier_additions", "price_updates", "event_updates"):
        await database.execute(f"DELETE FROM {table}")
    await Follower(rpc, database, projectors(), devnet.followed()).catch_up()
    return [table for table, one, other in zip(tables, before, await dump(), strict=True) if one != other]


async def storm(
    devnet: Devnet, database: Database, seed: int, seconds: float, *, honest: bool, faulty: int, rate: float
) -> list[FaultProxy]:
    """Sell and fork while the indexer reads through faulty endpoints; then compare with the contracts."""
    rng = random.Random(seed)
    # No reorg shall undo the contracts themselves.
    devnet.anvil.rpc("anvil_mine", hex(FINALITY + 1))
    async with AsyncExitStack() as stack:
        proxies = [
            await stack.enter_async_context(
                FaultProxy(
                    devnet.anvil.url,
                    seed=seed * 10 + place,
                    faults=(*SILENT[:8], *(LIES if honest else KNOWN_ALONE)),
                    rate=rate,
                ).serving()
            )
            for place in range(faulty)
        ]
        urls = [*(proxy.url for proxy in proxies), *([devnet.anvil.url] if honest else [])]
        ws_urls = tuple(proxy.ws_url for proxy in proxies)
        chain = devnet.followed(confirmations=FINALITY, ws_urls=ws_urls)
        async with following(client(urls, devnet), devnet, database, chain):
            await trade(devnet, rng, seconds, reorgs=True)
            await asyncio.to_thread(devnet.buy, 1, 1)
            for proxy in proxies:
                proxy.rate = 0.0
            await settled(devnet, database)
        plain = client([devnet.anvil.url], devnet)
        try:
            assert await rebuilt(devnet, database, plain) == []
        finally:
            await plain.close()
        return proxies


@pytest.mark.parametrize("case", [(1, 1, True, 0.3), (2, 2, True, 0.5), (3, 1, False, 0.15)])
async def test_sales_through_faulty_endpoints_are_what_the_contracts_say(
    devnet: Devnet, database: Database, case: tuple[int, int, bool, float]
) -> None:
    seed, faulty, honest, rate = case
    proxies = await storm(devnet, database, seed, 4, honest=honest, faulty=faulty, rate=rate)
    assert sum(sum(proxy.done.values()) for proxy in proxies) > 5, "there was no storm"


@pytest.mark.soak
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("seed", range(100, 106))
async def test_a_long_storm_changes_nothing(devnet: Devnet, database: Database, seed: int) -> None:
    rng = random.Random(seed)
    await storm(
        devnet,
        database,
        seed,
        60,
        honest=bool(seed % 3),
        faulty=rng.randint(1, 3),
        rate=rng.uniform(0.1, 0.6) if seed % 3 else 0.1,
    )


@pytest.mark.parametrize("fault", LIES)
async def test_nothing_that_a_liar_says_is_written(devnet: Devnet, database: Database, fault: str) -> None:
    """The liar is preferred and lies whenever it can; the second endpoint is honest."""
    for buyer in range(1, 5):
        devnet.buy(buyer, 2)
    async with FaultProxy(devnet.anvil.url, seed=5, faults=[fault], rate=1.0).serving() as liar:
        rpc = client([liar.url, devnet.anvil.url], devnet)
        async with following(rpc, devnet, database, devnet.followed(confirmations=3, ws_urls=())):
            await settled(devnet, database, within=15)
            for buyer in range(1, 5):
                devnet.buy(buyer, 1)
                await settled(devnet, database, within=15)
        assert liar.done[fault], "it was never asked what it could lie about"


@pytest.mark.parametrize(
    "fault", ["truncate logs", "drop a log", "forge a header", "forge a bloom", "unlink"]
)
async def test_a_lone_liar_is_waited_for_rather_than_believed(
    devnet: Devnet, database: Database, fault: str
) -> None:
    devnet.buy(1, 3)
    async with FaultProxy(devnet.anvil.url, seed=6, faults=[fault], rate=1.0).serving() as liar:
        rpc = client([liar.url], devnet)
        async with following(rpc, devnet, database, devnet.followed(confirmations=3, ws_urls=())):
            while liar.done[fault] < 3:
                await asyncio.sleep(0.02)
            assert await database.fetchval("SELECT count(*) FROM tickets") in (0, 3)
            liar.rate = 0.0
            await settled(devnet, database, within=20)


async def test_who_alters_contents_is_convicted_by_the_receipts(devnet: Devnet, database: Database) -> None:
    """No third node is needed: the block's hash proves its receipts, and they prove the logs."""
    async with FaultProxy(
        devnet.anvil.url, seed=7, faults=["alter an amount in a log"], rate=1.0
    ).serving() as liar:
        rpc = client([liar.url, devnet.anvil.url], devnet)
        async with following(rpc, devnet, database, devnet.followed(confirmations=3, ws_urls=())):
            devnet.buy(1, 2)
            await settled(devnet, database, within=15)
            said = {one.status: one.reason for one in rpc.health()}
    assert "receipts prove other logs" in str(said.get("quarantined"))


async def test_endpoints_that_die_and_come_back_under_load_lose_nothing(
    devnet: Devnet, database: Database
) -> None:
    rng = random.Random(8)
    async with AsyncExitStack() as stack:
        proxies = [
            await stack.enter_async_context(FaultProxy(devnet.anvil.url, seed=place).serving())
            for place in range(3)
        ]
        chain = devnet.followed(ws_urls=tuple(proxy.ws_url for proxy in proxies))
        rpc = client([proxy.url for proxy in proxies], devnet)
        async with following(rpc, devnet, database, chain):
            for turn in range(6):
                dead = proxies[turn % 3]
                await dead.kill()
                await trade(devnet, rng, 0.5, reorgs=False)
                await settled(devnet, database, within=10)
                await dead.restore()
            # All of them at once, then one.
            for proxy in proxies:
                await proxy.kill()
            await trade(devnet, rng, 0.5, reorgs=False)
            await proxies[1].restore()
            began = time.monotonic()
            await settled(devnet, database, within=10)
            assert time.monotonic() - began < 6
            await proxies[0].restore()
            await proxies[2].restore()
            while proxies[0].methods["eth_getLogs"] == 0 or rpc.health()[0].status != "ok":
                await trade(devnet, rng, 0.2, reorgs=False)
            proxies[0].methods.clear()
            while not proxies[0].methods["eth_getLogs"]:
                # The preferred one serves again.
                await trade(devnet, rng, 0.2, reorgs=False)
            await settled(devnet, database)


async def test_a_hanging_endpoint_delays_sales_once_and_little(devnet: Devnet, database: Database) -> None:
    async with FaultProxy(devnet.anvil.url, seed=9).serving() as hanging:
        rpc = client([hanging.url, devnet.anvil.url], devnet, timeout=10.0)
        chain = devnet.followed(ws_urls=(devnet.anvil.ws_url,))
        async with following(rpc, devnet, database, chain):
            devnet.buy(1, 1)
            await settled(devnet, database)
            hanging.faults, hanging.rate = ["hang"], 1.0
            slowest = 0.0
            for buyer in (1, 2, 3, 4, 5, 1, 2, 3):
                devnet.buy(buyer, 1)
                began = time.monotonic()
                await settled(devnet, database)
                slowest = max(slowest, time.monotonic() - began)
        assert hanging.done["hang"]
    # The first of them waits for the heaviest class's hedge once; afterwards nobody waits.
    assert slowest < 4.5


@pytest.mark.parametrize("fault", ["flood", "bomb"])
async def test_a_flood_is_cut_off_and_costs_bounded_memory(devnet: Devnet, fault: str) -> None:
    async with FaultProxy(devnet.anvil.url, seed=10, faults=[fault], rate=1.0).serving() as flooding:
        bomb()
        alone = client([flooding.url], devnet, timeout=20.0)
        tracemalloc.start()
        try:
            with pytest.raises(ChainUnreachable):
                await alone.call("eth_blockNumber")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
            await alone.close()
        assert flooding.done[fault]
        both = client([flooding.url, devnet.anvil.url], devnet, timeout=20.0)
        assert await both.call("eth_blockNumber")
        await both.close()
    # What was read of it once, and once more while it is put together.
    assert peak < 220 * 1024 * 1024
