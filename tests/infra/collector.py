"""A collector of traces that takes what OTLP over HTTP says, and may be slow or refuse."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


class Told(msgspec.Struct, frozen=True):
    """A span as it came over the wire."""

    name: str
    kind: int
    trace_id: str
    span_id: str
    parent: str
    failed: bool
    seconds: float
    facts: dict[str, Any]
    resource: dict[str, Any]


class Collector:
    """What came; ``status`` and ``delay_seconds`` are of the next answers."""

    def __init__(self) -> None:
        self.spans: list[Told] = []
        self.raw = b""
        self.requests = 0
        self.status = 200
        self.delay_seconds = 0.0
        self.url = ""
        self.released = threading.Event()

    def take(self, path: str, body: bytes) -> None:
        assert path == "/v1/traces", path
        self.raw += body
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = {one.key: _value(one.value) for one in group.resource.attributes}
            for scope in group.scope_spans:
                self.spans += [_told(span, resource) for span in scope.spans]

    def named(self, name: str) -> list[Told]:
        return [span for span in self.spans if span.name == name]

    def one(self, name: str) -> Told:
        found = self.named(name)
        assert len(found) == 1, [span.name for span in self.spans]
        return found[0]

    def wait(self, count: int, seconds: float = 30) -> list[Told]:
        """Wait until so many spans have come."""
        deadline = time.monotonic() + seconds
        while len(self.spans) < count:
            assert time.monotonic() < deadline, f"{len(self.spans)} spans: {[one.name for one in self.spans]}"
            time.sleep(0.01)
        return self.spans


def _value(value: Any) -> Any:
    return getattr(value, value.WhichOneof("value"))


def _told(span: Any, resource: dict[str, Any]) -> Told:
    return Told(
        span.name,
        span.kind,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.status.code == 2,
        (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
        {one.key: _value(one.value) for one in span.attributes},
        resource,
    )


@contextmanager
def collecting() -> Iterator[Collector]:
    """Run a collector on a free port while the block lasts."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            collector.requests += 1
            if collector.delay_seconds:
                collector.released.wait(collector.delay_seconds)
            if collector.status == 200:
                packed = self.headers.get("content-encoding") == "gzip"
                collector.take(self.path, gzip.decompress(body) if packed else body)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(collector.status)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except ConnectionError:
                self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    collector.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield collector
    finally:
        collector.released.set()
        server.shutdown()
        server.server_close()
        thread.join(10)
