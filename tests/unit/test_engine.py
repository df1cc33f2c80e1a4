"""The engine: who is admitted, who moves when, and who leaves."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.engine_bench import FOREVER, WAIT, BatchSizes, Bench, Count, MakeBench
from unclip.engine.admission import Expected
from unclip.engine.job import TIME_SLICE
from unclip.errors import Cancelled, DeadlineExceeded, Overloaded


def test_jobs_of_a_lane_share_a_batch_and_jobs_of_others_do_not(make_bench: MakeBench) -> None:
    observer = BatchSizes()
    bench = make_bench(observer=observer)
    jobs = [Count("x", 2), Count("other", 2, lane="b"), Count("y", 3)]
    bench.submit(*jobs)
    assert bench.go(*jobs) == ["x done", "other done", "y done"]
    assert bench.scribe.batches == [["x", "y"], ["other"], ["x", "y"], ["other"], ["y"]]
    assert observer.sizes == [1, 2, 1, 2, 1, 1]


def test_a_batch_never_exceeds_its_limit_nor_the_running_jobs_the_capacity(make_bench: MakeBench) -> None:
    bench = make_bench(capacity=5, max_batch=3)
    jobs = [Count(str(i), 1 + i % 4) for i in range(20)]
    loads: list[tuple[int, int]] = []
    bench.scribe.before = lambda batch: loads.append(bench.engine.load())
    bench.submit(*jobs)
    bench.go(*jobs)
    assert max(len(batch) for batch in bench.scribe.batches) == 3
    assert max(running for running, _ in loads) == 5


def test_a_request_beyond_capacity_and_queue_is_refused_with_a_time_to_come_back(make_bench: MakeBench) -> None:
    bench = make_bench(capacity=2, queue_limit=3)  # the gate is one of the five
    bench.submit(*[Count(str(i), 5) for i in range(3)])
    with pytest.raises(Overloaded, match="4 places are taken, limit 5") as few:
        bench.engine.reserve(2)
    assert few.value.retry_after > 0
    bench.submit(Count("long", 1000))
    with pytest.raises(Overloaded) as many:
        bench.engine.reserve()
    assert many.value.retry_after > few.value.retry_after


def test_room_for_other_numbers_of_jobs_than_are_expected_is_refused(make_bench: MakeBench) -> None:
    bench, likely = make_bench(), [Expected("a", steps, float("inf")) for steps in (2, 1)]
    with pytest.raises(ValueError, match="expected must be none, one or 3; got 2"):
        bench.engine.reserve(3, "", *likely)
    with bench.engine.reserve(2, "", *likely), bench.engine.reserve(3, "", likely[0]):
        pass


def test_reserved_room_counts_as_taken_until_it_is_released(make_bench: MakeBench) -> None:
    bench = make_bench(capacity=1, queue_limit=3)
    with bench.engine.reserve(2) as room:
        with pytest.raises(Overloaded):
            bench.engine.reserve(2)
        room.submit(Count("used", 1))
        with pytest.raises(Overloaded):
            bench.engine.reserve(2)
    with bench.engine.reserve(2), pytest.raises(Overloaded):
        bench.engine.reserve()


def test_a_reservation_is_released_when_its_request_fails(make_bench: MakeBench) -> None:
    bench = make_bench(capacity=1, queue_limit=1)
    with pytest.raises(RuntimeError, match="bad image"), bench.engine.reserve():
        raise RuntimeError("bad image")
    with bench.engine.reserve():
        pass


def test_more_jobs_than_were_reserved_are_refused(make_bench: MakeBench) -> None:
    bench = make_bench()
    with bench.engine.reserve() as room:
        room.submit(Count("first", 1))
        with pytest.raises(ValueError, match="used up"):
            room.submit(Count("second", 1))


@given(lengths=st.lists(st.tuples(st.integers(1, 3 * TIME_SLICE), st.sampled_from("ab")), min_size=1, max_size=8))
@settings(max_examples=20)
def test_every_job_moves_exactly_its_length_and_none_is_left(lengths: list[tuple[int, str]]) -> None:
    bench = Bench(capacity=2, max_batch=2)
    jobs = [Count(str(i), length, lane=lane) for i, (length, lane) in enumerate(lengths)]
    try:
        bench.submit(*jobs)
        bench.go(*jobs)
    finally:
        bench.close()
    moved = [name for batch in bench.scribe.batches for name in batch]
    assert {job.name: moved.count(job.name) for job in jobs} == {job.name: job.length for job in jobs}


def test_a_cancelled_job_is_gone_before_the_next_tick_and_its_place_is_taken(make_bench: MakeBench) -> None:
    bench = make_bench(capacity=1)
    leaver, waiting = Count("leaver", FOREVER), Count("waiting", 1)

    def cancel_on_third(jobs: Sequence[Count]) -> None:
        if len(bench.scribe.batches) == 2:
            leaver.cancel()

    bench.scribe.before = cancel_on_third
    bench.submit(leaver, waiting)
    bench.go(waiting)
    assert isinstance(leaver.future.exception(WAIT), Cancelled)
    assert bench.scribe.batches == [["leaver"]] * 3 + [["waiting"]]


def test_a_job_cancelled_in_the_queue_never_runs(make_bench: MakeBench) -> None:
    bench = make_bench(capacity=1)
    first, leaver = Count("first", 3), Count("leaver", 3)
    bench.submit(first, leaver)
    leaver.cancel()
    bench.go(first)
    assert isinstance(leaver.future.exception(WAIT), Cancelled)
    assert bench.scribe.batches == [["first"]] * 3


def test_a_job_whose_deadline_passes_on_its_way_ends_before_the_next_tick(make_bench: MakeBench) -> None:
    bench = make_bench()
    late, other = Count("late", FOREVER), Count("other", 5)

    def time_passes(jobs: Sequence[Count]) -> None:
        if len(bench.scribe.batches) == 1:
            late.deadline = time.monotonic() - 1

    bench.scribe.before = time_passes
    bench.submit(late, other)
    bench.go(other)
    with pytest.raises(DeadlineExceeded, match="after 2 of"):
        late.future.result(WAIT)
    assert bench.scribe.batches == [["late", "other"]] * 2 + [["other"]] * 3


def test_a_job_that_comes_too_late_never_runs(make_bench: MakeBench) -> None:
    bench = make_bench()
    late, other = Count("late", 3, deadline=time.monotonic() - 1), Count("other", 1)
    with pytest.raises(DeadlineExceeded):
        bench.submit(late)
    bench.submit(other)
    bench.go(other)
    assert bench.scribe.batches == [["other"]]


def test_a_short_job_beside_long_ones_ends_first_though_batches_are_full(make_bench: MakeBench) -> None:
    bench = make_bench(capacity=4, max_batch=1)
    short = Count("short", 5)
    bench.submit(*[Count(f"long {i}", FOREVER) for i in range(3)], short)
    bench.go(short)
    assert [i for i, batch in enumerate(bench.scribe.batches) if batch == ["short"]][-1] < 4 * 5


def test_a_short_job_gets_its_turn_though_long_ones_fill_the_house(make_bench: MakeBench) -> None:
    bench = make_bench(capacity=2, max_batch=2)
    long, short = [Count(f"long {i}", 100 * TIME_SLICE) for i in range(2)], Count("short", 5)
    bench.submit(*long, short)
    bench.go(short)
    first = next(i for i, batch in enumerate(bench.scribe.batches) if "short" in batch)
    assert first <= TIME_SLICE
    assert bench.go(*long) == ["long 0 done", "long 1 done"]


def test_no_lane_starves_another(make_bench: MakeBench) -> None:
    bench = make_bench(capacity=8, max_batch=2)
    crowd, lonely = [Count(f"crowd {i}", 50) for i in range(7)], Count("lonely", 10, lane="b")
    bench.submit(*crowd, lonely)
    bench.go(*crowd, lonely)
    turns = [i for i, batch in enumerate(bench.scribe.batches) if batch == ["lonely"]]
    assert len(turns) == 10
    # Seven of the crowd two at a time: at most four ticks between two of its own.
    assert max(later - earlier for earlier, later in pairwise(turns)) <= 5


def test_newcomers_do_not_overtake_for_ever(make_bench: MakeBench) -> None:
    bench = make_bench(capacity=2, max_batch=1, queue_limit=100)
    old, crowd = Count("old", 20), [Count(f"new {i}", 1) for i in range(60)]
    bench.submit(old, *crowd)
    bench.go(old)
    assert [i for i, batch in enumerate(bench.scribe.batches) if batch == ["old"]][-1] < 2 * 20


def test_a_job_in_the_queue_hears_its_place_and_then_each_step(make_bench: MakeBench) -> None:
    bench = make_bench(capacity=1)
    heard: list[tuple[int, int]] = []
    jobs = [
        Count("x", 1),
        Count("y", 1),
        Count("z", 2),
    ]
    jobs[-1].notify = lambda job: heard.append((job.queue_position, job.position))
    bench.submit(*jobs)
    bench.go(*jobs)
    assert heard == [(2, 0), (1, 0), (0, 1), (0, 2)]
