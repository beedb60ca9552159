"""Ranges begin large, grow slowly, shrink at once, and believe what a provider says of its limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echain.chain.span import TARGET_LOGS, Span, allowed_blocks

TEXTS = {
    "Exceeded maximum block range: 1000": 1000,
    "eth_getLogs is limited to a 10,000 range": 10_000,
    "eth_getLogs is limited to 0 - 10000 blocks range": 10_000,
    "query exceeds max block range 5000": 5000,
    "block range limit exceeded. Max range: 2000 blocks": 2000,
    "You can make eth_getLogs requests with up to a 500 block range.": 500,
    "Log response size exceeded. Try with this block range [0x10, 0x1f].": 16,
    "Query returned more than 10000 results. Try with this block range [0x1a4, 0x1a4].": 1,
    "query timeout": None,
    "the node answered HTTP 502 without JSON": None,
    "Exceeded maximum block range: 0": None,
}


@pytest.mark.parametrize(("text", "blocks"), TEXTS.items())
def test_providers_refusals_are_understood(text: str, blocks: int | None) -> None:
    assert allowed_blocks(text) == blocks


def test_a_refusal_without_a_hint_halves_the_range() -> None:
    span = Span(2000)
    assert span.refused(400, "query timeout")
    assert span.blocks == 200


def test_a_stated_limit_is_never_exceeded_again() -> None:
    span = Span(10_000)
    span.refused(500, "Exceeded maximum block range: 100")
    for _ in range(50):
        span.answered(span.blocks, 0)
    assert span.blocks == 100


def test_an_offered_range_is_taken_and_outgrown() -> None:
    span = Span(2000)
    span.refused(500, "Try with this block range [0x10, 0x1f].")
    assert span.blocks == 16
    span.answered(16, 10)
    assert span.blocks > 16


def test_a_single_block_that_is_refused_leaves_nothing_to_cut() -> None:
    assert not Span(2000).refused(1, "query returned more than 10000 results")


@given(
    st.integers(1, 10_000),
    st.lists(st.one_of(st.tuples(st.just("answer"), st.integers(0, 200_000)), st.just(("refusal", 0)))),
)
def test_the_span_stays_between_one_block_and_its_limit(limit: int, turns: list[tuple[str, int]]) -> None:
    span = Span(limit)
    for what, logs in turns:
        if what == "answer":
            span.answered(span.blocks, logs)
        else:
            span.refused(span.blocks, "busy")
        assert 1 <= span.blocks <= limit


def test_dense_ranges_come_down_to_the_target() -> None:
    span = Span(2000)
    for _ in range(10):
        span.answered(span.blocks, span.blocks * 400)
    assert abs(span.blocks * 400 - TARGET_LOGS) <= 400
