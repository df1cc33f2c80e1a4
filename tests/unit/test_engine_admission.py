"""Who gets in: what cannot end in time is refused at once, and no client crowds out the others."""

from __future__ import annotations

import time

import pytest

from tests.unit.engine_bench import FOREVER, Bench, Count, MakeBench
from unclip.engine.admission import Admission
from unclip.engine.observer import Observer
from unclip.engine.pace import HOPE, Pace
from unclip.errors import DeadlineExceeded, Overloaded, brief


class Refusals(Observer):
    def __init__(self) -> None:
        self.reasons: list[str] = []

    def refused(self, reason: str) -> None:
        self.reasons.append(reason)


def submit(bench: Bench, client: str, *jobs: Count) -> None:
    with bench.engine.reserve(len(jobs), client) as room:
        for job in jobs:
            room.submit(job)


def test_the_time_a_job_takes_alone_is_its_steps_at_the_fastest_measured_pace() -> None:
    pace, job = Pace(), Count("x", 10)
    assert pace.seconds(job, [job], 8) == (0.0, 0.0)
    for seconds in (0.3, 0.1, 0.2):
        pace.note("a", 4, seconds)
    alone, beside = pace.seconds(job, [job], 8)
    assert alone == pytest.approx(HOPE * 10 * 0.1)
    assert beside == pytest.approx(HOPE * 10 * 0.2)


def test_beside_others_a_job_waits_for_the_steps_they_have_left_but_none_beyond_its_own_end() -> None:
    pace = Pace()
    pace.note("a", 2, 0.1)
    pace.note("b", 2, 0.5)
    job = Count("x", 10)
    others = [*(Count(str(i), 3) for i in range(2)), Count("long", FOREVER), Count("y", 8, lane="b")]
    others[-1].position = 5
    _, beside = pace.seconds(job, [job, *others], 2)
    assert beside == pytest.approx(HOPE * ((10 + 3 + 3 + 10) / 2 * 0.1 + 3 * 0.5))


def test_a_job_that_could_not_end_in_time_even_alone_is_refused_with_both_times(make_bench: MakeBench) -> None:
    refusals = Refusals()
    bench = make_bench(observer=refusals)
    bench.engine._admission.pace.note("a", 1, 1.0)
    with pytest.raises(DeadlineExceeded, match=r"bench: 100 steps take about 80 s, [34](\.\d)? s are left"):
        bench.submit(Count("hopeless", 100, deadline=time.monotonic() + 4))
    assert refusals.reasons == ["deadline"]


def test_a_job_that_could_not_end_in_time_beside_others_is_told_to_come_back() -> None:
    admission = Admission("bench", 16, 16, Observer())
    admission.pace.note("a", 1, 1.0)
    others = [Count(f"long {i}", FOREVER) for i in range(8)]
    job = Count("unlucky", 3, deadline=time.monotonic() + 10)
    admission.refuse_if_late(job, [], others, max_batch=1)
    admission.refuse_if_late(job, others, [], max_batch=16)
    with pytest.raises(Overloaded, match="beside what runs now 3 steps take about 22 s") as refused:
        admission.refuse_if_late(job, others, [], max_batch=1)
    assert refused.value.retry_after > 0


def test_a_refused_job_gives_its_place_back(make_bench: MakeBench) -> None:
    bench = make_bench(capacity=1, queue_limit=1)
    for _ in range(5):
        with pytest.raises(DeadlineExceeded):
            bench.submit(Count("late", 1, deadline=time.monotonic() - 1))
    job = Count("good", 1)
    bench.submit(job)
    assert bench.go(job) == ["good done"]


def test_a_client_gets_at_most_half_of_all_places(make_bench: MakeBench) -> None:
    refusals = Refusals()
    bench = make_bench(capacity=4, queue_limit=4, observer=refusals)
    submit(bench, "greedy", *[Count(str(i), 1) for i in range(4)])
    with pytest.raises(Overloaded, match="4 jobs of this client are running or waiting, limit 4"):
        submit(bench, "greedy", Count("one more", 1))
    assert refusals.reasons == ["client_share"]
    modest = Count("modest", 1)
    submit(bench, "modest", modest)
    assert bench.go(modest) == ["modest done"]


def test_a_clients_single_large_request_is_not_refused_for_its_size(make_bench: MakeBench) -> None:
    bench = make_bench(capacity=2, queue_limit=6)
    jobs = [Count(str(i), 1) for i in range(6)]
    submit(bench, "one", *jobs)
    assert len(bench.go(*jobs)) == 6


def test_places_of_a_client_return_when_its_jobs_end(make_bench: MakeBench) -> None:
    bench = make_bench(capacity=2, queue_limit=4)
    for _ in range(3):
        jobs = [Count(str(i), 1) for i in range(3)]
        submit(bench, "one", *jobs)
        bench.go(*jobs)
        while bench.engine._admission.taken:
            time.sleep(0.001)


def test_when_one_client_floods_the_next_place_goes_to_another(make_bench: MakeBench) -> None:
    bench = make_bench(capacity=3, max_batch=1, queue_limit=20)  # the gate holds one of the three for now
    flood = [Count(f"flood {i}", 2) for i in range(8)]
    submit(bench, "flood", *flood)
    single = Count("single", 2)
    submit(bench, "other", single)
    bench.go(single)
    names = [name for [name] in bench.scribe.batches]
    before = set(names[: names.index("single")]) - {"single"}
    assert len(before) <= 4  # those that ran already, and not the eight that came first


@pytest.mark.parametrize(("value", "text"), [(174.2, "170 s"), (80, "80 s"), (3.14159, "3.1 s"), (0.0341, "0.034 s")])
def test_seconds_in_messages_are_as_people_write_them(value: float, text: str) -> None:
    assert brief(value) == text
