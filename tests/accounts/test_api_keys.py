"""API keys: what they open, what they never open, and how they end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from redis.asyncio import Redis
from tests.accounts.people import PUBLIC_URL, TOKENS, Browser, Clock, Process, Wallet
from tests.edge.http_client import Client

from echain.accounts import keyrest, rest, service
from echain.accounts.types import KeyLimits
from echain.edge.http import (
    SESSIONS_ONLY,
    Auth,
    Call,
    Endpoint,
    Nothing,
    StoredIdempotency,
    application,
    get,
    post,
    scopes_of,
)
from echain.edge.http.limits import Allowance, Limits
from echain.infra.database import Database
from echain.infra.metrics import Metrics
from echain.infra.quota import Quotas


class Echo(msgspec.Struct):
    user: UUID


def things() -> list[Endpoint]:
    """Endpoints of a slice, and one that wants a session."""

    @get("/api/v1/auth/things", summary="Read", tag="things", answer=Echo, auth=Auth.USER)
    async def read(call: Call[Nothing, Nothing, Nothing]) -> Echo:
        return Echo(call.user.id)

    @post("/api/v1/auth/things", summary="Write", tag="things", answer=Echo, auth=Auth.USER)
    async def write(call: Call[Nothing, Nothing, Nothing]) -> Echo:
        return Echo(call.user.id)

    @get("/api/v1/auth/others", summary="Read others", tag="others", answer=Echo, auth=Auth.ANY)
    async def others(call: Call[Nothing, Nothing, Nothing]) -> Echo:
        return Echo(call.user.id)

    @get("/api/v1/auth/open", summary="Read what is open", tag="open", answer=Echo)
    async def opened(_: Call[Nothing, Nothing, Nothing]) -> Echo:
        return Echo(UUID(int=0))

    return [read, write, others, opened]


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = Redis.from_url(redis_url)
    yield client
    await client.aclose()


@pytest.fixture
def start(database: Database, clock: Clock, redis: Redis) -> Callable[..., Process]:
    def process() -> Process:
        users = service.authenticator(database, clock, TOKENS)
        slices = things()
        keys = keyrest.endpoints(database, users, scopes=scopes_of(slices), most=KeyLimits(100, 80))
        # The test's browser asks below /api/v1/auth.
        moved = [replace(one, path=one.path.replace("/v1/", "/v1/auth/")) for one in keys]
        app = application(
            [
                *rest.endpoints(database, users, public_url=PUBLIC_URL, chain_ids=(84532,)),
                *slices,
                *moved,
            ],
            authenticate=users,
            clock=clock,
            idempotency=StoredIdempotency(database),
            title="echain",
            version="1",
            limits=Limits(Quotas(redis), Allowance(user_writes=100, reads=80), metrics=Metrics()),
        )
        return Process(app, users)

    return process


@pytest.fixture
async def signed_in(browser: Browser, wallet: Wallet) -> Browser:
    await wallet.sign_in(browser)
    return browser


async def make(browser: Browser, *scopes: str, **body: Any) -> Any:
    return await browser.post("/api-keys", {"name": "till", "scopes": scopes, **body})


def program(browser: Browser, key: str) -> Browser:
    return Browser(browser.process, token=key)


async def test_a_key_opens_what_its_scopes_name_in_its_users_name(signed_in: Browser) -> None:
    issued = (await make(signed_in, "things:read")).data
    caller = program(signed_in, issued["key"])
    me = (await signed_in.get("/me")).data["userId"]
    assert (await caller.get("/things")).data == {"user": me}


async def test_a_key_opens_nothing_else(signed_in: Browser) -> None:
    caller = program(signed_in, (await make(signed_in, "things:read")).data["key"])
    for method, path, scope in (("POST", "/things", "things:write"), ("GET", "/others", "others:read")):
        answer = await caller.send(method, path)
        assert (answer.status, answer.code) == (403, "auth.scope_missing")
        assert answer.body["error"]["details"] == {"scope": scope}
    assert (await caller.get("/open")).status == 200


async def test_no_key_opens_sessions_or_keys_whatever_its_scopes(signed_in: Browser) -> None:
    everything = (await signed_in.get("/api-keys/scopes")).data
    assert everything == ["others:read", "things:read", "things:write"]
    key = (await make(signed_in, *everything)).data
    caller = program(signed_in, key["key"])
    for method, path in (
        ("GET", "/me"),
        ("GET", "/sessions"),
        ("DELETE", "/sessions"),
        ("POST", "/logout"),
        ("GET", "/api-keys"),
        ("POST", "/api-keys"),
        ("PUT", f"/api-keys/{key['id']}"),
        ("DELETE", f"/api-keys/{key['id']}"),
    ):
        assert (await caller.send(method, path)).code == "auth.scope_missing", path


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"scopes": ["things:delete"]}, "scopes"),
        ({"scopes": [f"{SESSIONS_ONLY}:read"]}, "scopes"),
        ({"scopes": ["open:read"]}, "scopes"),
        ({"scopes": []}, "scopes"),
        ({"name": ""}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"expiresAt": "2026-01-02T03:04:05Z"}, "expiresAt"),
        ({"expiresAt": "2028-01-02T03:04:05Z"}, "expiresAt"),
        ({"userId": str(UUID(int=1))}, "userId"),
        ({"limits": {"writes": 101}}, "limits.writes"),
        ({"limits": {"reads": 81}}, "limits.reads"),
        ({"limits": {"reads": -1}}, "limits.reads"),
        ({"limits": {"scans": 1}}, "limits.scans"),
    ],
)
async def test_a_key_that_cannot_be_is_not_made(
    signed_in: Browser, database: Database, body: dict[str, Any], field: str
) -> None:
    answer = await signed_in.post("/api-keys", {"name": "till", "scopes": ["things:read"], **body})
    assert (answer.status, answer.body["error"]["details"]["fields"][0]["path"]) == (422, field)
    assert await database.fetchval("SELECT count(*) FROM api_keys") == 0


async def test_the_secret_is_shown_once_and_only_its_hash_is_kept(
    signed_in: Browser, database: Database
) -> None:
    issued = (await make(signed_in, "things:read")).data
    (listed,) = (await signed_in.get("/api-keys")).data
    assert "key" not in listed
    assert issued["key"].startswith(listed["prefix"])
    row = await database.fetchrow("SELECT api_keys::text AS kept FROM api_keys")
    assert row is not None
    assert issued["key"][12:] not in row["kept"]


async def test_a_key_ends_at_its_time(signed_in: Browser, clock: Clock) -> None:
    until = (clock() + timedelta(hours=1)).isoformat()
    caller = program(signed_in, (await make(signed_in, "things:read", expiresAt=until)).data["key"])
    clock.pass_by(minutes=59)
    assert (await caller.get("/things")).status == 200
    clock.pass_by(minutes=1)
    assert (await caller.get("/things")).code == "auth.api_key_invalid"


async def test_a_revoked_key_opens_nothing_at_once_and_elsewhere_when_told(
    signed_in: Browser, start: Callable[..., Process], database_url_of: str
) -> None:
    issued = (await make(signed_in, "things:read")).data
    elsewhere = start()
    hearing = asyncio.create_task(elsewhere.authenticator.follow(database_url_of))
    here, there = program(signed_in, issued["key"]), Browser(elsewhere, token=issued["key"])
    assert (await here.get("/things")).status == (await there.get("/things")).status == 200
    await signed_in.delete(f"/api-keys/{issued['id']}")
    assert (await here.get("/things")).code == "auth.api_key_invalid"
    async with asyncio.timeout(10):
        while (await there.get("/things")).status == 200:
            await asyncio.sleep(0.01)
    hearing.cancel()


@pytest.fixture
def database_url_of(module_database_url: str) -> str:
    return module_database_url


async def test_signing_out_everywhere_can_take_the_keys_along_in_every_process(
    signed_in: Browser, wallet: Wallet, start: Callable[..., Process], database_url_of: str, clock: Clock
) -> None:
    issued = (await make(signed_in, "things:read")).data
    stranger = Browser(signed_in.process)
    await Wallet(clock).sign_in(stranger)
    strangers = program(stranger, (await make(stranger, "things:read")).data["key"])
    elsewhere = start()
    hearing = asyncio.create_task(elsewhere.authenticator.follow(database_url_of))
    here, there = program(signed_in, issued["key"]), Browser(elsewhere, token=issued["key"])
    assert (await here.get("/things")).status == (await there.get("/things")).status == 200
    assert (await signed_in.delete("/sessions")).data["ended"] == 1
    assert (await here.get("/things")).status == 200, "keys go on unless they are named"
    await wallet.sign_in(signed_in)
    client = Client(signed_in.process.app, {"authorization": f"Bearer {signed_in.token}"})
    assert (await client("DELETE", "/api/v1/auth/sessions?keys=true")).data["ended"] == 2
    assert (await here.get("/things")).code == "auth.api_key_invalid"
    async with asyncio.timeout(10):
        while (await there.get("/things")).status == 200:
            await asyncio.sleep(0.01)
    hearing.cancel()
    assert (await strangers.get("/things")).status == 200


async def test_its_user_is_told_that_a_key_was_made(signed_in: Browser, database: Database) -> None:
    await make(signed_in, "things:read")
    me = (await signed_in.get("/me")).data
    [told] = await database.fetch(
        "SELECT channels, data::jsonb AS data FROM outbox WHERE data LIKE '%api_key_created%' "
        "AND data LIKE '%' || $1 || '%'",
        me["userId"],
    )
    assert told["channels"].split() == [f"user:{me['userId']}", f"user:{me['address']}"]
    assert "eck_" not in str(told["data"])


async def test_a_keys_own_limit_holds_in_all_processes_together_and_is_shown(
    signed_in: Browser, start: Callable[..., Process]
) -> None:
    made = (await make(signed_in, "things:read", "things:write", limits={"writes": 4, "reads": 30})).data
    assert made["limits"] == {"writes": 4, "reads": 30}
    here, there = program(signed_in, made["key"]), Browser(start(), token=made["key"])
    answers = [await one.post("/things") for one in (here, there, here, there, here, there)]
    assert [answer.status for answer in answers] == [200] * 4 + [429] * 2
    assert answers[0].headers["ratelimit-policy"] == '"writes";q=4;w=900'
    assert answers[5].body["error"]["details"]["most"] == 4
    assert (await here.get("/things")).headers["ratelimit-policy"] == '"reads";q=30;w=60'
    # Neither its user nor another key pays for it.
    assert (await signed_in.post("/things")).headers["ratelimit-policy"] == '"writes";q=100;w=900'
    other = (await make(signed_in, "things:write")).data
    assert other["limits"] == {"writes": None, "reads": None}
    assert (await program(signed_in, other["key"]).post("/things")).status == 200


async def test_a_key_is_renamed_and_limited_anew_at_once_and_everywhere(
    signed_in: Browser, start: Callable[..., Process], database_url_of: str, database: Database
) -> None:
    made = (await make(signed_in, "things:read", "things:write", limits={"writes": 2})).data
    elsewhere = start()
    hearing = asyncio.create_task(elsewhere.authenticator.follow(database_url_of))
    here, there = program(signed_in, made["key"]), Browser(elsewhere, token=made["key"])
    assert [(await one.post("/things")).status for one in (here, there, there)] == [200, 200, 429]
    changed = await signed_in.send(
        "PUT", f"/api-keys/{made['id']}", {"name": "kiosk", "limits": {"writes": 5, "reads": 7}}
    )
    assert changed.status == 200
    assert (changed.data["name"], changed.data["limits"]) == ("kiosk", {"writes": 5, "reads": 7})
    assert changed.data["scopes"] == ["things:read", "things:write"]
    assert (await signed_in.get("/api-keys")).data == [changed.data]
    async with asyncio.timeout(10):
        while (await there.get("/things")).headers["ratelimit-policy"] != '"reads";q=7;w=60':
            await asyncio.sleep(0.01)
    # Two of the five were used before: a new limit is no new window.
    statuses = [(await one.post("/things")).status for one in (here, there, here, there)]
    assert sorted(statuses) == [200] * 3 + [429]
    hearing.cancel()
    (entry,) = await database.fetch("SELECT diff FROM audit_entries WHERE action = 'api_key.changed'")
    # What a key is called is its user's own affair.
    assert entry["diff"] == '{"label":["•••","•••"],"reads":[null,7],"writes":[2,5]}'


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"limits": {"writes": 101}}, "limits.writes"),
        ({"scopes": ["things:write"]}, "scopes"),
        ({"expiresAt": "2027-01-02T03:04:05Z"}, "expiresAt"),
        ({"name": ""}, "name"),
    ],
)
async def test_a_key_is_not_changed_into_what_it_may_not_be(
    signed_in: Browser, body: dict[str, Any], field: str
) -> None:
    made = (await make(signed_in, "things:read")).data
    answer = await signed_in.send("PUT", f"/api-keys/{made['id']}", {"name": "till", **body})
    assert (answer.status, answer.body["error"]["details"]["fields"][0]["path"]) == (422, field)


async def test_a_strangers_key_is_not_found(signed_in: Browser, other_browser: Browser, clock: Clock) -> None:
    issued = (await make(signed_in, "things:read")).data
    await Wallet(clock).sign_in(other_browser)
    assert (await other_browser.delete(f"/api-keys/{issued['id']}")).status == 404
    taken = await other_browser.send("PUT", f"/api-keys/{issued['id']}", {"name": "mine"})
    assert (taken.status, taken.code) == (404, "auth.api_key_not_found")
    assert (await other_browser.get("/api-keys")).data == []
    assert (await program(signed_in, issued["key"]).get("/things")).status == 200


async def test_of_many_that_race_for_the_last_place_as_many_win_as_there_are_places(
    signed_in: Browser, database: Database
) -> None:
    answers = await asyncio.gather(*(make(signed_in, "things:read") for _ in range(60)))
    assert sorted(answer.status for answer in answers) == [201] * 50 + [409] * 10
    assert await database.fetchval("SELECT count(*) FROM api_keys") == 50


async def test_the_last_use_is_noted_and_a_busy_key_is_not_written_each_time(
    signed_in: Browser, database: Database, clock: Clock
) -> None:
    caller = program(signed_in, (await make(signed_in, "things:read")).data["key"])
    for _ in range(5):
        await caller.get("/things")
    first = await database.fetchrow("SELECT last_used_at, xmin::text FROM api_keys")
    clock.pass_by(seconds=45)  # past what a process remembers, within what is not written again
    await caller.get("/things")
    assert await database.fetchrow("SELECT last_used_at, xmin::text FROM api_keys") == first
    clock.pass_by(seconds=45)
    await caller.get("/things")
    assert await database.fetchval("SELECT last_used_at FROM api_keys") == clock()
