"""Two chains in one installation: each journey holds on its own chain, in its own units, beside the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from tests.journey.hederarelay import SCALE, HederaRelay

from echain.chain import deploy
from echain.chain.chains import chain
from echain.chain.keys import DEVNET_KEY
from echain.chain.rpc import Rpc
from echain.entry import deployment
from echain.entry.journey import (
    ETHER,
    GENERAL_PRICE_WEI,
    REORG_DEPTH,
    VIP_PRICE_WEI,
    Journey,
    Outcome,
    StepFailed,
)
from echain.entry.settings import read
from echain.entry.up import Platform, running
from echain.entry.wallet import Refused, Wallet
from echain.infra.database import Database
from echain.infra.embedded.anvil import Anvil
from echain.infra.embedded.child import free_port

BASE, HEDERA = 84532, 296


class OnBase(Journey):
    """The journey on a chain whose contracts have only just been deployed."""

    async def publishes(self) -> Outcome:
        async with asyncio.timeout(5):
            while True:
                try:
                    return await super().publishes()
                except Refused as refusal:
                    # The API reads every half second which contracts stand, until it knows all.
                    if refusal.code != "events.chain_not_served":
                        raise
                await asyncio.sleep(0.1)


class OnHedera(OnBase):
    """The journey where the wire counts in weibars, the contracts in tinybars, and nothing is ever undone."""

    def _steps(self) -> Sequence[tuple[str, Callable[[], Awaitable[Outcome]]]]:
        return tuple(
            (title, self.balance_counts_in_tinybars if title.startswith("Transparency") else step)
            for title, step in super()._steps()
            if not title.startswith("A reorg")
        )

    async def _person(self, name: str) -> Wallet:
        wallet = await super()._person(name)
        await wallet.fund(10 * ETHER * SCALE)
        return wallet

    async def balance_counts_in_tinybars(self) -> Outcome:
        path = f"/events/{self.event['id']}/transparency"
        async with asyncio.timeout(30):
            while (await self._anyone().get(path))["matchesChain"] is not True:
                await asyncio.sleep(0.05)
        totals = (await self._anyone().get(path))["totals"]
        weibars = int(await self.rpc.call("eth_getBalance", [self.event["ticketContract"], "latest"]), 16)
        expected = 3 * GENERAL_PRICE_WEI + 2 * VIP_PRICE_WEI
        seen = int(totals["balance"]), weibars, int(totals["paidIn"])
        if seen != (expected, expected * SCALE, expected):
            raise StepFailed(f"{seen} instead of {expected} tinybars, held and paid in")
        return Outcome()


@asynccontextmanager
async def journey_on(platform: Platform, kind: type[Journey], chain_id: int) -> AsyncIterator[Journey]:
    async with AsyncExitStack() as stack:
        jar = aiohttp.CookieJar(unsafe=True)
        http = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=jar))
        database = await Database.connect(platform.database_url, size=1, name="test")
        placed = await deploy.recorded(database, chain_id)
        await database.close()
        assert placed is not None
        served = platform.config.chain(chain_id)
        rpc = Rpc(served.rpc_urls, chain_id=chain_id, manners=chain(chain_id).manners)
        stack.push_async_callback(rpc.close)
        yield kind(http, platform.base_url, platform.realtime_url, rpc, chain_id, placed)


async def failures(journey: Journey) -> list[str]:
    """Return what failed; a journey that stops early failed as well."""
    steps = [step async for step in journey.run()]
    failed = [f"{step.title}: {step.failure}" for step in steps if step.failure is not None]
    return failed if failed or len(steps) == len(journey._steps()) else ["not all steps were played"]


def variables(folder: Path, **others: str) -> dict[str, str]:
    return {
        "ECHAIN_HOME": str(folder / "home"),
        "ECHAIN_PORT": str(free_port()),
        "ECHAIN_REALTIME_PORT": str(free_port()),
        "ECHAIN_DEVNET_PORT": str(free_port()),
        **others,
    }


async def told(platform: Platform, path: str) -> Any:
    async with aiohttp.ClientSession() as http, http.get(platform.base_url + path) as answer:
        return (await answer.json())["data"]


async def test_two_devnets_serve_their_journeys_at_once(tmp_path: Path) -> None:
    config = read(variables(tmp_path, ECHAIN_DEVNET_CHAINS="84532,296"))
    async with (
        running(config, logs=tmp_path) as platform,
        journey_on(platform, Journey, BASE) as one,
        journey_on(platform, Journey, HEDERA) as other,
    ):
        assert await asyncio.gather(failures(one), failures(other)) == [[], []]
        assert one.event["id"] != other.event["id"]
        assert one.rpc.health()[0].name.endswith("127.0.0.1")
        health = await told(platform, "/api/health")
        assert [(seen["chainId"], seen["endpoints"][0]["status"]) for seen in health["chains"]] == [
            (BASE, "ok"),
            (HEDERA, "ok"),
        ]


async def test_base_and_hedera_are_served_side_by_side(tmp_path: Path) -> None:
    """Hedera's rules are enforced by its relay; what differs is data on the chain's row."""
    async with AsyncExitStack() as stack:
        base = stack.enter_context(Anvil(tmp_path / "base", home=tmp_path, chain_id=BASE))
        ledger = stack.enter_context(Anvil(tmp_path / "hedera", home=tmp_path, chain_id=HEDERA))
        relay = await stack.enter_async_context(HederaRelay(ledger.url).serving())
        config = read(
            variables(
                tmp_path,
                ECHAIN_CHAINS=f"{BASE},{HEDERA}",
                ECHAIN_PLATFORM_KEY=DEVNET_KEY.reveal(),
                ECHAIN_SPEND_CAP_PER_TRANSACTION_WEI=str(10**30),
                ECHAIN_SPEND_CAP_PER_HOUR_WEI=str(10**30),
                **{
                    f"ECHAIN_RPC_URL_{BASE}": base.url,
                    f"ECHAIN_WS_URL_{BASE}": base.ws_url,
                    f"ECHAIN_RPC_URL_{HEDERA}": relay.url,
                    # Not worth listening to, as the chain's row says: nothing serves it.
                    f"ECHAIN_WS_URL_{HEDERA}": "ws://127.0.0.1:1",
                    f"ECHAIN_BLOCK_SECONDS_{HEDERA}": "0.2",
                },
            )
        )
        assert (config.devnet, config.chain(HEDERA).unit_scale, chain(HEDERA).reorganizes) == (
            False,
            SCALE,
            False,
        )
        platform = await stack.enter_async_context(running(config, logs=tmp_path))
        for chain_id in (BASE, HEDERA):
            await deployment.deploy(platform.config, chain_id)
        await asyncio.to_thread(ledger.rpc, "anvil_mine", hex(300), "0x2")
        one = await stack.enter_async_context(journey_on(platform, OnBase, BASE))
        other = await stack.enter_async_context(journey_on(platform, OnHedera, HEDERA))
        assert chain(BASE).confirmations > REORG_DEPTH
        assert await asyncio.gather(failures(one), failures(other)) == [[], []]
        served = {row["chainId"]: row for row in await told(platform, "/api/v1/chains")}
        assert (served[HEDERA]["unitScale"], served[HEDERA]["nativeSymbol"]) == (str(SCALE), "HBAR")
        assert served[BASE]["unitScale"] == "1"
        health = await told(platform, "/api/health")
        assert {row["chainId"]: row["status"] for row in health["chains"]} == {BASE: "ok", HEDERA: "ok"}
    assert set(relay.refused) == {-32015}, "a rule of the relay was broken"
    assert relay.refused[-32015] > 5
    assert relay.methods["eth_subscribe"] == 0
    assert all(blocks <= 1_000 or addresses == 1 for blocks, addresses in relay.spans)
