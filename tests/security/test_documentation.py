"""What the page of operations and the alerts say of alarms is what the program does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import yaml

from echain.security import rules
from echain.security.types import AlarmKind, KindWord, Severity, SeverityWord

DOCS = Path(__file__).parents[2] / "docs"
TEMPLATE = Path(__file__).parents[2] / "src/echain/notify/templates/de/alarm.j2"


def rows() -> dict[str, str]:
    """Return the severity that the page gives each kind."""
    section = (DOCS / "operations.md").read_text().partition("## Alarms")[2].partition("\n## ")[0]
    return dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", section, re.MULTILINE))


def test_every_kind_stands_on_the_page_with_its_severity() -> None:
    told = rows()
    assert list(told) == [kind.value for kind in AlarmKind]
    for kind, severity in rules.SEVERITIES.items():
        assert told[kind].startswith(severity.name.lower()), kind


def test_every_kind_is_an_alert_as_urgent_as_it_is_severe() -> None:
    document = yaml.safe_load((DOCS / "operations" / "alerts.yml").read_text())
    alerts = {rule["alert"]: rule for group in document["groups"] for rule in group["rules"]}
    for name, urgency in (("SevereSecurityAlarm", "page"), ("SecurityAlarm", "ticket")):
        (kinds,) = re.findall(r'kind=~"([^"]+)"', alerts[name]["expr"])
        severe = {kind for kind, severity in rules.SEVERITIES.items() if severity is Severity.SEVERE}
        assert set(kinds.split("|")) == (severe if urgency == "page" else set(AlarmKind) - severe)
        assert alerts[name]["labels"] == {"severity": urgency}


def test_the_words_of_the_interface_are_the_kinds_and_severities() -> None:
    assert set(get_args(KindWord)) == {kind.value for kind in AlarmKind}
    assert set(get_args(SeverityWord)) == {severity.name.lower() for severity in Severity}


def test_every_kind_has_a_name_in_german() -> None:
    named = re.findall(r'^  "(\w+)":', TEMPLATE.read_text(), re.MULTILINE)
    assert set(named) == {kind.value for kind in AlarmKind}
