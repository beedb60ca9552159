"""The HTTP interface beside bare ASGI handlers that answer the same from the same database.

The API is the real one, `echain api` in a process of its own. Beside it a bare ASGI application on the same
server (uvicorn, uvloop, httptools) answers the same data: from a dictionary, or by the same statements
through the same pool. Each figure is the median of several rounds in which both take turns.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import aiohttp
import msgspec

from bench import load, served
from bench.load import Load
from bench.rows import Row
from bench.wallet import CHAIN_ID, Wallet
from echain.infra.database import Database
from echain.infra.embedded.child import free_port
from echain.infra.embedded.postgres import Postgres
from echain.infra.migrate import migrate
from echain.kernel.evm import Address, Hash32, keccak
from echain.kernel.ids import derived_id, uuid7
from echain.kernel.time import utc_now

SHORT_EVENTS: Final = 200
LONG_EVENTS: Final = 50
DRAFTS: Final = 50
PAGE_BYTES: Final = 8_192
ROUNDS: Final = 3
ORGANIZER: Final = Address(b"\x33" * 20)

# Requests a second on the same kind of machine (two cores, the client on one): `docs/adr/0002`.
FASTIFY: Final[Mapping[str, float]] = {
    "http_cached_rps": 13_000,
    "http_row_rps": 13_000,
    "http_list_rps": 5_400,
    "http_insert_rps": 7_600,
}


async def measure() -> list[Row]:
    """Return the four rows of the HTTP interface, in requests a second with 64 connections."""
    with tempfile.TemporaryDirectory() as folder, Postgres(Path(folder) / "postgres") as postgres:
        url = postgres.url()
        await laid_out(postgres.url("postgres"), url)
        async with api_server(url, Path(folder)) as api, floor_server(url) as bare:
            token, drafts = await drafts_of(api)
            return [row async for row in _rows(api, bare, token, drafts)]


async def _rows(api: int, bare: int, token: str, drafts: Sequence[str]) -> AsyncIterator[Row]:
    pages = [str(_event_id(SHORT_EVENTS + number)) for number in range(LONG_EVENTS)]
    signed = {"Authorization": f"Bearer {token}"}
    draft = msgspec.json.encode(event_content("Opening night", 300))
    cases: dict[str, tuple[list[bytes], list[bytes]]] = {
        "http_cached_rps": (
            [request("GET", f"/api/v1/events/{page}") for page in pages],
            [request("GET", f"/cached/{page}") for page in pages],
        ),
        "http_row_rps": (
            [request("GET", f"/api/v1/events/{draft_id}", signed) for draft_id in drafts],
            [request("GET", f"/row/{draft_id}") for draft_id in drafts],
        ),
        "http_list_rps": (
            [request("GET", f"/api/v1/events?page={page}&perPage=20") for page in range(1, 6)],
            [request("GET", f"/list/{page}") for page in range(1, 6)],
        ),
        "http_insert_rps": (
            [request("POST", "/api/v1/events", signed, draft)],
            [request("POST", "/insert/", {}, draft)],
        ),
    }
    generator = await load.limit(
        b"HTTP/1.1 200 OK\r\ncontent-length: 8192\r\n\r\n" + bytes(PAGE_BYTES), b"GET"
    )
    for name, (ours, floors) in cases.items():
        measured, floor = await in_turns((api, ours), (bare, floors))
        note = (
            f"p99 {measured.p99:.0f} ms, floor's {floor.p99:.0f} ms at full load; "
            f"one process; load generator's limit {generator:,.0f}/s"
        )
        yield Row(name, measured.rate, "requests/s", floor.rate, {"Fastify": FASTIFY[name]}, note)


async def in_turns(*sides: tuple[int, list[bytes]]) -> list[Load]:
    """Return each side's median round."""
    found: list[list[Load]] = [[] for _ in sides]
    for _ in range(ROUNDS):
        for results, (port, requests) in zip(found, sides, strict=True):
            result = await load.apply(port, requests)
            if result.failed:
                raise RuntimeError(f"{result.failed} answers were no success: {requests[0][:80]!r}")
            results.append(result)
    middle = ROUNDS // 2
    return [sorted(results, key=lambda one: one.rate)[middle] for results in found]


def request(method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b"") -> bytes:
    """Return an HTTP request as it goes over the wire."""
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: bench",
        *(f"{name}: {text}" for name, text in (headers or {}).items()),
    ]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


# ---- what is read and written


async def made(maintenance_url: str, url: str) -> None:
    """Create the database, empty."""
    maintenance = await Database.connect(maintenance_url, size=1, name="bench")
    await maintenance.execute("CREATE DATABASE echain")
    await maintenance.close()
    await migrate(url)


async def laid_out(maintenance_url: str, url: str) -> None:
    """Create the database and its events: short ones that come first in lists, long ones to be cached."""
    await made(maintenance_url, url)
    database = await Database.connect(url, size=1, name="bench")
    for number in range(SHORT_EVENTS + LONG_EVENTS):
        await _event(database, number, 300 if number < SHORT_EVENTS else PAGE_BYTES - 1_500)
    await database.execute("VACUUM ANALYZE")
    await database.close()


def _contract(number: int) -> Address:
    return Address(keccak(b"event %d" % number)[12:])


def _event_id(number: int) -> UUID:
    return derived_id(CHAIN_ID, _contract(number))


