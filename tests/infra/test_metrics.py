"""What a process measures, and the page that tells it."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request

import prometheus_client
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from echain.infra.database import DatabaseUnavailable
from echain.infra.metrics import Metrics, MetricsTaken, serve_metrics


def fetched(url: str) -> tuple[str, str]:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.headers["content-type"], answer.read().decode()


async def test_the_page_has_what_was_counted_and_the_process_itself() -> None:
    metrics = Metrics()
    metrics.counter("echain_tests_total", "Tests.", ["kind"]).labels("good").inc(2)
    async with serve_metrics(metrics, host="127.0.0.1", port=0) as port:
        kind, page = await asyncio.to_thread(fetched, f"http://127.0.0.1:{port}/metrics")
        with pytest.raises(urllib.error.HTTPError, match="404"):
            await asyncio.to_thread(fetched, f"http://127.0.0.1:{port}/")
    assert kind.startswith("text/plain; version=0.0.4")
    assert '\nechain_tests_total{kind="good"} 2.0\n' in page
    assert "\nprocess_resident_memory_bytes " in page
    assert "_created" not in page


async def test_gauges_are_read_when_they_are_asked_for_and_what_fails_spoils_nothing() -> None:
    metrics = Metrics()
    gauge = metrics.gauge("echain_tests_waiting", "Tests.")
    asked = 0

    async def read() -> None:
        nonlocal asked
        asked += 1
        gauge.set(asked)

    async def fail() -> None:
        raise DatabaseUnavailable

    metrics.on_scrape(fail)
    metrics.on_scrape(read)
    async with serve_metrics(metrics, host="127.0.0.1", port=0) as port:
        for number in (1, 2):
            _, page = await asyncio.to_thread(fetched, f"http://127.0.0.1:{port}/metrics")
            assert f"\nechain_tests_waiting {number}.0\n" in page


async def test_what_hangs_is_left_out_after_some_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("echain.infra.metrics._REFRESH_SECONDS", 0.05)
    metrics = Metrics()
    metrics.on_scrape(asyncio.Event().wait)
    async with asyncio.timeout(2):
        await metrics.refresh()


async def test_an_address_that_is_taken_is_said_plainly() -> None:
    async with serve_metrics(Metrics(), host="127.0.0.1", port=0) as port:
        with pytest.raises(MetricsTaken, match="ECHAIN_METRICS_PORT"):
            await serve_metrics(Metrics(), host="127.0.0.1", port=port).__aenter__()


def test_the_same_name_is_the_same_metric_and_never_another() -> None:
    metrics = Metrics()
    first = metrics.counter("echain_tests_total", "Tests.", ["kind"])
    assert metrics.counter("echain_tests_total", "Tests.", ["kind"]) is first
    with pytest.raises(ValueError, match="other labels"):
        metrics.counter("echain_tests_total", "Tests.")
    metrics.gauge("echain_tests_seconds", "Tests.")
    with pytest.raises(ValueError, match="another kind"):
        metrics.histogram("echain_tests_seconds", "Tests.")


@pytest.mark.parametrize("name", ["tests_total", "echain_Tests_total", "echain_tests", "echain__total"])
def test_a_counters_name_says_whose_it_is_and_that_it_counts(name: str) -> None:
    with pytest.raises(ValueError, match=r"echain_|_total"):
        Metrics().counter(name, "Tests.")


def test_a_histograms_name_ends_in_its_unit() -> None:
    with pytest.raises(ValueError, match="unit"):
        Metrics().histogram("echain_tests_time", "Tests.")


# --- distributions ---


@given(
    st.lists(st.one_of(st.floats(0, 20), st.sampled_from([0.001, 0.5, 1.0, 10.0])), max_size=60),
    st.sampled_from([(0.001, 0.5, 1, 10), (1,), (0.0025, 30)]),
)
def test_a_histogram_tells_the_same_as_the_librarys_own(
    amounts: list[float], bounds: tuple[float, ...]
) -> None:
    ours, registry = Metrics(), CollectorRegistry()
    labelled = ours.histogram("echain_tests_seconds", "Tests.", ["kind", "place"], bounds)
    plain = ours.histogram("echain_plain_seconds", "Plain.", buckets=bounds)
    theirs = prometheus_client.Histogram(
        "echain_tests_seconds", "Tests.", ["kind", "place"], buckets=bounds, registry=registry
    )
    their_plain = prometheus_client.Histogram(
        "echain_plain_seconds", "Plain.", buckets=bounds, registry=registry
    )
    for number, amount in enumerate(amounts):
        for histogram in (labelled, theirs):
            histogram.labels(f'"{number % 3}\n', "x").observe(amount)
        for histogram in (plain, their_plain):
            histogram.observe(amount)
    page = ours.render().decode()
    assert generate_latest(registry).decode() == page[page.index("# HELP echain_tests_seconds") :]


def test_a_histogram_refuses_other_labels_and_bounds_that_do_not_grow() -> None:
    metrics = Metrics()
    histogram = metrics.histogram("echain_tests_seconds", "Tests.", ["kind"])
    assert histogram.labels("a") is histogram.labels("a")
    with pytest.raises(ValueError, match="labels kind"):
        histogram.labels("a", "b")
    with pytest.raises(ValueError, match="counts by kind"):
        histogram.observe(1)
    for bounds in ((), (1, 1), (2, 1)):
        with pytest.raises(ValueError, match="grow"):
            metrics.histogram("echain_others_seconds", "Tests.", buckets=bounds)
