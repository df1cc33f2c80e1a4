"""The engine when something breaks: a row, a listener, the device, or the whole service."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch

from tests.unit.engine_bench import FOREVER, WAIT, Bench, Count
from unclip.engine.job import Job
from unclip.engine.observer import Observer
from unclip.errors import CheckpointError, OutOfDeviceMemory, Unavailable

POISON = RuntimeError("CUDA error: an illegal memory access was encountered")


class Failures:
    """Keeps what on_failure was told."""

    def __init__(self) -> None:
        self.seen: list[BaseException] = []
        self.told = threading.Event()

    def __call__(self, error: BaseException) -> None:
        self.seen.append(error)
        self.told.set()


@pytest.fixture
def failures() -> Failures:
    return Failures()


@pytest.fixture
def bench(failures: Failures) -> Iterator[Bench]:
    made = Bench(on_failure=failures)
    yield made
    made.close()


def error_of(job: Job[Any]) -> BaseException | None:
    return job.future.exception(WAIT)


def test_a_failing_row_fails_its_own_job_only(bench: Bench, failures: Failures) -> None:
    bad, good = Count("bad", 5, bad=ValueError("a row of the wrong shape")), [Count(str(i), 5) for i in range(3)]
    bench.submit(good[0], bad, *good[1:])
    assert bench.go(*good) == ["0 done", "1 done", "2 done"]
    assert error_of(bad) is bad.bad
    assert bench.scribe.batches == [["0"], ["1"], ["2"]] + [["0", "1", "2"]] * 4
    assert failures.seen == []


def test_foreseen_errors_reach_the_caller_as_they_are(bench: Bench) -> None:
    bad = Count("bad", 1, bad=CheckpointError("no such thing"))
    bench.submit(bad)
    bench.go()
    assert error_of(bad) is bad.bad


def test_a_job_of_an_unknown_program_fails_alone(bench: Bench) -> None:
    lost, good = Count("lost", 1, lane="nowhere"), Count("good", 2)
    bench.submit(lost, good)
    assert bench.go(good) == ["good done"]
    assert isinstance(error_of(lost), KeyError)


def test_a_job_whose_result_cannot_be_made_fails_alone(bench: Bench) -> None:
    class Hollow(Count):
        def result(self) -> str:
            raise ValueError("nothing in it")

    hollow, good = Hollow("hollow", 1), Count("good", 2)
    bench.submit(hollow, good)
    assert bench.go(good) == ["good done"]
    assert isinstance(error_of(hollow), ValueError)


def test_a_batch_too_large_for_the_device_is_taken_row_by_row(bench: Bench) -> None:
    def at_most_one(jobs: Sequence[Count]) -> None:
        if len(jobs) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")

    bench.scribe.before = at_most_one
    jobs = [Count("x", 2), Count("y", 2)]
    bench.submit(*jobs)
    assert bench.go(*jobs) == ["x done", "y done"]


def test_a_row_too_large_for_the_device_is_told_so_and_the_engine_lives_on(bench: Bench, failures: Failures) -> None:
    large, good = Count("large", 1, bad=torch.OutOfMemoryError("CUDA out of memory")), Count("good", 1)
    bench.submit(large, good)
    assert bench.go(good) == ["good done"]
    assert isinstance(error_of(large), OutOfDeviceMemory)
    assert failures.seen == []


def accelerator_error() -> Exception:
    return torch.AcceleratorError("device-side assert triggered")


@pytest.mark.parametrize("make_error", [lambda: POISON, accelerator_error], ids=["CUDA error", "AcceleratorError"])
def test_a_poisoned_device_ends_everything_and_is_reported_once(
    bench: Bench, failures: Failures, make_error: Callable[[], Exception]
) -> None:
    error = make_error()
    jobs = [Count("x", FOREVER, bad=error), Count("y", FOREVER), Count("z", FOREVER, lane="b")]
    bench.submit(*jobs)
    bench.go()
    for job in jobs:
        with pytest.raises(Unavailable, match="the device failed"):
            job.future.result(WAIT)
    assert failures.seen == [error]
    assert bench.scribe.batches == []
    with pytest.raises(Unavailable, match="the device failed"):
        bench.engine.reserve()


def test_a_device_poisoned_by_one_row_of_a_failing_batch_is_not_touched_again(bench: Bench, failures: Failures) -> None:
    """The batch fails for one row, is taken row by row, and the second row kills the device."""
    jobs = [Count("bad", 5, bad=ValueError("bad row")), Count("deadly", 5, bad=POISON), Count("good", 5)]
    bench.submit(*jobs)
    bench.go()
    assert isinstance(error_of(jobs[0]), ValueError)
    assert isinstance(error_of(jobs[1]), Unavailable)
    assert isinstance(error_of(jobs[2]), Unavailable)
    assert failures.seen == [POISON]
    assert bench.scribe.batches == []


class Deadly(Observer):
    """An observer that fails at one of the things it is told."""

    def __init__(self, moment: str) -> None:
        def fail(*_: object) -> None:
            raise SystemExit("the observer has had enough")

        setattr(self, moment, fail)


@pytest.mark.parametrize("moment", ["admitted", "ticked", "ended"])
def test_whatever_kills_the_engines_thread_ends_every_job_and_is_reported(moment: str) -> None:
    observer, failures = Observer(), Failures()
    bench = Bench(on_failure=failures, observer=observer, capacity=4)
    try:
        jobs = [Count(str(i), 2) for i in range(3)] + [Count("waits", FOREVER, lane="b") for _ in range(3)]
        bench.submit(*jobs)
        asked = bench.engine.call(lambda: "unheard")
        for name, value in vars(Deadly(moment)).items():
            setattr(observer, name, value)
        bench.gate.set()
        for job in jobs:
            assert job.future.exception(WAIT) is None or isinstance(error_of(job), Unavailable)
        assert failures.told.wait(WAIT)
        assert len(failures.seen) == 1
        assert asked.exception(WAIT) is None or isinstance(asked.exception(), Unavailable)
        with pytest.raises(Unavailable, match="the engine failed"):
            bench.engine.reserve()
        assert any(isinstance(error_of(job), Unavailable) for job in jobs)
    finally:
        bench.close()


def test_a_cache_that_cannot_be_emptied_ends_every_job(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("the allocator is broken")

    monkeypatch.setattr("torch.cuda.is_initialized", lambda: True)
    monkeypatch.setattr("torch.cuda.empty_cache", fail)
    failures = Failures()
    bench = Bench(on_failure=failures)
    try:
        jobs = [Count("large", 1, bad=torch.OutOfMemoryError("CUDA out of memory")), Count("other", FOREVER, lane="b")]
        bench.submit(*jobs)
        bench.go()
        for job in jobs:
            assert isinstance(error_of(job), Unavailable)
        assert [str(error) for error in failures.seen] == ["the allocator is broken"]
    finally:
        bench.close()


def test_a_call_that_kills_the_engines_thread_is_answered_and_so_is_everybody(bench: Bench, failures: Failures) -> None:
    def leave() -> None:
        raise KeyboardInterrupt

    calls = [bench.engine.call(leave), bench.engine.call(lambda: None)]
    job = Count("x", FOREVER)
    bench.submit(job)
    bench.go()
    for call in calls:
        assert isinstance(call.exception(WAIT), Unavailable)
    assert isinstance(error_of(job), Unavailable)
    assert len(failures.seen) == 1


def test_jobs_are_ended_even_when_on_failure_itself_fails() -> None:
    def fail(error: BaseException) -> None:
        raise OSError("no such socket")

    bench = Bench(on_failure=fail)
    try:
        job = Count("x", 5, bad=POISON)
        bench.submit(job)
        bench.go()
        assert isinstance(error_of(job), Unavailable)
    finally:
        bench.close()


def test_a_failing_listener_harms_nobody(bench: Bench) -> None:
    def fail(job: Job[Any]) -> None:
        raise RuntimeError("the reader has gone")

    jobs = [Count("heard", 3), Count("other", 3)]
    jobs[0].notify = fail
    bench.submit(*jobs)
    assert bench.go(*jobs) == ["heard done", "other done"]
    assert bench.scribe.batches == [["heard", "other"]] * 3


def test_a_failing_callback_of_a_result_harms_nobody(bench: Bench) -> None:
    jobs = [Count("heard", 1), Count("other", 3)]
    jobs[0].future.add_done_callback(lambda future: 1 / 0)
    bench.submit(*jobs)
    assert bench.go(*jobs) == ["heard done", "other done"]


def test_a_future_that_its_owner_cancelled_harms_nobody(bench: Bench) -> None:
    jobs = [Count("dropped", 2), Count("other", 3)]
    bench.submit(*jobs)
    assert jobs[0].future.cancel()
    assert bench.go(jobs[1]) == ["other done"]


def test_closing_ends_running_waiting_and_later_jobs() -> None:
    bench = Bench(capacity=2)
    jobs = [Count(str(i), FOREVER) for i in range(5)]
    bench.submit(*jobs)
    late = bench.engine.reserve()
    bench.gate.set()
    bench.engine.close("draining")
    for job in jobs:
        with pytest.raises(Unavailable, match="draining"):
            job.future.result(WAIT)
    with pytest.raises(Unavailable, match="draining"):
        late.submit(Count("late", 1))
    with pytest.raises(Unavailable, match="draining"):
        bench.engine.reserve()
    assert bench.engine.load() == (0, 0)


def test_closing_twice_keeps_the_first_reason() -> None:
    bench = Bench()
    bench.gate.set()
    bench.engine.close("draining")
    bench.engine.close("again")
    with pytest.raises(Unavailable, match="draining"):
        bench.engine.reserve()


def test_an_idle_engine_wakes_for_jobs_from_any_thread(bench: Bench) -> None:
    bench.go()
    done: list[str] = []

    def ask(name: str) -> None:
        job = Count(name, 3)
        bench.submit(job)
        done.append(job.future.result(WAIT))

    threads = [threading.Thread(target=ask, args=(str(i),)) for i in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert sorted(done) == sorted(f"{i} done" for i in range(20))
    with bench.engine.reserve(16 + 64):  # nothing is left behind: all room is free
        pass
