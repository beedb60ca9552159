"""What is done for an admission's POAP, for everything that may be known about it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echain.admission.rules import (
    GIVE_UP_AFTER,
    UNDO_TERM,
    CheckIn,
    JobState,
    Mint,
    Settled,
    Wait,
    gate_key_term,
    may_undo,
    next_step,
)
from echain.admission.types import Desk, Operator
from echain.kernel.evm import Address
from echain.kernel.time import LAST_SECOND, from_unix

NOW = datetime(2026, 5, 1, 20, tzinfo=UTC)

check_ins = st.builds(
    CheckIn,
    admitted_at=st.integers(0, 40 * 86_400).map(lambda seconds: NOW - timedelta(seconds=seconds)),
    attempts=st.integers(0, 100),
    ticket_state=st.sampled_from([None, "valid", "used", "refunded", "locked"]),
    poap_block=st.none() | st.integers(0, 100),
    final_block=st.integers(-1, 100),
    gate_key_enabled=st.booleans(),
    cancelled=st.booleans(),
    job=st.none() | st.sampled_from(JobState),
)


@given(check_ins)
def test_a_transaction_is_sent_only_when_the_contract_takes_it_and_none_is_open(check_in: CheckIn) -> None:
    if isinstance(next_step(check_in, now=NOW), Mint):
        assert check_in.poap_block is None
        assert check_in.job is not JobState.OPEN
        assert check_in.ticket_state == "valid"
        assert check_in.gate_key_enabled
        assert not check_in.cancelled


@given(check_ins)
def test_an_admission_is_left_alone_only_with_a_final_poap_or_after_a_month(check_in: CheckIn) -> None:
    final = check_in.poap_block is not None and check_in.poap_block <= check_in.final_block
    old = NOW - check_in.admitted_at > GIVE_UP_AFTER
    assert isinstance(next_step(check_in, now=NOW), Settled) == (final or old)


@given(check_ins)
def test_the_next_look_is_soon_but_not_at_once(check_in: CheckIn) -> None:
    step = next_step(check_in, now=NOW)
    if not isinstance(step, Settled):
        assert timedelta(seconds=1) <= step.until - NOW <= timedelta(hours=1)


def check_in(**known: object) -> CheckIn:
    fresh = {
        "admitted_at": NOW,
        "attempts": 0,
        "ticket_state": "valid",
        "poap_block": None,
        "final_block": 10,
        "gate_key_enabled": True,
        "cancelled": False,
        "job": None,
    }
    return CheckIn(**{**fresh, **known})  # type: ignore[arg-type]


def test_a_fresh_admission_is_sent_at_once() -> None:
    assert isinstance(next_step(check_in(), now=NOW), Mint)


def test_nothing_is_sent_while_a_transaction_is_open() -> None:
    assert isinstance(next_step(check_in(attempts=1, job=JobState.OPEN), now=NOW), Wait)


@pytest.mark.parametrize(
    "known",
    [
        {"gate_key_enabled": False},
        {"cancelled": True},
        {"ticket_state": None},
        {"ticket_state": "used"},
        {"ticket_state": "locked"},
        {"ticket_state": "refunded"},
    ],
)
def test_nothing_is_sent_that_the_contract_would_refuse(known: dict[str, object]) -> None:
    assert isinstance(next_step(check_in(**known), now=NOW), Wait)


def test_a_poap_that_a_reorg_may_still_take_is_watched() -> None:
    assert isinstance(next_step(check_in(poap_block=11), now=NOW), Wait)
    assert isinstance(next_step(check_in(poap_block=10), now=NOW), Settled)


def test_a_poap_that_was_reorged_away_is_sent_again() -> None:
    assert isinstance(next_step(check_in(attempts=1, job=JobState.MINED), now=NOW), Mint)


def test_each_failure_waits_twice_as_long_as_the_one_before() -> None:
    waits = [
        next_step(check_in(attempts=attempts, job=JobState.FAILED), now=NOW).until - NOW  # type: ignore[union-attr]
        for attempts in range(12)
    ]
    assert waits[:3] == [timedelta(seconds=10), timedelta(seconds=20), timedelta(seconds=40)]
    assert waits == sorted(waits)
    assert waits[-1] == timedelta(hours=1)


@given(st.integers(0, LAST_SECOND), st.integers(0, LAST_SECOND))
def test_the_key_is_enabled_now_and_past_the_events_end_whatever_the_chain_calls_its_end(
    now: int, ends_at: int
) -> None:
    valid_from, valid_until = gate_key_term(now=from_unix(now), ends_at=from_unix(ends_at))
    assert valid_from < now < valid_until
    assert ends_at < valid_until < 2**40


GATE, ADMITTED = uuid4(), NOW


@pytest.mark.parametrize(
    ("operator", "admitted_by", "minutes", "may"),
    [
        (Operator(gate=GATE), GATE, 9, True),
        (Operator(gate=GATE), GATE, 10, True),
        (Operator(gate=GATE), GATE, 11, False),
        (Operator(gate=GATE), uuid4(), 1, False),
        (Operator(gate=GATE), None, 1, False),
        (Operator(desk=Desk(Address(bytes(20)), Address(bytes(20)))), GATE, 60 * 24, True),
        (Operator(desk=Desk(Address(bytes(20)), Address(bytes(20)))), None, 60 * 24, True),
    ],
)
def test_the_organizer_undoes_anything_and_a_gate_what_it_just_did(
    operator: Operator, admitted_by: UUID | None, minutes: int, *, may: bool
) -> None:
    now = ADMITTED + timedelta(minutes=minutes)
    assert may_undo(operator, admitted_by=admitted_by, admitted_at=ADMITTED, now=now) is may
    assert timedelta(minutes=10) == UNDO_TERM
