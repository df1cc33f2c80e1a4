"""Prometheus reads what engines and calls do; when all is over every gauge is back at zero."""

from __future__ import annotations

import errno
import re
import socket
import threading
import urllib.request
from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import pytest

from unclip.engine.engine import Engine
from unclip.engine.job import Job
from unclip.errors import ConfigurationError, Overloaded
from unclip.serving.metrics import EngineMetrics, serve_metrics
from unclip.serving.sockets import bindable, listening_socket


class Count(Job[str]):
    @property
    def lane(self) -> Hashable:
        return ("walk",)

    def result(self) -> str:
        return "done"


class Gated:
    """Takes its steps once the gate is open."""

    def __init__(self) -> None:
        self.gate = threading.Event()

    def tick(self, jobs: Sequence[Count]) -> None:
        assert self.gate.wait(30)


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> Iterator[tuple[Engine, Gated, str]]:
    stage, program = request.node.name, Gated()
    metrics = EngineMetrics(stage)
    engine = Engine({"walk": program}, capacity=2, queue_limit=2, stage=stage, observer=metrics)
    metrics.watch(engine.load, 2)
    yield engine, program, stage
    program.gate.set()
    engine.close()


def scrape() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    stop = serve_metrics(f"127.0.0.1:{port}")
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            return str(answer.read(), "utf-8")
    finally:
        stop()


def figure(page: str, name: str, *labels: str) -> float:
    for line in page.splitlines():
        if re.match(rf"{name}(\{{|\s)", line) and all(label in line for label in labels):
            return float(line.rpartition(" ")[2])
    raise AssertionError(f"no {name} with {labels}")


def test_gauges_follow_the_engine_and_return_to_zero(engine: tuple[Engine, Gated, str]) -> None:
    running, program, stage = engine
    jobs = [Count(2) for _ in range(3)]
    with running.reserve(3) as room:
        for job in jobs:
            room.submit(job)
    while running.load() != (2, 1):
        pass
    page = scrape()
    assert figure(page, "unclip_rows_running", stage) == 2
    assert figure(page, "unclip_queue_depth", stage) == 1
    assert figure(page, "unclip_saturation", stage) == 1
    program.gate.set()
    for job in jobs:
        job.future.result(30)
    page = scrape()
    for gauge in ("unclip_rows_running", "unclip_queue_depth", "unclip_saturation"):
        assert figure(page, gauge, stage) == 0


def test_steps_jobs_and_refusals_are_counted(engine: tuple[Engine, Gated, str]) -> None:
    running, program, stage = engine
    dropped, done = Count(5), Count(3)
    with running.reserve(4) as room:
        with pytest.raises(Overloaded):
            running.reserve()
        room.submit(dropped)
        room.submit(done)
    dropped.cancel()
    program.gate.set()
    done.future.result(30)
    assert dropped.future.exception(30) is not None
    page = scrape()
    assert figure(page, "unclip_jobs_total", stage, 'outcome="ok"') == 1
    assert figure(page, "unclip_jobs_total", stage, 'outcome="cancelled"') == 1
    assert figure(page, "unclip_refusals_total", stage, 'reason="queue_full"') == 1
    assert figure(page, "unclip_step_seconds_count", stage, 'program="walk"') >= 3
    assert figure(page, "unclip_batch_size_sum", stage) >= 3
    assert figure(page, "unclip_queue_seconds_count", stage) >= 1


def test_every_address_is_listened_on_with_ipv6_and_without(monkeypatch: pytest.MonkeyPatch) -> None:
    known = socket.socket

    def without_ipv6(family: int = socket.AF_INET, *more: int, **named: Any) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return known(family, *more, **named)

    assert bindable("[::]") == "::"
    monkeypatch.setattr(socket, "socket", without_ipv6)
    assert [bindable(host) for host in ("::", "[::]", "::1", "127.0.0.1")] == ["0.0.0.0", "0.0.0.0", "::1", "127.0.0.1"]


def test_metrics_are_served_at_addresses_of_ipv6() -> None:
    with listening_socket("::1", 0) as probe:
        port = probe.getsockname()[1]
    stop = serve_metrics(f"[::1]:{port}")
    try:
        with urllib.request.urlopen(f"http://[::1]:{port}/metrics", timeout=10) as answer:
            assert b"unclip_saturation" in answer.read()
    finally:
        stop()


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:x", "127.0.0.1:70000", "192.0.2.1:0"])
def test_an_address_that_cannot_be_served_is_named(address: str) -> None:
    with pytest.raises(ConfigurationError, match=address):
        serve_metrics(address)
