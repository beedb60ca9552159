"""Who calls too often is told so, by what they are known as; who guesses is shut out for a while."""

from __future__ import annotations

import re
from collections.abc import Mapping
from uuid import UUID

import pytest
from tests.edge.example import GATE, USER, example
from tests.edge.http_client import Answered, Client

from echain.edge.http import Caller, Unauthenticated
from echain.edge.http.limits import Allowance, Limits
from echain.infra.metrics import Metrics
from echain.infra.quota import Quotas
from echain.kernel.errors import EchainError, Kind

ALLOWANCE = Allowance(anonymous_writes=3, user_writes=5, gate_writes=4, reads=6, refusals=4)
PROXY = "192.0.2.7"
"""What the test's client says it is."""


class Wrong(EchainError):
    """These credentials do not hold."""

    kind = Kind.UNAUTHENTICATED
    code = "example.wrong"


OTHER = Caller("user", UUID(int=9), USER.address)
KEY = Caller("user", USER.id, USER.address, None, UUID(int=77), frozenset({"people:read", "people:write"}))
SLOW = Caller(
    "user", USER.id, USER.address, key=UUID(int=78), scopes=frozenset({"people:read"}), writes=2, reads=3
)
GREEDY = Caller("user", USER.id, USER.address, key=UUID(int=79), scopes=frozenset({"people:read"}), reads=99)
KNOWN = {
    "Bearer slow": SLOW,
    "Bearer greedy": GREEDY,
    "Bearer user": USER,
    "Bearer other": OTHER,
    "Bearer gate": GATE,
    "Bearer key": KEY,
}


async def authenticate(headers: Mapping[str, str], _cookies: Mapping[str, str]) -> Caller | None:
    given = headers.get("Authorization")
    if given is None:
        return None
    if given not in KNOWN:
        raise Wrong
    return KNOWN[given]


def limited(*proxies: str) -> Client:
    limits = Limits(Quotas(None), ALLOWANCE, proxies=proxies, metrics=Metrics())
    return Client(example(limits=limits, authenticate=authenticate))


@pytest.fixture
def client() -> Client:
    return limited()


async def touch(client: Client, **headers: str) -> Answered:
    return await client("POST", "/api/v1/touch", headers=headers)


async def me(client: Client, token: str) -> Answered:
    return await client("GET", "/api/v1/me", headers={"authorization": f"Bearer {token}"})


async def test_each_answer_says_how_much_is_left(client: Client) -> None:
    for left in (2, 1, 0):
        answer = await touch(client)
        assert answer.header("ratelimit-policy") == '"anonymous-writes";q=3;w=900'
        stands = re.fullmatch(r'"anonymous-writes";r=(\d+);t=(\d+)', answer.header("ratelimit") or "")
        assert stands is not None
        assert int(stands[1]) == left
        assert 0 < int(stands[2]) <= 900


async def test_one_too_many_is_429_and_says_how_long_to_wait(client: Client) -> None:
    assert [(await touch(client)).status for _ in range(3)] == [200] * 3
    answer = await touch(client)
    assert (answer.status, answer.error["code"]) == (429, "request.limit_reached")
    assert 0 < int(answer.header("retry-after") or 0) <= 900


async def test_reads_and_writes_are_counted_apart(client: Client) -> None:
    for _ in range(4):
        await touch(client)
    assert [(await client("GET", "/api/v1/cached")).status for _ in range(7)] == [200] * 6 + [429]


async def test_users_gates_and_keys_each_have_their_own(client: Client) -> None:
    for token in ("user", "other", "key"):
        assert [(await me(client, token)).status for _ in range(7)] == [200] * 6 + [429]


async def test_a_key_with_a_limit_of_its_own_is_held_to_it_and_told_so(client: Client) -> None:
    answers = [await me(client, "slow") for _ in range(4)]
    assert [answer.status for answer in answers] == [200] * 3 + [429]
    assert answers[0].header("ratelimit-policy") == '"reads";q=3;w=60'
    assert (answers[0].header("ratelimit") or "").startswith('"reads";r=2;')
    assert answers[3].error["details"]["most"] == 3
    assert (await me(client, "user")).status == 200


async def test_no_key_may_do_more_than_its_user(client: Client) -> None:
    answers = [await me(client, "greedy") for _ in range(7)]
    assert [answer.status for answer in answers] == [200] * 6 + [429]
    assert answers[0].header("ratelimit-policy") == '"reads";q=6;w=60'


async def test_an_unlimited_endpoint_counts_nothing(client: Client) -> None:
    assert [(await client("GET", "/docs")).status for _ in range(20)] == [200] * 20


# --- addresses ---


async def test_a_header_that_anybody_can_write_changes_nothing(client: Client) -> None:
    statuses = [(await touch(client, **{"x-forwarded-for": f"198.51.100.{n}"})).status for n in range(4)]
    assert statuses == [200, 200, 200, 429]


async def test_behind_a_trusted_proxy_the_last_strange_hop_counts() -> None:
    client = limited(f"{PROXY}/32", "10.0.0.0/8")
    # What stands further left was written by the client itself.
    forged = [
        (await touch(client, **{"x-forwarded-for": f"1.1.1.{n}, 198.51.100.1"})).status for n in range(4)
    ]
    assert forged == [200, 200, 200, 429]
    assert (await touch(client, **{"x-forwarded-for": "198.51.100.2, 10.1.2.3"})).status == 200
    again = [(await touch(client, **{"x-forwarded-for": "198.51.100.2"})).status for _ in range(3)]
    assert again == [200, 200, 429]


@pytest.mark.parametrize("header", ["", "nonsense", "198.51.100.1, nonsense", ",,,", "1" * 500, "10.0.0.1"])
async def test_a_broken_header_never_fails_a_request(header: str) -> None:
    client = limited(f"{PROXY}/32", "10.0.0.0/8")
    assert (await touch(client, **{"x-forwarded-for": header})).status == 200


async def test_a_whole_ipv6_network_of_one_customer_is_one_caller() -> None:
    client = limited(PROXY)
    hops = [f"2001:db8:1:2::{n:x}" for n in range(1, 5)]
    assert [(await touch(client, **{"x-forwarded-for": hop})).status for hop in hops] == [200] * 3 + [429]
    assert (await touch(client, **{"x-forwarded-for": "2001:db8:1:3::1"})).status == 200
    mapped = ["::ffff:198.51.100.9", "198.51.100.9"]
    assert [(await touch(client, **{"x-forwarded-for": hop})).status for hop in mapped * 2] == [200] * 3 + [
        429
    ]


# --- guessing ---


async def test_who_guesses_is_shut_out_even_with_the_right_key_then(client: Client) -> None:
    assert [(await me(client, f"guess{n}")).status for n in range(4)] == [401] * 4
    answer = await me(client, "user")
    assert (answer.status, answer.error["code"]) == (429, "auth.shut_out")
    assert (await touch(client)).status == 429
    assert (await client("GET", "/api/v1/cached")).status == 200


async def test_to_bring_no_credentials_is_no_guess(client: Client) -> None:
    for _ in range(10):
        assert (await client("GET", "/api/v1/me")).error["code"] == Unauthenticated.code
    assert (await me(client, "user")).status == 200
