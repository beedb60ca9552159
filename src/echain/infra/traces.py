"""What a request, a job or a batch spent its time on, told for a small share of them.

Whether something is told is decided once, where it begins; the others cost one look at a context variable
wherever they could have been told of. What is told of is a closed list of facts, so that no values, no people
and no secrets leave by this way. Nothing here imports OpenTelemetry: `infra.otlp` does, where configured.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import Final, Literal, Protocol, Self, TypeAlias

import msgspec
from structlog.contextvars import STRUCTLOG_KEY_PREFIX

from echain.kernel.errors import EchainError

SHARE: Final = 0.01
"""Told of, where nobody says otherwise."""

FOLLOWED: Final = 20
"""Traces that a process joins in a second because somebody else tells of them. Callers may ask for all of
theirs; beyond this theirs are told of by chance, as anyone's."""

MOST_SPANS: Final = 500
"""Of one trace in one process; the rest is only counted."""

FACTS: Final = {
    "attempt": "echain.attempt",
    "blocks": "echain.blocks",
    "calls": "echain.rpc_calls",
    "chain": "echain.chain_id",
    "digest": "echain.statement_digest",
    "endpoint": "echain.rpc_endpoint",
    "error": "error.type",
    "handler": "echain.handler",
    "job": "echain.job_id",
    "kind": "echain.job_kind",
    "left_out": "echain.spans_left_out",
    "logs": "echain.logs",
    "messages": "echain.messages",
    "method": "http.request.method",
    "outcome": "echain.outcome",
    "request_id": "echain.request_id",
    "route": "http.route",
    "rpc": "rpc.method",
    "statement": "db.query.summary",
    "status": "http.response.status_code",
    "system": "db.system.name",
}
"""All that is ever told, by the name that OpenTelemetry's conventions have for it, or one of ours."""

Fact: TypeAlias = str | int | float | bool
Kind: TypeAlias = Literal["server", "client", "internal", "consumer"]

_TRACEPARENT: Final = re.compile(
    r"(?:00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})"
    r"|(?!00|ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?)"
)
_LONGEST_TRACEPARENT: Final = 256
_SAMPLED: Final = 1

_LOGGED: Final = ContextVar[str](f"{STRUCTLOG_KEY_PREFIX}trace_id")


