"""What comes in: paths, queries, bodies and headers; each hostile one is a 4xx with a reason."""

from __future__ import annotations

import json
from typing import Annotated, Any, ClassVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.edge.example import THING, Filter, NewThing, example, guarded, reads
from tests.edge.http_client import Answered, Client

from echain.edge.http import Auth, Call, Nothing, get, post, put
from echain.edge.http.body import Body
from echain.edge.http.errors import Malformed
from echain.edge.http.parameters import Parameters
from echain.kernel.errors import EchainError, Invalid

VALID = {"title": "a", "tiers": [{"priceWei": "1", "supply": 1}], "startsAt": "2026-12-01T20:00:00Z"}
USER = {"authorization": "Bearer user"}
JSON = {"content-type": "application/json"}
JSON_BYTES = {b"content-type": b"application/json"}


@pytest.fixture
def client() -> Client:
    return Client(example(), USER)


async def send(client: Client, body: bytes, **headers: str) -> Answered:
    return await client("POST", "/api/v1/things", body=body, headers={**JSON, **headers})


def with_field(name: str, json_text: str) -> bytes:
    rest = {key: value for key, value in VALID.items() if key != name}
    return json.dumps(rest)[:-1].encode() + f', "{name}": {json_text}}}'.encode()


async def test_a_valid_body_is_taken(client: Client):
    answer = await send(client, json.dumps(VALID).encode())
    assert answer.status == 201
    assert answer.data["title"] == "a"
    assert answer.header("location") == f"/api/v1/things/{answer.data['id']}"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "empty"),
        (b" ", "not JSON"),
        (b"{", "not JSON"),
        (b'{"title": "a"', "not JSON"),
        (json.dumps(VALID).encode() + b"x", "not JSON"),
        (b"\xef\xbb\xbf" + json.dumps(VALID).encode(), "not JSON"),
        (with_field("title", '"\\ud800"'), "not JSON"),
        (with_field("title", '"\\udc00\\ud800"'), "not JSON"),
        (with_field("title", '"\x01"'), "not JSON"),
        (with_field("title", "NaN"), "not JSON"),
        (with_field("title", "Infinity"), "not JSON"),
        (with_field("title", "'a'"), "not JSON"),
        (with_field("title", "1e400"), "not JSON"),
        (json.dumps(VALID).encode("utf-16"), "not"),
        (with_field("title", '"x"').replace(b'"x"', b'"\xff"'), "not UTF-8"),
        (with_field("title", '"x"').replace(b'"x"', b'"\xed\xa0\x80"'), "not UTF-8"),
        (b'{"a":' * 5_000, "deeper"),
        (b"[" * 60_000, "deeper"),
        (b"[" * 33 + b"]" * 33, "deeper"),
    ],
)
async def test_a_body_that_cannot_be_read_is_malformed(client: Client, body: bytes, reason: str):
    answer = await send(client, body)
    assert answer.status == 400, answer.body
    assert answer.error["code"] == "request.malformed"
    assert reason in answer.error["message"]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b"null", ""),
        (b"[]", ""),
        (b"1", ""),
        (b"{}", "title"),
        (with_field("title", '""'), "title"),
        (with_field("title", "7"), "title"),
        (with_field("title", "null"), "title"),
        (with_field("title", '"' + "a" * 201 + '"'), "title"),
        (with_field("title", '"nul\\u0000"'), "title"),
        (with_field("title", '"a", "title": "b"'), "title"),
        (with_field("title", '"a", "\\u0074itle": "b"'), "title"),
        (with_field("startsAt", '"2026-12-01T20:00:00"'), "startsAt"),
        (with_field("startsAt", '"2026-13-01T20:00:00Z"'), "startsAt"),
        (with_field("startsAt", "1700000000"), "startsAt"),
        (with_field("colour", '"blue"'), "colour"),
        (with_field("owner", '"me"'), "owner"),
        (with_field("__proto__", "{}"), "__proto__"),
        (with_field("tiers", "[]"), "tiers"),
        (with_field("tiers", "{}"), "tiers"),
        (with_field("tiers", "[" + ",".join(['{"priceWei":"1","supply":1}'] * 21) + "]"), "tiers"),
        (
            with_field("tiers", '[{"priceWei":"1","supply":1},{"priceWei":"01","supply":1}]'),
            "tiers[1].priceWei",
        ),
        (with_field("tiers", '[{"priceWei":1,"supply":1}]'), "tiers[0].priceWei"),
        (with_field("tiers", '[{"priceWei":"1\\n","supply":1}]'), "tiers[0].priceWei"),
        (with_field("tiers", '[{"priceWei":"-1","supply":1}]'), "tiers[0].priceWei"),
        (with_field("tiers", f'[{{"priceWei":"1","supply":{2**64}}}]'), "tiers[0].supply"),
        (with_field("tiers", '[{"priceWei":"1","supply":1.5}]'), "tiers[0].supply"),
        (with_field("tiers", '[{"priceWei":"1","supply":true}]'), "tiers[0].supply"),
        (with_field("tiers", '[{"priceWei":"1","supply":1,"supply":2}]'), "supply"),
        (with_field("tiers", '[{"priceWei":"1","supply":1,"free":true}]'), "tiers[0].free"),
        (with_field("tiers", '[{"priceWei":"1"}]'), "tiers[0].supply"),
    ],
)
async def test_a_wrong_field_is_named_with_its_reason(client: Client, body: bytes, path: str):
    answer = await send(client, body)
    assert answer.status == 422, answer.body
    assert answer.error["code"] == "request.invalid"
    assert path in answer.fields
    assert all(answer.fields.values())


