"""From method and path to an endpoint."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.edge.example import ById, example
from tests.edge.http_client import Client

from echain.edge.http import Call, Nothing, get, post
from echain.edge.http.router import Router


@pytest.fixture
def client() -> Client:
    return Client(example())


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "",
        "/nowhere",
        "/api/v1/things/",
        "/api/v1//things",
        "//api/v1/things",
        "/API/v1/things",
        "/api/v1/things/a/b",
        "/docs/",
        "/docs/../docs",
        "/docs/%2e%2e/docs",
    ],
)
async def test_a_path_that_no_endpoint_has_is_404(client: Client, target: str):
    answer = await client("GET", target)
    assert (answer.status, answer.error["code"]) == (404, "route.not_found")


@pytest.mark.parametrize(
    ("method", "target", "allow"),
    [
        ("POST", "/api/v1/cached", "GET, HEAD"),
        ("GET", "/api/v1/touch", "POST"),
        ("PATCH", f"/api/v1/things/{UUID(int=1)}", "DELETE, GET, HEAD, PUT"),
        ("DELETE", "/api/v1/things/latest", "GET, HEAD"),
        ("OPTIONS", "/api/v1/things", "GET, HEAD, POST"),
        ("TRACE", "/docs", "GET, HEAD"),
        ("get", "/docs", "GET, HEAD"),
    ],
)
async def test_a_wrong_method_is_405_and_names_the_right_ones(
    client: Client, method: str, target: str, allow: str
):
    answer = await client(method, target)
    assert (answer.status, answer.header("allow")) == (405, allow)
    assert answer.error["details"]["allow"] == allow.split(", ")


async def test_a_static_segment_wins_over_a_parameter(client: Client):
    assert (await client("GET", "/api/v1/things/latest")).json["meta"]["page"]["nextCursor"]


def test_a_parameter_is_tried_where_the_static_segment_leads_nowhere():
    router: Router[str] = Router()
    router.add("GET", "/events/search", "search")
    router.add("GET", "/events/{id}/sales", "sales")
    router.add("GET", "/events/{id}", "event")
    assert _found(router, b"/events/search") == ("search", ())
    assert _found(router, b"/events/search/sales") == ("sales", ("search",))
    assert _found(router, b"/events/7") == ("event", ("7",))
    assert _found(router, b"/events//sales") is None
    assert _found(router, b"/events/7/") is None


def test_an_escaped_static_segment_is_the_same_path():
    router: Router[str] = Router()
    router.add("GET", "/events/search", "search")
    assert _found(router, b"/events/%73earch") == ("search", ())


def test_two_endpoints_at_one_place_are_refused():
    router: Router[str] = Router()
    router.add("GET", "/a/{id}", "first")
    with pytest.raises(ValueError, match=r"two endpoints at GET /a/\{other\}"):
        router.add("GET", "/a/{other}", "second")


@given(
    st.lists(st.lists(st.sampled_from(["a", "b", "{x}"]), min_size=1, max_size=4).map(tuple), unique=True),
    st.data(),
)
def test_the_tree_finds_what_a_search_through_all_paths_finds(paths: list[tuple[str, ...]], data: Any):
    router: Router[tuple[str, ...]] = Router()
    for path in paths:
        router.add("GET", "/" + "/".join(path), path)
    asked = data.draw(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4))
    fitting = [
        path
        for path in paths
        if len(path) == len(asked)
        and all(part in ("{x}", given) for part, given in zip(path, asked, strict=True))
    ]
    found = _found(router, "/".join(["", *asked]).encode())
    if not fitting:
        assert found is None
        return
    best = min(fitting, key=lambda path: [part == "{x}" for part in path])
    values = tuple(given for part, given in zip(best, asked, strict=True) if part == "{x}")
    assert found == (best, values)


def _found(router: Router[Any], path: bytes) -> tuple[Any, tuple[str, ...]] | None:
    found = router.find(path)
    return None if found is None else (found[0].routes["GET"], found[1])


@pytest.mark.parametrize("path", ["things", "/things/", "/{id", "/a b", "/{Id}", "/{id}x", ""])
def test_a_misspelled_path_is_refused_at_declaration(path: str):
    with pytest.raises(ValueError, match="a path is"):

        @get(path, summary="", tag="t", answer=None)
        async def handler(_call: Call[Nothing, Nothing, Nothing]) -> None: ...


def test_path_parameters_are_those_of_the_path():
    with pytest.raises(ValueError, match="path_params"):

        @get("/things/{name}", summary="", tag="t", answer=None, path_params=ById)
        async def handler(_call: Call[ById, Nothing, Nothing]) -> None: ...


async def test_parameters_arrive_by_name_whatever_their_order():
    class Swapped(msgspec.Struct, frozen=True):
        second: str
        first: str

    @post("/x/{first}/{second}", summary="", tag="t", answer=Any, path_params=Swapped)
    async def handler(call: Call[Swapped, Nothing, Nothing]) -> Swapped:
        return call.path

    assert (await Client(example([handler]))("POST", "/x/1/2")).data == {"first": "1", "second": "2"}
