"""Seals stored values anew with the first data key, so that older keys can be retired."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from echain.infra.crypto import PREFIX_BYTES, DataKeys, SealedColumn
from echain.infra.database import Database, Row, Tx

_BATCH: Final = 200


async def reseal(database: Database, keys: DataKeys, columns: Sequence[SealedColumn]) -> int:
    """Seal every value anew that another key than the first sealed; return how many.

    Batches of 200 rows, each in its own transaction; rows that somebody else holds are waited for. May be
    stopped at any time and run again, also twice at once.

    Raises:
        Unopenable: a value's key is missing; what was done stays done.
    """
    done = 0
    for column in columns:
        while True:
            async with database.transaction() as tx:
                rows = await _stale(tx, keys, column)
                for row in rows:
                    await _replace(tx, keys, column, row)
            if not rows:
                break
            done += len(rows)
    return done


async def sealed_by(database: Database, columns: Sequence[SealedColumn]) -> Counter[str]:
    """Return how many values each key sealed, by the key's id."""
    counted: Counter[str] = Counter()
    for column in columns:
        rows = await database.fetch(
            f"""
            SELECT encode(substring({column.column} FROM 2 FOR {PREFIX_BYTES - 1}), 'hex') AS key,
                   count(*) AS values
              FROM {column.table} WHERE {column.column} IS NOT NULL GROUP BY 1
            """  # noqa: S608 -- names are constants of the slices
        )
        counted.update({row["key"]: row["values"] for row in rows})
    return counted


async def _stale(tx: Tx, keys: DataKeys, column: SealedColumn) -> Sequence[Row]:
    return await tx.fetch(
        f"""
        SELECT {column.id_column} AS id, {column.column} AS sealed FROM {column.table}
         WHERE substring({column.column} FROM 1 FOR {PREFIX_BYTES}) <> $1
         ORDER BY {column.id_column} LIMIT {_BATCH} FOR UPDATE
        """,  # noqa: S608 -- names are constants of the slices
        keys.current_prefix,
    )


async def _replace(tx: Tx, keys: DataKeys, column: SealedColumn, row: Row) -> None:
    plain = column.open(keys, row["id"], row["sealed"])
    arguments: list[object] = [row["id"], column.seal(keys, row["id"], plain)]
    changes = f"{column.column} = $2"
    if column.index_column is not None:
        changes += f", {column.index_column} = $3"
        arguments.append(column.indexes(keys, plain)[0])
    await tx.execute(
        f"UPDATE {column.table} SET {changes} WHERE {column.id_column} = $1",  # noqa: S608 -- as above
        *arguments,
    )
