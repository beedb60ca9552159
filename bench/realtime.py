"""Our realtime role as it runs in production, with one public event whose channel everybody may join."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec

from bench import served
from bench.clients import Kind
from bench.scan import CHAIN_ID, CONTRACT, migrated, seed
from echain.infra.embedded.child import free_port
from echain.infra.embedded.postgres import Postgres
from echain.infra.embedded.redis import Redis
from echain.infra.live import CHANNEL, Batch
from echain.infra.messagestore import Relayed
from echain.kernel.ids import derived_id

EVENT_ID: Final = derived_id(CHAIN_ID, CONTRACT)
ROOM: Final = f"event:{EVENT_ID}"
TYPE: Final = "price_update"
"""A type without a second name, so that a Socket.IO client gets one event a message, as the peers' do."""
MESSAGE_BYTES: Final = 200
_SENT_AT: Final = 1_700_000_000_000


def data_of(number: int) -> bytes:
    """Return what a message carries, so that all of it is `MESSAGE_BYTES` long."""
    return b'{"text":"%b"}' % (b"x" * (MESSAGE_BYTES - len(_message(number, b'{"text":""}'))))


def message(number: int) -> bytes:
    """Return a message as a client of any server here receives it."""
    return _message(number, data_of(number))


def batch(number: int) -> bytes:
    """Return what the relay tells Redis of that message."""
    relayed = Relayed(number, ROOM, TYPE, data_of(number), None, None, _SENT_AT)
    return msgspec.msgpack.encode(Batch(number - 1, [relayed]))


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
    return f'{{"op":"join","channel":"{ROOM}"}}'


def resuming(kind: Kind) -> str:
    """Return what a client says to join the room after message ``%s``."""
    if kind == "sio":
        return f'420["subscribe:event","{EVENT_ID}","%s"]'
    return f'{{"op":"join","channel":"{ROOM}","after":"%s"}}'


class Realtime:
    """The role with its database and Redis; each `running` is a new process."""

    channel: Final = CHANNEL

    def __init__(self, folder: Path, database_url: str, redis: Redis) -> None:
        self.database_url = database_url
        self._folder = folder
        self._redis = redis

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[tuple[int, int]]:
        """Run the role on the servers' core; yield its port and its process id."""
        port = free_port()
        environment = served.environment_of(
            {
                "ECHAIN_HOME": str(self._folder / "home"),
                "ECHAIN_REALTIME_PORT": str(port),
                "ECHAIN_DATABASE_URL": self.database_url,
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
        yield Realtime(folder, url, redis)
