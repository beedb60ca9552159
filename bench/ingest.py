"""Backfill of 100,000 transfers of 50 events, and the time from a mined block to its visible row.

As a program of its own it is the indexer: ``python -m bench.ingest backfill|follow DATABASE NODE CHAIN``.
"""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from statistics import quantiles
from typing import Any, Final

import msgspec
import uvloop

from bench import fakechain
from bench.rows import Row
from bench.scan import migrated
from echain.admission.onchain import AdmissionProjector
from echain.chain.abi import compile_events
from echain.chain.chains import chain
from echain.chain.contracts import contract
from echain.chain.deploy import deploy
from echain.chain.follow import FollowedChain, Follower
from echain.chain.keys import DEVNET_KEY, Key
from echain.chain.rpc import Rpc
from echain.chain.types import Contract
from echain.events.onchain import EventProjector
from echain.infra import log
from echain.infra.database import Database
from echain.infra.embedded.anvil import Anvil
from echain.infra.embedded.postgres import Postgres
from echain.kernel.evm import Address, checksum
from echain.kernel.time import utc_now
from echain.tickets.onchain import TicketProjector

BLOCKS_MINED: Final = 200
RUNS: Final = 3
HOME: Final = Path(".echain").absolute()
"""Where the node's program is installed."""
_SLOWEST_SECONDS: Final = 30
_PRICE_WEI: Final = 10**15

PONDER: Final = {"Ponder 0.17": 4_076.0, "Ponder 0.10": 6_249.0, "DipDup 8.6": 1_211.0}
"""Transfers a second, cold, of a like chain; recorded on the same kind of machine, two cores."""
PONDER_VISIBLE: Final = {"Ponder 0.17, WebSocket": 12.8}, {"Ponder 0.17, WebSocket": 122.0}
"""Milliseconds at the median and the 99th percentile, recorded likewise."""

PROJECTORS: Final = (EventProjector(), TicketProjector(), AdmissionProjector())

COPIED: Final = ("chain_logs", "transfers", "sales", "grants", "ticket_marks", "tickets", "outbox")
"""What the floor copies: nearly all that a backfill writes."""


class Backfilled(msgspec.Struct, frozen=True):
    """What the indexer's process says of its run."""

    logs: int
    seconds: float
    cpu_seconds: float


async def measure() -> list[Row]:
    """Return the logs a second of a backfill, and the milliseconds from mined to visible."""
    return [*await _backfill(), *await _mined_to_visible()]


# --- backfill ---


async def _backfill() -> list[Row]:
    return [
        await _backfill_row("backfill_logs_per_s", 0, "all messages told"),
        await _backfill_row("backfill_old_logs_per_s", 48, "older than a day: nothing told"),
    ]


