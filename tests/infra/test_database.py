"""The pool serves in order, heals, and never hands out what is broken."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import asyncpg
import pytest

from echain.infra.database import Database, DatabaseUnavailable
from echain.infra.embedded.postgres import Postgres
from echain.infra.metrics import Metrics


async def test_a_transaction_is_rolled_back_when_its_body_raises(database: Database) -> None:
    await database.execute("CREATE TABLE note (text TEXT)")

    async def write() -> None:
        async with database.transaction() as tx:
            await tx.execute("INSERT INTO note VALUES ('lost')")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await write()
    assert await database.fetchval("SELECT count(*) FROM note") == 0


async def test_a_cancelled_caller_ends_though_its_connection_is_lost_too(database: Database) -> None:
    """Else a loop that waits for the database to come back takes its own end for an outage, and goes on."""
    held: list[asyncpg.Connection] = []

    async def hold() -> None:
        async with database.transaction() as tx:
            held.append(tx)
            await asyncio.sleep(30)

    task = asyncio.create_task(hold())
    while not held:
        await asyncio.sleep(0.01)
    held[0].terminate()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await database.fetchval("SELECT 1") == 1


async def test_a_begin_that_is_cut_off_swallows_no_later_write(database_url: str) -> None:
    """Else the next statement on that connection lands in a transaction that nobody commits."""
    pool = await Database.connect(database_url, size=1)
    await pool.execute("CREATE TABLE kept (n INT)")

    async def hold() -> None:
        async with pool.transaction() as tx:
            await tx.fetchval("SELECT 1")

    for n in range(60):
        task = asyncio.create_task(hold())
        for _ in range(n % 6):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await pool.execute("INSERT INTO kept VALUES ($1)", n)
    other = await Database.connect(database_url, size=1)
    assert await other.fetchval("SELECT count(*) FROM kept") == 60
    await other.close()
    await pool.close()


async def test_a_statement_that_takes_too_long_is_ended_by_the_server(database_url: str) -> None:
    pool = await Database.connect(database_url, size=1, statement_seconds=0.2)
    for _ in range(2):
        with pytest.raises(DatabaseUnavailable):
            await pool.fetchval("SELECT pg_sleep(30)")
        assert await pool.fetchval("SELECT 1") == 1
    busy = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND state = 'active'"
    assert await pool.fetchval(f"{busy} AND pid <> pg_backend_pid()") == 0
    await pool.close()


async def test_a_server_that_hangs_is_given_up(own_postgres: Postgres) -> None:
    """Its process is stopped in the middle of a transaction and of a statement, as by a disk that is gone."""
    pool = await Database.connect(own_postgres.url(), size=2, statement_seconds=0.2)

    async def ask() -> None:
        async with pool.transaction() as tx:
            pid = await tx.fetchval("SELECT pg_backend_pid()")
            os.kill(pid, signal.SIGSTOP)
            try:
                await tx.fetchval("SELECT 1")
            finally:
                os.kill(pid, signal.SIGCONT)

    began = time.monotonic()
    with pytest.raises(DatabaseUnavailable):
        await ask()
    assert time.monotonic() - began < 4
    assert await pool.fetchval("SELECT 1") == 1
    await pool.close()


async def test_jsonb_is_plain_python_in_and_out_also_in_arrays(database: Database) -> None:
    value = {"name": "Übung", "list": [1, None, {"deep": True}]}
    assert await database.fetchval("SELECT $1::jsonb", value) == value
    assert await database.fetchval("SELECT $1::jsonb[]", [value, {}, "text"]) == [value, {}, "text"]


async def test_those_who_wait_are_served_in_order_of_arrival(database_url: str) -> None:
    pool = await Database.connect(database_url, size=2, name="fair")
    served: list[int] = []

    async def ask(number: int) -> None:
        async with pool.connection() as connection:
            served.append(number)
            await connection.execute("SELECT pg_sleep(0.002)")

    await asyncio.gather(*(ask(number) for number in range(40)))
    await pool.close()
    assert served == sorted(served)


async def test_the_pool_never_exceeds_its_size(database_url: str) -> None:
    pool = await Database.connect(database_url, size=3, name="bounded")
    count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'bounded'"
    counts = await asyncio.gather(
        *(pool.fetchval(count + " AND pg_sleep(0.001) IS NOT NULL") for _ in range(50))
    )
    await pool.close()
    assert max(counts) <= 3


async def test_a_cancelled_caller_costs_no_connection(database_url: str) -> None:
    pool = await Database.connect(database_url, size=2, name="cancelled")
    for round_number in range(30):
        tasks = [asyncio.create_task(pool.execute("SELECT pg_sleep(5)")) for _ in range(5)]
        await asyncio.sleep(0.001 * (round_number % 5))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    async with asyncio.timeout(5), pool.transaction() as first, pool.transaction() as second:
        assert await first.fetchval("SELECT 1") == await second.fetchval("SELECT 1")
    await pool.close()


async def test_a_transaction_cut_off_by_cancellation_leaves_nothing_open(database_url: str) -> None:
    pool = await Database.connect(database_url, size=1, name="cut")
    await pool.execute("CREATE TABLE note (text TEXT)")

    async def write() -> None:
        async with pool.transaction() as tx:
            await tx.execute("INSERT INTO note VALUES ('lost')")
            await tx.execute("SELECT pg_sleep(5)")

    for _ in range(10):
        task = asyncio.create_task(write())
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await pool.fetchval("SELECT count(*) FROM note") == 0
    await pool.close()


async def test_an_error_of_a_statement_stays_what_it_is(database: Database) -> None:
    with pytest.raises(asyncpg.UndefinedTableError):
        await database.fetch("SELECT * FROM nothing")
    async with database.connection() as connection:
        with pytest.raises(asyncpg.DivisionByZeroError):
            await connection.fetch("SELECT 1 / 0")
    assert await database.fetchval("SELECT 1") == 1


async def test_an_os_error_of_the_caller_is_not_taken_for_a_lost_database(database: Database) -> None:
    with pytest.raises(FileNotFoundError):
        async with database.connection():
            raise FileNotFoundError


async def test_the_pool_heals_when_the_server_comes_back(own_postgres: Postgres) -> None:
    pool = await Database.connect(own_postgres.url(), size=4, name="healing")
    await asyncio.gather(*(pool.fetchval("SELECT pg_sleep(0.01)") for _ in range(4)))
    own_postgres.stop()
    for _ in range(5):
        with pytest.raises(DatabaseUnavailable):
            await pool.fetchval("SELECT 1")
    with pytest.raises(DatabaseUnavailable):
        async with pool.transaction() as tx:
            await tx.execute("SELECT 1")
    own_postgres.start()
    assert await asyncio.gather(*(pool.fetchval("SELECT 1") for _ in range(20))) == [1] * 20
    await pool.close()


async def test_a_server_killed_in_a_statement_is_reported_to_everyone_at_once(own_postgres: Postgres) -> None:
    pool = await Database.connect(own_postgres.url(), size=2, name="killed")
    tasks = [asyncio.create_task(pool.fetchval("SELECT pg_sleep(60)")) for _ in range(6)]
    await asyncio.sleep(0.2)
    own_postgres.kill()
    async with asyncio.timeout(5):
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [DatabaseUnavailable] * 6
    own_postgres.start()
    assert await pool.fetchval("SELECT 1") == 1
    await pool.close()


async def test_a_closed_pool_refuses(database_url: str) -> None:
    pool = await Database.connect(database_url, size=1, name="closed")
    async with pool.connection():
        waiting = asyncio.create_task(pool.fetchval("SELECT 1"))
        await asyncio.sleep(0.01)
        await pool.close()
        with pytest.raises(DatabaseUnavailable):
            await waiting
    with pytest.raises(DatabaseUnavailable):
        await pool.fetchval("SELECT 1")


async def test_nobody_at_the_address_is_said_plainly() -> None:
    with pytest.raises(DatabaseUnavailable, match="refuses"):
        await Database.connect("postgresql://nobody@127.0.0.1:1/none", name="test")


async def test_what_the_pool_does_is_measured(database_url: str) -> None:
    metrics = Metrics()
    database = Database.lazy(database_url, size=1, metrics=metrics)
    await database.fetchval("SELECT 1")
    async with database.transaction():
        waiting = asyncio.create_task(database.execute("SELECT 1"))
        await asyncio.sleep(0.05)
        assert "echain_database_waiting 1.0" in metrics.render().decode()
    await waiting
    page = metrics.render().decode()
    for line in (
        "echain_database_connections 1.0",
        "echain_database_connections_idle 1.0",
        "echain_database_waiting 0.0",
        # The first connection's own opening, and the one that was busy.
        "echain_database_wait_seconds_count 2.0",
        "echain_database_query_seconds_count 2.0",
        "echain_database_transaction_seconds_count 1.0",
    ):
        assert line in page
    await database.close()
