"""The table and its rows: what is missing is said, and one failure takes nothing from the others."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
from bench import __main__ as program
from bench import fanout, native, realtime
from bench.fanout import FLOOR, OURS, Fan, Measured
from bench.rows import Row
from click.testing import CliRunner
from rich.console import Console


def measured(cpu_us: float) -> Measured:
    fans = {size: Fan(cpu_us, cpu_us, cpu_us, 2.0) for size in fanout.SIZES}
    return Measured(fans, cpu_us, cpu_us, "C, epoll")


def test_fan_out_stands_beside_its_peers_and_says_which_are_missing() -> None:
    found = {OURS[0]: measured(9), OURS[1]: measured(8), FLOOR: measured(7), "ws, here": measured(12)}
    rows = {row.name: row for row in fanout._rows(found, {"socket.io, here": "no network"})}
    assert set(rows) == set(program.MEASUREMENTS["bench.fanout"])
    assert rows["fanout_us_per_delivery"].missing == {"socket.io, here": "no network"}
    assert rows["fanout_us_per_delivery"].floor == 7
    assert rows["fanout_ws_last_ms_p50_1000"].value == 8
    assert rows["fanout_ws_last_ms_p50_1000"].peers == {"ws, here": 12}
    assert rows["fanout_ws_last_ms_p50_1000"].missing == {}
    assert rows["socket_kb_per_connection"].floor is None, "the floor keeps no state"


def test_the_table_says_why_a_peer_has_no_figure() -> None:
    row = Row("x", 6.0, "ms", 3.0, {"peer": 12.0, "idle": 0.0}, "", {"other": "it did not start"})
    assert program.beside(row) == "0.50x peer (12)\nother missing: it did not start"
    console = Console(width=200)
    with console.capture() as captured:
        console.print(program.table_of([row]))
    assert "2.00" in captured.get(), "of the floor"


def test_a_message_has_the_same_200_bytes_whatever_its_number() -> None:
    assert {len(realtime._message(number, _data(number))) for number in (1, 99, 12_345)} == {200}


def _data(number: int) -> bytes:
    return b'{"text":"%b"}' % realtime._data(number)["text"].encode()


@pytest.fixture
def two_modules(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One measurement that fails, before one that does not."""

    async def fails() -> list[Row]:
        raise RuntimeError("broken")

    async def works() -> list[Row]:
        return [Row("works", 1.0, "s")]

    for name, measure in (("bench_fails", fails), ("bench_works", works)):
        module = ModuleType(name)
        module.measure = measure  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(program, "MEASUREMENTS", {"bench_fails": ("fails",), "bench_works": ("works",)})
    monkeypatch.setattr(program, "RESULTS", tmp_path / "results.json")


@pytest.mark.usefixtures("two_modules")
def test_one_measurement_that_fails_leaves_the_others_their_rows() -> None:
    done = CliRunner().invoke(program.main)
    assert done.exit_code == 1
    assert "not measured: bench_fails" in done.output
    assert '"works"' in program.RESULTS.read_text()


@pytest.mark.usefixtures("two_modules")
def test_every_row_can_be_asked_for_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert CliRunner().invoke(program.main, ["--only", "works"]).exit_code == 0
    unknown = CliRunner().invoke(program.main, ["--only", "nothing"])
    assert unknown.exit_code == 2
    assert "fails, works" in unknown.output
    monkeypatch.setitem(program.MEASUREMENTS, "bench_works", ("another",))
    assert CliRunner().invoke(program.main, ["--only", "another"]).exit_code == 1


def test_a_machine_without_a_compiler_has_no_native_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert native.built("clients") is None
