"""The tables of the jobs are those that the installed library would make."""

from __future__ import annotations

import re

from pgqueuer.adapters.persistence.qb import QueryBuilderEnvironment

from echain.infra.database import Database
from echain.infra.jobs.statements import SETTINGS

COLUMNS = """
    SELECT column_name, is_nullable = 'NO' AS required FROM information_schema.columns
    WHERE table_schema = 'jobs' AND table_name = $1
"""


async def test_the_queue_and_the_log_have_the_librarys_columns(database: Database) -> None:
    install = QueryBuilderEnvironment(SETTINGS).build_install_query()
    for table in ("queue", "log"):
        body = re.search(rf"CREATE TABLE jobs.{table} \((.*?)\n\);", install, re.DOTALL)
        assert body is not None
        declared = {
            line.split()[0]: "NOT NULL" in line for line in body.group(1).strip().splitlines() if line.strip()
        }
        ours = {row["column_name"]: row["required"] for row in await database.fetch(COLUMNS, table)}
        assert ours == declared


async def test_the_states_are_the_librarys(database: Database) -> None:
    install = QueryBuilderEnvironment(SETTINGS).build_install_query()
    declared = re.search(r"CREATE TYPE jobs.status AS ENUM \((.*?)\);", install)
    assert declared is not None
    ours = await database.fetchval("SELECT enum_range(NULL::jobs.status)::text[]")
    assert ours == re.findall(r"'(\w+)'", declared.group(1))


async def test_every_index_we_keep_is_spelled_as_the_librarys(database: Database) -> None:
    """Else its statements would not find them: a partial index is used where its condition is restated."""
    install = QueryBuilderEnvironment(SETTINGS).build_install_query()
    ours = await database.fetch(
        "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'jobs' AND tablename <> 'schedules'"
    )
    known = {row["indexname"]: row["indexdef"] for row in ours}
    declared = dict(re.findall(r"CREATE (?:UNIQUE )?INDEX (\w+) ON (.*?);", install))
    shared = known.keys() & declared.keys()
    assert {name: definition(known[name]) for name in shared} == {
        name: definition(declared[name]) for name in shared
    }
    assert shared >= {"queue_ep_prio_id_idx", "queue_ep_ea_idx", "queue_picked_heartbeat_idx"}
    assert shared >= {"queue_unique_dedupe_key", "log_job_id_status", "log_created"}


def definition(text: str) -> str:
    return text.partition(" USING ")[2]
