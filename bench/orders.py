"""Orders: HTTP in, the tier as it stands from PostgreSQL, a transaction to sign out.

As a program of its own (``python -m bench.orders DATABASE_URL RPC_URL PORT``) it is the server.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from statistics import quantiles
from typing import Final

import aiohttp
import uvicorn
import uvloop

from bench import served
from bench.rows import Row
from echain.accounts import rest as accounts_rest
from echain.accounts import service as accounts
from echain.accounts.accesstokens import AccessTokens
from echain.chain.chains import chain
from echain.chain.fees import Fees
from echain.chain.rpc import Rpc
from echain.edge.http import Auth, Call, Endpoint, Nothing, StoredIdempotency, application, post
from echain.edge.http.server import BoundedProtocol
from echain.entry.wallet import Client, Wallet
from echain.events.intents import ChainAccess, Intents
from echain.infra import log
from echain.infra.database import Database
from echain.infra.embedded.anvil import Anvil
from echain.infra.embedded.postgres import Postgres
from echain.infra.migrate import migrate
from echain.infra.secret import Secret
from echain.kernel.evm import Address
from echain.kernel.ids import derived_id
from echain.kernel.time import utc_now
from echain.tickets import rest as tickets_rest
from echain.tickets.types import Purchase

CHAIN_ID: Final = 84532
EVENTS: Final = 1_000
TIERS: Final = 3
BUYERS: Final = 50
SECONDS: Final = 5.0
WARM_UP_SECONDS: Final = 1.5
POOL: Final = 10
PRETIX_ORDERS_PER_SECOND: Final = 18.0
"""pretix 2026.8 with gunicorn, PostgreSQL and Redis on two cores."""


async def measure() -> list[Row]:
    """Return orders a second and their latency with 1, and with 50 buyers, beside one bare row a request."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Postgres(Path(folder) / "postgres") as postgres,
        Anvil(Path(folder) / "anvil", home=Path(folder), keep=False) as node,
    ):
        await prepared(postgres.url("postgres"), postgres.url())
        with served.module("bench.orders", postgres.url(), node.url) as port:
            tokens = await signed_in(port, node.url)
            floor, _ = await load(port, [[request("/floor", token, 0)] for token in tokens])
            rows: list[Row] = []
            for buyers in (1, BUYERS):
                orders = [
                    [request("/api/v1/tickets/purchase", token, event) for event in range(place, EVENTS, 7)]
                    for place, token in enumerate(tokens[:buyers])
                ]
                rate, latencies = await load(port, orders)
                rows += rows_of(buyers, rate, latencies, floor)
    return rows


def rows_of(buyers: int, rate: float, latencies: Sequence[float], floor: float) -> list[Row]:
    """Return the rows of one run."""
    median, p99 = (quantiles(latencies, n=100)[at] * 1000 for at in (49, 98))
    suffix = "" if buyers == BUYERS else "_alone"
    note = f"{buyers} buyers order without a pause; client, server, PostgreSQL and node share the cores"
    peers = {"pretix order": PRETIX_ORDERS_PER_SECOND}
    return [
        Row(f"order_rps{suffix}", rate, "/s", floor if buyers == BUYERS else None, peers, note),
        Row(f"order_ms_p50{suffix}", median, "ms", note=note),
        Row(f"order_ms_p99{suffix}", p99, "ms", note=note),
    ]


def contract_of(number: int) -> Address:
    return Address(number.to_bytes(20, "big"))


async def prepared(maintenance_url: str, url: str) -> None:
    """Create the database and fill it with events of three tiers; two have a limit a wallet."""
    database = await Database.connect(maintenance_url, size=1, name="bench")
    await database.execute("CREATE DATABASE echain")
    await database.close()
    await migrate(url)
    database = await Database.connect(url, size=1, name="bench")
    now, blank = utc_now(), bytes(32)
    ends_at = now + timedelta(days=30)
    for number in range(EVENTS):
        contract = contract_of(number)
        await database.execute(
            """
            INSERT INTO events (chain_id, ticket_contract, id, blockchain_id, organizer, name, metadata_uri,
                                metadata_hash, ticket_price_wei, max_tickets, starts_at, ends_at, fee_bps,
                                gift_policy, max_gifts, gifts_to_contracts, resale_cap_bps, royalty_bps,
                                created_block, created_at, transaction_hash)
            VALUES ($1, $2, $3, $4, $2, 'Bench', '', $5, 1, 1000000, $6, $6, 0, 'free', 0, TRUE, 0, 0, 1, $7,
                    $5)
            """,
            *(CHAIN_ID, contract, derived_id(CHAIN_ID, contract), number, blank, ends_at, now),
        )
        await database.execute(
            "INSERT INTO tiers SELECT $1, $2, tier, 5, 1000000, 0, NULL, NULL, 50, tier, $3 "
            "FROM generate_series(0, $4 - 1) AS tier",
            *(CHAIN_ID, contract, blank, TIERS),
        )
    await database.execute("VACUUM ANALYZE")
    await database.close()


