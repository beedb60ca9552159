"""Scans at the door: HTTP in, a verdict on disk, HTTP out; each scan is of a new ticket, which it admits.

As a program of its own (``python -m bench.scan DATABASE_URL PORT``) it is the server.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import tempfile
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from statistics import quantiles
from typing import Final
from uuid import UUID

import uvicorn
import uvloop

from bench import served
from bench.rows import Row
from echain.admission import codes, rest, service
from echain.admission.authentication import hashed
from echain.admission.codes import CodeKey
from echain.edge.http import Call, Endpoint, Nothing, StoredIdempotency, application, post
from echain.edge.http.server import BoundedProtocol
from echain.events.intents import Intents
from echain.infra import log
from echain.infra.audit import ClientSeals
from echain.infra.crypto import DataKeys
from echain.infra.database import Database
from echain.infra.embedded.postgres import Postgres
from echain.infra.migrate import migrate
from echain.infra.secret import Secret
from echain.kernel.evm import Address
from echain.kernel.ids import derived_id, uuid7
from echain.kernel.time import utc_now

CHAIN_ID: Final = 84532
CONTRACT: Final = Address(b"\x11" * 20)
HOLDER: Final = Address(b"\x22" * 20)
KEY: Final = CodeKey.from_seed("bench")
GATES: Final = 50
CODES: Final = 30_000
"""Tickets in one run; more than are scanned in it."""
SECONDS: Final = 5.0
WARM_UP_SECONDS: Final = 1.0
POOL: Final = 10
PRETIX_REDEEMS_PER_SECOND: Final = 32.0
"""pretix 2026.8 with gunicorn, PostgreSQL and Redis on two cores."""


async def measure() -> list[Row]:
    """Return scans a second and their latency with 2 and with 50 gates, beside the bare writes of one."""
    with tempfile.TemporaryDirectory() as folder, Postgres(Path(folder) / "postgres") as postgres:
        url = postgres.url()
        await migrated(postgres.url("postgres"), url)
        await seed(url)
        with served.module("bench.scan", url) as port:
            bare = [request("/floor", "none", b"{}")] * CODES
            floor, _ = await load(port, [bare[number::GATES] for number in range(GATES)])
            rows: list[Row] = []
            for gates, first in ((2, 0), (GATES, CODES)):
                rate, latencies = await load(port, scans(gates, first))
                rows += rows_of(gates, rate, latencies, floor)
    return rows


def rows_of(gates: int, rate: float, latencies: Sequence[float], floor: float) -> list[Row]:
    """Return the rows of one run."""
    median, *_, p99 = (quantiles(latencies, n=100)[at] * 1000 for at in (49, 98))
    suffix = "" if gates == GATES else f"_{gates}_gates"
    note = f"{gates} gates scan without a pause; client, server and PostgreSQL share the cores"
    peers = {"pretix redeem": PRETIX_REDEEMS_PER_SECOND}
    return [
        Row(f"scan_rps{suffix}", rate, "/s", floor if gates == GATES else None, peers, note),
        Row(f"scan_ms_p50{suffix}", median, "ms", note=note),
        Row(f"scan_ms_p99{suffix}", p99, "ms", note=note),
    ]


def gate_of(number: int) -> tuple[UUID, str]:
    """Return a gate's id and secret."""
    return derived_id(b"gate", number), "ecg_" + sha256(b"%d" % number).hexdigest()[:43]


async def migrated(maintenance_url: str, url: str, name: str = "echain") -> None:
    """Create the database ``name``, which is at ``url``, and its tables."""
    database = await Database.connect(maintenance_url, size=1, name="bench")
    await database.execute(f"CREATE DATABASE {name}")
    await database.close()
    await migrate(url)


