"""When a part fails, or we do, every route says so in our own words and tells nothing of what is inside."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest
import structlog
from tests.edge.http_client import Answered, Client
from tests.policy.requests import RAW, body_of, path_of
from tests.policy.routes import ROUTES
from tests.policy.test_inputs import somebody
from tests.policy.world import CHAIN, World

from echain.chain.rpc import Rpc
from echain.edge.http import Application
from echain.infra.database import Connection, Database, DatabaseUnavailable

pytestmark = pytest.mark.timeout(600)

INSIDE = "pl4nt"
"""What stands in every fault's own words."""

TELLING = re.compile(
    rf"{INSIDE}|Traceback|asyncpg|postgresql:|redis:|\.py\b|/src/|line \d+, in|relation |SELECT |127\.0\.0\.1"
)


ON_CHAIN = (
    *("POST /api/v1/events/{id}/publish", "POST /api/v1/events/{id}/tiers/{tier}/price"),
    *("POST /api/v1/tickets/{id}/transfer", "POST /api/v1/gates/{id}/enable", "GET /api/v1/chains"),
    *("POST /api/v1/transactions", "GET /api/v1/transactions/{hash}"),
    *("GET /api/v1/events/{id}/transparency", "GET /api/health", "POST /api/v1/gates"),
)
"""Routes of each slice that asks nodes."""


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What is logged is another test's; to draw hundreds of tracebacks takes minutes."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


class Faulty(Database):
    """A database that answers everything with one fault."""

    def __init__(self, fault: Exception) -> None:
        super().__init__(f"postgresql://{INSIDE}@127.0.0.1:1/{INSIDE}", size=1, name="faulty")
        self._fault = fault

    async def _acquire(self) -> Connection:
        raise self._fault


FAULTS: dict[str, Exception] = {
    "away": DatabaseUnavailable(),
    "another schema": asyncpg.UndefinedTableError(f'relation "{INSIDE}" does not exist'),
    "a bug of ours": RuntimeError(f"{INSIDE} at /src/{INSIDE}.py, line 7"),
}


async def ask(made: World, app: Application, name: str) -> Answered:
    """Send a good request of somebody who may, whom the application knows already."""
    caller, thing = somebody(made, name)
    # Who they are is remembered; else nothing but the look at their token would fail.
    await made.send(caller, "GET", "/api/v1/events")
    return await Client(app, caller.headers)(
        name.split(" ", 1)[0], path_of(name, thing), json_body=body_of(name, thing), body=RAW.get(name, b"")
    )


def check(answer: Answered) -> None:
    shown = answer.body.decode(errors="replace") + str(answer.headers)
    if answer.status >= 400:
        assert not TELLING.search(shown), shown
    if answer.status >= 500 and (answer.header("content-type") or "").startswith("application/json"):
        envelope: Any = answer.json
        if "error" in envelope:
            assert set(envelope["error"]) == {"code", "message", "details"}
            assert set(envelope["error"]["details"]) <= {"retryAfterSeconds", "size"}, envelope


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("fault", FAULTS)
async def test_no_route_tells_how_the_database_failed(everything: World, fault: str) -> None:
    app = everything.rebuilt(database=Faulty(FAULTS[fault]))
    statuses = set()
    for name in sorted(ROUTES):
        answer = await ask(everything, app, name)
        check(answer)
        statuses.add(answer.status)
    assert (503 if fault == "away" else 500) in statuses


@pytest.mark.asyncio(loop_scope="session")
async def test_no_route_tells_which_node_failed_or_its_key(everything: World) -> None:
    rpc = Rpc([f"http://{INSIDE}:{INSIDE}@127.0.0.1:1/v2/{INSIDE}?key={INSIDE}"], chain_id=CHAIN)
    app = everything.rebuilt(rpcs={CHAIN: rpc})
    codes = set()
    for name in ON_CHAIN:
        async with everything.database.begin():
            answer = await ask_within(everything, app, name)
        check(answer)
        if answer.status == 503 and "error" in answer.json:
            codes.add(answer.error["code"])
    await rpc.close()
    assert "chain.unreachable" in codes


async def ask_within(made: World, app: Application, name: str) -> Answered:
    caller, thing = somebody(made, name)
    return await Client(app, caller.headers)(
        name.split(" ", 1)[0], path_of(name, thing), json_body=body_of(name, thing), body=RAW.get(name, b"")
    )