class Amount(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    count: int


@pytest.mark.parametrize(("text", "count"), [("7.0", 7), ("1.2e3", 1200), ("9007199254740991.0", 2**53 - 1)])
def test_an_integer_may_be_written_as_the_float_that_equals_it(text: str, count: int):
    assert Body(Amount).decode(b'{"count":%b}' % text.encode(), JSON_BYTES) == Amount(count)


@pytest.mark.parametrize("text", ["9007199254740993.0", "1e300", "-1e19", "1.5"])
def test_a_float_that_stands_for_no_one_integer_is_no_integer(text: str):
    with pytest.raises(Invalid) as refusal:
        Body(Amount).decode(b'{"count":%b}' % text.encode(), JSON_BYTES)
    assert refusal.value.details["fields"] == [{"path": "count", "reason": "Expected `int`, got `float`"}]


async def test_all_wrong_fields_are_named_at_once(client: Client):
    body = {
        "title": "",
        "tiers": [{"priceWei": "x", "supply": 0}, {"supply": 1}],
        "colour": "blue",
        "extra": 1,
    }
    answer = await client("POST", "/api/v1/things", json_body=body)
    assert set(answer.fields) == {
        "title",
        "tiers[0].priceWei",
        "tiers[0].supply",
        "tiers[1].priceWei",
        "startsAt",
        "colour",
        "extra",
    }
    assert answer.error["message"].endswith("(and 6 more)")


async def test_the_list_of_wrong_fields_ends_somewhere(client: Client):
    answer = await client("POST", "/api/v1/things", json_body={f"field{n}": n for n in range(2_000)})
    assert answer.status == 422
    assert len(answer.fields) == 20


async def test_equal_keys_in_different_objects_are_no_duplicates(client: Client):
    tiers = [{"priceWei": "1" * 30, "supply": 1}, {"priceWei": "2", "supply": 2}]
    answer = await client(
        "POST", "/api/v1/things", json_body={**VALID, "tiers": tiers, "title": '"a":1,\\"a":"'}
    )
    assert answer.status == 201, answer.body


async def test_an_integer_without_bounds_stays_within_64_bits():
    class Free(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        number: int
        more: dict[str, list[int]] = {}

    @post("/free", summary="", tag="t", answer=int, body=Free)
    async def free(call: Call[Nothing, Nothing, Free]) -> int:
        return call.body.number

    client = Client(example([free]))
    for number in (2**63 - 1, -(2**63), 0):
        assert (await client("POST", "/free", json_body={"number": number})).data == number
    for number in (2**63, -(2**63) - 1, 10**60):
        assert list((await client("POST", "/free", json_body={"number": number})).fields) == ["number"]
    deep = await client("POST", "/free", json_body={"number": 1, "more": {"a": [1, 10**20], "\0": [1]}})
    assert list(deep.fields) == ["more.a[1]", "more"]


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON",
        "application/problem+json",
        'application/json;charset="UTF-8"',
    ],
)
async def test_json_is_taken_under_its_names(client: Client, content_type: str):
    answer = await client("POST", "/api/v1/things", json_body=VALID, headers={"content-type": content_type})
    assert answer.status == 201


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": ""},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/json; charset=latin-1"},
        {"content-type": "application/jsonx"},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ],
)
async def test_what_is_not_declared_as_json_is_refused(client: Client, headers: dict[str, str]):
    answer = await client("POST", "/api/v1/things", json_body=VALID, headers=headers)
    assert (answer.status, answer.error["code"]) == (415, "request.media_type")