async def seed(url: str) -> None:
    """Fill the projection with one event, whose tickets one holder has, and open the gates."""
    database = await Database.connect(url, size=1, name="bench")
    now, blank = utc_now(), bytes(32)
    await database.execute(
        """
        INSERT INTO events (chain_id, ticket_contract, id, blockchain_id, organizer, name, metadata_uri,
                            metadata_hash, ticket_price_wei, max_tickets, sold_tickets, starts_at, ends_at,
                            fee_bps, gift_policy, max_gifts, gifts_to_contracts, resale_cap_bps, royalty_bps,
                            created_block, created_at, transaction_hash)
        VALUES ($1, $2, $3, 1, $4, 'Bench', '', $5, 1, $6, $6, $7, $7, 0, 'free', 0, TRUE, 0, 0, 1, $7, $5)
        """,
        *(CHAIN_ID, CONTRACT, derived_id(CHAIN_ID, CONTRACT), HOLDER, blank, 2 * CODES, now),
    )
    await database.execute(
        """
        INSERT INTO tickets (chain_id, ticket_contract, token_id, owner, state, tier_id, price_paid_wei,
                             minted_block, minted_at, updated_block)
        SELECT $1, $2, token_id, $3, 'valid', 0, 1, 1, $4, 1 FROM generate_series(0, $5 - 1) AS token_id
        """,
        *(CHAIN_ID, CONTRACT, HOLDER, now, 2 * CODES),
    )
    for number in range(GATES):
        gate_id, secret = gate_of(number)
        await database.execute(
            "INSERT INTO gates VALUES ($1, $2, $3, $4, 'Gate', $5, $6, $7)",
            *(gate_id, CHAIN_ID, CONTRACT, codes.event_tag(CHAIN_ID, CONTRACT), hashed(secret), HOLDER, now),
        )
    await database.execute("VACUUM ANALYZE")
    await database.close()


def scans(gates: int, first: int) -> list[list[bytes]]:
    """Return each gate's requests, all of tickets from ``first`` on, with codes that are good for 30 s."""
    now = utc_now()
    requests: list[list[bytes]] = [[] for _ in range(gates)]
    for number in range(CODES):
        code = codes.issue(
            KEY,
            chain_id=CHAIN_ID,
            ticket_contract=CONTRACT,
            token_id=first + number,
            holder=HOLDER,
            now=now,
        )
        gate_id, secret = gate_of(number % gates)
        path, body = f"/api/v1/gates/{gate_id}/scan", b'{"code":"%b"}' % code.text.encode()
        requests[number % gates].append(request(path, secret, body))
    return requests


def request(path: str, secret: str, body: bytes) -> bytes:
    """Return an HTTP request as it goes over the wire."""
    head = f"POST {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {secret}\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def load(port: int, requests: Sequence[Sequence[bytes]]) -> tuple[float, list[float]]:
    """Send each list in turn over a connection of its own; return answers a second, and latencies."""
    latencies: list[float] = []
    began = time.perf_counter() + WARM_UP_SECONDS

    async def gate(own: Sequence[bytes]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for one in own:
            sent = time.perf_counter()
            if sent > began + SECONDS:
                break
            writer.write(one)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r")[0])
            body = await reader.readexactly(length)
            if b'"verdict":"admitted"' not in body:
                raise RuntimeError(body.decode())
            if sent > began:
                latencies.append(time.perf_counter() - sent)
        writer.close()

    await asyncio.gather(*(gate(own) for own in requests))
    return len(latencies) / (time.perf_counter() - began), latencies


FLOOR: Final = """
    WITH scan AS (
        INSERT INTO scans (id, gate_id, verdict, scanned_at) VALUES ($1, $2, 'admitted', $3) RETURNING id
    )
    INSERT INTO admissions (id, chain_id, ticket_contract, token_id, holder, gate_id, scan_id, admitted_at,
                            check_in_due)
    SELECT $1, 1, $4, $5, $4, $2, id, $3, $3 FROM scan
"""


def bare(database: Database) -> Endpoint:
    """Return an endpoint that writes the two rows of an admission and checks nothing."""
    gate_id, _ = gate_of(0)
    numbers = itertools.count()

    @post("/floor", summary="Write", tag="bench", answer=dict[str, str])
    async def write(call: Call[Nothing, Nothing, Nothing]) -> dict[str, str]:
        await database.execute(FLOOR, uuid7(), gate_id, call.now, CONTRACT, next(numbers))
        return {"verdict": "admitted"}

    return write


def serve(url: str, port: int) -> None:
    """Serve the door as the `api` role does."""

    async def nowhere(_chain_id: int) -> Address | None:
        return None

    async def run() -> None:
        database = Database.lazy(url, size=POOL, name="bench")
        endpoints = rest.endpoints(database, Intents({}, nowhere), code_key=KEY, relays={})
        app = application(
            [*endpoints, bare(database)],
            authenticate=service.gate_authenticator(database, utc_now),
            clock=utc_now,
            idempotency=StoredIdempotency(database),
            title="bench",
            version="1",
            seals=ClientSeals(DataKeys([Secret("11" * 32)])),
        )
        await uvicorn.Server(
            uvicorn.Config(
                app, port=port, http=BoundedProtocol, lifespan="off", access_log=False, log_level="error"
            )
        ).serve()

    log.configure(json=True, level="warning", role="bench")
    uvloop.run(run())


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
