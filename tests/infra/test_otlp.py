"""Spans reach a collector over OTLP; one that is away, slow or refuses costs spans and nothing else."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
import structlog
from tests.infra.collector import Collector, collecting

from echain.infra import otlp
from echain.infra.embedded.child import free_port
from echain.infra.metrics import Metrics
from echain.infra.traces import Traces


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as one:
        yield one


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches go at once, so that no test waits for a second."""
    monkeypatch.setattr(otlp, "PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(otlp, "PATIENCE_SECONDS", 0.5)


def counted(metrics: Metrics, outcome: str) -> int:
    start = f'echain_trace_spans_total{{outcome="{outcome}"}} '
    found = [line for line in metrics.render().decode().splitlines() if line.startswith(start)]
    return int(float(found[0].removeprefix(start))) if found else 0


async def until_counted(metrics: Metrics, outcome: str, least: int) -> None:
    async with asyncio.timeout(30):
        while counted(metrics, outcome) < least:
            await asyncio.sleep(0.01)


async def test_a_span_arrives_with_its_part_its_facts_and_who_told(collector: Collector) -> None:
    metrics = Metrics()
    async with otlp.recording(collector.url, role="worker", metrics=metrics) as recorder:
        with Traces(recorder, share=1).told("outer", "consumer", job=7) as outer:
            assert outer is not None
            inner = outer.part("inner", "client", began_ns=time.time_ns() - 250_000_000)
            assert inner is not None
            inner.tell(statement="SELECT events")
            inner.end(ValueError("what it says may be a secret"))
    whole, part = collector.one("outer"), collector.one("inner")
    assert (part.trace_id, part.parent) == (whole.trace_id, whole.span_id)
    assert (whole.parent, whole.failed, part.failed) == ("", False, True)
    assert whole.facts == {"echain.job_id": 7}
    assert part.facts == {"db.query.summary": "SELECT events", "error.type": "ValueError"}
    assert 0.25 <= part.seconds < 10
    assert (whole.kind, part.kind) == (5, 3)
    assert (whole.resource["service.name"], whole.resource["echain.role"]) == ("echain", "worker")
    assert b"secret" not in collector.raw
    assert counted(metrics, "sent") == 2


async def test_what_was_told_last_still_goes_when_the_process_ends(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(otlp, "PAUSE_SECONDS", 60.0)
    async with otlp.recording(collector.url, role="api", metrics=Metrics()) as recorder:
        with Traces(recorder, share=1).told("last"):
            pass
    collector.one("last")


async def told(recorder: otlp.OtlpRecorder, spans: int) -> float:
    """Tell of many, giving the loop its turns; return the longest time that one took."""
    traces, longest = Traces(recorder, share=1), 0.0
    for _ in range(spans):
        began = time.perf_counter()
        with traces.told("work"):
            pass
        longest = max(longest, time.perf_counter() - began)
        await asyncio.sleep(0)
    return longest


async def test_a_collector_that_is_away_loses_spans_and_says_so_once() -> None:
    metrics = Metrics()
    with structlog.testing.capture_logs() as logs:
        async with otlp.recording(f"http://127.0.0.1:{free_port()}", role="api", metrics=metrics) as recorder:
            assert await told(recorder, 20) < 1
            await until_counted(metrics, "lost", 1)
            await told(recorder, 20)
            await until_counted(metrics, "lost", 40)
    assert [entry["event"] for entry in logs] == ["traces.not_told"]


async def test_a_collector_that_refuses_is_told_again_once_it_takes_them(collector: Collector) -> None:
    metrics, collector.status = Metrics(), 500
    with structlog.testing.capture_logs() as logs:
        async with otlp.recording(collector.url, role="api", metrics=metrics) as recorder:
            await told(recorder, 5)
            await until_counted(metrics, "lost", 5)
            collector.status = 200
            await told(recorder, 3)
            await until_counted(metrics, "sent", 3)
    assert [entry["event"] for entry in logs] == ["traces.not_told", "traces.told_again"]
    assert len(collector.spans) == 3


async def test_a_collector_that_hangs_bounds_what_waits_and_holds_up_nobody(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(otlp, "QUEUE", 300)
    monkeypatch.setattr(otlp, "PATIENCE_SECONDS", 20.0)
    monkeypatch.setattr(otlp, "CLOSE_SECONDS", 0.2)
    collector.delay_seconds = 20
    metrics = Metrics()
    async with otlp.recording(collector.url, role="api", metrics=metrics) as recorder:
        assert await told(recorder, 3_000) < 1
        processor = recorder._tracer.span_processor._span_processors[0]
        assert len(processor._batch_processor._queue) <= 300
        # One batch is with the collector, the queue is full, all others are lost and counted.
        await until_counted(metrics, "lost", 3_000 - 300 - 2 * otlp.BATCH)
        assert counted(metrics, "sent") == 0
        began = time.monotonic()
    assert time.monotonic() - began < 5, "the end does not wait for the collector"


def test_what_makes_and_sends_spans_is_not_loaded_where_no_collector_is_named() -> None:
    # Redis' client loads OpenTelemetry's metrics by itself when it finds them.
    program = (
        "import sys; import echain.entry.api, echain.entry.worker, echain.entry.indexer;"
        "ours = ('opentelemetry.sdk.trace', 'opentelemetry.exporter', 'echain.infra.otlp');"
        "sys.exit(', '.join(name for name in sys.modules if name.startswith(ours)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("http://collector:4318", "http://collector:4318/v1/traces"),
        ("http://collector:4318/", "http://collector:4318/v1/traces"),
        ("https://in.example/otlp/v1/traces", "https://in.example/otlp/v1/traces"),
    ],
)
def test_the_path_is_that_of_otlp_where_none_is_given(url: str, endpoint: str) -> None:
    assert otlp.endpoint_of(url) == endpoint
