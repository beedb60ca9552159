"""The alerts and the dashboard ask for what the program measures, in PromQL that can be read."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import promql_parser as promql
import pytest
import yaml

from echain.webhooks.inbox import RECEIVED

ROOT = Path(__file__).parent.parent.parent
OPERATIONS = ROOT / "docs" / "operations"
SCRAPED = {"instance", "job"}
"""Labels that Prometheus adds to everything that it collects."""

PROMISED = {
    "WebhookSlow": "> 0.5",
    "LiveConnections": "> 10000",
    "CacheMisses": "< 0.9",
    "SlowQueries": "> 0.1",
    "WebhookFailures": "> 0.01",
    "IndexerLag": "> 3",
    "JobAge": "> 60",
    "ErrorRate": "> 0.01",
}


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def series() -> dict[str, set[str]]:
    """Every series that the platform may have, with its labels."""
    found: dict[str, set[str]] = {
        "up": SCRAPED,
        "process_resident_memory_bytes": SCRAPED,
        "process_cpu_seconds_total": SCRAPED,
        "process_open_fds": SCRAPED,
    }
    for name, kind, _, labels in generator().declared_metrics():
        if kind == "histogram":
            found[f"{name}_bucket"] = {*labels, *SCRAPED, "le"}
            found[f"{name}_count"] = found[f"{name}_sum"] = {*labels, *SCRAPED}
        else:
            found[name] = {*labels, *SCRAPED}
    return found


@pytest.fixture(scope="module")
def rules() -> list[dict[str, Any]]:
    document = yaml.safe_load((OPERATIONS / "alerts.yml").read_text())
    assert set(document) == {"groups"}
    return [rule for group in document["groups"] for rule in group["rules"]]


@pytest.fixture(scope="module")
def panels() -> list[dict[str, Any]]:
    return json.loads((OPERATIONS / "dashboard.json").read_text())["panels"]


def selectors(expression: Any) -> Iterator[promql.VectorSelector]:
    """Yield every selector of a parsed expression, wherever it stands."""
    if isinstance(expression, promql.VectorSelector):
        yield expression
        return
    for part in ("lhs", "rhs", "expr", "param", "vector_selector"):
        inner = getattr(expression, part, None)
        if inner is not None:
            yield from selectors(inner)
    for argument in getattr(expression, "args", None) or ():
        yield from selectors(argument)


def checked(text: str, series: dict[str, set[str]]) -> None:
    found = list(selectors(promql.parse(text)))
    assert len(found) == len(re.findall(r"\b(?:echain|process)_\w+|\bup\b", text)), "a selector was not seen"
    for selector in found:
        assert selector.name in series, f"{selector.name} is measured nowhere"
        for matcher in selector.matchers.matchers:
            assert matcher.name in series[selector.name], f"{selector.name} has no label {matcher.name}"
    known = set[str]().union(*(series[selector.name or ""] for selector in found))
    for labels in re.findall(r"\bby \(([^)]*)\)", text):
        assert {label.strip() for label in labels.split(",")} <= known, text


def test_every_alert_can_be_read_and_asks_for_what_is_measured(
    rules: list[dict[str, Any]], series: dict[str, set[str]]
) -> None:
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        checked(rule["expr"], series)
        if "for" in rule:
            promql.parse_duration(rule["for"])
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert set(rule["annotations"]) == {"summary", "action"}
        for text in rule["annotations"].values():
            assert text.count("{{") == text.count("}}")


def test_the_promised_thresholds_are_those_of_the_alerts(rules: list[dict[str, Any]]) -> None:
    by_name = {rule["alert"]: rule["expr"].strip() for rule in rules}
    assert {name: by_name[name][-len(bound) :] for name, bound in PROMISED.items()} == PROMISED


def test_every_panel_can_be_read_asks_for_what_is_measured_and_covers_no_other(
    panels: list[dict[str, Any]], series: dict[str, set[str]]
) -> None:
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = set[tuple[int, int]]()
    for panel in panels:
        assert panel["title"]
        for target in panel["targets"]:
            checked(target["expr"], series)
        place = panel["gridPos"]
        covered = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in covered) < 24
        assert not covered & cells
        cells |= covered


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("rate(echain_jobs_dead) > 1", "expected type"),
        ("echain_jobs_dead >", "invalid"),
        ("echain_jobs_ded > 1", "measured nowhere"),
        ("echain_jobs_dead{que='x'} > 1", "no label"),
        ("sum by (color) (echain_jobs_dead)", "color"),
        ("echain_job_run_seconds > 1", "measured nowhere"),
    ],
)
def test_the_check_finds_what_is_wrong(expression: str, why: str, series: dict[str, set[str]]) -> None:
    with pytest.raises((ValueError, AssertionError), match=why):
        checked(expression, series)


def test_the_alert_for_slow_webhooks_names_the_queue_that_they_wait_in(rules: list[dict[str, Any]]) -> None:
    (slow,) = (rule for rule in rules if rule["alert"] == "WebhookSlow")
    assert re.findall(r"queue (\w+)", slow["annotations"]["action"]) == [RECEIVED.queue.value]