async def _backfill_row(name: str, age_hours: int, what: str) -> Row:
    runs: list[tuple[Backfilled, float]] = []
    with fake_node(age_hours) as node, tempfile.TemporaryDirectory() as folder:
        for run in range(RUNS):
            with Postgres(Path(folder) / str(run)) as postgres:
                url = postgres.url()
                await migrated(postgres.url("postgres"), url)
                done = await asyncio.to_thread(_indexed, url, node)
                runs.append((done, await floor_seconds(url, node, fakechain.CHAIN_ID)))
    runs.sort(key=lambda run: run[0].seconds / run[1])
    done, floor = runs[len(runs) // 2]
    return Row(
        name,
        done.logs / done.seconds,
        "logs/s",
        done.logs / floor,
        PONDER,
        f"{what}; the indexer's process: {done.cpu_seconds:.1f} s CPU of {done.seconds:.1f} s; encoded chain "
        f"over HTTP; floor: decode and COPY of the same rows; median of {RUNS}; peers: transfers a second",
    )


@contextmanager
def fake_node(age_hours: int) -> Generator[str]:
    """Serve the encoded chain, whose head is so old, in a process of its own; yield its URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.fakechain", "--age-hours", str(age_hours)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().split()[0]}"
    finally:
        process.kill()
        process.wait()


def _indexed(url: str, node: str) -> Backfilled:
    followed = FollowedChain(
        chain_id=fakechain.CHAIN_ID,
        roots=(
            Contract(Address(fakechain.FACTORY), "factory", 0),
            Contract(Address(fakechain.POAP), "poap", 0),
        ),
    )
    output = subprocess.run(_indexer("backfill", url, node, followed), check=True, capture_output=True).stdout
    return msgspec.json.decode(output, type=Backfilled)


def _indexer(what: str, url: str, node: str, followed: FollowedChain) -> list[str]:
    return [sys.executable, "-m", "bench.ingest", what, url, node, msgspec.json.encode(followed).decode()]


async def floor_seconds(url: str, node: str, chain_id: int) -> float:
    """Return the seconds to read and decode the same logs, and to COPY the same rows into the same tables.

    The database holds what a backfill of the node's chain has written.
    """
    database = await Database.connect(url, name="bench")
    rpc = Rpc([node], chain_id=chain_id)
    try:
        return await _decode_seconds(rpc, database) + await _copy_seconds(database)
    finally:
        await rpc.close()
        await database.close()


async def _decode_seconds(rpc: Rpc, database: Database) -> float:
    rows = await database.fetch("SELECT address FROM chain_contracts")
    addresses = ["0x" + row["address"].hex() for row in rows]
    abis = (contract(name).abi for name in ("EventFactory", "EventTicket", "Poap"))
    events = {event.topic0: event for abi in abis for event in compile_events(abi).values()}
    head = (await rpc.head()).number
    began = time.perf_counter()
    for first in range(0, head + 1, 200):
        query = {"fromBlock": hex(first), "toBlock": hex(first + 199), "address": addresses}
        logs = sorted(await rpc.logs(query), key=lambda log: log.topics[0])
        for topic0, group in itertools.groupby(logs, key=lambda log: log.topics[0]):
            events[topic0].decode(list(group))
    return time.perf_counter() - began


async def _copy_seconds(database: Database) -> float:
    seconds = 0.0
    async with database.connection() as connection:
        for table in COPIED:
            rows = [tuple(row) for row in await connection.fetch(f"SELECT * FROM {table}")]
            await connection.execute(f"DROP TABLE IF EXISTS floor_{table}")
            await connection.execute(f"CREATE TABLE floor_{table} (LIKE {table} INCLUDING ALL)")
            columns = await _columns(connection, table)
            skip = [place for place, name in enumerate(columns) if name == "position"]
            kept = [name for place, name in enumerate(columns) if place not in skip]
            records = [[value for place, value in enumerate(row) if place not in skip] for row in rows]
            began = time.perf_counter()
            for at in range(0, len(records), 8_000):
                await connection.copy_records_to_table(
                    f"floor_{table}", records=records[at : at + 8_000], columns=kept
                )
            seconds += time.perf_counter() - began
    return seconds


async def _columns(connection: Any, table: str) -> list[str]:
    statement = await connection.prepare(f"SELECT * FROM {table} LIMIT 0")
    return [attribute.name for attribute in statement.get_attributes()]


# --- mined to visible ---


async def _mined_to_visible() -> list[Row]:
    with tempfile.TemporaryDirectory() as name, Postgres(Path(name) / "postgres") as postgres:
        url, folder = postgres.url(), Path(name)
        await migrated(postgres.url("postgres"), url)
        with Anvil(folder / "anvil", home=HOME, keep=False) as anvil:
            database = await Database.connect(url, name="bench")
            try:
                seconds = await _blocks(anvil, database, url)
            finally:
                await database.close()
    centiles = quantiles(seconds, n=100, method="inclusive")
    note = f"{len(seconds)} blocks of one sale; a poll of the row each ms"
    return [
        Row("mined_visible_ms_p50", centiles[49] * 1e3, "ms", None, PONDER_VISIBLE[0], note),
        Row("mined_visible_ms_p99", centiles[98] * 1e3, "ms", None, PONDER_VISIBLE[1], note),
    ]


async def _blocks(anvil: Anvil, database: Database, url: str) -> list[float]:
    """Sell a ticket a block; return the seconds from each block mined until its ticket's row is read."""
    followed, tickets = await _on_sale(anvil, database)
    data = contract("EventTicket").encode("purchaseTickets(address,uint256)", [bytes(19) + b"\x01", 1])
    buyer = anvil.rpc("eth_accounts")[1]
    sale = {
        "from": buyer,
        "to": checksum(tickets),
        "data": "0x" + data.hex(),
        "value": hex(_PRICE_WEI),
        "gas": hex(500_000),
    }
    anvil.rpc("evm_setAutomine", False)
    seconds: list[float] = []
    async with _following(url, anvil.url, followed):
        for token in range(1, BLOCKS_MINED + 6):
            await asyncio.to_thread(anvil.rpc, "eth_sendTransaction", sale)
            await asyncio.to_thread(anvil.rpc, "evm_mine")
            began = time.perf_counter()
            while not await database.fetchval("SELECT 1 FROM tickets WHERE token_id = $1", token):
                if time.perf_counter() - began > _SLOWEST_SECONDS:
                    raise TimeoutError(f"the ticket of block {token} never became visible")
                await asyncio.sleep(0.001)
            seconds.append(time.perf_counter() - began)
            await asyncio.sleep(0.05)
    # The first ones wait for the indexer's start.
    return seconds[5:]


async def _on_sale(anvil: Anvil, database: Database) -> tuple[FollowedChain, Address]:
    rpc = Rpc([anvil.url], chain_id=anvil.chain_id)
    key = Key(DEVNET_KEY)
    try:
        deployment = await deploy(
            rpc, database, key, chain(anvil.chain_id, devnet=True), fee_bps=250, now=utc_now()
        )
    finally:
        await rpc.close()
    start = int(anvil.rpc("eth_getBlockByNumber", "latest", False)["timestamp"], 16) + 86_400
    create = contract("EventFactory").encode(
        "createEvent(string,string,uint256,uint256,uint256,uint256)",
        ["Bench", "ipfs://bench", _PRICE_WEI, 100_000, start, start + 86_400],
    )
    organizer = checksum(key.address)
    anvil.rpc("anvil_impersonateAccount", organizer)
    factory = checksum(deployment.factory)
    sent = {"from": organizer, "to": factory, "data": "0x" + create.hex()}
    created = anvil.rpc("eth_sendTransaction", sent)
    while anvil.rpc("eth_getTransactionReceipt", created) is None:
        await asyncio.sleep(0.01)
    read = contract("EventFactory").encode("getEvent(uint256)", [1])
    answer = anvil.rpc("eth_call", {"to": factory, "data": "0x" + read.hex()}, "latest")
    followed = FollowedChain(
        chain_id=anvil.chain_id,
        roots=(
            Contract(deployment.factory, "factory", deployment.from_block),
            Contract(deployment.poap, "poap", deployment.from_block),
        ),
        from_block=deployment.from_block,
        ws_urls=(anvil.ws_url,),
    )
    return followed, Address(bytes.fromhex(answer[26:66]))


@asynccontextmanager
async def _following(url: str, node: str, followed: FollowedChain) -> AsyncGenerator[None]:
    process = await asyncio.create_subprocess_exec(*_indexer("follow", url, node, followed))
    try:
        yield
    finally:
        process.kill()
        await process.wait()


# --- the indexer's process ---


async def _run(what: str, url: str, node: str, followed: FollowedChain) -> None:
    database = await Database.connect(url, name="indexer")
    rpc = Rpc([node], chain_id=followed.chain_id)
    follower = Follower(rpc, database, PROJECTORS, followed)
    if what == "follow":
        await follower.run()
    began, cpu = time.perf_counter(), time.process_time()
    await follower.catch_up()
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
    logs = await database.fetchval("SELECT count(*) FROM chain_logs")
    sys.stdout.buffer.write(msgspec.json.encode(Backfilled(logs, seconds, cpu_seconds)))
    await rpc.close()
    await database.close()


def main(arguments: Sequence[str]) -> None:
    what, url, node, followed = arguments
    log.configure(json=True, level="error", role="bench", stream=sys.stderr)
    uvloop.run(_run(what, url, node, msgspec.json.decode(followed, type=FollowedChain)))


if __name__ == "__main__":
    main(sys.argv[1:])
