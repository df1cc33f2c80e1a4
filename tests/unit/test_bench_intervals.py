"""The benchmarks' statistics, against distributions whose median is known."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tests.bench import report as report_module
from tests.bench.intervals import UNKNOWN, Interval, Precision, median_interval, outside
from tests.bench.pairs import WARM, Pairs, in_turns
from tests.bench.report import MET, MISSED, UNDECIDED, Report

# Ratios that scatter as timings do: evenly, with a long tail, and in two heaps. The median of each is 1.
DISTRIBUTIONS: dict[str, Callable[[np.random.Generator, int], npt.NDArray[np.float64]]] = {
    "lognormal": lambda random, count: np.exp(0.05 * random.standard_normal(count)),
    "heavy tail": lambda random, count: 1 + 0.05 * (random.pareto(1.5, count) - (2 ** (1 / 1.5) - 1)),
    "two heaps": lambda random, count: np.exp(
        0.02 * random.standard_normal(count) + random.choice([-0.03, 0.03], count)
    ),
}


@pytest.mark.parametrize(
    ("count", "cut"),
    [(5, -1), (6, 0), (10, 1), (20, 5), (40, 13), (100, 39)],  # from tables of the sign test
)
def test_as_many_samples_are_left_out_as_the_tables_say(count: int, cut: int) -> None:
    assert outside(count) == cut


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("count", [8, 30, 200])
def test_the_interval_holds_the_true_median_19_times_of_20(name: str, count: int) -> None:
    random = np.random.default_rng(0)
    found = [median_interval(DISTRIBUTIONS[name](random, count).tolist()) for _ in range(2000)]

    held = np.mean([interval.low <= 1 <= interval.high for interval in found])
    # Exactly 95 % or somewhat more, since samples are left out whole; 3.3 standard errors of 2000 draws are 0.016.
    assert 0.934 <= held <= 0.995


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_it_holds_it_about_as_often_where_one_goes_on_until_it_is_narrow(name: str) -> None:
    random, wanted = np.random.default_rng(1), Precision(width=0.03)
    held, needed = [], []
    for _ in range(400):
        samples = DISTRIBUTIONS[name](random, 400).tolist()
        count = next(count for count in range(wanted.least, 401, 2) if wanted.reached(samples[:count]))
        interval = median_interval(samples[:count])
        assert interval.width <= wanted.width
        held.append(interval.low <= 1 <= interval.high)
        needed.append(count)
    assert np.mean(held) >= 0.91  # looking again and again costs some of the 95 %
    assert wanted.least <= np.median(needed) < 400


def test_twice_the_scatter_needs_four_times_the_samples() -> None:
    random = np.random.default_rng(2)
    widths = [
        np.mean([median_interval(np.exp(scatter * random.standard_normal(count)).tolist()).width for _ in range(300)])
        for scatter, count in ((0.02, 100), (0.04, 400))
    ]
    assert widths[0] == pytest.approx(widths[1], rel=0.1)


def test_too_few_samples_say_nothing_and_thousands_can_be_told() -> None:
    assert median_interval([1.0] * 5) == UNKNOWN
    assert math.isinf(UNKNOWN.width)
    assert UNKNOWN.inverse() == UNKNOWN
    assert median_interval(list(range(1, 2001))).width == pytest.approx(2 * 1.96 * 0.5 * 2000**0.5 / 1000, rel=0.05)


class Clock:
    """Time that passes only in what is timed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.random = np.random.default_rng(3)
        self.calls: list[tuple[str, int]] = []
        for name in ("monotonic", "perf_counter"):
            monkeypatch.setattr(f"tests.bench.pairs.time.{name}", lambda: self.now)
        monkeypatch.setattr("tests.bench.pairs.time.sleep", lambda seconds: None)

    def way(self, name: str, seconds: float, scatter: float) -> Callable[[int], None]:
        """What takes about so long."""

        def call(number: int) -> None:
            self.calls.append((name, number))
            self.now += seconds * math.exp(scatter * self.random.standard_normal())

        return call


