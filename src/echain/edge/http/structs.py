"""Walks the Structs inside a type."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import inspect


def bare(kind: inspect.Type) -> inspect.Type:
    """Return the type without what Meta adds for the schema alone."""
    return bare(kind.type) if isinstance(kind, inspect.Metadata) else kind


def structs_in(kind: inspect.Type, seen: set[type] | None = None) -> Iterator[inspect.StructType]:
    """Yield every Struct type that values of this type may hold, each once."""
    seen = set() if seen is None else seen
    kind = bare(kind)
    inner: list[inspect.Type] = []
    if isinstance(kind, inspect.StructType):
        if kind.cls in seen:
            return
        seen.add(kind.cls)
        yield kind
        inner = [field.type for field in kind.fields]
    elif isinstance(kind, inspect.CollectionType):
        inner = [kind.item_type]
    elif isinstance(kind, inspect.DictType):
        inner = [kind.value_type]
    elif isinstance(kind, inspect.UnionType):
        inner = list(kind.types)
    for each in inner:
        yield from structs_in(each, seen)
