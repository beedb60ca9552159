"""Sign-ins a second: check the message, recover the signer, consume the nonce, open the session."""

from __future__ import annotations

import asyncio
import secrets
import socket
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

import aiohttp
import asyncpg
import uvicorn
from coincurve import PrivateKey

from bench.rows import Row
from echain.accounts import rest, service, siwe
from echain.accounts.accesstokens import AccessTokens
from echain.accounts.signature import personal_digest
from echain.accounts.types import Proof
from echain.edge.http import StoredIdempotency, application
from echain.edge.http.server import BoundedProtocol
from echain.infra.database import Database
from echain.infra.embedded.postgres import Postgres
from echain.infra.migrate import migrate
from echain.infra.secret import Secret
from echain.kernel.evm import Address, checksum, keccak
from echain.kernel.time import rfc3339, utc_now

T = TypeVar("T")

CHAIN_ID: Final = 84_532
SIGN_INS: Final = 3_000
WALLETS: Final = 500
CONNECTIONS: Final = 16
POOL: Final = 10


class Wallet:
    """A key that words and signs sign-in messages."""

    def __init__(self) -> None:
        self._key = PrivateKey()
        self.address = Address(keccak(self._key.public_key.format(compressed=False)[1:])[12:])

    def signed(self, origin: str, nonce: str) -> dict[str, str]:
        """Return the body of a sign-in at ``origin``."""
        message = (
            f"{origin.partition('://')[2]} wants you to sign in with your Ethereum account:\n"
            f"{checksum(self.address)}\n\nSign in to echain.\n\nURI: {origin}\nVersion: 1\n"
            f"Chain ID: {CHAIN_ID}\nNonce: {nonce}\nIssued At: {rfc3339(utc_now())}"
        )
        signature = self._key.sign_recoverable(personal_digest(message), hasher=None)
        return {"message": message, "signature": f"0x{signature.hex()}"}


async def measure() -> list[Row]:
    """Return `signin_rps`: sign-ins over HTTP beside the same transaction without HTTP and signatures."""
    with tempfile.TemporaryDirectory() as folder, Postgres(Path(folder) / "postgres") as postgres:
        maintenance = await asyncpg.connect(postgres.url("postgres"))
        await maintenance.execute("CREATE DATABASE bench")
        await maintenance.close()
        url = postgres.url("bench")
        await migrate(url)
        floor = await _floor(url)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            arguments = [sys.executable, "-m", "bench.signin", url, str(listening.fileno())]
            server = await asyncio.create_subprocess_exec(*arguments, pass_fds=[listening.fileno()])
            try:
                value = await _over_http(f"http://127.0.0.1:{listening.getsockname()[1]}")
            finally:
                server.terminate()
                await server.wait()
    note = "one process; five round trips to PostgreSQL, one of them a durable commit"
    return [Row("signin_rps", value, "sign-ins/s", floor=floor, note=note)]


async def _over_http(origin: str) -> float:
    wallets = [Wallet() for _ in range(WALLETS)]
    jar = aiohttp.CookieJar(unsafe=True)  # the address has no name, and stock jars leave such cookies out
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with aiohttp.ClientSession(origin, cookie_jar=jar, connector=connector) as client:
        bodies: list[dict[str, str]] = []
        for number in range(SIGN_INS):
            async with client.get("/api/v1/auth/nonce") as answer:
                nonce = (await answer.json())["data"]["nonce"]
            bodies.append(wallets[number % WALLETS].signed(origin, nonce))

        async def sign_in(body: dict[str, str]) -> None:
            async with client.post("/api/v1/auth/verify", json=body) as answer:
                answer.raise_for_status()
                await answer.read()

        return await _per_second(sign_in, bodies)


async def _floor(url: str) -> float:
    database = await Database.connect(url, size=POOL, name="bench")
    party = siwe.relying_party("http://127.0.0.1", [CHAIN_ID])
    tokens = AccessTokens([Secret("11" * 32)], issuer="http://127.0.0.1")
    wallets = [Address(secrets.token_bytes(20)) for _ in range(WALLETS)]
    proofs = [
        Proof(
            wallets[number % WALLETS],
            (await service.issue_nonce(database, party, "b", None, now=utc_now())).nonce,
        )
        for number in range(SIGN_INS)
    ]

    async def sign_in(proof: Proof) -> None:
        async with database.transaction() as tx:
            await service.sign_in(tx, tokens, proof, browser="b", device="bench", now=utc_now())

    value = await _per_second(sign_in, proofs)
    await database.close()
    return value


async def _per_second(act: Callable[[T], Awaitable[None]], items: Sequence[T]) -> float:
    """Return how many items a second `CONNECTIONS` workers act on; the first fifth only warms up."""
    started = 0.0
    warm = len(items) // 5
    waiting = iter(enumerate(items))

    async def work() -> None:
        nonlocal started
        for number, item in waiting:
            if number == warm:
                started = time.perf_counter()
            await act(item)

    await asyncio.gather(*(work() for _ in range(CONNECTIONS)))
    return (len(items) - warm) / (time.perf_counter() - started)


async def _serve(url: str, listening: socket.socket) -> None:
    database = await Database.connect(url, size=POOL, name="bench api")
    origin = f"http://127.0.0.1:{listening.getsockname()[1]}"
    users = service.authenticator(database, utc_now, AccessTokens([Secret("11" * 32)], issuer=origin))
    app = application(
        rest.endpoints(database, users, public_url=origin, chain_ids=[CHAIN_ID]),
        authenticate=users,
        clock=utc_now,
        idempotency=StoredIdempotency(database),
        title="bench",
        version="1",
    )
    settings = uvicorn.Config(app, http=BoundedProtocol, lifespan="off", access_log=False, log_config=None)
    await uvicorn.Server(settings).serve(sockets=[listening])


if __name__ == "__main__":
    import uvloop

    from echain.infra import log

    log.configure(json=True, level="error", role="bench")
    uvloop.run(_serve(sys.argv[1], socket.socket(fileno=int(sys.argv[2]))))
