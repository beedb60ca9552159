"""What the HTTP toolkit measures of its answers."""

from __future__ import annotations

from uuid import UUID

from tests.edge.example import example
from tests.edge.http_client import Client

from echain.edge.http import Call, Nothing, get
from echain.infra.metrics import Metrics


def counted(metrics: Metrics) -> dict[str, int]:
    """Return the number of answers by method, route and class of status."""
    found: dict[str, int] = {}
    for line in metrics.render().decode().splitlines():
        name, _, rest = line.partition("{")
        if name == "echain_http_request_seconds_count":
            labels, _, value = rest.rpartition("} ")
            parts = dict(one.split("=", 1) for one in labels.replace('"', "").split(",", 2))
            found[f"{parts['method']} {parts['route']} {parts['status']}"] = int(float(value))
    return found


async def test_answers_are_counted_by_route_method_and_class_of_status() -> None:
    metrics = Metrics()
    client = Client(example(metrics=metrics))
    for _ in range(3):
        await client("GET", f"/api/v1/things/{UUID(int=1)}")
    await client("GET", "/api/v1/things/not-an-id")
    await client("HEAD", "/docs")
    await client("GET", "/docs")
    assert counted(metrics) == {
        "GET /api/v1/things/{id} 2xx": 3,
        "GET /api/v1/things/{id} 4xx": 1,
        "GET /docs 2xx": 2,
    }


async def test_what_strangers_write_into_paths_and_methods_makes_no_series() -> None:
    metrics = Metrics()
    client = Client(example(metrics=metrics))
    for number in range(20):
        await client("GET", f"/nowhere/{number}")
        await client(f"M{number}", "/docs")
    assert counted(metrics) == {"none none 4xx": 40}


async def test_a_bug_counts_as_5xx_of_its_route() -> None:
    @get("/api/v1/broken", summary="Broken", tag="things", answer=None)
    async def broken(_: Call[Nothing, Nothing, Nothing]) -> None:
        raise ZeroDivisionError

    metrics = Metrics()
    await Client(example([broken], metrics=metrics))("GET", "/api/v1/broken")
    assert counted(metrics) == {"GET /api/v1/broken 5xx": 1}
