"""Our realtime role as it runs in production, with one public event whose channel everybody may join."""

from __future__ import annotations

import itertools
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec

from bench import served
from bench.clients import Kind
from bench.scan import CHAIN_ID, CONTRACT, migrated, seed
from echain.infra import messagestore, outbox
from echain.infra.database import Database
from echain.infra.embedded.child import free_port
from echain.infra.embedded.postgres import Postgres
from echain.infra.embedded.redis import Redis
from echain.infra.live import CHANNEL, Batch
from echain.kernel.ids import derived_id
from echain.kernel.messages import Message

EVENT_ID: Final = derived_id(CHAIN_ID, CONTRACT)
ROOM: Final = f"event:{EVENT_ID}"
TYPE: Final = "price_update"
"""A type without a second name, so that a Socket.IO client gets one event a message, as the peers' do."""
MESSAGE_BYTES: Final = 200
_SENT_AT: Final = 1_700_000_000_000


class Told(msgspec.Struct, frozen=True):
    """A message: the id that clients see, and what Redis is told."""

    id: int
    payload: bytes


def counted() -> Callable[[], Awaitable[Told]]:
    """Return what makes one message after the other as clients of any server here receive them."""
    numbers = itertools.count(1)

    async def make() -> Told:
        number = next(numbers)
        return Told(number, _message(number, msgspec.json.encode(_data(number))))

    return make


def _data(number: int) -> dict[str, str]:
    """Return what a message carries, so that all of it is `MESSAGE_BYTES` long."""
    return {"text": "x" * (MESSAGE_BYTES - len(_message(number, b'{"text":""}')))}


def _message(number: int, data: bytes) -> bytes:
    return b'{"id":"%d","type":"%b","channel":"%b","timestamp":%d,"data":%b}' % (
        number,
        TYPE.encode(),
        ROOM.encode(),
        _SENT_AT,
        data,
    )


def joining(kind: Kind) -> str:
    """Return what a client says to join the room."""
    if kind == "sio":
        return f'420["subscribe:event","{EVENT_ID}"]'
    return f'{{"op":"subscribe","channels":["{ROOM}"]}}'


def resuming(kind: Kind) -> str:
    """Return what a client says to join the room after message ``%s``."""
    if kind == "sio":
        return f'420["subscribe",{{"channels":["{ROOM}"],"after":"%s"}}]'
    return f'{{"op":"subscribe","channels":["{ROOM}"],"after":"%s"}}'


class Realtime:
    """The role with its database and Redis; each `running` is a new process."""

    channel: Final = CHANNEL

    def __init__(self, folder: Path, database_url: str, database: Database, redis: Redis) -> None:
        self._database_url = database_url
        self._database = database
        self._folder = folder
        self._redis = redis

    async def tell(self) -> Told:
        """Store the next message as the relay does; what it tells Redis then is left to the caller."""
        tip = await self._database.fetchval("SELECT tip FROM relay_cursor")
        async with self._database.transaction() as tx:
            await outbox.publish(tx, [Message((ROOM,), TYPE, _data(tip + 1))])
        async with self._database.connection() as connection:
            moved = await messagestore.move(connection, limit=10)
        (message,) = moved
        return Told(message.sequence, msgspec.msgpack.encode(Batch(tip, moved)))

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[tuple[int, int]]:
        """Run the role on the servers' core; yield its port and its process id."""
        port = free_port()
        environment = served.environment_of(
            {
                "ECHAIN_HOME": str(self._folder / "home"),
                "ECHAIN_REALTIME_PORT": str(port),
                "ECHAIN_DATABASE_URL": self._database_url,
                "ECHAIN_REDIS_URL": self._redis.url,
                "ECHAIN_CHAINS": str(CHAIN_ID),
                f"ECHAIN_RPC_URL_{CHAIN_ID}": "http://127.0.0.1:9",
                "ECHAIN_LOG_LEVEL": "error",
                "ECHAIN_LOG_FORMAT": "json",
            }
        )
        command = (sys.executable, "-m", "echain.entry.cli", "realtime")
        async with served.pinned(command, last=False, environment=environment) as process:
            await served.listening(port, process)
            yield port, process.pid


@asynccontextmanager
async def realtime(folder: Path, redis: Redis) -> AsyncGenerator[Realtime]:
    """Prepare the role's database."""
    with Postgres(folder / "postgres") as postgres:
        url = postgres.url()
        await migrated(postgres.url("postgres"), url)
        await seed(url)
        database = await Database.connect(url, size=1, name="bench")
        try:
            yield Realtime(folder, url, database, redis)
        finally:
            await database.close()
