"""A recorder that keeps the spans of this process in memory."""

from __future__ import annotations

import msgspec

from echain.infra.traces import Fact, Kind, Place


class Kept(msgspec.Struct):
    """A span in memory."""

    name: str
    place: Place
    parent: Place | None
    kind: Kind
    at_ns: int | None
    facts: dict[str, Fact] = {}
    ended: bool = False
    failed: bool = False
    ended_ns: int | None = None

    def rename(self, name: str) -> None:
        self.name = name

    def tell(self, key: str, value: Fact) -> None:
        self.facts[key] = value

    def end(self, *, failed: bool, at_ns: int | None) -> None:
        self.ended, self.failed, self.ended_ns = True, failed, at_ns


class Memory:
    """A recorder that keeps what it is given."""

    def __init__(self) -> None:
        self.spans: list[Kept] = []

    def begin(self, name: str, kind: Kind, parent: Place | None, at_ns: int | None) -> Kept:
        number = len(self.spans) + 1
        kept = Kept(name, Place(parent.trace_id if parent else number, number), parent, kind, at_ns)
        self.spans.append(kept)
        return kept

    def named(self, name: str) -> list[Kept]:
        return [one for one in self.spans if one.name == name]

    def below(self, root: Kept) -> list[str]:
        return [one.name for one in self.spans if one.parent == root.place]
