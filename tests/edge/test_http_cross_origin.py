"""What browsers are told: which pages may read answers, and what an answer may do when opened as a page."""

from __future__ import annotations

import pytest
from tests.edge.example import example
from tests.edge.http_client import Client

SHOP = "https://shop.example"
STRANGERS = (
    "https://evil.example",
    "https://shop.example.evil.example",
    "http://shop.example",
    "https://shop.example:8443",
    "https://SHOP.example",
    "null",
    "",
    "https://shop.example, https://evil.example",
)


def client_of(*, https: bool) -> Client:
    return Client(example(origins=[SHOP], https=https))


@pytest.fixture
def client() -> Client:
    return client_of(https=True)


@pytest.mark.parametrize("target", ["/api/v1/cached", "/api/v1/missing", "/api/v1/me"])
async def test_a_listed_page_may_read_every_answer_refusals_too(client: Client, target: str) -> None:
    answer = await client("GET", target, headers={"origin": SHOP})
    assert answer.header("access-control-allow-origin") == SHOP
    assert answer.header("access-control-allow-credentials") == "true"
    assert "X-Request-Id" in answer.header("access-control-expose-headers")
    assert answer.header("vary") == "Origin"


@pytest.mark.parametrize("origin", STRANGERS)
async def test_no_other_page_may(client: Client, origin: str) -> None:
    for method, more in (("GET", {}), ("OPTIONS", {"access-control-request-method": "GET"})):
        answer = await client(method, "/api/v1/cached", headers={"origin": origin, **more})
        assert not [name for name, _ in answer.headers if name.startswith("access-control-")]
        assert answer.header("vary") == "Origin"


async def test_an_answer_to_nobody_in_particular_opens_nothing(client: Client) -> None:
    answer = await client("GET", "/api/v1/cached")
    assert not [name for name, _ in answer.headers if name.startswith("access-control-") or name == "vary"]


async def test_a_browser_that_asks_first_is_told_methods_and_headers(client: Client) -> None:
    asked = {
        "origin": SHOP,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type,idempotency-key",
    }
    answer = await client("OPTIONS", "/api/v1/things", headers=asked)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.header("access-control-allow-methods") == "GET, HEAD, POST"
    allowed = {name.strip().lower() for name in answer.header("access-control-allow-headers").split(",")}
    assert {"authorization", "content-type", "idempotency-key", "echain-seen"} <= allowed
    assert not [name for name, _ in answer.headers if name == "content-length"]


async def test_options_without_a_browsers_question_is_a_wrong_method(client: Client) -> None:
    for headers in ({}, {"origin": SHOP}, {"access-control-request-method": "POST"}):
        assert (await client("OPTIONS", "/api/v1/things", headers=headers)).status == 405
    asked = {"origin": SHOP, "access-control-request-method": "GET"}
    assert (await client("OPTIONS", "/api/v1/none", headers=asked)).status == 404


async def test_answers_are_inert_when_opened_as_a_page(client: Client) -> None:
    for target in ("/api/v1/cached", "/api/v1/none", "/api/v1/openapi.json"):
        answer = await client("GET", target)
        assert answer.header("content-security-policy").startswith("default-src 'none'")
        assert "frame-ancestors 'none'" in answer.header("content-security-policy")
        assert answer.header("referrer-policy") == "no-referrer"


async def test_pages_run_only_what_is_served_here(client: Client) -> None:
    policies = [
        value for name, value in (await client("GET", "/docs")).headers if name == "content-security-policy"
    ]
    assert len(policies) == 1
    assert "unsafe" not in policies[0]
    assert "script-src 'self'" in policies[0]


async def test_https_is_demanded_only_where_it_is_served() -> None:
    answer = await client_of(https=True)("GET", "/api/v1/cached")
    assert answer.header("strict-transport-security").startswith("max-age=63072000")
    plain = await client_of(https=False)("GET", "/api/v1/cached")
    assert not [name for name, _ in plain.headers if name == "strict-transport-security"]
