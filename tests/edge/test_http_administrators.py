"""Endpoints that only administrators open."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

import msgspec
import pytest
from tests.edge.example import GATE, USER, example
from tests.edge.http_client import Client

from echain.edge.http import Auth, Call, Caller, Nothing, get, scopes_of

ADMIN = msgspec.structs.replace(USER, session=UUID(int=3), admin=True)
CALLERS = {
    "admin": ADMIN,
    "user": USER,
    "gate": GATE,
    "key": msgspec.structs.replace(USER, key=UUID(int=9), scopes=frozenset({"admin:read"})),
    "admins-key": msgspec.structs.replace(ADMIN, key=UUID(int=9), scopes=frozenset({"admin:read"})),
}


@get("/api/v1/admin/thing", summary="One", tag="admin", answer=str, auth=Auth.ADMIN)
async def thing(call: Call[Nothing, Nothing, Nothing]) -> str:
    return str(call.user.id)


async def known(headers: Mapping[str, str], _cookies: Mapping[str, str]) -> Caller | None:
    return CALLERS.get(headers.get("authorization", ""))


@pytest.fixture
def client() -> Client:
    return Client(example([thing], authenticate=known))


async def test_an_administrator_is_let_in(client: Client):
    assert (await client("GET", "/api/v1/admin/thing", headers={"authorization": "admin"})).data


@pytest.mark.parametrize("who", ["user", "gate", "key", "admins-key"])
async def test_everybody_else_is_forbidden_whatever_they_hold(client: Client, who: str):
    answer = await client("GET", "/api/v1/admin/thing", headers={"authorization": who})
    assert (answer.status, answer.error["code"]) == (403, "auth.administrators_only")


async def test_who_shows_nothing_is_asked_to_sign_in(client: Client):
    answer = await client("GET", "/api/v1/admin/thing")
    assert (answer.status, answer.error["code"]) == (401, "auth.required")


def test_no_scope_of_a_key_is_for_administrators():
    assert not scopes_of([thing])
