"""Who a live connection stands for: signed tokens and cookies, and pages that ride on none."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from datetime import timedelta
from uuid import uuid4

import aiohttp
import pytest
from tests.live.role import PUBLIC_URL, TOKENS, Role, signed_in
from websockets import InvalidStatus
from websockets.asyncio.client import connect

from echain.accounts.accesstokens import AccessTokens
from echain.accounts.tokens import hashed
from echain.infra.database import Database
from echain.infra.secret import Secret
from echain.kernel.evm import Address, checksum
from echain.kernel.time import utc_now

ADA = Address(b"\xaa" * 20)
HERS = f"user:{checksum(ADA)}"
COOKIE = "echain_token"
FOREIGN = ("https://evil.example", "null", "http://127.0.0.1:8000.evil.example", "https://127.0.0.1:8000")


async def joins(url: str, **headers: str) -> bool:
    """Whether a plain WebSocket with these headers may join Ada's channel."""
    async with connect(url, additional_headers=headers) as client:
        await client.send(json.dumps({"op": "subscribe", "channels": [HERS]}))
        return bool(json.loads(await client.recv())["data"]["channels"])


async def polls(http: str, **headers: str) -> int:
    """Return the status of a request for Ada's stream."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{http}/sse/events?channel={HERS}", headers=headers) as answer,
    ):
        return answer.status


@pytest.fixture
async def running(role: Callable[..., Role], database: Database) -> Role:
    one = role()
    one.start()
    await one.until_ready()
    return one


async def test_a_cookie_opens_what_is_its_owners_to_pages_of_ours_alone(
    running: Role, database: Database
) -> None:
    """A page elsewhere that opens a WebSocket has the browser send our cookies along (CSWSH)."""
    token, _ = await signed_in(database, ADA)
    ws, cookie = f"{running.ws}/ws/events", f"{COOKIE}={token}"
    assert await joins(ws, Cookie=cookie, Origin=PUBLIC_URL)
    assert await polls(running.http, Cookie=cookie, Origin=PUBLIC_URL) == 200
    assert await polls(running.http, Cookie=cookie, **{"Sec-Fetch-Site": "same-origin"}) == 200
    for origin in FOREIGN:
        for path in ("/ws/events", "/socket.io/?EIO=4&transport=websocket"):
            with pytest.raises(InvalidStatus) as refused:
                await joins(f"{running.ws}{path}", Cookie=cookie, Origin=origin)
            assert refused.value.response.status_code == 403
        assert await polls(running.http, Cookie=cookie, Origin=origin) == 403
    assert not await joins(ws, Cookie=cookie), "nobody says whose page it is"
    for site in ("cross-site", "same-site", "none"):
        assert not await joins(ws, Cookie=cookie, **{"Sec-Fetch-Site": site})
        assert await polls(running.http, Cookie=cookie, **{"Sec-Fetch-Site": site}) == 403


async def test_a_bearer_token_wins_over_a_cookie_beside_it(running: Role, database: Database) -> None:
    hers, _ = await signed_in(database, ADA)
    his, _ = await signed_in(database, Address(b"\xbb" * 20))
    beside = {"Cookie": f"{COOKIE}={hers}", "Origin": PUBLIC_URL}
    assert not await joins(f"{running.ws}/ws/events", Authorization=f"Bearer {his}", **beside)
    assert await polls(running.http, Authorization="Bearer x", **beside) == 401


async def test_only_tokens_of_ours_that_hold_now_are_anybodys(running: Role, database: Database) -> None:
    now = utc_now()
    token, session = await signed_in(database, ADA)
    row = await database.fetchrow("SELECT user_id FROM sessions WHERE id = $1", session)
    assert row is not None

    def issued(tokens: AccessTokens = TOKENS, **changes: object) -> str:
        given = {
            "session_id": session,
            "user_id": row["user_id"],
            "jti": "x",
            "issued_at": now,
            "expires_at": now + timedelta(minutes=9),
        }
        return tokens.issue(**{**given, **changes})

    assert await polls(running.http, Authorization=f"Bearer {issued()}") == 200
    header, payload, signature = token.split(".")
    for wrong in (
        issued(AccessTokens([Secret("33" * 32)], issuer=PUBLIC_URL)),
        issued(AccessTokens([Secret("22" * 32)], issuer="https://elsewhere.example")),
        issued(expires_at=now - timedelta(seconds=1)),
        issued(issued_at=now + timedelta(minutes=5)),
        issued(session_id=uuid4()),
        issued(user_id=uuid4()),
        f"{header}.{payload}.",
        f"{header}.{payload}.{signature[::-1]}",
        "eca_" + secrets.token_urlsafe(32),
        "eyJ" + "A" * 5000,
    ):
        assert await polls(running.http, Authorization=f"Bearer {wrong}") == 401, wrong[:80]


async def test_a_token_given_out_before_tokens_were_signed_is_still_its_owners(
    running: Role, database: Database
) -> None:
    _, session = await signed_in(database, ADA)
    old = "eca_" + secrets.token_urlsafe(32)
    await database.execute(
        "INSERT INTO access_tokens (hash, session_id, expires_at) VALUES ($1, $2, $3)",
        hashed(old),
        session,
        utc_now() + timedelta(minutes=30),
    )
    assert await joins(f"{running.ws}/ws/events", Authorization=f"Bearer {old}")
