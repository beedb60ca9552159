"""Ours and Ponder on one chain in one run: backfill, and the time from a mined block to its visible row.

Both follow the same node with the same 100,000 transfers and write to the same PostgreSQL, each to a database
of its own. Time begins with the start of the process and ends when another connection sees the last transfer.
Ponder runs as fast as it can be had: on WebSocket, its limit of requests lifted; "warm" is its second run,
with all that it asks the node for at hand.
"""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import quantiles
from typing import Any, Final

import asyncpg
import msgspec

from bench import npm, realchain, served
from bench.ingest import floor_seconds
from bench.realchain import Made
from bench.rows import Row
from bench.scan import migrated
from echain.chain.contracts import contract
from echain.infra.database import Database
from echain.infra.embedded.anvil import Anvil
from echain.infra.embedded.child import free_port
from echain.infra.embedded.postgres import Postgres
from echain.infra.embedded.redis import Redis
from echain.kernel.evm import Address, checksum, to_hex
from echain.kernel.time import utc_now

BLOCKS_MINED: Final = 100
TICKETS_A_BLOCK: Final = 5
_PAUSE_SECONDS: Final = 0.05, 0.15
_POLL_SECONDS: Final = 0.02
_SLOWEST_SECONDS: Final = 180.0
_LATEST_SECONDS: Final = 30.0
_UNSEEN: Final = 64 * (realchain.MINTED + realchain.MOVED)
"""So few transfers from the end Ponder on WebSocket waits for a new head before it looks at the rest."""

PONDER: Final = "Ponder 0.17 on WebSocket, here"


class Place(msgspec.Struct, frozen=True):
    """Where an indexer keeps its rows, how to count them, and how to ask whether a ticket is there.

    ``key`` turns a ticket contract's address into what the column holds.
    """

    database: Database
    count: str
    ticket: str
    key: Callable[[Address], object]

    async def transfers(self) -> int:
        """Return how many transfers are visible."""
        return await self._asked(self.count) or 0

    async def has(self, tickets: Address, token: int) -> bool:
        """Return whether a ticket is visible."""
        return await self._asked(self.ticket, self.key(tickets), token) is not None

    async def _asked(self, query: str, *arguments: object) -> Any:
        try:
            return await self.database.fetchval(query, *arguments)
        except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
            return None  # it has not made its tables yet


class Ran(msgspec.Struct, frozen=True):
    """One backfill, and the milliseconds from mined to visible that followed it."""

    seconds: float
    memory_mb: float
    visible_ms: Sequence[float]


async def measure() -> list[Row]:
    """Return transfers a second of a backfill from a node, and mined to visible, both beside Ponder's."""
    async with realchain.served() as (anvil, made):
        return await _beside(anvil, made)


async def _beside(anvil: Anvil, made: Made) -> list[Row]:
    with (
        tempfile.TemporaryDirectory() as folder,
        Postgres(Path(folder) / "postgres") as postgres,
        Redis(Path(folder) / "redis") as redis,
    ):
        bench = _Bench(anvil, made, postgres, redis, Path(folder))
        try:
            peers, missing = await bench.ponder(), ""
        except (npm.PeerMissing, RuntimeError, OSError, TimeoutError) as error:
            peers, missing = {}, str(error) or type(error).__name__
        ours = [await bench.ours(latency=run == 0) for run in range(3)]
        floor = await floor_seconds(postgres.url("ours_0"), anvil.url, anvil.chain_id)
    return _rows(made, ours, floor, peers, missing)


