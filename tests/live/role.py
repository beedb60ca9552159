"""The role as a process, fed by the real outbox, relay and Redis; crowds of clients that come back."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect
from redis.asyncio import Redis as RedisClient

from echain.accounts import store
from echain.accounts.accesstokens import AccessTokens
from echain.accounts.store import NewRefresh, NewSession
from echain.accounts.tokens import REFRESH_PREFIX, hashed, new_token
from echain.infra.database import Database
from echain.infra.embedded.child import free_port
from echain.infra.embedded.redis import Redis
from echain.infra.outbox import publish
from echain.infra.relay import Relay
from echain.infra.secret import Secret
from echain.kernel.evm import Address
from echain.kernel.ids import derived_id, uuid7
from echain.kernel.messages import Message
from echain.kernel.time import utc_now

PUBLIC_URL = "http://127.0.0.1:8000"
TOKEN_KEY = Secret("22" * 32)
TOKENS = AccessTokens([TOKEN_KEY], issuer=PUBLIC_URL)
ROOM = f"event:{derived_id(b'live', 1)}"


@dataclass
class Role:
    """`echain realtime` as a child process on a port of its own, to start, kill and start again."""

    home: Path
    database_url: str
    redis_url: str
    variables: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    metrics_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    files: int | None = None

    @property
    def ws(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self.home / f"realtime-{self.port}.log").read_text()

    def start(self) -> None:
        limit = f'ulimit -n {self.files}; exec "$@"'
        limited = [] if self.files is None else ["bash", "-c", limit, "--"]
        others = {name: value for name, value in os.environ.items() if not name.startswith("ECHAIN_")}
        with (self.home / f"realtime-{self.port}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *limited,
                    *(sys.executable, "-m", "echain.entry.cli", "realtime"),
                ],
                env=others
                | {
                    "ECHAIN_HOME": str(self.home / "home"),
                    "ECHAIN_REALTIME_PORT": str(self.port),
                    "ECHAIN_METRICS_PORT": str(self.metrics_port),
                    "ECHAIN_PUBLIC_URL": PUBLIC_URL,
                    "ECHAIN_TOKEN_KEYS": TOKEN_KEY.reveal(),
                    "ECHAIN_DATABASE_URL": self.database_url,
                    "ECHAIN_REDIS_URL": self.redis_url,
                    "ECHAIN_CHAINS": "84532",
                    "ECHAIN_RPC_URL_84532": "http://127.0.0.1:9",
                }
                | self.variables,
                stdout=log,
                stderr=log,
                cwd=self.home,
            )

    async def until_ready(self, seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        while not await asyncio.to_thread(self._ready):
            assert self.process is not None
            assert self.process.poll() is None, self.log[-3000:]
            assert time.monotonic() < deadline, self.log[-3000:]
            await asyncio.sleep(0.05)

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.http}/health/ready", timeout=1) as answer:
                return answer.status == 200
        except OSError:
            return False

    def metric(self, name: str) -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=5) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith(name + " "):
                    return float(line.split(" ")[1])
        raise KeyError(name)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> tuple[int, float]:
        """Ask it to end; return its exit status and how many seconds that took."""
        assert self.process is not None
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20), time.monotonic() - began


class Fan(WSListener):
    """A client that stays: it comes back with its last id whenever it is cut off, until told to stop."""

    def __init__(self, roles: Sequence[Role], channel: str = ROOM) -> None:
        self.roles = roles
        self.channel = channel
        self.ids: list[int] = []
        self.last: str | None = None
        self.resyncs = 0
        self.closes: list[int] = []
        self.refusals: list[str] = []
        self.joined = asyncio.Event()
        self.stopped = False
        self.transport: WSTransport | None = None

    async def stay(self) -> None:
        while not self.stopped:
            role = random.choice(self.roles)
            try:
                # A connection that is lost before it is upgraded counts as made, and its listener hears of
                # neither: only the transport knows.
                transport, _ = await ws_connect(
                    lambda: self, f"{role.ws}/ws/events", websocket_handshake_timeout=30
                )
                await transport.wait_disconnected()
            except Exception:  # noqa: BLE001 - whatever it was, a client that stays comes back
                await asyncio.sleep(random.uniform(0.02, 0.2))

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport
        op: dict[str, object] = {"op": "subscribe", "channels": [self.channel]}
        if self.last is not None:
            op["after"] = self.last
        transport.send(WSMsgType.TEXT, json.dumps(op).encode())

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            self.closes.append(int(frame.get_close_code()))
            transport.send_close(frame.get_close_code())
            transport.disconnect()
        elif frame.msg_type == WSMsgType.TEXT:
            self._heard(json.loads(frame.get_payload_as_bytes()))

    def _heard(self, message: dict[str, object]) -> None:
        if message["type"] == "subscribed":
            data = message["data"]
            assert isinstance(data, dict)
            if self.last is None:
                self.last = data["id"]
            self.joined.set()
        elif message["type"] == "error":
            self.refusals.append(str(message["data"]))
            self.drop()
        elif message["type"] == "resync":
            self.resyncs += 1
            self.last = str(message["id"])
        elif message.get("channel") == self.channel:
            self.ids.append(int(str(message["id"])))
            self.last = str(message["id"])

    def on_ws_disconnected(self, transport: WSTransport) -> None:  # noqa: ARG002 - picows hands it over
        self.transport = None
        self.joined.clear()

    def drop(self) -> None:
        """Cut the connection without a word."""
        if self.transport is not None:
            self.transport.underlying_transport.abort()

    def stop(self) -> None:
        self.stopped = True
        self.drop()


async def say(database: Database, count: int = 1, channel: str = ROOM) -> None:
    async with database.transaction() as tx:
        await publish(tx, [Message((channel,), "ticket_sold", {"n": n}) for n in range(count)])


async def due(database: Database, channel: str = ROOM, after: int = 0) -> list[int]:
    """Return the ids of all messages of a channel, once the relay has moved what was said."""
    async with asyncio.timeout(20):
        while await database.fetchval("SELECT EXISTS (SELECT FROM outbox)"):
            await asyncio.sleep(0.02)
    rows = await database.fetch(
        "SELECT sequence FROM messages WHERE channel = $1 AND sequence > $2 ORDER BY sequence", channel, after
    )
    return [row["sequence"] for row in rows]


async def signed_in(database: Database, address: Address, *, seconds: float = 600) -> tuple[str, object]:
    """Write a session as signing in does; return its access token and the session's id."""
    now = utc_now()
    async with database.transaction() as tx:
        user_id = await store.user_of_wallet(tx, address, new_id=uuid7(), now=now)
        session = NewSession(uuid7(), user_id, address, "test", now, now + timedelta(days=1))
        refresh = NewRefresh(hashed(new_token(REFRESH_PREFIX)), now + timedelta(days=1))
        await store.insert_session(tx, session, refresh, forget_before=now - timedelta(days=30))
    until = now + timedelta(seconds=seconds)
    return TOKENS.issue(session.id, user_id, jti="test", issued_at=now, expires_at=until), session.id


