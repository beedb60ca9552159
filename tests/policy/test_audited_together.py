"""An entry of the audit log and its change are one: where the entry cannot be written nothing changes."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import asyncpg
import pytest
import structlog
from tests.policy.routes import ROUTES
from tests.policy.test_audited import COUNT, ELSEWHERE, NOT_AUDITED, SCENARIOS, good_request
from tests.policy.world import World

from echain.edge.http import Application
from echain.infra.database import Database

pytestmark = pytest.mark.timeout(600)

WRITTEN: Final = """
    SELECT position, action, request_id FROM audit_entries WHERE position > $1
    UNION ALL
    SELECT position, action, request_id FROM audit_arrivals WHERE position > $1
    ORDER BY position
"""
REFUSE: Final = """
    CREATE FUNCTION audit_is_full() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'the log takes nothing';
    END
    $$;
    CREATE TRIGGER full_entries BEFORE INSERT ON audit_entries
    FOR EACH ROW WHEN (NEW.action = '{0}') EXECUTE FUNCTION audit_is_full();
    CREATE TRIGGER full_arrivals BEFORE INSERT ON audit_arrivals
    FOR EACH ROW WHEN (NEW.action = '{0}') EXECUTE FUNCTION audit_is_full();
"""
TABLES: Final = """
    SELECT table_name FROM information_schema.tables
     WHERE table_schema = 'public' AND table_type = 'BASE TABLE' ORDER BY table_name
"""

ONE_STATEMENT: Final = frozenset({"POST /api/v1/gates/{id}/scan", "POST /api/v1/tickets/{id}/checkin"})
"""Routes of the door, where one statement outside of any transaction makes the change and its entry.

It takes all of the test's transaction along when it fails, so that nothing is left to compare.
"""


class Failed(Exception):
    """The route failed, as it should; nobody else need be tried."""


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What is logged is another test's; to draw hundreds of tracebacks takes minutes."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


@dataclass
class Watch:
    """Sees what requests of one route leave in the database."""

    database: Database
    name: str
    found: list[tuple[int, set[str]]] = field(default_factory=list[tuple[int, set[str]]])
    """Of each such request its status, and the tables that are not as they were before it."""

    async def rows(self) -> dict[str, str]:
        """Return of each table a digest of all that stands in it."""
        names = [row["table_name"] for row in await self.database.fetch(TABLES)]
        each = (
            f"SELECT '{name}' AS name, md5(string_agg(t::text, '|' ORDER BY t::text)) AS digest FROM {name} t"
            for name in names
        )
        return {row["name"]: row["digest"] for row in await self.database.fetch(" UNION ALL ".join(each))}

    def put_on(self, patch: pytest.MonkeyPatch) -> None:
        serve, route = Application.__call__, re.compile(re.sub(r"\{\w+}", "[^/]+", self.name))

        async def watched(app: Application, scope: Any, receive: Any, send: Any) -> None:
            if not route.fullmatch(f"{scope.get('method')} {scope.get('path')}"):
                await serve(app, scope, receive, send)
                return
            statuses: list[int] = []

            async def seen(message: Any) -> None:
                if message["type"] == "http.response.start":
                    statuses.append(message["status"])
                await send(message)

            before = await self.rows()
            await serve(app, scope, receive, seen)
            try:
                after = await self.rows()
            except asyncpg.InFailedSQLTransactionError:
                assert self.name in ONE_STATEMENT, "the entry was written outside of any transaction"
                after = before
            self.found.append((statuses[0], {name for name in before if before[name] != after[name]}))
            if statuses[0] >= 500:
                raise Failed

        patch.setattr(Application, "__call__", watched)


async def actions_of(made: World, name: str) -> list[str]:
    """Return what a route writes into the log when all is well."""
    database = made.database
    async with database.begin():
        before = await database.fetchval(COUNT)
        await SCENARIOS.get(name, partial(good_request, name=name))(made)
        rows = await database.fetch(WRITTEN, before)
    return sorted({row["action"] for row in rows if row["request_id"] == rows[-1]["request_id"]})


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize(
    "name",
    sorted(name for name in set(ROUTES) - set(NOT_AUDITED) - set(ELSEWHERE) if not name.startswith("GET ")),
)
async def test_what_cannot_be_audited_does_not_happen(
    everything: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log refuses one entry of the request: it fails, and all that it changed is as before."""
    for action in await actions_of(everything, name):
        watch = Watch(everything.database, name)
        async with everything.database.begin():
            await everything.database.execute(REFUSE.format(action))
            with monkeypatch.context() as patch:
                watch.put_on(patch)
                with pytest.raises(Failed):
                    await SCENARIOS.get(name, partial(good_request, name=name))(everything)
        assert not [status for status, _ in watch.found if status < 400], (action, watch.found)
        _, left = watch.found[-1]
        assert not left, f"{action} is missing from the log, and this was done all the same: {left}"
