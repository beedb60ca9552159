"""Traces to a collector over OTLP/HTTP, by OpenTelemetry's SDK; imported only where a collector is named.

Spans wait in a bounded queue for a thread of its own, which alone talks to the collector. When that is away,
slow or refuses, spans are lost and counted, and nobody waits.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import structlog
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from echain.infra.metrics import Counter, Metrics
from echain.infra.traces import Fact, Kind, Place

QUEUE: Final = 2_048
"""Spans that wait for the collector at most; the oldest go first."""

BATCH: Final = 256
PAUSE_SECONDS: Final = 1.0
PATIENCE_SECONDS: Final = 5.0
"""How long the collector may take for a batch, with all tries."""

CLOSE_SECONDS: Final = 2.0
_PATH: Final = "/v1/traces"
_KINDS: Final = {
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
    "internal": SpanKind.INTERNAL,
    "consumer": SpanKind.CONSUMER,
}
_FAILED: Final = Status(StatusCode.ERROR)
_LIMITS: Final = SpanLimits(
    max_attributes=32, max_events=0, max_links=0, max_attribute_length=256, max_span_attribute_length=256
)

_log = structlog.get_logger(__name__)


class _Recording:
    """The SDK's span behind our words for it."""

    __slots__ = ("_span", "place")

    def __init__(self, span: Span) -> None:
        self._span = span
        context = span.get_span_context()
        self.place = Place(context.trace_id, context.span_id)

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def tell(self, key: str, value: Fact) -> None:
        self._span.set_attribute(key, value)

    def end(self, *, failed: bool, at_ns: int | None) -> None:
        if failed:
            self._span.set_status(_FAILED)
        self._span.end(at_ns)


class OtlpRecorder:
    """Makes the SDK's spans; each is told of, as that was decided before."""

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("echain", version("echain"))

    def begin(self, name: str, kind: Kind, parent: Place | None, at_ns: int | None) -> _Recording:
        return _Recording(
            self._tracer.start_span(
                name, _context_of(parent), kind=_KINDS[kind], start_time=at_ns, record_exception=False
            )
        )


def _context_of(parent: Place | None) -> Context:
    if parent is None:
        return Context()
    sampled = TraceFlags(TraceFlags.SAMPLED)
    remote = SpanContext(parent.trace_id, parent.span_id, is_remote=True, trace_flags=sampled)
    return set_span_in_context(NonRecordingSpan(remote), Context())


class _Books:
    """What became of spans, told as metrics; both threads write here."""

    def __init__(self, outcomes: Counter) -> None:
        self.sent = outcomes.labels("sent")
        self.lost = outcomes.labels("lost")
        self._waiting = 0
        self._lock = threading.Lock()

    def queued(self) -> None:
        with self._lock:
            if self._waiting == QUEUE:
                self.lost.inc()
            else:
                self._waiting += 1

    def taken(self, count: int) -> None:
        with self._lock:
            self._waiting = max(0, self._waiting - count)


class _Processor(BatchSpanProcessor):
    def __init__(self, exporter: SpanExporter, books: _Books) -> None:
        super().__init__(
            exporter,
            max_queue_size=QUEUE,
            schedule_delay_millis=PAUSE_SECONDS * 1000,
            max_export_batch_size=BATCH,
            export_timeout_millis=PATIENCE_SECONDS * 1000,
        )
        self._books = books

    def on_end(self, span: ReadableSpan) -> None:
        self._books.queued()
        super().on_end(span)


class _Exporter(SpanExporter):
    """Sends batches, and tells the log once that it cannot and once that it can again."""

    def __init__(self, inner: SpanExporter, books: _Books) -> None:
        self._inner = inner
        self._books = books
        self._told = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._books.taken(len(spans))
        result = self._inner.export(spans)
        if result is SpanExportResult.SUCCESS:
            self._books.sent.inc(len(spans))
            if self._told:
                _log.info("traces.told_again")
        else:
            self._books.lost.inc(len(spans))
            if not self._told:
                _log.warning("traces.not_told", meaning="the collector does not take them; they are dropped")
        self._told = result is not SpanExportResult.SUCCESS
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()


@asynccontextmanager
async def recording(url: str, *, role: str, metrics: Metrics) -> AsyncGenerator[OtlpRecorder, None]:
    """Lend a recorder that sends to the collector at ``url`` while the block lasts.

    What is still there at its end has 2 s to be sent. Headers that a collector asks for come from the
    standard ``OTEL_EXPORTER_OTLP_HEADERS``.
    """
    # Each failed try would be a line of its own, with the collector's words in it.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    books = _Books(
        metrics.counter("echain_trace_spans_total", "Spans by what became of them: sent, lost", ("outcome",))
    )
    sending = OTLPSpanExporter(
        endpoint=endpoint_of(url), timeout=PATIENCE_SECONDS, compression=Compression.Gzip
    )
    processor = _Processor(_Exporter(sending, books), books)
    resource = Resource(
        {
            "service.name": "echain",
            "service.version": version("echain"),
            "service.instance.id": f"{role}-{os.getpid()}",
            "echain.role": role,
        }
    )
    provider = TracerProvider(ALWAYS_ON, resource, shutdown_on_exit=False, span_limits=_LIMITS)
    provider.add_span_processor(processor)
    try:
        yield OtlpRecorder(provider)
    finally:
        await _closed(processor, sending)


async def _closed(processor: BatchSpanProcessor, sending: OTLPSpanExporter) -> None:
    """Let the last batch go; a collector that hangs is not waited for."""
    closing = threading.Thread(target=processor.shutdown, name="traces closing", daemon=True)
    closing.start()
    await asyncio.to_thread(closing.join, CLOSE_SECONDS)
    if closing.is_alive():
        # Ends the pauses between tries, too.
        sending.shutdown()


def endpoint_of(url: str) -> str:
    """Return where spans are posted: ``url`` itself when it has a path, else OTLP's own path there."""
    parts = urlsplit(url)
    return url if parts.path not in ("", "/") else urlunsplit(parts._replace(path=_PATH))
