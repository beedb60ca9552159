"""What goes out: envelope, pages, ETags, HEAD, request ids, headers, cookies, errors."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
import structlog
from tests.edge.example import NAMES, RENDERED, THING, example
from tests.edge.http_client import Client

from echain.edge.http import Call, Cookie, Nothing, Raw, Rendered, Reply, get, post
from echain.edge.http.envelope import timestamp
from echain.edge.http.etag import matches
from echain.kernel.errors import EchainError, Kind, NotFound
from echain.kernel.time import rfc3339

ONE = f"/api/v1/things/{THING.id}"


@pytest.fixture
def client() -> Client:
    return Client(example())


async def test_a_value_is_answered_in_the_envelope_with_time_and_request_id(client: Client):
    answer = await client("GET", ONE, headers={"x-request-id": "mine-1"})
    assert answer.status == 200
    assert answer.json == {
        "success": True,
        "data": {
            "id": str(THING.id),
            "title": "Opening night",
            "priceWei": "25000000000000000",
            "startsAt": "2026-11-21T09:30:00.123456Z",
            "owner": "0x" + "00" * 20,
        },
        "meta": {"timestamp": "2026-11-21T09:30:00.123Z", "requestId": "mine-1"},
    }
    assert answer.header("content-type") == "application/json"
    assert answer.header("content-length") == str(len(answer.body))


async def test_a_page_tells_its_place_in_meta(client: Client):
    answer = await client("GET", "/api/v1/things?page=2&perPage=2")
    assert answer.data == list(NAMES)
    assert answer.json["meta"]["page"] == {"perPage": 2, "page": 2, "total": 3, "pages": 2}


async def test_a_cursor_page_tells_only_the_next_cursor(client: Client):
    answer = await client("GET", "/api/v1/things/latest")
    assert answer.json["meta"]["page"] == {"perPage": 3, "nextCursor": "b3BhcXVl"}


async def test_rendered_bytes_stand_in_the_envelope_unchanged(client: Client):
    answer = await client("GET", "/api/v1/cached")
    assert b'"data":' + RENDERED + b',"meta"' in answer.body


async def test_rendered_bytes_may_bring_their_own_etag():
    @get("/own", summary="", tag="t", answer=str)
    async def own(_call: Call[Nothing, Nothing, Nothing]) -> Rendered:
        return Rendered(b'"x"', etag=b'"v7"')

    client = Client(example([own]))
    assert (await client("GET", "/own")).header("etag") == '"v7"'
    assert (await client("GET", "/own", headers={"if-none-match": '"v7"'})).status == 304


@pytest.mark.parametrize("target", [ONE, "/api/v1/things", "/api/v1/cached", "/api/v1/document", "/docs"])
async def test_an_answer_that_still_holds_is_304_without_a_body(client: Client, target: str):
    first = await client("GET", target)
    etag = first.header("etag")
    assert etag
    assert re.fullmatch(r'"[0-9a-f]{24}"', etag)
    for condition in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = await client("GET", target, headers={"if-none-match": condition})
        assert (again.status, again.body, again.header("etag")) == (304, b"", etag)
        assert again.header("content-length") is None
    assert (await client("GET", target, headers={"if-none-match": '"other"'})).status == 200


async def test_the_etag_follows_the_data_and_the_page_not_the_moment():
    moments = iter(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=n) for n in range(9))
    client = Client(example(clock=lambda: next(moments)))
    first, second = await client("GET", ONE), await client("GET", ONE)
    assert first.json["meta"] != second.json["meta"]
    assert first.header("etag") == second.header("etag")
    pages = [await client("GET", f"/api/v1/things?page={page}&perPage=1") for page in (1, 2)]
    assert pages[0].data == pages[1].data
    assert pages[0].header("etag") != pages[1].header("etag")


@pytest.mark.parametrize("target", [ONE, "/api/v1/things", "/docs", "/nowhere"])
async def test_head_answers_the_headers_of_get_without_its_body(client: Client, target: str):
    headers = {"x-request-id": "same"}
    got, head = await client("GET", target, headers=headers), await client("HEAD", target, headers=headers)
    assert head.status == got.status
    assert head.headers == got.headers
    assert head.body == b""


async def test_a_post_has_no_etag_and_may_not_be_stored(client: Client):
    answer = await client("POST", "/api/v1/touch")
    assert answer.data is None
    assert answer.header("etag") is None
    assert answer.header("cache-control") == "no-store"


async def test_answers_to_a_caller_are_private(client: Client):
    answer = await client("GET", "/api/v1/me", headers={"authorization": "Bearer user"})
    assert answer.header("cache-control") == "private, no-cache"


@pytest.mark.parametrize("request_id", ["", "two words", "a" * 129, 'quo"te', "line\nbreak", "grüß"])
async def test_a_request_id_that_could_harm_a_log_is_replaced(client: Client, request_id: str):
    answer = await client("GET", ONE, headers={"x-request-id": request_id})
    assert answer.header("x-request-id") != request_id
    assert answer.header("x-request-id") == answer.json["meta"]["requestId"]


async def test_new_request_ids_differ(client: Client):
    ids = {(await client("GET", ONE)).header("x-request-id") for _ in range(100)}
    assert len(ids) == 100


async def test_logs_of_a_handler_carry_the_request_id():
    @get("/logs", summary="", tag="t", answer=None)
    async def logs(_call: Call[Nothing, Nothing, Nothing]) -> None:
        seen.append(structlog.contextvars.get_contextvars()["request_id"])

    seen: list[str] = []
    await Client(example([logs]))("GET", "/logs", headers={"x-request-id": "find-me"})
    assert seen == ["find-me"]


async def test_a_reply_sets_status_headers_and_cookies(client: Client):
    answer = await client("POST", "/api/v1/enter")
    cookies = [value for name, value in answer.headers if name == "set-cookie"]
    assert cookies == [
        "session=abc; Path=/; SameSite=Strict; Max-Age=60; HttpOnly; Secure",
        "old=; Path=/; SameSite=Lax; Max-Age=0; HttpOnly; Secure",
    ]
    removed = await client("DELETE", ONE, headers={"authorization": "Bearer user"})
    assert (removed.status, removed.data) == (202, {"undo": "1"})


async def test_a_reply_may_decide_on_caching():
    @get("/fresh", summary="", tag="t", answer=None)
    async def fresh(_call: Call[Nothing, Nothing, Nothing]) -> Reply:
        return Reply(headers=(("Cache-Control", "no-store"),))

    assert (await Client(example([fresh]))("GET", "/fresh")).header("cache-control") == "no-store"


@pytest.mark.parametrize(
    "cookie",
    [
        Cookie("a b", ""),
        Cookie("a", "x;y"),
        Cookie("a", "x\r\ny"),
        Cookie("a", "", path="/;x"),
        Cookie("a", "", path="x"),
    ],
)
async def test_a_cookie_cannot_carry_separators(cookie: Cookie):
    with pytest.raises(ValueError, match="cookie"):
        cookie.header()


@pytest.mark.parametrize(
    "header", [("X-A", "a\r\nX-B: b"), ("X-A\r\nX-B", "b"), ("X-A", "a\0"), ("X A", "a"), ("", "a")]
)
async def test_a_header_cannot_begin_another(header: tuple[str, str]):
    @get("/split", summary="", tag="t", answer=None)
    async def split(_call: Call[Nothing, Nothing, Nothing]) -> Reply:
        return Reply(headers=(header,))

    @get("/split-raw", summary="", tag="t", answer=Raw)
    async def split_raw(_call: Call[Nothing, Nothing, Nothing]) -> Raw:
        return Raw(b"", headers=(header,))

    client = Client(example([split, split_raw]))
    assert (await client("GET", "/split")).status == 500
    assert (await client("GET", "/split-raw")).status == 500


async def test_raw_answers_have_no_envelope(client: Client):
    answer = await client("GET", "/api/v1/document")
    assert answer.body == "grüß".encode()
    assert answer.header("content-type") == "text/plain; charset=utf-8"


async def test_a_raw_answer_keeps_its_status_and_is_tagged_only_when_200():
    @get("/gone", summary="", tag="t", answer=Raw)
    async def gone(_call: Call[Nothing, Nothing, Nothing]) -> Raw:
        return Raw(b"{}", status=410)

    answer = await Client(example([gone]))("GET", "/gone")
    assert (answer.status, answer.header("etag")) == (410, None)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (Kind.INVALID, 422),
        (Kind.UNAUTHENTICATED, 401),
        (Kind.FORBIDDEN, 403),
        (Kind.NOT_FOUND, 404),
        (Kind.CONFLICT, 409),
        (Kind.PRECONDITION, 412),
        (Kind.TOO_LARGE, 413),
        (Kind.LIMITED, 429),
        (Kind.UNAVAILABLE, 503),
        (Kind.INTERNAL, 500),
    ],
)
async def test_each_kind_of_error_has_its_status(kind: Kind, status: int):
    failing = type(
        "Failing", (EchainError,), {"kind": kind, "code": "example.failing", "__doc__": "It fails."}
    )

    # Which part failed, and how, is for the logs.
    inside = kind in (Kind.UNAVAILABLE, Kind.INTERNAL)

    @get("/fails", summary="", tag="t", answer=None)
    async def fails(_call: Call[Nothing, Nothing, Nothing]) -> None:
        raise failing("It fails so." if inside else None, why=["because"])

    answer = await Client(example([fails]))("GET", "/fails")
    assert answer.status == status
    assert answer.error == {
        "code": "example.failing",
        "message": "It fails.",
        "details": {} if inside else {"why": ["because"]},
    }
    assert (answer.header("www-authenticate") == "Bearer") == (status == 401)
    assert (answer.header("retry-after") == "1") == (status == 503)


async def test_a_limit_says_when_to_come_back(client: Client):
    body = {
        "title": "too many",
        "tiers": [{"priceWei": "1", "supply": 1}],
        "startsAt": "2026-12-01T00:00:00Z",
    }
    answer = await client("POST", "/api/v1/things", headers={"authorization": "Bearer user"}, json_body=body)
    assert (answer.status, answer.header("retry-after")) == (429, "60")


async def test_an_unknown_exception_is_logged_whole_and_hides_its_insides():
    @get("/bug", summary="", tag="t", answer=None)
    async def bug(_call: Call[Nothing, Nothing, Nothing]) -> None:
        raise RuntimeError("secret connection string")

    with structlog.testing.capture_logs() as logs:
        answer = await Client(example([bug]))("GET", "/bug", headers={"x-request-id": "r1"})
    assert answer.status == 500
    assert answer.error["code"] == "internal"
    assert b"secret" not in answer.body
    assert b"RuntimeError" not in answer.body
    broken = [entry for entry in logs if entry["event"] == "http.broken"]
    assert [(entry["log_level"], entry["route"], entry["exc_info"]) for entry in broken] == [
        ("error", "/bug", True)
    ]


async def test_an_answer_that_cannot_be_encoded_is_a_bug_not_a_broken_connection():
    @get("/odd", summary="", tag="t", answer=str)
    async def odd(_call: Call[Nothing, Nothing, Nothing]) -> object:
        return object()

    assert (await Client(example([odd]))("GET", "/odd")).status == 500


async def test_details_of_any_type_are_told_as_text():
    @post("/odd", summary="", tag="t", answer=None)
    async def odd(_call: Call[Nothing, Nothing, Nothing]) -> None:
        raise NotFound("odd", thing=msgspec, moment=datetime(2026, 1, 1, tzinfo=UTC))

    details = (await Client(example([odd]))("POST", "/odd")).error["details"]
    assert details["moment"] == "2026-01-01T00:00:00Z"
    assert "msgspec" in details["thing"]


@pytest.mark.parametrize("target", ["/docs", "/docs/docs.js", "/docs/docs.css", "/docs/icon.svg"])
async def test_the_docs_page_is_served_under_a_strict_policy(client: Client, target: str):
    answer = await client("GET", target)
    policy = answer.header("content-security-policy")
    assert answer.status == 200
    assert policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.header("x-frame-options") == "DENY"
    assert answer.header("x-content-type-options") == "nosniff"
    assert answer.header("referrer-policy") == "no-referrer"


async def test_the_docs_page_needs_nothing_that_its_policy_forbids(client: Client):
    page = (await client("GET", "/docs")).body.decode()
    assert not re.search(r"<style|\bstyle=|\bon[a-z]+=|javascript:", page)
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", page))
    linked = re.findall(r'(?:src|href)="([^"#]+)"', page)
    assert all(target.startswith("/") for target in linked)
    for target in set(linked):
        assert (await client("GET", target)).status == 200, target
    script = (await client("GET", "/docs/docs.js")).body.decode()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|\beval\(|https?://", script)
    assert "url(" not in (await client("GET", "/docs/docs.css")).body.decode()


async def test_every_answer_forbids_sniffing(client: Client):
    for target in (ONE, "/nowhere", "/docs", "/api/v1/things?page=0"):
        assert (await client("GET", target)).header("x-content-type-options") == "nosniff"


def test_a_timestamp_is_what_the_kernel_writes():
    start = datetime(2026, 11, 21, 23, 59, 58, 999_000, tzinfo=UTC)
    for step in range(4_000):
        moment = start + timedelta(microseconds=step * 777)
        assert timestamp(moment).decode() == rfc3339(moment)


async def test_a_reply_of_another_status_is_never_304():
    @get("/late", summary="", tag="t", answer=str, other_statuses=(203,))
    async def late(_call: Call[Nothing, Nothing, Nothing]) -> Reply:
        return Reply("x", status=203)

    answer = await Client(example([late]))("GET", "/late", headers={"if-none-match": "*"})
    assert (answer.status, answer.data, answer.header("etag")) == (203, "x", None)


def test_if_none_match_compares_whole_tags():
    assert not matches(b'"abcd"', b'"abc"')
    assert not matches(b"abc", b'"abc"')
    assert matches(b'"x" , W/"abc"', b'"abc"')


async def test_the_openapi_document_is_served_and_tagged(client: Client):
    answer = await client("GET", "/api/v1/openapi.json")
    assert json.loads(answer.body)["openapi"] == "3.1.0"
    assert answer.header("etag")