class _Bench:
    """The parts that both indexers share."""

    def __init__(self, anvil: Anvil, made: Made, postgres: Postgres, redis: Redis, folder: Path) -> None:
        self._anvil, self._made, self._postgres, self._redis = anvil, made, postgres, redis
        self._folder = folder
        self._minted = list(made.minted)
        self._transfers = made.transfers
        self._last = made.last_ticket(anvil)
        self._rng = random.Random(1)
        self._runs = 0

    async def ours(self, *, latency: bool) -> Ran:
        """Backfill with the `indexer` role, whose part is also the relay."""
        name = f"ours_{self._runs}"
        self._runs += 1
        url = self._postgres.url(name)
        await migrated(self._postgres.url("postgres"), url, name)
        chain_id, deployment = self._anvil.chain_id, self._made.deployment
        environment = {
            "ECHAIN_HOME": str(self._folder / "home"),
            "ECHAIN_DATABASE_URL": url,
            "ECHAIN_REDIS_URL": self._redis.url,
            "ECHAIN_CHAINS": str(chain_id),
            "ECHAIN_DEVNET": "true",
            f"ECHAIN_RPC_URL_{chain_id}": self._anvil.url,
            f"ECHAIN_WS_URL_{chain_id}": self._anvil.ws_url,
            f"ECHAIN_FACTORY_{chain_id}": checksum(deployment.factory),
            f"ECHAIN_POAP_{chain_id}": checksum(deployment.poap),
            f"ECHAIN_IMPLEMENTATION_{chain_id}": checksum(deployment.implementation),
            f"ECHAIN_FROM_BLOCK_{chain_id}": str(deployment.from_block),
            "ECHAIN_LOG_LEVEL": "error",
            "ECHAIN_LOG_FORMAT": "json",
        }
        command = [sys.executable, "-m", "echain.entry.cli", "indexer"]
        count = "SELECT count(*) FROM transfers"
        ticket = f"SELECT 1 FROM tickets WHERE (chain_id, ticket_contract, token_id) = ({chain_id}, $1, $2)"
        async with _place(url, count, ticket, bytes) as place:
            return await self._run(command, served.environment_of(environment), place, latency=latency)

    async def ponder(self) -> dict[str, Ran]:
        """Backfill with Ponder, cold and warm; the warm one stays for the new blocks."""
        folder = await asyncio.to_thread(npm.peers) / "ponder"
        await _created(self._postgres.url("postgres"), "ponder")
        url = self._postgres.url("ponder")
        found = self._folder / "chain.json"
        found.write_bytes(msgspec.json.encode(self._described()))
        environment = served.environment_of(
            {
                "BENCH_CHAIN": str(found),
                "BENCH_DATABASE": url,
                "BENCH_RPC": self._anvil.url,
                "BENCH_WS": self._anvil.ws_url,
                "PONDER_TELEMETRY_DISABLED": "true",
            }
        )
        program = folder.parent / "node_modules" / "ponder" / "dist" / "esm" / "bin" / "ponder.js"
        runs: dict[str, Ran] = {}
        for run in ("cold", "warm"):
            command = [npm.node(), str(program), "start", "--root", str(folder), "--schema", run]
            command += ["--port", str(free_port()), "--log-level", "error"]
            count = f'SELECT count(*) FROM "{run}".transfer'
            ticket = f'SELECT 1 FROM "{run}".ticket WHERE ticket_contract = $1 AND token_id = $2'
            async with _place(url, count, ticket, to_hex) as place:
                runs[run] = await self._run(command, environment, place, latency=run == "warm")
        return runs

    def _described(self) -> Mapping[str, object]:
        deployment = self._made.deployment
        return {
            "id": self._anvil.chain_id,
            "factory": checksum(deployment.factory),
            "fromBlock": deployment.from_block,
            "factoryAbi": contract("EventFactory").abi,
            "ticketAbi": contract("EventTicket").abi,
        }

    async def _run(
        self, command: Sequence[str], environment: Mapping[str, str], place: Place, *, latency: bool
    ) -> Ran:
        began = time.perf_counter()
        with (self._folder / "indexer.log").open("wb") as log:
            # Ponder writes its schema into the folder where it was started.
            process = await asyncio.create_subprocess_exec(
                *command, env=dict(environment), cwd=self._folder, stdout=log, stderr=subprocess.STDOUT
            )
        try:
            await self._backfilled(process, place)
            seconds = time.perf_counter() - began
            memory = served.memory_bytes(process.pid) / 1e6
            visible = await self._blocks(place) if latency else []
        finally:
            await served.ended(process)
        return Ran(seconds, memory, visible)

    async def _backfilled(self, process: asyncio.subprocess.Process, place: Place) -> None:
        """Return once the last ticket is visible, with all transfers before it."""
        deadline = time.perf_counter() + _SLOWEST_SECONDS
        looked = time.perf_counter()
        while not await place.has(*self._last):
            if process.returncode is not None or time.perf_counter() > deadline:
                said = (self._folder / "indexer.log").read_text(errors="replace")[-400:]
                raise RuntimeError(f"it stopped at {await place.transfers()} of {self._transfers}: {said}")
            if time.perf_counter() > looked + 1:
                looked = time.perf_counter()
                if await place.transfers() >= self._transfers - _UNSEEN:
                    self._anvil.rpc("evm_mine")
            await asyncio.sleep(_POLL_SECONDS)
        if await place.transfers() != self._transfers:
            raise RuntimeError(f"{await place.transfers()} of {self._transfers} transfers are there")

    async def _blocks(self, place: Place) -> list[float]:
        """Mine blocks of a few tickets; return the milliseconds until the last ticket of each is visible."""
        # The chain was made long ago; from here on its time is ours.
        latest = int(self._anvil.rpc("eth_getBlockByNumber", "latest", False)["timestamp"], 16)
        self._anvil.rpc("evm_setNextBlockTimestamp", max(latest + 1, int(utc_now().timestamp())))
        found: list[float] = []
        for _ in range(BLOCKS_MINED + 5):
            at = self._rng.randrange(len(self._minted))
            sale = realchain.mint(self._made, at, TICKETS_A_BLOCK, self._minted)
            self._minted[at] += TICKETS_A_BLOCK
            self._transfers += TICKETS_A_BLOCK
            self._last = self._made.tickets[at], self._minted[at]
            await asyncio.to_thread(self._anvil.rpc, "eth_sendTransaction", sale)
            await asyncio.to_thread(self._anvil.rpc, "evm_mine")
            began = time.perf_counter()
            await _seen(place, *self._last)
            found.append((time.perf_counter() - began) * 1e3)
            await asyncio.sleep(self._rng.uniform(*_PAUSE_SECONDS))
        return found[5:]