class Place(msgspec.Struct, frozen=True):
    """A span in a trace, here or elsewhere; ``told`` says whether that is told of."""

    trace_id: int
    span_id: int
    told: bool = True

    @property
    def traceparent(self) -> str:
        """The place as W3C's Trace Context writes it."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{self.told:02x}"


def place_of(traceparent: str) -> Place | None:
    """Return the place that a ``traceparent`` names (W3C Trace Context, 3.2); None when it is malformed."""
    found = _TRACEPARENT.fullmatch(traceparent) if len(traceparent) <= _LONGEST_TRACEPARENT else None
    if found is None:
        return None
    trace, span, flags = found.groups()[:3] if found[1] else found.groups()[3:]
    place = Place(int(trace, 16), int(span, 16), bool(int(flags, 16) & _SAMPLED))
    return place if place.trace_id and place.span_id else None


class Recording(Protocol):
    """A span as a recorder keeps it."""

    @property
    def place(self) -> Place: ...
    def rename(self, name: str) -> None: ...
    def tell(self, key: str, value: Fact) -> None: ...
    def end(self, *, failed: bool, at_ns: int | None) -> None: ...


class Recorder(Protocol):
    """Takes spans and passes them on; never waits and never fails."""

    def begin(self, name: str, kind: Kind, parent: Place | None, at_ns: int | None) -> Recording: ...


class _Trace:
    """What the spans of one trace in this process have in common."""

    __slots__ = ("left", "left_out", "open", "recorder")

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.left = MOST_SPANS
        self.left_out = 0
        self.open = True


class Span:
    """A part of a trace that is told."""

    __slots__ = ("_recording", "_root", "_trace", "place")

    def __init__(self, recording: Recording, trace: _Trace, *, root: bool) -> None:
        self._recording = recording
        self._trace = trace
        self._root = root
        self.place = recording.place

    @property
    def trace_id(self) -> str:
        return f"{self.place.trace_id:032x}"

    @property
    def open(self) -> bool:
        """Whether the trace still goes on here; tasks that it started may outlive it."""
        return self._trace.open

    def rename(self, name: str) -> None:
        self._recording.rename(name)

    def tell(self, **facts: Fact) -> None:
        """Add facts; their names are those of `FACTS`, any other is a KeyError."""
        for name, value in facts.items():
            self._recording.tell(FACTS[name], value)

    def part(self, name: str, kind: Kind = "internal", *, began_ns: int | None = None) -> Span | None:
        """Begin a part, now or at a Unix time; None where the trace has had all that it may."""
        trace = self._trace
        if trace.left == 0:
            trace.left_out += 1
            return None
        trace.left -= 1
        return Span(trace.recorder.begin(name, kind, self.place, began_ns), trace, root=False)

    def end(self, error: BaseException | str | None = None, *, at_ns: int | None = None) -> None:
        """End it, with what went wrong by its code or class; the message may hold anything."""
        if error is not None:
            self.tell(error=error if isinstance(error, str) else error_name(error))
        if self._root:
            self._trace.open = False
            if self._trace.left_out:
                self.tell(left_out=self._trace.left_out)
        self._recording.end(failed=error is not None, at_ns=at_ns)


_current: Final = ContextVar[Span | None]("echain_trace", default=None)


def current() -> Span | None:
    """Return the span that this task is in, None where nothing is told."""
    span = _current.get()
    return span if span is not None and span.open else None


def here() -> str | None:
    """Return where this task is, for others to go on from; None where nothing is told."""
    span = current()
    return None if span is None else span.place.traceparent


@contextmanager
def part(name: str, kind: Kind = "internal", **facts: Fact) -> Generator[Span | None]:
    """Tell of the block as a part of what this task is in, if that is told."""
    span = current()
    with _entered(None if span is None else span.part(name, kind), facts) as inner:
        yield inner


def error_name(error: BaseException) -> str:
    return error.code if isinstance(error, EchainError) else type(error).__name__


@contextmanager
def _entered(span: Span | None, facts: dict[str, Fact]) -> Generator[Span | None]:
    if span is None:
        yield None
        return
    span.tell(**facts)
    entry = Entry(span)
    try:
        yield span
    except BaseException as error:
        span.end(error)
        raise
    else:
        span.end()
    finally:
        entry.leave()


class Entry:
    """A task's stay in a span: what begins meanwhile is its part, and log lines carry the trace's id."""

    __slots__ = ("_logged", "_token")

    def __init__(self, span: Span) -> None:
        self._token: Token[Span | None] = _current.set(span)
        self._logged: Token[str] = _LOGGED.set(span.trace_id)

    def leave(self) -> None:
        _current.reset(self._token)
        _LOGGED.reset(self._logged)


class Traces:
    """Decides what is told of; one object a process. Without a recorder nothing is.

    Of what begins here a ``share`` is told of, by chance. What somebody else began is told of when that is,
    `FOLLOWED` times a second at most.
    """

    def __init__(
        self,
        recorder: Recorder | None = None,
        *,
        share: float = SHARE,
        monotonic: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._recorder = recorder
        self._share = share
        self._monotonic = monotonic
        self._chance = chance
        self._followed = 0
        self._second = -1

    @classmethod
    def off(cls) -> Self:
        """Return what never tells of anything."""
        return cls()

    def begin(
        self, name: str, kind: Kind, parent: str | None = None, *, began_ns: int | None = None
    ) -> Span | None:
        """Return the first span here of something that is told of, None for all else.

        ``parent`` is the ``traceparent`` that came along; a malformed one counts as none.
        """
        recorder = self._recorder
        if recorder is None:
            return None
        if parent is None:
            # The common way: one number by chance, and nothing is made.
            return None if self._chance() >= self._share else _root(recorder, name, kind, None, began_ns)
        place = place_of(parent)
        told = self._chance() < self._share if place is None else self._follows(place)
        return _root(recorder, name, kind, place, began_ns) if told else None

    @contextmanager
    def told(
        self, name: str, kind: Kind = "internal", *, parent: str | None = None, **facts: Fact
    ) -> Generator[Span | None]:
        """Tell of the block, if it is one of those."""
        with _entered(self.begin(name, kind, parent), facts) as span:
            yield span

    def _follows(self, place: Place) -> bool:
        if not place.told:
            return False
        second = int(self._monotonic())
        if second != self._second:
            self._second, self._followed = second, 0
        if self._followed < FOLLOWED:
            self._followed += 1
            return True
        return self._chance() < self._share


def _root(recorder: Recorder, name: str, kind: Kind, parent: Place | None, began_ns: int | None) -> Span:
    return Span(recorder.begin(name, kind, parent, began_ns), _Trace(recorder), root=True)
