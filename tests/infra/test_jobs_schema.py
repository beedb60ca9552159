"""The tables of the jobs are those that the installed library would make."""

from __future__ import annotations

import json
import re

from pgqueuer.adapters.persistence.qb import QueryBuilderEnvironment

from echain.infra.database import Database
from echain.infra.jobs.statements import NEXT_ETA, SETTINGS, TAKE

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
    assert shared == {
        "queue_picked_heartbeat_idx",
        "queue_unique_dedupe_key",
        "log_job_id_status",
        "log_created",
    }


def definition(text: str) -> str:
    return text.partition(" USING ")[2]


async def test_looking_for_jobs_reads_none_of_those_whose_time_has_not_come(database: Database) -> None:
    await database.execute("""
        INSERT INTO jobs.queue (priority, status, entrypoint, execute_after)
        SELECT 0, 'queued', 'sync', now() + interval '1 day' FROM generate_series(1, 50000)
    """)
    await database.execute(
        "INSERT INTO jobs.queue (priority, status, entrypoint) VALUES (0, 'queued', 'sync')"
    )
    await database.execute("VACUUM ANALYZE jobs.queue")
    owner = "'00000000-0000-0000-0000-000000000000'"
    take = literally(TAKE, "'sync'", "16", f"{owner}::uuid", "interval '30 s'")
    assert await pages_read(database, take) < 100
    assert await pages_read(database, literally(NEXT_ETA, "'{sync,webhook,media}'")) < 30


def literally(statement: str, *values: str) -> str:
    for place, value in enumerate(values, 1):
        statement = statement.replace(f"${place}", value)
    return statement


async def pages_read(database: Database, statement: str) -> int:
    plan = await database.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}")
    top = json.loads(plan)[0]["Plan"]
    return top["Shared Hit Blocks"] + top["Shared Read Blocks"]
