"""When a failed try is repeated, and how a body is rendered."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echain.webhooks import rules

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@given(failures=st.integers(1, 10_000), random=st.floats(0, 1, exclude_max=True))
def test_pauses_grow_to_an_hour_and_spread_by_a_fifth(failures: int, random: float) -> None:
    seconds = rules.pause(failures, None, random).total_seconds()
    plain = min(3_600, 5 * 2 ** min(failures - 1, 20))
    assert plain * 0.8 - 1e-3 <= seconds <= plain * 1.2 + 1e-3
    assert rules.pause(failures, None, 0.0) <= rules.pause(failures + 1, None, 0.0)


@given(asked=st.floats(0, 1e9), failures=st.integers(1, 100))
def test_who_asks_for_more_time_gets_it_up_to_half_a_day(asked: float, failures: int) -> None:
    seconds = rules.pause(failures, asked, 0.5).total_seconds()
    own = rules.pause(failures, None, 0.5).total_seconds()
    assert seconds == pytest.approx(max(own, min(asked, 43_200)), abs=1e-3)


def test_a_receiver_is_given_up_after_three_days_and_not_before() -> None:
    assert not rules.given_up(NOW, NOW + timedelta(days=3, microseconds=-1))
    assert rules.given_up(NOW, NOW + timedelta(days=3))


def test_a_body_holds_the_message_as_it_was_rendered() -> None:
    delivery = uuid4()
    body = rules.body_of(delivery, 7, "ticket_sold", "market", at_ms=1, data=b'{"wei":"1","b":{"a":1.0}}')
    assert '"data":{"wei":"1","b":{"a":1.0}}' in body
    assert json.loads(body)["delivery"] == str(delivery)