async def test_an_endpoint_without_a_body_takes_nothing_or_an_empty_object():
    client = Client(example())
    assert (await client("POST", "/api/v1/touch")).status == 200
    assert (await client("POST", "/api/v1/touch", json_body={})).status == 200
    assert (await client("POST", "/api/v1/touch", json_body={"a": 1})).fields == {"a": "unknown field"}


async def test_a_body_of_optional_fields_may_be_left_out():
    class Choices(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        size: int = 3

    @put("/choose", summary="", tag="t", answer=int, body=Choices)
    async def choose(call: Call[Nothing, Nothing, Choices]) -> int:
        return call.body.size

    assert (await Client(example([choose]))("PUT", "/choose")).data == 3


class Inner(msgspec.Struct):
    a: int


class Outer(msgspec.Struct, forbid_unknown_fields=True):
    many: Annotated[list[Inner], msgspec.Meta(max_length=3)] | None = None


def test_a_body_type_that_lets_unknown_fields_pass_is_refused_at_start():
    with pytest.raises(ValueError, match="Inner is part of a body"):
        Body(Outer)


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_over_64_kib_is_refused_before_it_is_decoded(client: Client, announced: bool):
    body = with_field("note", '"' + "a" * 70_000 + '"')
    headers = {**JSON, "content-length": str(len(body))} if announced else JSON
    answer = await client("POST", "/api/v1/things", body=body, headers=headers)
    assert (answer.status, answer.error["code"]) == (413, "request.too_large")
    assert answer.error["details"] == {"maxBytes": 65_536}
    assert answer.header("connection") == "close"


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("page=0", "page"),
        ("page=-1", "page"),
        ("page=10001", "page"),
        ("page=" + "9" * 400, "page"),
        ("page=1.0", "page"),
        ("page=1e2", "page"),
        ("page=%2B1", "page"),
        ("page=+1", "page"),
        ("page=01", "page"),
        ("page=", "page"),
        ("page=null", "page"),
        ("page=%D9%A1", "page"),
        ("page=1&page=1", "page"),
        ("perPage=101", "perPage"),
        ("per_page=10", "per_page"),
        ("sort=owner", "sort"),
        ("sort=", "sort"),
        ("colour=blue", "colour"),
        ("open=1", "open"),
        ("open=True", "open"),
        ("open=null", "open"),
        ("ratio=nan", "ratio"),
        ("ratio=inf", "ratio"),
        ("ratio=1e999", "ratio"),
        ("ratio=2", "ratio"),
        ("ratio=0x1", "ratio"),
        ("since=2026-01-01T00:00:00", "since"),
        ("since=1700000000", "since"),
        ("since=yesterday", "since"),
        ("owner=0x12", "owner"),
        ("owner=0x" + "ab" * 20 + "%0A", "owner"),
        ("tag=", "tag"),
        ("tag=a&tag=b&tag=c&tag=d", "tag"),
        ("tag=a%00b", "tag"),
        ("unknown=1", "unknown"),
        ("%00=1", "\x00"),
        ("page[$gt]=1", "page[$gt]"),
    ],
)
async def test_a_wrong_query_parameter_is_named(client: Client, query: str, path: str):
    answer = await client("GET", f"/api/v1/things?{query}")
    assert answer.status == 422, answer.body
    assert answer.error["code"] == "request.invalid"
    assert path in answer.fields


