"""Work that touches the device is done on the engine's thread, between ticks."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from tests.unit.engine_bench import WAIT, Bench, Count
from unclip.errors import OutOfDeviceMemory, Unavailable


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.close()


def test_a_call_runs_on_the_thread_that_ticks(bench: Bench) -> None:
    ticking: list[str] = []
    bench.scribe.before = lambda _: ticking.append(threading.current_thread().name)
    job = Count("job", 1)
    bench.submit(job)
    called = bench.engine.call(lambda: threading.current_thread().name)
    bench.go(job)
    assert [called.result(WAIT)] == ticking


def test_an_idle_engine_answers_calls_in_their_order(bench: Bench) -> None:
    bench.go()
    seen: list[int] = []
    for future in [bench.engine.call(lambda i=i: seen.append(i)) for i in range(5)]:  # type: ignore[misc]
        future.result(WAIT)
    assert seen == list(range(5))


def test_a_call_need_not_wait_for_the_jobs_before_it(bench: Bench) -> None:
    long = Count("long", 10**9)
    bench.submit(long)
    bench.gate.set()
    assert bench.engine.call(lambda: long.position).result(WAIT) < long.length
    long.cancel()


def test_a_call_that_fails_tells_its_caller_and_nobody_else(bench: Bench) -> None:
    def fail() -> None:
        raise torch.OutOfMemoryError("23 GiB")

    job = Count("job", 3)
    bench.submit(job)
    failed = bench.engine.call(fail)
    assert bench.go(job) == ["job done"]
    assert isinstance(failed.exception(WAIT), OutOfDeviceMemory)


def test_a_cancelled_call_is_not_made(bench: Bench) -> None:
    made: list[int] = []
    future = bench.engine.call(lambda: made.append(1))
    assert future.cancel()
    bench.go()
    bench.engine.call(lambda: None).result(WAIT)
    assert made == []


def test_calls_that_wait_when_the_engine_closes_are_unavailable(bench: Bench) -> None:
    future = bench.engine.call(lambda: 1)
    closing = threading.Thread(target=bench.engine.close)
    closing.start()
    while bench.engine._closed is None:
        pass
    bench.gate.set()
    closing.join(WAIT)
    assert isinstance(future.exception(WAIT), Unavailable)
    with pytest.raises(Unavailable):
        bench.engine.call(lambda: 1)


def test_a_call_that_poisons_the_device_ends_the_engine(bench: Bench) -> None:
    def poison() -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    job = Count("job", 10**9)
    bench.submit(job)
    poisoned = bench.engine.call(poison)
    bench.gate.set()
    assert isinstance(poisoned.exception(WAIT), Unavailable)
    assert isinstance(job.future.exception(WAIT), Unavailable)
