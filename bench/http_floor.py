"""The bare ASGI application beside the API: no routing, no checks, no headers but two; the same data.

``python -m bench.http_floor DATABASE_URL SOCKET`` serves it on a socket that is listened on already; with a
third word the row alone is served by our own toolkit instead, with everything off.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from uuid import UUID

import msgspec
import uvicorn
import uvloop

from echain.accounts.signature import personal_digest, recover
from echain.edge.http import Application, Call, Caller, Nothing, StoredIdempotency, application, get
from echain.edge.http.server import BoundedProtocol
from echain.events import listing, resource, store
from echain.events.listing import EventFilter
from echain.events.types import DraftContent, Event
from echain.infra.database import Database
from echain.kernel.evm import Address
from echain.kernel.ids import uuid7
from echain.kernel.time import utc_now

POOL: Final = 10
ORGANIZER: Final = Address(b"\x33" * 20)
PER_PAGE: Final = 20
ROW: Final = """
    SELECT id AS public_id, organizer, content::text AS content, created_at, updated_at, version,
           metadata_hash, NULL::uuid AS organization_id, NULL AS organization_name
      FROM event_drafts WHERE id = $1 AND deleted_at IS NULL
"""
META: Final = b',"meta":{"timestamp":"2026-12-01T19:00:00.000Z","requestId":"5f0c1b7a9e3d2468-1a2b"}}'


class _SignIn(msgspec.Struct):
    message: str
    signature: str


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(DraftContent).decode
_decode_sign_in = msgspec.json.Decoder(_SignIn).decode


class Bare:
    """Answers by the first word of a path."""

    def __init__(self, url: str) -> None:
        self._database = Database.lazy(url, size=POOL, name="bench floor")
        self._pages: dict[str, bytes] = {}

    async def __call__(self, scope: Any, receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:
        """Serve one request."""
        _, kind, rest = scope["path"].split("/", 2)
        if kind == "cached":
            body = self._pages.get(rest) or await self._page(rest)
        elif kind == "row":
            body = await self._row(UUID(rest))
        elif kind == "list":
            body = await self._list(int(rest))
        elif kind == "signin":
            body = await self._sign_in((await receive())["body"])
        else:
            body = await self._insert((await receive())["body"])
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _page(self, event_id: str) -> bytes:
        row = await store.event(self._database, UUID(event_id))
        assert row is not None
        self._pages[event_id] = _enveloped(_encode(resource.event_of(row, utc_now())))
        return self._pages[event_id]

    async def _row(self, draft_id: UUID) -> bytes:
        row = await self._database.fetchrow(ROW, draft_id)
        assert row is not None
        return _enveloped(_encode(resource.draft_of(row)))

    async def _list(self, page: int) -> bytes:
        now = utc_now()
        rows, _ = await listing.page_of(
            self._database, EventFilter(), caller=None, now=now, limit=PER_PAGE, offset=(page - 1) * PER_PAGE
        )
        return _enveloped(_encode([resource.event_of(row, now) for row in rows]))

    async def _insert(self, body: bytes) -> bytes:
        content, draft_id, now = _decode(body), uuid7(), utc_now()
        async with self._database.transaction() as tx:
            await store.insert_draft(
                tx,
                draft_id,
                ORGANIZER,
                chain_id=content.chain_id,
                content=msgspec.to_builtins(content),
                now=now,
            )
        event = resource.draft_event(
            content,
            draft_id=draft_id,
            organizer=ORGANIZER,
            version=1,
            metadata_hash=None,
            created_at=now,
            updated_at=now,
        )
        return _enveloped(_encode(event))

    async def _sign_in(self, body: bytes) -> bytes:
        sign_in = _decode_sign_in(body)
        digest = personal_digest(sign_in.message)
        address = recover(digest, bytes.fromhex(sign_in.signature[2:]))
        await self._database.execute(
            "INSERT INTO sign_in_nonces (nonce, browser_hash, address, expires_at) VALUES ($1, $2, $3, $4)",
            *(uuid7().hex, digest, address, utc_now()),
        )
        return META


class _ById(msgspec.Struct, frozen=True):
    id: UUID


def toolkit(url: str) -> Application:
    """Return our own application with one route that reads a row, and nothing else on."""
    database = Database.lazy(url, size=POOL, name="bench toolkit")

    @get("/row/{id}", summary="A row", tag="bench", answer=Event, path_params=_ById)
    async def row(call: Call[_ById, Nothing, Nothing]) -> Event:
        found = await database.fetchrow(ROW, call.path.id)
        assert found is not None
        return resource.draft_of(found)

    async def nobody(_headers: Mapping[str, str], _cookies: Mapping[str, str]) -> Caller | None:
        return None

    return application(
        [row],
        authenticate=nobody,
        clock=utc_now,
        idempotency=StoredIdempotency(database),
        title="bench",
        version="1",
    )


def _enveloped(data: bytes) -> bytes:
    return b'{"success":true,"data":' + data + META


async def _serve(url: str, listening: socket.socket, *, ours: bool) -> None:
    settings = uvicorn.Config(
        toolkit(url) if ours else Bare(url),
        http=BoundedProtocol if ours else "httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="error",
    )
    await uvicorn.Server(settings).serve(sockets=[listening])


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1], socket.socket(fileno=int(sys.argv[2])), ours=len(sys.argv) > 3))
