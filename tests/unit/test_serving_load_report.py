"""What a replica reports of its load, decoded as protobuf's wire format says."""

from __future__ import annotations

import struct

import pytest

from unclip.engine.observer import EngineUsage
from unclip.serving.load_report import RATE, TRAILER, UTILIZATION, Cost, LoadReport


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def decoded(report: LoadReport) -> tuple[float, float]:
    """(calls a second, utilization)."""
    [(name, data)] = report.trailer()
    assert name == TRAILER
    assert isinstance(data, bytes)
    first, rate, second, utilization = struct.unpack("<BdBd", data)
    assert (first, second) == (RATE, UTILIZATION)
    return rate, utilization


def test_it_tells_the_rate_of_the_last_ten_seconds_and_the_fullest_engine() -> None:
    clock = Clock()
    report = LoadReport(clock)
    report.watch("decoder", lambda: 0.5)
    report.watch("upsampler", lambda: 1.25)
    assert decoded(report) == (0.1, 1.25)
    assert decoded(report) == (0.2, 1.25)
    clock.now = 10.0
    assert decoded(report) == (0.1, 1.25)


def test_an_idle_replica_has_a_utilization_that_one_can_divide_by() -> None:
    report = LoadReport(Clock())
    report.watch("decoder", lambda: 0.0)
    assert decoded(report)[1] > 0


def test_a_process_without_an_engine_reports_nothing() -> None:
    assert LoadReport(Clock()).trailer() == ()


def work(device: float, busy: float) -> EngineUsage:
    return EngineUsage(0.0, 0.0, 1.0, 3, 1, 1.0, device, busy)


def test_what_a_call_cost_is_told_beside_the_report_and_understood_again() -> None:
    cost = Cost.of([work(0.25, 1.5), work(0.5, 0.125)])
    assert cost == Cost(0.75, 1.625)
    [(name, told)] = LoadReport(Clock()).trailer(cost)
    assert (name, told) == ("server-timing", "device;dur=750.000, busy;dur=1625.000")
    assert Cost.from_trailers([("x-request-id", "1"), (name, told)]) == cost


def test_work_that_took_no_step_costs_nothing_that_could_be_told() -> None:
    assert Cost.of([]) is None
    assert Cost.of([work(0.0, 0.0)]) is None


@pytest.mark.parametrize(
    "told",
    ["", "device;dur=1.000", "device;dur=nan, busy;dur=1.000", "device;dur=0.000, busy;dur=1.000", b"\xff", "x" * 9000],
)
def test_what_cannot_be_understood_of_a_cost_is_left(told: str | bytes) -> None:
    assert Cost.from_trailers([("server-timing", told)]) is None
    assert Cost.from_trailers(None) is None
