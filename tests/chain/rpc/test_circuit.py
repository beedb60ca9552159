"""Five failures in a row open a circuit; one probe after a growing pause decides whether it closes."""

from __future__ import annotations

import itertools

from echain.chain.circuit import FAILURES, FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, Circuit, State


class Time:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def opened(time: Time) -> Circuit:
    circuit = Circuit(time)
    for _ in range(FAILURES):
        assert circuit.passes
        circuit.failed()
    return circuit


def test_it_opens_at_the_fifth_failure_in_a_row() -> None:
    circuit = Circuit(Time())
    for _ in range(FAILURES - 1):
        circuit.failed()
    assert circuit.state is State.CLOSED
    circuit.succeeded()
    for _ in range(FAILURES - 1):
        circuit.failed()
    assert circuit.state is State.CLOSED
    circuit.failed()
    assert circuit.state is State.OPEN
    assert not circuit.passes


def test_one_probe_passes_after_the_pause_and_its_success_closes() -> None:
    time = Time()
    circuit = opened(time)
    time.now += FIRST_PAUSE_SECONDS - 0.01
    assert not circuit.passes
    time.now += 0.02
    assert circuit.state is State.HALF_OPEN
    assert circuit.passes
    circuit.begin()
    assert not circuit.passes, "a second probe beside the first"
    circuit.succeeded()
    assert circuit.state is State.CLOSED
    assert circuit.passes


def test_the_pause_doubles_with_each_probe_that_fails_and_starts_anew_after_a_success() -> None:
    time = Time()
    circuit = opened(time)
    pauses: list[float] = []
    for _ in range(10):
        began = time.now
        while not circuit.passes:
            time.now += 0.05
        pauses.append(time.now - began)
        circuit.begin()
        circuit.failed()
    assert all(later > 1.8 * earlier for earlier, later in itertools.pairwise(pauses[:6]))
    assert abs(pauses[-1] - LONGEST_PAUSE_SECONDS) < 0.2
    time.now += LONGEST_PAUSE_SECONDS + 1
    circuit.begin()
    circuit.succeeded()
    for _ in range(FAILURES):
        circuit.failed()
    time.now += FIRST_PAUSE_SECONDS + 0.01
    assert circuit.passes


def test_failures_of_what_was_under_way_when_it_opened_do_not_lengthen_the_pause() -> None:
    time = Time()
    circuit = opened(time)
    for _ in range(20):
        circuit.failed()
    time.now += FIRST_PAUSE_SECONDS + 0.01
    assert circuit.passes


def test_a_probe_that_nobody_reports_of_is_forgotten() -> None:
    time = Time()
    circuit = opened(time)
    time.now += FIRST_PAUSE_SECONDS + 0.01
    circuit.begin()
    assert not circuit.passes
    time.now += 1.01
    assert circuit.passes


def test_where_there_is_nobody_else_a_rest_is_enough() -> None:
    time = Time()
    circuit = opened(time)
    for _ in range(8):
        time.now += LONGEST_PAUSE_SECONDS
        circuit.begin()
        circuit.failed()
    assert not circuit.passes
    assert not circuit.rested(2.0)
    time.now += 2.01
    assert circuit.rested(2.0)
    assert not circuit.passes
    circuit.begin()
    assert not circuit.rested(2.0), "a second probe beside the first"
