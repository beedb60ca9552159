"""Who calls too often is told so, by what they are known as; who guesses is shut out for a while."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Mapping
from uuid import UUID

import pytest
from tests.edge.example import GATE, USER, example
from tests.edge.http_client import Answered, Client

from echain.edge.http import Auth, Call, Caller, Endpoint, Nothing, Unauthenticated, get, post
from echain.edge.http.limits import Allowance, Limits
from echain.infra.metrics import Metrics
from echain.infra.quota import Quotas
from echain.kernel.errors import EchainError, Kind

ALLOWANCE = Allowance(anonymous_writes=3, sign_ins=8, user_writes=5, gate_writes=4, reads=6, refusals=4)
PROXY = "192.0.2.7"
"""What the test's client says it is."""


def charged() -> list[Endpoint]:
    """Return routes that count as something else than their method says, and one that judges a secret."""

    @get("/api/v1/nonce", summary="Write by a GET", tag="auth", answer=None, charged="sign-in")
    async def nonce(_: Call[Nothing, Nothing, Nothing]) -> None:
        return None

    @post("/api/v1/renew", summary="Read by a POST", tag="auth", answer=None, charged="read")
    async def renew(call: Call[Nothing, Nothing, Nothing]) -> None:
        if call.headers.get("refresh") != "right":
            raise Wrong

    @post("/api/v1/told", summary="Uncounted", tag="auth", answer=None, limited=False)
    async def told(_: Call[Nothing, Nothing, Nothing]) -> None:
        raise Wrong

    @post("/api/v1/invited", summary="A known caller's guess", tag="people", answer=None, auth=Auth.USER)
    async def invited(_: Call[Nothing, Nothing, Nothing]) -> None:
        raise Wrong

    return [nonce, renew, told, invited]


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
        error = Wrong()
        error.guess = False if given == "Bearer over" else None
        raise error
    return KNOWN[given]


def limited(*proxies: str) -> Client:
    limits = Limits(Quotas(None), ALLOWANCE, proxies=proxies, metrics=Metrics())
    return Client(example(charged(), limits=limits, authenticate=authenticate))


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


# --- what counts as what ---


async def test_what_a_get_writes_counts_as_signing_in_by_head_too(client: Client) -> None:
    methods = ["GET", "HEAD"] * 4
    assert [(await client(method, "/api/v1/nonce")).status for method in methods] == [200] * 8
    answer = await client("GET", "/api/v1/nonce")
    assert (answer.status, answer.error["details"]["quota"]) == (429, "sign-ins")
    assert (await touch(client)).status == (await client("GET", "/api/v1/cached")).status == 200


async def test_a_post_that_counts_as_a_read_takes_no_write_of_the_neighbours(client: Client) -> None:
    for _ in range(3):
        await touch(client)
    renewed = [await client("POST", "/api/v1/renew", headers={"refresh": "right"}) for _ in range(7)]
    assert [answer.status for answer in renewed] == [200] * 6 + [429]


@pytest.mark.parametrize(("method", "quota", "most"), [("GET", "reads", 30), ("DELETE", "writes", 25)])
async def test_no_number_of_keys_gives_a_user_more_than_five_times_the_turns(
    client: Client, monkeypatch: pytest.MonkeyPatch, method: str, quota: str, most: int
) -> None:
    path, done = "/api/v1/me" if method == "GET" else "/api/v1/things/" + str(UUID(int=2)), 0
    refused: set[str] = set()
    for number in range(7):
        scopes = frozenset({"people:read", "things:write"})
        monkeypatch.setitem(KNOWN, "Bearer new", Caller("user", USER.id, key=UUID(int=number), scopes=scopes))
        for _ in range(6):
            answer = await client(method, path, headers={"authorization": "Bearer new"})
            done += answer.status == 200
            if answer.status != 200:
                refused.add(answer.error["details"]["quota"])
    assert done == most
    assert f"{quota}-by-keys" in refused
    assert (await client(method, path, headers={"authorization": "Bearer user"})).status == 200


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


async def test_ports_and_repeated_lines_leave_each_client_its_own_turns() -> None:
    client = limited(f"{PROXY}/32", "10.0.0.0/8")
    hops = ["198.51.100.1:4711", "198.51.100.1:4712", "[2001:db8::1]:443", "[2001:db8:0:1::1]"]
    assert [(await touch(client, **{"x-forwarded-for": hop})).status for hop in hops * 2] == [200] * 4 + [
        *(200, 429, 200, 200)
    ]

    async def lines(*values: bytes) -> int:
        pairs = [(b"x-forwarded-for", value) for value in values]
        return (await client("POST", "/api/v1/touch", pairs=pairs)).status

    assert [await lines(b"198.51.100.%d" % n, b"10.0.0.2") for n in range(2, 8)] == [200] * 6
    forged = [await lines(b"1.1.1.%d" % n, b"198.51.100.9", b"10.0.0.2, 10.0.0.3") for n in range(4)]
    assert forged == [200] * 3 + [429]


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


async def guess(client: Client, times: int) -> list[int]:
    return [(await me(client, f"guess{n}")).status for n in range(times)]


async def test_who_guesses_is_shut_out_and_may_not_sign_in_either(client: Client) -> None:
    assert await guess(client, 5) == [401] * 4 + [429]
    answer = await me(client, "guess")
    assert (answer.status, answer.error["code"]) == (429, "auth.shut_out")
    assert 0 < int(answer.header("retry-after") or 0) <= 900
    for method, path in (("POST", "touch"), ("GET", "nonce"), ("HEAD", "nonce")):
        assert (await client(method, f"/api/v1/{path}")).status == 429


async def test_who_is_known_goes_on_beside_a_guesser(client: Client) -> None:
    await guess(client, 6)
    for token in ("user", "key"):
        assert (await me(client, token)).status == 200
    assert (await client("POST", "/api/v1/scan", headers={"authorization": "Bearer gate"})).status == 200
    assert (await touch(client, authorization="Bearer user")).status == 429, "a public route knows nobody"
    fresh = limited()
    for _ in range(6):
        await fresh("POST", "/api/v1/told")
    assert (await fresh("POST", "/api/v1/renew", headers={"refresh": "right"})).status == 200
    refused = await fresh("POST", "/api/v1/renew", headers={"refresh": "wrong"})
    assert refused.error["code"] == "auth.shut_out"
    assert (await fresh("GET", "/api/v1/cached")).status == 200


async def test_a_known_guesser_is_shut_out_and_the_neighbours_are_not(client: Client) -> None:
    def invited(token: str) -> Awaitable[Answered]:
        return client("POST", "/api/v1/invited", headers={"authorization": f"Bearer {token}"})

    codes = [(await invited("user")).error["code"] for _ in range(5)]
    assert codes == ["example.wrong"] * 4 + ["auth.shut_out"]
    assert (await invited("other")).error["code"] == "example.wrong"
    assert (await touch(client)).status == 200


async def test_what_is_over_is_no_guess_but_no_way_to_ask_without_end(client: Client) -> None:
    statuses = [(await me(client, "over")).status for _ in range(8)]
    assert statuses == [401] * 6 + [429] * 2
    assert (await touch(client)).status == 200
    assert (await me(client, "user")).status == 200


async def test_where_nothing_is_counted_nobody_is_shut_out(client: Client) -> None:
    assert [(await client("POST", "/api/v1/told")).status for _ in range(8)] == [401] * 8


async def test_to_bring_no_credentials_is_no_guess(client: Client) -> None:
    for _ in range(10):
        assert (await client("GET", "/api/v1/me")).error["code"] == Unauthenticated.code
    assert (await me(client, "user")).status == 200
