"""What the chain's rooms speak of: blocks, logs, followed contracts, the change of one ingest step."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, TypeAlias

import msgspec

from echain.infra.database import Tx
from echain.kernel.evm import Address, Hash32
from echain.kernel.messages import Message


class Block(msgspec.Struct, frozen=True, gc=False):
    """A header: ``timestamp`` in Unix seconds, ``logs_bloom`` the 2048-bit filter as an integer."""

    number: int
    hash: Hash32
    parent_hash: Hash32
    timestamp: int
    logs_bloom: int


class Log(msgspec.Struct, frozen=True, gc=False):
    """One EVM log. ``topics[0]`` is the event's signature hash; anonymous logs may have no topic at all."""

    block_number: int
    log_index: int
    tx_hash: Hash32
    tx_index: int
    address: Address
    topics: tuple[bytes, ...]
    data: bytes
    block_hash: Hash32


class Contract(msgspec.Struct, frozen=True):
    """A contract whose logs are followed from ``from_block`` on; ``kind`` says which events it may emit."""

    address: Address
    kind: str
    from_block: int


class Segment(msgspec.Struct, frozen=True):
    """Consecutive headers with every log of the followed contracts in them, in chain order.

    ``finalized`` is the height below which the chain will not change any more.
    """

    blocks: Sequence[Block]
    logs: Sequence[Log]
    finalized: int


Fact: TypeAlias = tuple[Log, tuple[Any, ...]]
"""A log of a followed contract with the values of its event, in the order of the ABI."""


class Change(msgspec.Struct, frozen=True):
    """What came onto a chain, decoded: facts per (contract kind, event name) in chain order.

    ``times`` gives the time of every block that has a fact. ``told_from`` is the first block whose facts
    are still told to clients: messages of older ones would be older than the kept window.
    """

    chain_id: int
    facts: Mapping[tuple[str, str], Sequence[Fact]]
    times: Mapping[int, datetime]
    told_from: int

    def of(self, kind: str, event: str) -> Sequence[Fact]:
        """Return the facts of one event of one kind of contract."""
        return self.facts.get((kind, event), ())


class EventDecoder(Protocol):
    """What a compiled event can do; `echain.chain.abi.EventAbi` is one."""

    @property
    def name(self) -> str: ...

    @property
    def topic0(self) -> bytes: ...

    def decode(self, logs: Sequence[Log]) -> list[tuple[Any, ...] | None]: ...


class Told(msgspec.Struct, frozen=True):
    """What a step leaves to tell: messages in the chain's order, and cached keys that no longer hold."""

    messages: Sequence[Message] = ()
    stale: Collection[str] = ()


class Step(Protocol):
    """What a change does to one slice's tables, worked out as far as that goes without the database."""

    async def write(self, tx: Tx) -> Told:
        """Write it on top of everything written before."""
        ...


class Projector(Protocol):
    """Folds a slice's logs into its tables, for following, reorgs and rebuilds alike."""

    @property
    def name(self) -> str: ...

    @property
    def events(self) -> Sequence[tuple[str, EventDecoder]]:
        """The events it folds, each with the kind of contract that may emit it."""
        ...

    @property
    def creating(self) -> Collection[tuple[str, str]]:
        """The (kind, event) pairs whose facts create contracts that are to be followed."""
        ...

    def created(self, fact: Fact) -> Contract:
        """Return the contract that a fact of one of these events says was created."""
        ...

    @property
    def tables(self) -> Sequence[str]:
        """The tables that it keeps, and nobody else writes."""
        ...

    def fold(self, change: Change) -> Step | None:
        """Fold new facts, all of them above everything folded before; None when they are none of its own."""
        ...

    async def rewind(self, tx: Tx, chain_id: int, ancestor: int) -> Collection[str]:
        """Remove every fact above block ``ancestor``, fold the touched rows from what remains.

        Returns the cached keys that no longer hold.
        """
        ...