def event_content(title: str, description_bytes: int) -> dict[str, Any]:
    start = utc_now() + timedelta(days=300)
    return {
        "chainId": CHAIN_ID,
        "title": title,
        "description": ("An evening of music on and off the chain. " * 300)[:description_bytes],
        "place": {"name": "The Long Hall", "address": "1 Harbour Street"},
        "category": "music",
        "timezone": "Europe/Amsterdam",
        "startTime": start.isoformat(),
        "endTime": (start + timedelta(hours=4)).isoformat(),
        "tiers": [
            {"name": "Floor", "priceWei": "25000000000000000", "supply": 4_000},
            {"name": "Balcony", "priceWei": "50000000000000000", "supply": 1_000},
        ],
    }


async def _event(database: Database, number: int, description_bytes: int) -> None:
    """Write what a published event leaves: its draft, its document, its projection."""
    draft_id, contract, now = uuid7(), _contract(number), utc_now()
    content = event_content(f"Night {number}", description_bytes)
    document_hash = Hash32(keccak(b"document %d" % number))
    await database.execute(
        """
        INSERT INTO event_drafts (id, organizer, chain_id, content, metadata_hash, created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $6)
        """,
        *(draft_id, ORGANIZER, CHAIN_ID, content, document_hash, now),
    )
    await database.execute(
        """
        INSERT INTO metadata_documents (hash, body, draft_id, organizer, chain_id, content, created_at)
        VALUES ($1, ''::bytea, $2, $3, $4, $5, $6)
        """,
        *(document_hash, draft_id, ORGANIZER, CHAIN_ID, content, now),
    )
    start = now + timedelta(days=100, minutes=number)
    await database.execute(
        """
        INSERT INTO events (chain_id, ticket_contract, id, blockchain_id, organizer, name, metadata_uri,
                            metadata_hash, ticket_price_wei, max_tickets, sold_tickets, starts_at, ends_at,
                            fee_bps, gift_policy, max_gifts, gifts_to_contracts, resale_cap_bps, royalty_bps,
                            created_block, created_at, transaction_hash)
        VALUES ($1, $2, $3, $4, $5, 'Night', '', $6, 25000000000000000, 5000, 1200, $7, $8,
                250, 'free', 0, TRUE, 11000, 500, 1, $9, $6)
        """,
        *(CHAIN_ID, contract, _event_id(number), number, ORGANIZER, document_hash),
        *(start, start + timedelta(hours=4), now),
    )
    await database.execute(
        """
        INSERT INTO tiers (chain_id, ticket_contract, tier_id, price_wei, supply, sold, max_per_purchase,
                           max_per_wallet, allow_list_root)
        SELECT $1, $2, tier, 25000000000000000 * (tier + 1), 4000 - 3000 * tier, 600, 10, 0, $3
          FROM generate_series(0, 1) AS tier
        """,
        *(CHAIN_ID, contract, bytes(32)),
    )


async def drafts_of(port: int) -> tuple[str, list[str]]:
    """Sign somebody in and let them make drafts; return their token and the drafts' ids."""
    origin = f"http://127.0.0.1:{port}"
    jar = aiohttp.CookieJar(unsafe=True)  # the address has no name, and stock jars leave such cookies out
    async with aiohttp.ClientSession(origin, cookie_jar=jar, raise_for_status=True) as client:
        async with client.get("/api/v1/auth/nonce") as answer:
            nonce = (await answer.json())["data"]["nonce"]
        async with client.post("/api/v1/auth/verify", json=Wallet().signed(origin, nonce)) as answer:
            token = (await answer.json())["data"]["accessToken"]
        ids: list[str] = []
        for number in range(DRAFTS):
            content = event_content(f"Draft {number}", 300)
            headers = {"Authorization": f"Bearer {token}"}
            async with client.post("/api/v1/events", json=content, headers=headers) as answer:
                ids.append((await answer.json())["data"]["id"])
        return token, ids


# ---- who answers


@asynccontextmanager
async def api_server(
    url: str, folder: Path, *, log: Path | None = None, **variables: str
) -> AsyncGenerator[int]:
    """Run the real API in a process of its own; its node is away, which these requests do not need.

    Nothing is limited or logged unless ``variables`` say so; ``log`` is the file that it writes to.
    """
    port = free_port()
    environment = served.environment_of(
        {
            "ECHAIN_HOME": str(folder / "home"),
            "ECHAIN_PORT": str(port),
            "ECHAIN_PUBLIC_URL": f"http://127.0.0.1:{port}",
            "ECHAIN_DATABASE_URL": url,
            "ECHAIN_CHAINS": str(CHAIN_ID),
            f"ECHAIN_RPC_URL_{CHAIN_ID}": "http://127.0.0.1:9",
            "ECHAIN_LOG_LEVEL": "error",
            "ECHAIN_LOG_FORMAT": "json",
            # One caller asks as often as a machine can.
            "ECHAIN_LIMITS": "false",
            "ECHAIN_ACCESS_LOG": "false",
            **variables,
        }
    )
    with log.open("wb") if log else nullcontext() as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "echain.entry.cli", "api"), env=environment, stderr=output
        )
    try:
        await served.listening(port, process)
        load.pin(process.pid, last=False)
        yield port
    finally:
        await _ended(process)


@asynccontextmanager
async def floor_server(url: str, *words: str) -> AsyncGenerator[int]:
    """Run the bare application in a process of its own; with ``toolkit`` our own with everything off."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listening:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.http_floor", url, str(listening.fileno()), *words),
            pass_fds=[listening.fileno()],
        )
        load.pin(process.pid, last=False)
        try:
            yield listening.getsockname()[1]
        finally:
            await _ended(process)


async def _ended(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    await process.wait()
