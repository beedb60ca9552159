"""Sign-ins a second: check the message, recover the signer, consume the nonce, open the session.

Messages and signatures are made beforehand, with nonces that the API gave out; each is sent once. The floor
is a bare ASGI handler that recovers the signer and inserts one row.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import aiohttp
import msgspec

from bench import load
from bench.http_api import api_server, floor_server, made, request
from bench.load import Load
from bench.rows import Row
from bench.wallet import Wallet
from echain.infra.embedded.postgres import Postgres

SIGN_INS: Final = 2_000
WALLETS: Final = 500
CONNECTIONS: Final = 16
ROUNDS: Final = 3


async def measure() -> list[Row]:
    """Return `signin_rps`: the median of rounds in which both sides take turns."""
    with tempfile.TemporaryDirectory() as folder, Postgres(Path(folder) / "postgres") as postgres:
        url = postgres.url()
        await made(postgres.url("postgres"), url)
        async with api_server(url, Path(folder)) as api, floor_server(url) as bare:
            wallets = [Wallet() for _ in range(WALLETS)]
            ours: list[Load] = []
            floors: list[Load] = []
            for _ in range(ROUNDS):
                requests = await _sign_ins(api, wallets)
                ours.append(await _sent(api, requests))
                floors.append(
                    await _sent(
                        bare, [one.replace(b"/api/v1/auth/verify", b"/signin/", 1) for one in requests]
                    )
                )
    value, floor = (sorted(found, key=lambda one: one.rate)[ROUNDS // 2] for found in (ours, floors))
    note = (
        f"{WALLETS} plain wallets; p99 {value.p99:.0f} ms, floor's {floor.p99:.0f} ms; "
        f"{CONNECTIONS} connections; one process; five round trips to PostgreSQL, "
        "one of them a durable commit; floor: one"
    )
    return [Row("signin_rps", value.rate, "sign-ins/s", floor=floor.rate, note=note)]


async def _sign_ins(port: int, wallets: Sequence[Wallet]) -> list[bytes]:
    """Return sign-ins as they go over the wire, each with a nonce of its own."""
    origin = f"http://127.0.0.1:{port}"
    requests: list[bytes] = []
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with aiohttp.ClientSession(origin, connector=connector, raise_for_status=True) as client:
        async with client.get("/api/v1/auth/nonce") as answer:
            cookie = "; ".join(f"{name}={morsel.value}" for name, morsel in answer.cookies.items())
        for number in range(SIGN_INS):
            async with client.get("/api/v1/auth/nonce", headers={"Cookie": cookie}) as answer:
                nonce = (await answer.json())["data"]["nonce"]
            body = msgspec.json.encode(wallets[number % len(wallets)].signed(origin, nonce))
            requests.append(request("POST", "/api/v1/auth/verify", {"Cookie": cookie}, body))
    return requests


async def _sent(port: int, requests: Sequence[bytes]) -> Load:
    found = await load.apply(port, requests, connections=CONNECTIONS, seconds=0)
    if found.failed:
        raise RuntimeError(f"{found.failed} of {len(requests)} sign-ins were refused")
    return found