def request(path: str, token: str, event: int) -> bytes:
    """Return an order as it goes over the wire."""
    event_id = derived_id(CHAIN_ID, contract_of(event))
    body = b'{"eventId":"%b","tierId":%d,"quantity":1}' % (str(event_id).encode(), event % TIERS)
    head = f"POST {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def signed_in(port: int, rpc_url: str) -> list[str]:
    """Sign the buyers in as wallets do; return their access tokens."""
    rpc = Rpc([rpc_url], chain_id=CHAIN_ID)
    tokens: list[str] = []
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
        for number in range(BUYERS):
            wallet = Wallet(f"buyer {number}", rpc, Client(http, f"http://127.0.0.1:{port}"), CHAIN_ID)
            await wallet.sign_in()
            assert wallet.client.token is not None
            tokens.append(wallet.client.token)
    await rpc.close()
    return tokens


async def load(port: int, requests: Sequence[Sequence[bytes]]) -> tuple[float, list[float]]:
    """Send each list round and round over a connection of its own; return answers a second, and latencies."""
    latencies: list[float] = []
    began = time.perf_counter() + WARM_UP_SECONDS
    ends = began + SECONDS

    async def buyer(own: Sequence[bytes]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        sent = 0.0
        while sent < ends:
            for one in own:
                sent = time.perf_counter()
                if sent >= ends:
                    break
                writer.write(one)
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].partition(b"\r")[0])
                body = await reader.readexactly(length)
                if not body.startswith(b'{"success":true'):
                    raise RuntimeError(body.decode())
                if sent > began:
                    latencies.append(time.perf_counter() - sent)
        writer.close()

    await asyncio.gather(*(buyer(own) for own in requests))
    return len(latencies) / SECONDS, latencies


def bare(database: Database) -> Endpoint:
    """Return an endpoint that reads one row by its key and does nothing with it."""
    key = derived_id(CHAIN_ID, contract_of(7))

    @post("/floor", summary="Read", tag="bench", answer=str, body=Purchase, auth=Auth.USER)
    async def read(_call: Call[Nothing, Nothing, Purchase]) -> str:
        return await database.fetchval("SELECT name FROM events WHERE id = $1", key)

    return read


@asynccontextmanager
async def parts(url: str, rpc_url: str) -> AsyncGenerator[tuple[Database, Intents]]:
    """Open what the server needs, and close it."""
    database = Database.lazy(url, size=POOL, name="bench")
    rpc = Rpc([rpc_url], chain_id=CHAIN_ID)
    fees = Fees(rpc, chain(CHAIN_ID, devnet=True))

    async def nowhere(_chain_id: int) -> Address | None:
        return None

    yield database, Intents({CHAIN_ID: ChainAccess(rpc, fees)}, nowhere)
    await fees.close()
    await rpc.close()
    await database.close()


def serve(url: str, rpc_url: str, port: int) -> None:
    """Serve orders as the `api` role does."""

    async def run() -> None:
        async with parts(url, rpc_url) as (database, intents):
            public_url = f"http://127.0.0.1:{port}"
            tokens = AccessTokens([Secret("11" * 32)], issuer=public_url)
            users = accounts.authenticator(database, utc_now, tokens)
            sign_in = accounts_rest.endpoints(database, users, public_url=public_url, chain_ids=[CHAIN_ID])
            app = application(
                [*sign_in, *tickets_rest.endpoints(database, intents), bare(database)],
                authenticate=users,
                clock=utc_now,
                idempotency=StoredIdempotency(database),
                title="bench",
                version="1",
            )
            await uvicorn.Server(
                uvicorn.Config(
                    app, port=port, http=BoundedProtocol, lifespan="off", access_log=False, log_level="error"
                )
            ).serve()

    log.configure(json=True, level="warning", role="bench")
    uvloop.run(run())


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], int(sys.argv[3]))