async def _seen(place: Place, tickets: Address, token: int) -> None:
    deadline = time.perf_counter() + _LATEST_SECONDS
    while not await place.has(tickets, token):
        if time.perf_counter() > deadline:
            raise RuntimeError(f"ticket {token} of {to_hex(tickets)} never became visible")
        await asyncio.sleep(0.001)


@asynccontextmanager
async def _place(
    url: str, count: str, ticket: str, key: Callable[[Address], object]
) -> AsyncGenerator[Place]:
    database = await Database.connect(url, size=1, name="bench")
    try:
        yield Place(database, count, ticket, key)
    finally:
        await database.close()


async def _created(maintenance_url: str, name: str) -> None:
    database = await Database.connect(maintenance_url, size=1, name="bench")
    await database.execute(f"CREATE DATABASE {name}")
    await database.close()


def _rows(made: Made, ours: Sequence[Ran], floor: float, peers: Mapping[str, Ran], missing: str) -> list[Row]:
    typical = sorted(ours, key=lambda run: run.seconds)[len(ours) // 2]
    memory = {"ours": typical} | {f"Ponder {name}": run for name, run in peers.items()}
    held = ", ".join(f"{name} {run.memory_mb:.0f} MB" for name, run in memory.items())
    backfill = Row(
        "backfill_anvil_logs_per_s",
        made.transfers / typical.seconds,
        "transfers/s",
        made.transfers / floor,
        {f"Ponder 0.17 {name}, here": made.transfers / run.seconds for name, run in peers.items()},
        f"{made.transfers:,} transfers in {made.head:,} blocks of one anvil, from the start of the process; "
        f"memory at the end: {held}; floor: decode and COPY of the same rows; median of {len(ours)}",
        {PONDER: missing} if missing else {},
    )
    visible = next(run.visible_ms for run in ours if run.visible_ms)
    beside = next((run.visible_ms for run in peers.values() if run.visible_ms), None)
    note = f"{BLOCKS_MINED} blocks of {TICKETS_A_BLOCK} tickets each; a poll of the row each ms"
    return [
        backfill,
        *(
            Row(
                f"mined_visible_anvil_ms_p{percent}",
                centile(visible, percent),
                "ms",
                None,
                {PONDER: centile(beside, percent)} if beside else {},
                note,
                backfill.missing,
            )
            for percent in (50, 99)
        ),
    ]


def centile(values: Sequence[float], percent: int) -> float:
    """Return the value below which so many percent of ``values`` are, interpolated."""
    return quantiles(values, n=100, method="inclusive")[percent - 1]
