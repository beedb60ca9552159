"""A route on its way out says so in every answer, in the document, and in a count of who still calls it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.edge.example import NewThing, example
from tests.edge.http_client import Client

from echain.edge.http import Auth, Call, Deprecation, Endpoint, Nothing, get, post
from echain.edge.http.openapi import document
from echain.infra.metrics import Metrics

SINCE = datetime(2026, 11, 26, tzinfo=UTC)
SUNSET = datetime(2027, 12, 1, 8, 30, tzinfo=UTC)
LEAVING = Deprecation(since=SINCE, sunset=SUNSET, successor="/api/v2/old")


def endpoints() -> list[Endpoint]:
    @get("/api/v1/old", summary="Old", tag="t", answer=int, deprecated=LEAVING)
    async def old(_: Call[Nothing, Nothing, Nothing]) -> int:
        return 1

    @post(
        "/api/v1/old", summary="Old", tag="t", answer=int, body=NewThing, auth=Auth.USER, deprecated=LEAVING
    )
    async def make(_: Call[Nothing, Nothing, NewThing]) -> int:
        raise RuntimeError("broken")

    @get("/api/v2/old", summary="New", tag="t", answer=int)
    async def new(_: Call[Nothing, Nothing, Nothing]) -> int:
        return 2

    return [old, make, new]


GOOD: dict[str, Any] = {
    "title": "x",
    "startsAt": "2026-01-01T00:00:00Z",
    "tiers": [{"priceWei": "1", "supply": 1}],
}


@pytest.mark.parametrize(
    ("method", "headers", "body", "status"),
    [
        ("GET", {}, None, 200),
        ("HEAD", {}, None, 200),
        ("GET", {"if-none-match": "*"}, None, 304),
        ("POST", {}, {}, 401),
        ("POST", {"authorization": "Bearer user"}, {}, 422),
        ("POST", {"authorization": "Bearer user"}, GOOD, 500),
    ],
)
async def test_every_answer_of_a_deprecated_route_says_since_when_until_when_and_what_instead(
    method: str, headers: dict[str, str], body: object, status: int
) -> None:
    answer = await Client(example(endpoints()))(method, "/api/v1/old", headers=headers, json_body=body)
    assert answer.status == status
    assert answer.header("deprecation") == f"@{int(SINCE.timestamp())}"
    assert answer.header("sunset") == "Wed, 01 Dec 2027 08:30:00 GMT"
    assert answer.header("link") == (
        '</docs>; rel="deprecation"; type="text/html", </api/v2/old>; rel="successor-version"'
    )


async def test_no_other_route_says_so() -> None:
    client = Client(example(endpoints()))
    for path in ("/api/v2/old", "/nowhere"):
        answer = await client("GET", path)
        assert not {"deprecation", "sunset", "link"} & {name for name, _ in answer.headers}


async def test_the_document_marks_it_with_the_headers_it_sends() -> None:
    paths = document(endpoints(), title="", version="", description="")["paths"]
    old, new = paths["/api/v1/old"]["get"], paths["/api/v2/old"]["get"]
    assert old["deprecated"] is True
    assert {"Deprecation", "Sunset", "Link"} <= set(old["responses"]["200"]["headers"])
    assert "deprecated" not in new
    assert not {"Deprecation", "Sunset", "Link"} & set(new["responses"]["200"]["headers"])


async def test_its_calls_are_counted_by_route() -> None:
    metrics = Metrics()
    client = Client(example(endpoints(), metrics=metrics))
    for _ in range(3):
        await client("GET", "/api/v1/old")
    await client("GET", "/api/v2/old")
    page = metrics.render().decode()
    assert 'echain_http_deprecated_total{method="GET",route="/api/v1/old"} 3.0' in page
    assert 'route="/api/v2/old"} ' not in "".join(line for line in page.splitlines() if "deprecated" in line)


def test_a_successor_with_parameters_is_not_linked() -> None:
    headers = dict(Deprecation(since=SINCE, successor="/api/v2/events/{id}").headers())
    assert headers == {
        b"deprecation": b"@%d" % SINCE.timestamp(),
        b"link": b'</docs>; rel="deprecation"; type="text/html"',
    }


@pytest.mark.parametrize(
    "moments",
    [(datetime(2026, 1, 1), None), (SINCE, datetime(2027, 1, 1)), (SINCE, SINCE - timedelta(days=1))],  # noqa: DTZ001
)
def test_moments_that_make_no_sense_are_refused(moments: Sequence[Any]) -> None:
    with pytest.raises(ValueError):
        Deprecation(since=moments[0], sunset=moments[1])
