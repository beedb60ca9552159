"""Statements as traces tell of them: their verbs, their tables, a digest; never their text or its values."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final, TypeAlias

import asyncpg

from echain.infra.traces import Span, current

Connection: TypeAlias = asyncpg.Connection

MOST_TABLES: Final = 6

_VERB: Final = re.compile(r"\s*([A-Za-z]+)")
_WRITES: Final = re.compile(r"\b(INSERT INTO|DELETE FROM|UPDATE)\s+(?:ONLY\s+)?([a-z_][a-z0-9_.]*)")
_READS: Final = re.compile(r"\b(?:FROM|JOIN)\s+(?:LATERAL\s+)?(?:ONLY\s+)?([a-z_][a-z0-9_.]*+)(?!\s*\()")
_NAMED_HERE: Final = re.compile(r"\b([a-z_][a-z0-9_]*)\s+AS\s+(?:NOT\s+|MATERIALIZED\s+)*\(")
_NO_TABLE: Final = re.compile(
    r"\bDISTINCT FROM\b|\b(?:extract|substring|trim|overlay)\([^()]*?\bFROM\b", re.IGNORECASE
)
_QUOTED: Final = re.compile(r"'(?:[^']|'')*'")
_SPACE: Final = re.compile(r"\s+")


@lru_cache(maxsize=2_048)
def statement_summary(query: str) -> tuple[str, str]:
    """Return a statement in a few words, as ``INSERT outbox`` or ``SELECT events, tiers``, and its digest.

    The words are verbs and names of tables; nothing between quotes gets into them. The digest, 8 bytes of
    BLAKE2b over the text with single spaces, tells statements of the same words apart.
    """
    text = _NO_TABLE.sub("(", _QUOTED.sub("''", query))
    own = set(_NAMED_HERE.findall(text))
    writes = dict.fromkeys((verb.split()[0], table) for verb, table in _WRITES.findall(text))
    written = {table for _, table in writes}
    reads = [
        table for table in dict.fromkeys(_READS.findall(text)) if table not in own and table not in written
    ]
    if writes:
        words = [f"{verb} {table}" for verb, table in writes if table not in own]
        summary = "; ".join(words[:MOST_TABLES])
    else:
        verb = _VERB.match(text)
        first = verb[1].upper() if verb else "STATEMENT"
        first = "SELECT" if first == "WITH" else first
        summary = " ".join((first, ", ".join(reads[:MOST_TABLES]))).strip()
    digest = blake2b(_SPACE.sub(" ", query).strip().encode(), digest_size=8).hexdigest()
    return summary, digest


def statement_recorder(span: Span) -> Callable[[Any], None]:
    """Return what asyncpg calls after each statement of a connection, to tell of it as a part of ``span``."""

    def tell(record: Any) -> None:
        # Called in the next turn of the loop, by when the request itself may have ended.
        summary, digest = statement_summary(record.query)
        ended_ns = time.time_ns()
        told = span.part(summary, "client", began_ns=ended_ns - int(record.elapsed * 1e9))
        if told is not None:
            told.tell(system="postgresql", statement=summary, digest=digest)
            told.end(record.exception, at_ns=ended_ns)

    return tell


@contextmanager
def statements_told(connection: Connection) -> Generator[None]:
    """Have what runs on a connection that was lent before told of in the block, if the block is told of."""
    span = current()
    if span is None:
        yield
        return
    teller = statement_recorder(span)
    connection.add_query_logger(teller)
    try:
        yield
    finally:
        connection.remove_query_logger(teller)
