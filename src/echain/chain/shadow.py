"""SQL of shadows: temporary tables that stand before the projections of the same name, in one session.

PostgreSQL looks for a name among the session's temporary tables first, so the statements of every slice write
the shadows there without knowing it, and everybody else goes on with the real tables. However the session
ends, its shadows are gone.
"""

from __future__ import annotations

from collections.abc import Sequence

from echain.infra.database import Connection, Tx

_MEMORY = "64MB"


async def cast(connection: Connection, tables: Sequence[str]) -> None:
    """Make an empty shadow of each table, with its indexes and constraints; earlier ones are replaced."""
    await connection.execute(f"SET temp_buffers = '{_MEMORY}'")
    for table in tables:
        await connection.execute(f"DROP TABLE IF EXISTS pg_temp.{table}")
        await connection.execute(
            f"CREATE TEMPORARY TABLE {table}"
            f" (LIKE public.{table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES)"
        )


async def analyze(connection: Connection, tables: Sequence[str]) -> None:
    """Let plans know how large the shadows are; no autovacuum looks at temporary tables."""
    await connection.execute("ANALYZE " + ", ".join(f"pg_temp.{table}" for table in tables))


async def swap(tx: Tx, table: str, chain_id: int) -> int:
    """Make a chain's rows of the real table those of the shadow; return how many were not the same.

    What is the same is not touched, so the cost is that of a comparison unless much has changed.
    """
    columns = ", ".join(await _columns(tx, table))
    same_key = " AND ".join(f"made.{name} = kept.{name}" for name in await _key(tx, table))
    gone = await tx.execute(
        f"""
        DELETE FROM public.{table} AS kept WHERE kept.chain_id = $1 AND NOT EXISTS (
            SELECT FROM pg_temp.{table} AS made WHERE {same_key} AND made IS NOT DISTINCT FROM kept
        )
        """,  # noqa: S608 - names of the catalogue
        chain_id,
    )
    come = await tx.execute(
        f"""
        INSERT INTO public.{table} ({columns})
        SELECT {columns} FROM pg_temp.{table} AS made WHERE NOT EXISTS (
            SELECT FROM public.{table} AS kept WHERE {same_key}
        )
        """  # noqa: S608 - the same
    )
    return max(_count(gone), _count(come))


async def _columns(connection: Connection, table: str) -> list[str]:
    rows = await connection.fetch(
        """
        SELECT quote_ident(attname) AS name FROM pg_attribute
        WHERE attrelid = ('public.' || $1)::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
        ORDER BY attnum
        """,
        table,
    )
    return [row["name"] for row in rows]


async def _key(connection: Connection, table: str) -> list[str]:
    rows = await connection.fetch(
        """
        SELECT quote_ident(attname) AS name FROM pg_index
        JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY(indkey)
        WHERE indrelid = ('public.' || $1)::regclass AND indisprimary
        """,
        table,
    )
    return [row["name"] for row in rows]


def _count(tag: str) -> int:
    return int(tag.rsplit(" ", 1)[1])
