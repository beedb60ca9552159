"""The address book: where the platform's contracts stand on each chain."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from echain.infra.database import Connection, Database
from echain.kernel.evm import Address, Hash32


class Placed(msgspec.Struct, frozen=True):
    """One contract of the platform on a chain; ``transaction_hash`` is None when it stood there before us."""

    contract: str
    address: Address
    block_number: int
    transaction_hash: Hash32 | None
    constructor_arguments: bytes
    source_hash: str


_READ: Final = """
    SELECT contract, address, block_number, transaction_hash, constructor_arguments, source_hash
    FROM chain_deployments
    WHERE chain_id = $1
    ORDER BY contract
"""

_WRITE: Final = """
    INSERT INTO chain_deployments AS book (chain_id, contract, address, block_number, transaction_hash,
                                           constructor_arguments, source_hash, recorded_at)
    SELECT $1, contract, address, block_number, transaction_hash, constructor_arguments, source_hash, $2
    FROM unnest($3::text[], $4::bytea[], $5::bigint[], $6::bytea[], $7::bytea[], $8::text[])
         AS placed (contract, address, block_number, transaction_hash, constructor_arguments, source_hash)
    ON CONFLICT (chain_id, contract) DO UPDATE
    SET address = excluded.address, block_number = excluded.block_number,
        transaction_hash = excluded.transaction_hash,
        constructor_arguments = excluded.constructor_arguments,
        source_hash = excluded.source_hash, recorded_at = excluded.recorded_at
    WHERE (book.address, book.block_number, book.source_hash)
          IS DISTINCT FROM (excluded.address, excluded.block_number, excluded.source_hash)
"""


async def read(database: Database, chain_id: int) -> list[Placed]:
    """Return what the book says of a chain, by name."""
    rows = await database.fetch(_READ, chain_id)
    return [Placed(**dict(row)) for row in rows]


async def write(connection: Connection, chain_id: int, placed: Sequence[Placed], *, now: datetime) -> None:
    """Enter contracts; what the book says already is not touched."""
    await connection.execute(
        _WRITE,
        chain_id,
        now,
        [one.contract for one in placed],
        [one.address for one in placed],
        [one.block_number for one in placed],
        [one.transaction_hash for one in placed],
        [one.constructor_arguments for one in placed],
        [one.source_hash for one in placed],
    )