@pytest.mark.parametrize(
    "query", [b"page=%", b"page=%2", b"page=%zz", b"tag=%ff", b"tag=%ed%a0%80", b"tag=\xff", b"%c0%af=1"]
)
async def test_a_query_that_is_not_utf8_is_malformed(client: Client, query: bytes):
    answer = await client("GET", b"/api/v1/things?" + query)
    assert (answer.status, answer.error["code"]) == (400, "request.malformed")


def test_unknown_parameters_are_ignored_where_a_specification_of_others_demands_it():
    class Answered(msgspec.Struct, frozen=True):
        takes_others: ClassVar[bool] = True
        code: str

    decode = Parameters(Answered).query
    assert decode(b"code=a&session_state=b&session_state=c") == Answered("a")
    with pytest.raises(Invalid, match="more than once"):
        decode(b"code=a&code=b")
    with pytest.raises(Invalid, match="required"):
        decode(b"session_state=b")


async def test_a_query_of_too_many_parameters_is_malformed(client: Client):
    answer = await client("GET", "/api/v1/things?" + "&".join(["tag=a"] * 101))
    assert (answer.status, answer.error["code"]) == (400, "request.malformed")


async def test_parameters_of_all_types_arrive_as_their_types():
    @get("/echo", summary="", tag="t", answer=Any, query=Filter)
    async def echo(call: Call[Nothing, Filter, Nothing]) -> Filter:
        seen.append(call.query)
        return call.query

    seen: list[Filter] = []
    client = Client(example([echo]))
    target = (
        "/echo?page=2&tag=a+b&tag=%C3%BC&colour=green&open=false&ratio=0.5&since=2026-01-01T01:00:00%2B01:00&"
        "&owner=0x" + "AB" * 20
    )
    data = (await client("GET", target)).data
    assert data == {
        "page": 2,
        "perPage": 20,
        "sort": "name",
        "tag": ["a b", "ü"],
        "colour": "green",
        "open": False,
        "ratio": 0.5,
        "since": "2026-01-01T01:00:00+01:00",
        "owner": "0x" + "AB" * 20,
    }
    await client("GET", "/echo")
    assert seen[-1] == Filter()


async def test_a_struct_may_check_its_parameters_against_each_other():
    class Range(msgspec.Struct, frozen=True):
        low: int
        high: int

        def __post_init__(self) -> None:
            if self.low > self.high:
                raise ValueError("low is above high")

    @get("/range", summary="", tag="t", answer=None, query=Range)
    async def between(_call: Call[Nothing, Range, Nothing]) -> None: ...

    client = Client(example([between]))
    assert (await client("GET", "/range?low=1&high=2")).status == 200
    assert (await client("GET", "/range?low=2&high=1")).fields == {"": "low is above high"}
    assert (await client("GET", "/range")).fields == {"low": "required", "high": "required"}


@given(st.text(max_size=30), st.integers(-(2**70), 2**70))
def test_whatever_text_a_parameter_holds_it_is_decoded_or_refused(text: str, number: int):
    class Both(msgspec.Struct, frozen=True):
        name: str
        count: int

    from urllib.parse import quote_plus

    query = f"name={quote_plus(text, errors='surrogatepass')}&count={number}".encode()
    storable = "\x00" not in text and not any(0xD800 <= ord(letter) <= 0xDFFF for letter in text)
    fits = -(2**63) <= number < 2**63
    try:
        decoded = Parameters(Both).query(query)
    except (Invalid, Malformed):
        assert not (storable and fits)
    else:
        assert decoded == Both(text, number)
        assert storable
        assert fits


@given(st.binary(max_size=200))
def test_no_bytes_break_the_body_decoder(body: bytes):
    with pytest.raises(EchainError):
        Body(NewThing).decode(body, {b"content-type": b"application/json"})


_LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
_OBJECTS = st.dictionaries(st.sampled_from(["priceWei", "supply", "x"]), _LEAVES, max_size=3)
_JSON_VALUES = _LEAVES | _OBJECTS | st.lists(_LEAVES | _OBJECTS, max_size=3)


