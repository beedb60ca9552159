"""A row read by its id with everything on, beside the same with everything off.

On: the real API reads a draft for a member of its organization, by a token, whose role is read from the
database; limits in Redis, metrics, an access log in a file, one request in a hundred told to a collector of
traces. Off: our own toolkit reads the row alone, by its key, with one public route and nothing else; the note
tells what a bare ASGI handler does. All take turns.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import aiohttp

from bench.http_api import api_server, drafts_of, floor_server, in_turns, laid_out, request
from bench.rows import Row
from echain.infra.embedded.child import free_port
from echain.infra.embedded.postgres import Postgres
from echain.infra.embedded.redis import Redis

MOST: Final = "1000000"
"""Turns that no round uses up; they are counted all the same."""

USUAL: Final = 0.18
"""What is left of a Litestar application for such a read with the usual middleware, recorded on the same
kind of machine: 1,500 of 8,200 a second with PyJWT, a guard, limits in Redis, Prometheus, traces, logs."""


async def measure() -> list[Row]:
    """Return `http_full_ratio`."""
    with (
        tempfile.TemporaryDirectory() as name,
        Postgres(Path(name) / "postgres") as postgres,
        Redis(Path(name) / "redis") as redis,
        _collector() as collector,
    ):
        folder = Path(name)
        await laid_out(postgres.url("postgres"), postgres.url())
        variables = {
            "ECHAIN_REDIS_URL": redis.url,
            "ECHAIN_LIMITS": "true",
            "ECHAIN_LIMIT_READS": MOST,
            "ECHAIN_METRICS_PORT": str(free_port()),
            "ECHAIN_TRACES_URL": collector.url,
            "ECHAIN_LOG_LEVEL": "info",
            "ECHAIN_ACCESS_LOG": "true",
        }
        api = api_server(postgres.url(), folder, log=folder / "log", **variables)
        async with (
            api as port,
            floor_server(postgres.url(), "toolkit") as nothing,
            floor_server(postgres.url()) as bare,
        ):
            token, drafts = await drafts_of(port)
            signed = {"Authorization": f"Bearer {token}"}
            alone = [request("GET", f"/row/{draft}") for draft in drafts]
            on, off, floor = await in_turns(
                (port, [request("GET", f"/api/v1/events/{draft}", signed) for draft in drafts]),
                (nothing, alone),
                (bare, alone),
            )
            await _all_was_on(port, drafts[0], signed)
        lines = (folder / "log").read_bytes().count(b'"http.answered"')
    if not collector.batches or lines < on.rate:
        raise RuntimeError(f"{collector.batches} batches of spans and {lines} lines: not everything was on")
    note = (
        f"token, role, limits, metrics, log line, 1 % traces: {on.rate:,.0f}/s, p99 {on.p99:.0f} ms; "
        f"all off: {off.rate:,.0f}/s, p99 {off.p99:.0f} ms; bare handler: {floor.rate:,.0f}/s; "
        "one statement each, on's with the role"
    )
    return [Row("http_full_ratio", on.rate / off.rate, "of all off", None, {"usual middleware": USUAL}, note)]


async def _all_was_on(port: int, draft: str, signed: dict[str, str]) -> None:
    """Raise RuntimeError unless an answer says that it was counted, and a stranger is refused."""
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
        async with client.get(f"/api/v1/events/{draft}", headers=signed) as answer:
            counted = "RateLimit" in answer.headers
        async with client.get(f"/api/v1/events/{draft}") as answer:
            refused = answer.status == 404
    if not (counted and refused):
        raise RuntimeError("limits or roles were off")


class _Collector:
    def __init__(self) -> None:
        self.url = ""
        self.batches = 0


@contextmanager
def _collector() -> Generator[_Collector]:
    """Take spans and forget them."""
    collector = _Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            collector.batches += 1
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
