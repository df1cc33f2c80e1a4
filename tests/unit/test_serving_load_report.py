"""What a replica reports of its load, decoded as protobuf's wire format says."""

from __future__ import annotations

import struct

from unclip.serving.load_report import RATE, TRAILER, UTILIZATION, LoadReport


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def decoded(report: LoadReport) -> tuple[float, float]:
    """(calls a second, utilization)."""
    [(name, data)] = report.trailer()
    assert name == TRAILER
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