def test_a_pair_is_repeated_until_its_ratio_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    found = in_turns(clock.way("ours", 1.1, 0.05), clock.way("theirs", 1.0, 0.05), Precision(0.03, 30, 1e6))

    assert found.interval.width <= 0.03
    assert found.interval.low <= 1.1 <= found.interval.high
    assert 30 < len(found.ours) == len(found.theirs) < 500
    row = found.row("ours", "theirs")
    assert row["ended"] == "precise enough"
    assert row["interval"] == [round(found.interval.low, 4), round(found.interval.high, 4)]
    assert len(clock.calls) == 2 * (WARM + len(found.ours))
    first = [name for name, _ in clock.calls[::2]]
    assert first.count("ours") == first.count("theirs")
    assert [number for _, number in clock.calls[::2]] == list(range(len(first)))


def test_a_pair_that_scatters_too_much_ends_in_time_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    found = in_turns(clock.way("ours", 1.0, 0.5), clock.way("theirs", 1.0, 0.5), Precision(0.03, 30, 120.0))

    assert 100 <= sum(found.ours) + sum(found.theirs) <= 130
    assert not found.enough
    assert found.row("ours", "theirs")["ended"] == "after 120 s"


@pytest.mark.parametrize(
    ("low", "high", "bar", "verdict"),
    [
        (1.01, 1.03, "<= 1.05", MET),
        (1.03, 1.06, "<= 1.05", UNDECIDED),
        (1.06, 1.08, "<= 1.05", MISSED),
        (2.1, 2.3, ">= 2.0", MET),
        (1.9, 2.3, ">= 2.0", UNDECIDED),
        (0.0, math.inf, ">= 2.0", UNDECIDED),
    ],
)
def test_a_bar_is_met_or_missed_only_where_the_whole_interval_says_so(
    tmp_path: Path, low: float, high: float, bar: str, verdict: str
) -> None:
    report = Report("overhead")
    report.figure("ratio", (low + min(high, 3)) / 2, bar, Interval(low, high))

    assert report.verdict("ratio") == verdict
    assert verdict in report.text()
    written = json.loads(report.write(tmp_path).read_text(), parse_constant=pytest.fail)
    assert written["verdicts"] == {"ratio": verdict}
    assert written["intervals"] == {"ratio": None if math.isinf(high) else [low, high]}


def test_a_figure_without_an_interval_is_judged_as_it_is() -> None:
    report = Report("scale")
    report.figure("lost", 0, "== 0")
    report.figure("held", 499, ">= 500")
    report.figure("ms", 3)
    assert [report.verdict(name) for name in report.ratios] == [MET, MISSED, ""]


def test_a_report_names_the_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(
        "cpu family\t: 6\nmodel\t\t: 143\nmodel name\t: Some Xeon\nflags\t\t: fpu avx2 avx512f avx512_vnni\n\n"
        "model name\t: another\n"
    )
    monkeypatch.setattr(report_module, "CPUINFO", cpuinfo)

    report = Report("peer")

    found = json.loads(report.write(tmp_path).read_text())["machine"]
    assert found["cpu"] == "Some Xeon (family 6, model 143)"
    assert found["vectors"] == "avx2 avx512f avx512_vnni"
    assert "Some Xeon (family 6, model 143), avx2 avx512f avx512_vnni, " in report.text()
    assert f"load {found['load']} at the start" in report.text()


@pytest.mark.parametrize(("load", "busy"), [(0.2, False), (1.7, True)])
def test_a_report_warns_of_a_machine_that_was_busy(monkeypatch: pytest.MonkeyPatch, load: float, busy: bool) -> None:
    monkeypatch.setattr(report_module, "cores", lambda: 2)
    monkeypatch.setattr("os.getloadavg", lambda: (load, 0, 0))

    assert ("the machine was busy when this began, load 1.7 on 2 cores" in Report("peer").text()) == busy


def test_no_pairs_are_no_interval() -> None:
    assert Pairs(ours=[1.0], theirs=[1.0]).interval == UNKNOWN
