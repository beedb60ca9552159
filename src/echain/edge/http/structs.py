"""Walks the types inside a type."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import inspect


def bare(kind: inspect.Type) -> inspect.Type:
    """Return the type without what Meta adds for the schema alone."""
    return bare(kind.type) if isinstance(kind, inspect.Metadata) else kind


def types_in(kind: inspect.Type, seen: set[type]) -> Iterator[inspect.Type]:
    """Yield every type that values of this one may hold, itself first; Structs in ``seen`` are left out."""
    kind = bare(kind)
    inner: list[inspect.Type] = []
    if isinstance(kind, inspect.StructType):
        if kind.cls in seen:
            return
        seen.add(kind.cls)
        inner = [field.type for field in kind.fields]
    elif isinstance(kind, inspect.CollectionType):
        inner = [kind.item_type]
    elif isinstance(kind, inspect.DictType):
        inner = [kind.value_type]
    elif isinstance(kind, inspect.UnionType):
        inner = list(kind.types)
    yield kind
    for each in inner:
        yield from types_in(each, seen)


def structs_in(kind: inspect.Type, seen: set[type] | None = None) -> Iterator[inspect.StructType]:
    """Yield every Struct type that values of this type may hold, each once."""
    for each in types_in(kind, set() if seen is None else seen):
        if isinstance(each, inspect.StructType):
            yield each


def holds_any_integer(kind: inspect.Type) -> bool:
    """Whether a value of this type may hold an integer without bounds."""
    for each in types_in(kind, set()):
        if isinstance(each, inspect.AnyType):
            return True
        if isinstance(each, inspect.IntType):
            low = each.ge if each.gt is None else each.gt
            high = each.le if each.lt is None else each.lt
            if low is None or high is None:
                return True
    return False
