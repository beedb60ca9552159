"""Rows encoded for PostgreSQL's binary COPY ahead of the transaction that writes them.

The driver encodes value by value while the server waits. Here whole columns go through `struct` without a
step of Python a row, and the transaction only sends bytes. Only for tables that take thousands of rows a
second.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from itertools import chain, repeat
from struct import Struct
from typing import Any, Final

import msgspec

from echain.infra.database import Tx
from echain.kernel.time import to_unix

INT8: Final = "q"
INT4: Final = "i"
ADDRESS: Final = "20s"
HASH: Final = "32s"
VARIED: Final = ""
"""A column whose values come from `varied`, `numeric` or `text`, each with its own length before it."""

_EPOCH_SECONDS: Final = 946_684_800
"""PostgreSQL counts time in microseconds from 2000-01-01."""

_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER: Final = b"\xff\xff"
_CHUNK_BYTES: Final = 1 << 16
_LENGTH: Final = Struct(">i")
_NUMERIC: Final = Struct(">ihhhh")
_DIGIT: Final = 10_000


class Rows(msgspec.Struct, frozen=True):
    """Encoded rows of one table, ready to be sent."""

    table: str
    columns: tuple[str, ...]
    count: int
    data: bytes

    async def copy(self, tx: Tx) -> None:
        """Append the rows; nothing when there are none.

        Raises:
            ValueError: the columns were not of the same length.
        """
        if not self.count:
            return
        done: str = await tx.copy_to_table(
            self.table, source=_stream(self.data), columns=self.columns, format="binary"
        )
        if done != f"COPY {self.count}":
            raise ValueError(f"{self.table}: {done} of {self.count} rows")


class Table:
    """A table's name with its columns, each with how its values lie in a row."""

    def __init__(self, name: str, columns: Mapping[str, str]) -> None:
        self.name = name
        self.columns = tuple(columns)
        self._parts: list[tuple[Struct, list[int]] | None] = []
        """Runs of columns of fixed length, each with these lengths; None stands for a varied column."""
        layout, sizes = ">h", [len(columns)]
        for kind in columns.values():
            if kind:
                layout += "i" + kind
                sizes.append(Struct(">" + kind).size)
                continue
            if sizes:
                self._parts.append((Struct(layout), sizes))
            self._parts.append(None)
            layout, sizes = ">", []
        if sizes:
            self._parts.append((Struct(layout), sizes))

    def rows(self, count: int, *columns: Iterable[Any], into: str | None = None) -> Rows:
        """Encode ``count`` rows given column by column, in the table's order; constants may be endless.

        ``into`` names a partition to write instead of the table.
        """
        values = iter(columns)
        pieces: list[Iterable[bytes]] = []
        for place, part in enumerate(self._parts):
            if part is None:
                pieces.append(next(values))
                continue
            layout, sizes = part
            fields: list[Iterable[Any]] = []
            # The first number of a row says how many columns it has.
            fixed = sizes[1:] if place == 0 else sizes
            if place == 0:
                fields.append(repeat(sizes[0]))
            for size in fixed:
                fields += (repeat(size), next(values))
            pieces.append(map(layout.pack, *fields))
        data = b"".join(chain.from_iterable(zip(*pieces, strict=False))) if count else b""
        return Rows(into or self.name, self.columns, count, data)


def varied(values: Iterable[bytes]) -> list[bytes]:
    """Return byte strings as a `VARIED` column."""
    return [_LENGTH.pack(len(value)) + value for value in values]


@lru_cache(4_096)
def text(value: str) -> bytes:
    """Return one of few texts as a value of a `VARIED` column."""
    data = value.encode()
    return _LENGTH.pack(len(data)) + data


@lru_cache(4_096)
def numeric(value: int) -> bytes:
    """Return a natural number as a NUMERIC of a `VARIED` column; there are few prices and many tickets."""
    digits: list[int] = []
    while value:
        value, digit = divmod(value, _DIGIT)
        digits.append(digit)
    weight = len(digits) - 1
    packed = b"".join(digit.to_bytes(2, "big") for digit in reversed(digits))
    return _NUMERIC.pack(len(packed) + 8, len(digits), max(weight, 0), 0, 0) + packed


@lru_cache(4_096)
def moment(time: datetime) -> int:
    """Return a time of whole seconds as an `INT8` of a TIMESTAMPTZ column."""
    return (to_unix(time) - _EPOCH_SECONDS) * 1_000_000


async def _stream(data: bytes) -> AsyncGenerator[bytes]:
    yield _HEADER
    for at in range(0, len(data), _CHUNK_BYTES):
        yield data[at : at + _CHUNK_BYTES]
    yield _TRAILER
