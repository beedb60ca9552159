"""From a mined block to a person's screen: node, indexer, relay, Redis, realtime, stock `socket.io-client`.

Everything runs as `echain up` runs it. A ticket is sold a block; the same block is looked for in two places
at once, as a row in PostgreSQL and as a message at a client in a process of its own: first with that client
alone, then with 1,000 others who hear the same.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec

from bench import npm, served
from bench.clients import clients
from bench.ponder import centile
from bench.realchain import called
from bench.rows import Row
from echain.chain.contracts import contract
from echain.entry.settings import read
from echain.entry.up import Platform, running
from echain.infra.database import Database
from echain.infra.embedded.child import free_port
from echain.kernel.evm import Address, checksum
from echain.kernel.ids import derived_id

BLOCKS: Final = 100
WARM_UP: Final = 5
OTHERS: Final = 1_000
_PRICE_WEI: Final = 10**15
_PAUSE_SECONDS: Final = 0.05
_SLOWEST_SECONDS: Final = 30.0


class Heard(msgspec.Struct, frozen=True):
    """A sale as the stock client heard it: when, by the monotonic clock, and which tickets."""

    at: int = 0
    tickets: tuple[str, ...] = ()


class Times(msgspec.Struct, frozen=True):
    """Milliseconds from each mined block to its row, and to the client."""

    visible: list[float]
    heard: list[float]


async def measure() -> list[Row]:
    """Return the milliseconds from mined to received, at a client alone and with 1,000 others."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            "ECHAIN_HOME": str(Path(folder) / "home"),
            "ECHAIN_PORT": str(free_port()),
            "ECHAIN_REALTIME_PORT": str(free_port()),
            "ECHAIN_DEVNET_PORT": str(free_port()),
            "ECHAIN_LOG_LEVEL": "error",
            "ECHAIN_LOG_FORMAT": "json",
        }
        async with running(read(environment), logs=Path(folder) / "logs") as platform:
            database = await Database.connect(platform.database_url, size=1, name="bench")
            try:
                show = await _on_sale(platform)
                alone = await _watched(platform, database, show)
                greeting = f'420["subscribe:event","{show.event_id}"]'
                async with clients(platform.config.realtime_port, "sio", greeting) as crowd:
                    await crowd.grow(OTHERS)
                    among = await _watched(platform, database, show)
            finally:
                await database.close()
    return [*_rows("", alone, "one client"), *_rows("_1000", among, f"one client among {OTHERS:,} others")]


class Show:
    """An event on sale, whose tickets are bought one a block."""

    def __init__(self, url: str, chain_id: int, buyer: str, tickets: Address) -> None:
        self._url, self._chain_id, self._tickets = url, chain_id, tickets
        self.event_id = derived_id(chain_id, tickets)
        self.sold = 0
        data = contract("EventTicket").encode("purchaseTickets(address,uint256)", [bytes(19) + b"\x01", 1])
        self._sale = {
            "from": buyer,
            "to": checksum(tickets),
            "data": "0x" + data.hex(),
            "value": hex(_PRICE_WEI),
            "gas": hex(500_000),
        }

    def sell(self) -> int:
        """Sell a ticket in a block of its own; return when that was mined, by the monotonic clock."""
        called(self._url, [("eth_sendTransaction", [self._sale])])
        called(self._url, [("evm_mine", [])])
        self.sold += 1
        return time.monotonic_ns()

    @property
    def ticket_id(self) -> str:
        """The last ticket's id in messages."""
        return f"{self._chain_id}-0x{self._tickets.hex()}-{self.sold}"


async def _on_sale(platform: Platform) -> Show:
    chain = platform.config.chains[0]
    factory = platform.deployments[chain.chain_id].factory
    url = chain.rpc_urls[0]
    organizer, buyer = called(url, [("eth_accounts", [])])[0][:2]
    (latest,) = called(url, [("eth_getBlockByNumber", ["latest", False])])
    start = int(latest["timestamp"], 16) + 86_400
    create = contract("EventFactory").encode(
        "createEvent(string,string,uint256,uint256,uint256,uint256)",
        ["Bench", "ipfs://bench", _PRICE_WEI, 100_000, start, start + 86_400],
    )
    read_event = contract("EventFactory").encode("getEvent(uint256)", [1])
    called(url, [("evm_setAutomine", [False])])
    creation = {"from": organizer, "to": checksum(factory), "data": "0x" + create.hex()}
    called(url, [("eth_sendTransaction", [creation]), ("evm_mine", [])])
    asking = {"to": checksum(factory), "data": "0x" + read_event.hex()}
    (answer,) = called(url, [("eth_call", [asking, "latest"])])
    return Show(url, chain.chain_id, buyer, Address(bytes.fromhex(answer[26:66])))


async def _watched(platform: Platform, database: Database, show: Show) -> Times:
    """Sell a ticket after the other; return how long each took until it was seen."""
    times = Times([], [])
    async with _stock_client(platform.config.realtime_port, str(show.event_id)) as client:
        for _ in range(BLOCKS + WARM_UP):
            mined = await asyncio.to_thread(show.sell)
            async with asyncio.timeout(_SLOWEST_SECONDS):
                visible, heard = await asyncio.gather(
                    _visible(database, show.sold), _heard(client, show.ticket_id)
                )
            times.visible.append((visible - mined) / 1e6)
            times.heard.append((heard - mined) / 1e6)
            await asyncio.sleep(_PAUSE_SECONDS)
    return Times(times.visible[WARM_UP:], times.heard[WARM_UP:])


@asynccontextmanager
async def _stock_client(port: int, event_id: str) -> AsyncGenerator[asyncio.subprocess.Process]:
    """Run `socket.io-client` in node; yield it once it has joined the event."""
    folder = await asyncio.to_thread(npm.peers)
    command = [npm.node(), str(folder / "live.mjs"), f"http://127.0.0.1:{port}", event_id]
    async with served.pinned(command, last=True) as process:
        await _said(process)
        yield process


async def _visible(database: Database, token: int) -> int:
    while not await database.fetchval("SELECT 1 FROM tickets WHERE token_id = $1", token):
        await asyncio.sleep(0.001)
    return time.monotonic_ns()


async def _heard(client: asyncio.subprocess.Process, ticket_id: str) -> int:
    while ticket_id not in (heard := await _said(client)).tickets:
        pass
    return heard.at


async def _said(client: asyncio.subprocess.Process) -> Heard:
    assert client.stdout is not None
    line = await client.stdout.readline()
    if not line:
        raise RuntimeError("the stock client ended")
    return msgspec.json.decode(line, type=Heard)


def _rows(suffix: str, times: Times, who: str) -> list[Row]:
    note = (
        f"{who}; {len(times.heard)} blocks of one sale; the same blocks' rows were visible after "
        f"{centile(times.visible, 50):.1f} ms, p99 {centile(times.visible, 99):.1f} ms; all on these cores"
    )
    return [
        Row(f"mined_client{suffix}_ms_p50", centile(times.heard, 50), "ms", note=note),
        Row(f"mined_client{suffix}_ms_p99", centile(times.heard, 99), "ms", note=note),
    ]
