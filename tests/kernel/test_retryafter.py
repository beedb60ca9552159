"""A header from strangers is read as seconds, as a date or as nothing, and never breaks its reader."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echain.kernel.retryafter import retry_after_seconds

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0.0),
        (" 120 ", 120.0),
        ("0.2", 0.2),
        ("Thu, 01 Jan 2026 00:01:00 GMT", 60.0),
        ("Thu, 01 Jan 2026 01:01:00 +0100", 60.0),
        ("Wed, 31 Dec 2025 00:00:00 GMT", 0.0),
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("²", None),
        ("١٢", None),
        ("nan", None),
        ("inf", None),
        ("1e9", None),
        ("1_0", None),
        ("Thu, 01 Jan 2026 00:00:00 -0000", None),
        ("Thu, 01 Jan 2026 00:00:00 +99999999999999999999", None),
        ("Thu, 01 Jan 99999999999999999999 00:00:00 GMT", None),
        ("9" * 5_000, None),
    ],
)
def test_what_a_header_asks_for(header: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(header, NOW) == seconds


_NUMBERS = st.integers(-(10**30), 10**30).map(str)
_ALMOST_DATES = st.builds(
    "Thu, {} Jan {} {}:{}:{} {}".format,
    *(_NUMBERS, _NUMBERS, _NUMBERS, _NUMBERS, _NUMBERS),
    st.one_of(st.sampled_from(["GMT", "-0000"]), _NUMBERS.map(lambda text: "+" + text), st.text(max_size=5)),
)


@given(st.one_of(st.text(), _NUMBERS, _ALMOST_DATES, st.text(alphabet="0123456789 ,:+-JanThuGMT²")))
def test_no_text_breaks_the_reading(header: str) -> None:
    seconds = retry_after_seconds(header, NOW)
    assert seconds is None or (seconds >= 0 and math.isfinite(seconds))
