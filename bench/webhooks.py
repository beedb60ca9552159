"""Webhooks of Coinbase Commerce at 200 a second: until they are answered, and until they are worked on.

Everything runs as `echain up` runs it. Each webhook is a new event of a charge and is due at a time that is
set beforehand, so that one that must wait for a connection counts its waiting. It is worked on when the
transaction of its job commits, by PostgreSQL's own clock of commits.
"""

from __future__ import annotations

import asyncio
import hmac
import tempfile
import time
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from bench import http_api
from bench.ponder import centile
from bench.rows import Row
from echain.entry.settings import read
from echain.entry.up import running
from echain.infra.database import Database
from echain.infra.embedded.child import free_port
from echain.infra.embedded.postgres import Postgres

PER_SECOND: Final = 200
SECONDS: Final = 10
WARM_UP: Final = 3 * PER_SECOND
"""In its first seconds the API still imports what the first order of a wallet will need."""
CONNECTIONS: Final = 16
SECRET: Final = "bench"
_PATIENCE_SECONDS: Final = 30.0


class Answered(msgspec.Struct, frozen=True):
    """Milliseconds until each answer, and the Unix time at which each webhook was due."""

    milliseconds: list[float]
    due: list[float]


async def measure() -> list[Row]:
    """Return the milliseconds until webhooks are acknowledged, and until they are done."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Postgres(Path(folder) / "postgres", settings={"track_commit_timestamp": "on"}) as postgres,
    ):
        port = free_port()
        environment = {
            "ECHAIN_HOME": str(Path(folder) / "home"),
            "ECHAIN_DATABASE_URL": postgres.url("postgres"),
            "ECHAIN_PORT": str(port),
            "ECHAIN_REALTIME_PORT": str(free_port()),
            "ECHAIN_DEVNET_PORT": str(free_port()),
            "ECHAIN_COINBASE_COMMERCE_SECRETS": SECRET,
            "ECHAIN_LOG_LEVEL": "error",
            "ECHAIN_LOG_FORMAT": "json",
        }
        count = WARM_UP + PER_SECOND * SECONDS
        async with running(read(environment), logs=Path(folder) / "logs") as platform:
            answered = await _sent(port, [_webhook(number) for number in range(count)])
            done = await _done(platform.database_url, count)
            async with http_api.floor_server(platform.database_url) as bare:
                body = msgspec.json.encode(http_api.event_content("Opening night", 300))
                floor = await _sent(bare, [http_api.request("POST", "/insert/", {}, body)] * count)
    took = [(done[number] - due) * 1e3 for number, due in enumerate(answered.due)]
    return _rows(answered.milliseconds[WARM_UP:], took[WARM_UP:], floor.milliseconds[WARM_UP:])


def _webhook(number: int) -> bytes:
    """Return a new event of a new charge, signed, as it goes over the wire."""
    event = {
        "id": _source_id(number),
        "type": "charge:confirmed",
        "data": {
            "id": f"charge-{number}",
            "code": "66BEOV2A",
            "pricing": {"local": {"amount": "25.00", "currency": "EUR"}},
            "metadata": {"order": str(number)},
            "timeline": [{"status": "NEW", "time": "2026-11-26T08:00:00Z"}],
        },
    }
    body = msgspec.json.encode({"id": number, "attempt_number": 1, "event": event})
    signature = hmac.new(SECRET.encode(), body, sha256).hexdigest()
    return http_api.request("POST", "/webhooks/coinbase", {"X-CC-Webhook-Signature": signature}, body)


def _source_id(number: int) -> str:
    return f"event-{number}"


async def _sent(port: int, requests: Sequence[bytes]) -> Answered:
    """Send each request when it is due, over connections that stay.

    Raises:
        RuntimeError: one was not answered with 200.
    """
    loop = asyncio.get_running_loop()
    free: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        free.put_nowait(await asyncio.open_connection("127.0.0.1", port))
    began, unix = loop.time() + 0.1, time.time() + 0.1

    async def one(number: int) -> float:
        due = began + number / PER_SECOND
        await asyncio.sleep(due - loop.time())
        reader, writer = await free.get()
        writer.write(requests[number])
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r")[0])
        body = await reader.readexactly(length)
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(body.decode())
        free.put_nowait((reader, writer))
        return (loop.time() - due) * 1e3

    milliseconds = await asyncio.gather(*(one(number) for number in range(len(requests))))
    while not free.empty():
        free.get_nowait()[1].close()
    return Answered(milliseconds, [unix + number / PER_SECOND for number in range(len(requests))])


async def _done(url: str, count: int) -> Mapping[int, float]:
    """Wait until all are worked on; return the Unix time at which that of each committed."""
    database = await Database.connect(url, size=1, name="bench")
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while await database.fetchval(_RECORDED) < count:
                await asyncio.sleep(0.1)
        rows = await database.fetch(
            """
            SELECT source_id, extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8 AS done
            FROM webhook_inbox WHERE outcome = 'recorded'
            """
        )
    finally:
        await database.close()
    by_id = {row["source_id"]: row["done"] for row in rows}
    return {number: by_id[_source_id(number)] for number in range(count)}


_RECORDED: Final = "SELECT count(*) FROM webhook_inbox WHERE outcome = 'recorded'"


def _rows(acknowledged: Sequence[float], done: Sequence[float], floor: Sequence[float]) -> list[Row]:
    note = f"{PER_SECOND} a second for {SECONDS} s, each new; sender, roles and PostgreSQL share the cores"
    beside = f"{note}; floor: one bare INSERT over HTTP, no signature"
    return [
        row
        for percent in (50, 99)
        for row in (
            Row(
                f"webhook_ack_ms_p{percent}",
                centile(acknowledged, percent),
                "ms",
                centile(floor, percent),
                note=beside,
            ),
            Row(f"webhook_done_ms_p{percent}", centile(done, percent), "ms", note=note),
        )
    ]