@asynccontextmanager
async def relaying(database: Database, redis: Redis) -> AsyncIterator[None]:
    client = RedisClient.from_url(redis.url, socket_timeout=1, socket_connect_timeout=1)
    task = asyncio.create_task(Relay(database, client).run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await client.aclose()


@asynccontextmanager
async def fans(count: int, *roles: Role) -> AsyncIterator[list[Fan]]:
    """Have so many clients stay connected to any of these roles."""
    crowd = [Fan(roles) for _ in range(count)]
    staying = [asyncio.create_task(fan.stay()) for fan in crowd]
    try:
        async with asyncio.timeout(30):
            for fan in crowd:
                await fan.joined.wait()
        yield crowd
    finally:
        for fan in crowd:
            fan.stop()
        for task in staying:
            task.cancel()
        await asyncio.gather(*staying, return_exceptions=True)


async def all_heard(crowd: list[Fan], ids: list[int], seconds: float = 20) -> None:
    """Wait until everybody has heard the last message, and check that nobody missed one or had one twice."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not all(fan.ids and fan.ids[-1] == ids[-1] for fan in crowd):
                await asyncio.sleep(0.05)
    wrong = [fan.ids for fan in crowd if fan.ids != ids]
    refusals = {text for fan in crowd for text in fan.refusals}
    assert not wrong, f"{len(wrong)} of {len(crowd)}: {wrong[0]} instead of {ids}, after {refusals}"
    assert all(fan.resyncs == 0 for fan in crowd)