@given(st.dictionaries(st.sampled_from([*VALID, "colour", "note", "x"]), _JSON_VALUES, max_size=6))
def test_a_body_is_refused_with_fields_or_it_is_valid(raw: dict[str, Any]):
    body = json.dumps(raw).encode()
    try:
        expected = msgspec.json.decode(body, type=NewThing)
    except msgspec.DecodeError:
        expected = None
    if expected is not None and "\\u0000" not in body.decode():
        assert Body(NewThing).decode(body, {b"content-type": b"application/json"}) == expected
        return
    with pytest.raises((Invalid, Malformed)) as refused:
        Body(NewThing).decode(body, {b"content-type": b"application/json"})
    if refused.type is Invalid:
        assert refused.value.details["fields"]


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/api/v1/things/not-a-uuid", "id"),
        ("/api/v1/things/..", "id"),
        ("/api/v1/things/%2e%2e%2f", "id"),
        ("/api/v1/things/%00", "id"),
        ("/api/v1/chains/0/names/a", "chainId"),
        ("/api/v1/chains/1e3/names/a", "chainId"),
        ("/api/v1/chains/99999999999999999999/names/a", "chainId"),
        ("/api/v1/chains/1/names/" + "a" * 41, "name"),
        ("/api/v1/chains/1/names/a%00", "name"),
    ],
)
async def test_a_wrong_path_parameter_is_named(client: Client, target: str, path: str):
    answer = await client("GET", target)
    assert answer.status == 422, answer.body
    assert list(answer.fields) == [path]


@pytest.mark.parametrize(
    "target", [b"/api/v1/things/%ff", b"/api/v1/things/%", b"/api/v1/things/\xff", b"/%c0%ae"]
)
async def test_a_path_that_is_not_utf8_is_malformed(client: Client, target: bytes):
    answer = await client("GET", target)
    assert (answer.status, answer.error["code"]) == (400, "request.malformed")


async def test_an_escaped_slash_is_part_of_its_segment(client: Client):
    assert (await client("GET", "/api/v1/chains/10/names/a%2Fb%20%C3%BC")).data == "10:a/b ü"


async def test_too_many_or_too_long_headers_are_refused(client: Client):
    many = [(b"x-%d" % number, b"1") for number in range(120)]
    assert (await client("GET", f"/api/v1/things/{THING.id}", pairs=many)).status == 431
    long = await client("GET", f"/api/v1/things/{THING.id}", headers={"x-long": "a" * 20_000})
    assert (long.status, long.header("connection")) == (431, "close")


class TestWhoMayCall:
    @pytest.mark.parametrize(
        ("target", "method", "nobody", "user", "gate"),
        [
            ("/api/v1/me", "GET", 401, 200, 403),
            ("/api/v1/scan", "POST", 401, 403, 200),
            ("/api/v1/administer", "GET", 401, 403, 403),
            ("/api/v1/either", "GET", 401, 200, 200),
            ("/api/v1/maybe", "GET", 200, 200, 200),
            ("/api/v1/cached", "GET", 200, 200, 200),
        ],
    )
    async def test_each_endpoint_opens_to_its_callers(self, target, method, nobody, user, gate):
        client = Client(example())
        answers = [
            await client(method, target, headers=headers)
            for headers in ({}, {"authorization": "Bearer user"}, {"authorization": "Bearer gate"})
        ]
        assert [answer.status for answer in answers] == [nobody, user, gate]
        assert all(
            answer.header("www-authenticate") == "Bearer" for answer in answers if answer.status == 401
        )

    async def test_wrong_credentials_are_refused_even_where_none_are_needed(self):
        client = Client(example(), {"authorization": "Bearer stolen"})
        assert (await client("GET", "/api/v1/maybe")).status == 401
        assert (await client("GET", "/api/v1/cached")).status == 200

    async def test_credentials_are_checked_before_anything_else_is_told(self):
        client = Client(example())
        answer = await client("PUT", "/api/v1/things/not-a-uuid?x=1", body=b"{", headers=JSON)
        assert answer.status == 401

    def test_an_endpoint_of_all_kinds_of_auth_is_in_the_example(self):
        assert {one.auth for one in [*reads(), *guarded()]} == set(Auth)

    async def test_an_administrator_gets_where_others_do_not(self):
        client = Client(example(), {"authorization": "Bearer admin"})
        assert (await client("GET", "/api/v1/administer")).status == 200
