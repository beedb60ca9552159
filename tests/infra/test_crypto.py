"""Personal data at rest: nobody reads, alters or moves it without a key, and keys rotate."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echain.infra.crypto import DataKeys, SealedColumn, Unopenable
from echain.infra.database import Database
from echain.infra.reseal import reseal, sealed_by
from echain.infra.secret import Secret
from echain.kernel.ids import uuid7

OLD, NEW = Secret("11" * 32), Secret("22" * 32)
COLUMN = SealedColumn("people", index_column="found_by", normal=bytes.lower)


@given(st.binary(max_size=300), st.text(max_size=40))
def test_what_is_sealed_opens_again_in_its_place_alone(plain: bytes, context: str) -> None:
    keys = DataKeys([OLD])
    sealed = keys.seal(plain, context=context)
    assert keys.open(sealed, context=context) == plain
    assert plain not in sealed or len(plain) < 3
    assert keys.seal(plain, context=context) != sealed
    with pytest.raises(Unopenable):
        keys.open(sealed, context=context + ".")


def test_every_altered_bit_and_every_cut_is_noticed() -> None:
    keys = DataKeys([OLD, NEW])
    sealed = keys.seal(b"ada@example.org", context="here")
    for place in range(len(sealed)):
        for bit in range(8):
            altered = bytearray(sealed)
            altered[place] ^= 1 << bit
            with pytest.raises(Unopenable):
                keys.open(bytes(altered), context="here")
        with pytest.raises(Unopenable):
            keys.open(sealed[:place], context="here")
    with pytest.raises(Unopenable):
        keys.open(sealed + b"\x00", context="here")


def test_another_key_opens_nothing() -> None:
    with pytest.raises(Unopenable):
        DataKeys([NEW]).open(DataKeys([OLD]).seal(b"secret", context="here"), context="here")


def test_the_first_key_seals_and_all_open() -> None:
    before, during, after = DataKeys([OLD]), DataKeys([NEW, OLD]), DataKeys([NEW])
    assert during.open(before.seal(b"a", context="c"), context="c") == b"a"
    assert after.open(during.seal(b"b", context="c"), context="c") == b"b"
    assert during.seal(b"", context="c").startswith(after.current_prefix)


def test_the_prefix_of_one_key_cannot_stand_before_the_bytes_of_another() -> None:
    keys = DataKeys([OLD, NEW])
    sealed = keys.seal(b"secret", context="here")
    other = DataKeys([NEW]).current_prefix
    with pytest.raises(Unopenable):
        keys.open(other + sealed[len(other) :], context="here")


def test_equal_values_are_found_under_every_key_and_differ_by_context() -> None:
    before, during = DataKeys([OLD]), DataKeys([NEW, OLD])
    assert before.indexes(b"x", context="c")[0] in during.indexes(b"x", context="c")
    assert before.indexes(b"x", context="c") != before.indexes(b"x", context="d")
    assert before.indexes(b"x", context="c") != before.indexes(b"y", context="c")
    # The context cannot be shifted into the value.
    assert before.indexes(b"xy", context="c") != before.indexes(b"y", context="cx")
    assert COLUMN.indexes(before, b"Ada") == COLUMN.indexes(before, b"ada")


def test_a_data_key_has_32_bytes_and_there_is_one() -> None:
    with pytest.raises(ValueError):
        DataKeys([])
    with pytest.raises(ValueError):
        DataKeys([Secret("11" * 16)])


async def test_a_rotation_reseals_every_value_while_values_are_written(database: Database) -> None:
    """After it the old key is not needed any more, and what it found is found under the new one."""
    await _table(database)
    before, during, after = DataKeys([OLD]), DataKeys([NEW, OLD]), DataKeys([NEW])
    written = [await _add(database, before, f"Person{number}@example.org") for number in range(450)]

    async def join() -> list[UUID]:
        return [await _add(database, during, f"late{number}@example.org") for number in range(50)]

    first, second, late = await asyncio.gather(
        reseal(database, during, [COLUMN]), reseal(database, during, [COLUMN]), join()
    )
    assert first + second == 450
    assert await reseal(database, during, [COLUMN]) == 0
    assert await sealed_by(database, [COLUMN]) == {after.names[0]: 500}
    rows = await database.fetch("SELECT id, sealed, found_by FROM people")
    opened = {row["id"]: COLUMN.open(after, row["id"], row["sealed"]) for row in rows}
    assert set(opened) == {*written, *late}
    assert opened[written[7]] == b"Person7@example.org"
    assert all(row["found_by"] == COLUMN.indexes(after, opened[row["id"]])[0] for row in rows)


async def test_a_value_swapped_between_rows_does_not_open(database: Database) -> None:
    await _table(database)
    keys = DataKeys([OLD])
    mine, theirs = [await _add(database, keys, name) for name in ("mine@x.example", "theirs@x.example")]
    await database.execute(
        "UPDATE people SET sealed = (SELECT sealed FROM people WHERE id = $2) WHERE id = $1", mine, theirs
    )
    sealed = await database.fetchval("SELECT sealed FROM people WHERE id = $1", mine)
    with pytest.raises(Unopenable):
        COLUMN.open(keys, mine, sealed)
    other_column = SealedColumn("people", "found_by")
    own = await database.fetchval("SELECT sealed FROM people WHERE id = $1", theirs)
    with pytest.raises(Unopenable):
        other_column.open(keys, theirs, own)


async def test_a_lost_key_stops_the_rotation_and_harms_nothing(database: Database) -> None:
    await _table(database)
    one = await _add(database, DataKeys([OLD]), "ada@example.org")
    with pytest.raises(Unopenable):
        await reseal(database, DataKeys([NEW]), [COLUMN])
    sealed = await database.fetchval("SELECT sealed FROM people WHERE id = $1", one)
    assert COLUMN.open(DataKeys([OLD]), one, sealed) == b"ada@example.org"


async def _table(database: Database) -> None:
    await database.execute("CREATE TABLE people (id UUID PRIMARY KEY, sealed BYTEA, found_by BYTEA)")


async def _add(database: Database, keys: DataKeys, plain: str) -> UUID:
    row_id, value = uuid7(), plain.encode()
    await database.execute(
        "INSERT INTO people VALUES ($1, $2, $3)",
        *(row_id, COLUMN.seal(keys, row_id, value), COLUMN.indexes(keys, value)[0]),
    )
    return row_id
