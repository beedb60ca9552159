"""What is encoded ahead reaches the table as the very values that the driver would have sent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import repeat
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from echain.infra import bulk
from echain.infra.database import Connection, Database

TABLE = bulk.Table(
    "loaded",
    {
        "chain_id": bulk.INT8,
        "note": bulk.VARIED,
        "place": bulk.INT4,
        "owner": bulk.ADDRESS,
        "hash": bulk.HASH,
        "at": bulk.INT8,
        "price": bulk.VARIED,
        "data": bulk.VARIED,
    },
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ROW = st.tuples(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=9),
    st.integers(-(2**31), 2**31 - 1),
    st.binary(min_size=20, max_size=20),
    st.binary(min_size=32, max_size=32),
    st.integers(0, 253_402_300_799),
    st.integers(0, 2**256 - 1) | st.integers(0, 60).map(lambda zeros: 10**zeros),
    st.binary(max_size=300),
)


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[Connection]:
    async with database.connection() as connection:
        await connection.execute(
            "CREATE TEMP TABLE loaded (place INTEGER, at TIMESTAMPTZ, chain_id BIGINT, note TEXT,"
            " hash BYTEA, price NUMERIC(78, 0), owner BYTEA, data BYTEA)"
        )
        yield connection


def encoded(rows: list[tuple[Any, ...]]) -> bulk.Rows:
    notes, places, owners, hashes, times, prices, data = zip(*rows, strict=True)
    return TABLE.rows(
        len(rows),
        repeat(7),
        map(bulk.text, notes),
        places,
        owners,
        hashes,
        [bulk.moment(EPOCH + timedelta(seconds=second)) for second in times],
        map(bulk.numeric, prices),
        bulk.varied(data),
    )


@settings(
    max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=st.lists(ROW, min_size=1, max_size=20))
async def test_every_value_arrives_as_it_was(connection: Connection, rows: list[tuple[Any, ...]]) -> None:
    await connection.execute("TRUNCATE loaded")
    await encoded(rows).copy(connection)
    stored = await connection.fetch(
        "SELECT note, place, owner, hash, extract(epoch FROM at)::bigint, price, data FROM loaded"
        " WHERE chain_id = 7 ORDER BY ctid"
    )
    assert [tuple(row) for row in stored] == rows


async def test_more_rows_than_one_message_holds_arrive_in_order(connection: Connection) -> None:
    row = ("note", 1, b"\x01" * 20, b"\x02" * 32, 9, 10**18, b"d" * 99)
    rows = [(row[0], place, *row[2:]) for place in range(5_000)]
    await encoded(rows).copy(connection)
    places = await connection.fetch("SELECT place FROM loaded ORDER BY ctid")
    assert [place for (place,) in places] == list(range(5_000))


async def test_a_column_that_ends_early_is_refused_and_leaves_nothing(connection: Connection) -> None:
    rows = encoded([("a", 1, bytes(20), bytes(32), 1, 1, b""), ("b", 2, bytes(20), bytes(32), 1, 1, b"")])
    short = bulk.Rows(rows.table, rows.columns, 3, rows.data)
    with pytest.raises(ValueError, match="COPY 2 of 3 rows"):
        async with connection.transaction():
            await short.copy(connection)
    assert await connection.fetchval("SELECT count(*) FROM loaded") == 0


async def test_no_rows_are_no_statement(connection: Connection) -> None:
    await TABLE.rows(0, *[()] * 8).copy(connection)
    assert await connection.fetchval("SELECT count(*) FROM loaded") == 0
