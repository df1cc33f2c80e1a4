"""Who moves next: in turns while there is time, by deadline when there is not; nothing here depends on the clock."""

from __future__ import annotations

import pytest

from tests.unit.engine_bench import Count
from unclip.engine.admission import Admission
from unclip.engine.cost import CostModel
from unclip.engine.feasibility import FRESH_S
from unclip.engine.job import TIME_SLICE
from unclip.engine.observer import Observer
from unclip.engine.scheduler import Scheduler
from unclip.errors import Cancelled, DeadlineExceeded, Overloaded


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Rig:
    """An order of jobs whose steps take a second each, one at a time, and a clock that moves with them."""

    def __init__(self, capacity: int = 4, max_batch: int = 1) -> None:
        self.clock = Clock()
        self.costs = CostModel(max_batch, self.clock)
        self.scheduler = Scheduler("rig", capacity, max_batch, self.costs, self.clock)
        for program in "aabb":  # the first says nothing of the least
            self.costs.record(program, [Count("before", 1)], 1.0)
        self.ended: dict[str, float] = {}
        self.lost: dict[str, Exception] = {}
        self.moved: list[str] = []

    def add(self, *jobs: Count) -> None:
        for job in jobs:
            job.queued = self.clock.now
            self.scheduler.queue.append(job)

    def tick(self) -> None:
        for job, error in self.scheduler.to_drop():
            self.scheduler.remove(job)
            assert isinstance(job, Count)
            self.lost[job.name] = error
        for job in self.scheduler.schedule(len(self.moved)):
            job.began = self.clock.now + 1
        batch = self.scheduler.next_batch()
        self.clock.now += 1.0
        for job in batch:
            assert isinstance(job, Count)
            self.moved.append(job.name)
            job.position, job.turn, job.served = job.position + 1, job.turn + 1, len(self.moved)
            if job.position == job.length:
                self.scheduler.remove(job)
                self.ended[job.name] = self.clock.now

    def run(self) -> None:
        while self.scheduler.jobs:
            self.tick()


def later(job: Count) -> Count:
    job.priority = 1
    return job


def test_where_time_is_short_the_earliest_deadline_goes_first_and_all_are_met() -> None:
    rig = Rig()
    rig.add(Count("late", 3, deadline=10), Count("middle", 3, deadline=7), Count("early", 3, deadline=4))
    rig.run()
    assert rig.ended == {"early": 3.0, "middle": 6.0, "late": 9.0}


def test_while_there_is_time_for_all_jobs_take_turns() -> None:
    rig = Rig()
    rig.add(Count("x", 2, deadline=100.0), Count("y", 2, deadline=50.0))
    rig.run()
    assert rig.moved == ["x", "y", "x", "y"]


def test_an_urgent_newcomer_overtakes_what_runs_and_a_full_house() -> None:
    rig = Rig(capacity=2)
    rig.add(*[Count(f"patient {i}", 6, deadline=40.0) for i in range(4)])
    rig.tick()
    rig.add(Count("urgent", 2, deadline=4.5))
    rig.run()
    assert rig.ended["urgent"] == 3.0
    assert not rig.lost


def test_a_job_of_a_later_stage_goes_before_one_that_has_just_begun_short_of_time_or_not() -> None:
    for deadline in (1000.0, 12.0):
        rig = Rig()
        rig.add(Count("decode", 6, deadline=deadline - 1), later(Count("upsample", 4, lane="b", deadline=deadline)))
        rig.run()
        assert rig.moved[:4] == ["upsample"] * 4


def test_a_long_job_of_a_later_stage_does_not_keep_short_ones_out() -> None:
    rig = Rig()
    rig.add(later(Count("upsample", 1000, lane="b", deadline=1e6)), Count("decode", 5, deadline=1e6))
    while "decode" not in rig.ended:
        rig.tick()
    assert rig.clock.now <= TIME_SLICE + 2 * 5 + 1


def test_what_cannot_end_in_time_any_more_is_dropped_before_it_takes_another_step() -> None:
    rig = Rig()
    doomed, other = Count("doomed", 10, deadline=11.5), Count("other", 2, deadline=300.0)
    rig.add(doomed)
    rig.tick()
    rig.clock.now = 5.0  # something held it up: 9 steps are missing, 6.5 s are left
    rig.add(other)
    rig.run()
    assert rig.moved == ["doomed", "other", "other"]
    assert isinstance(rig.lost["doomed"], DeadlineExceeded)
    assert "after 1 of 10 steps 7.2 s are missing, 6.5 s are left" in str(rig.lost["doomed"])


def test_of_more_than_can_be_done_the_fewest_are_given_up_none_that_has_begun_and_before_they_begin() -> None:
    rig = Rig()
    begun = Count("begun", 6, deadline=8.5)
    rig.add(begun)
    rig.tick()
    rig.add(Count("long", 6, deadline=9.0), Count("short", 2, deadline=9.5))
    rig.run()
    assert set(rig.ended) == {"begun", "short"}
    assert "long" not in rig.moved
    error = rig.lost["long"]
    assert isinstance(error, Overloaded)
    assert error.reason == "TOO_LATE"
    assert error.retry_after > 0


def test_what_only_its_own_request_leaves_no_time_for_hears_so() -> None:
    rig = Rig()
    pictures = [Count(name, 6, deadline=14.0) for name in "abc"]
    for job in pictures:
        job.request = "three"
    rig.add(*pictures)
    rig.run()
    [error] = rig.lost.values()
    assert isinstance(error, Overloaded)
    assert error.reason == "OWN_WORK"
    assert "beside other parts of its request" in str(error)


def test_cancelled_and_expired_jobs_are_told_apart() -> None:
    rig = Rig()
    gone, expired = Count("gone", 2), Count("expired", 2, deadline=-1.0)
    gone.cancel()
    rig.add(gone, expired)
    rig.tick()
    assert isinstance(rig.lost["gone"], Cancelled)
    assert isinstance(rig.lost["expired"], DeadlineExceeded)


def test_a_batch_is_no_larger_than_its_most_urgent_job_can_bear() -> None:
    rig = Rig(capacity=16, max_batch=8)
    for count in (1, 8) * 4:
        rig.costs.record("a", [Count("before", 1)] * count, 0.2 + 0.05 * count)
    rig.add(Count("urgent", 4, deadline=2.0), *[Count(str(i), 4, deadline=4.0) for i in range(7)])
    rig.scheduler.to_drop()
    rig.scheduler.schedule(0)
    assert rig.scheduler._short_of_time
    assert 1 <= len(rig.scheduler.next_batch()) <= 4
    rig.scheduler.active[0].deadline = 3.9
    assert len(rig.scheduler.next_batch()) > 4


def test_an_urgent_job_has_less_company_where_later_stages_are_going_to_take_a_part_of_its_time() -> None:
    def company(upsampling: float) -> int:
        rig = Rig(capacity=16, max_batch=8)
        for count in (1, 8) * 4:
            rig.costs.record("a", [Count("before", 1)] * count, 0.2 + 0.05 * count)
            if upsampling:
                rig.costs.record("b", [later(Count("before", 1, lane="b"))], upsampling)
        rig.add(Count("urgent", 4, deadline=3.2), *[Count(str(i), 4, deadline=4.0) for i in range(7)])
        rig.scheduler.to_drop()
        rig.scheduler._short_of_time = True
        rig.scheduler.schedule(0)
        return len(rig.scheduler.next_batch())

    assert company(0.0) == 8
    assert 1 <= company(0.4) <= 4


@pytest.mark.parametrize(("row", "most"), [(0.5, 1), (0.0001, 8)])
def test_where_time_is_short_a_batch_is_as_large_as_it_pays(row: float, most: int) -> None:
    rig = Rig(capacity=16, max_batch=8)
    for count in (1, 8) * 4:
        rig.costs.record("a", [Count("before", 1)] * count, 0.01 + row * count)
    rig.add(*[Count(str(i), 5, deadline=3.0 + i / 100) for i in range(8)])
    assert rig.scheduler.to_drop() is not None
    rig.scheduler._short_of_time = True
    rig.scheduler.schedule(0)
    assert len(rig.scheduler.next_batch()) == most
    rig.scheduler._short_of_time = False
    assert len(rig.scheduler.next_batch()) == 8


def test_overloaded_for_long_hardly_a_step_is_wasted() -> None:
    """Twice as much comes as can be done; whatever is admitted nevertheless, what is moved is moved to its end."""
    rig = Rig(capacity=8)
    for second in range(0, 400, 2):
        rig.add(Count(str(second), 4, deadline=second + 30.0))
        rig.tick()
        rig.tick()
    wasted = sum(
        1 for name in rig.moved if name not in rig.ended and name not in {_name(j) for j in rig.scheduler.jobs}
    )
    assert wasted <= 0.02 * len(rig.moved)
    assert len(rig.ended) >= 0.95 * 400 / 4


def _name(job: object) -> str:
    assert isinstance(job, Count)
    return job.name


class Quick:
    """An engine's admission and order, and ticks that take ``step`` seconds of a clock that only they move."""

    def __init__(self) -> None:
        self.clock, self.step = Clock(), 1.0
        self.costs = CostModel(1, self.clock)
        self.scheduler = Scheduler("quick", 4, 1, self.costs, self.clock)
        self.admission = Admission("quick", 64, Observer(), self.costs, self.clock)

    def serve(self, *jobs: Count) -> bool:
        """Whether all of ``jobs`` end well; those that are let in run to their end."""
        ended = 0
        for job in jobs:
            try:
                self.admission.enter(job, self.scheduler.jobs)
            except (DeadlineExceeded, Overloaded):
                continue
            job.queued = self.clock.now
            self.scheduler.queue.append(job)
        while self.scheduler.jobs:
            for lost, _ in self.scheduler.to_drop():
                self.scheduler.remove(lost)
            self.scheduler.schedule(0)
            for moved in self.scheduler.next_batch():
                self.clock.now += self.step
                self.costs.record(moved.program, [moved], self.step)
                moved.position += 1
                if moved.position == moved.length:
                    self.scheduler.remove(moved)
                    ended += 1
        return ended == len(jobs)

    def healed(self, jobs: int = 1) -> float:
        """Seconds until ``jobs`` of seven steps at a time, with five seconds, are served ever after."""
        began = last = self.clock.now
        for _ in range(200):
            if not self.serve(*[Count(str(i), 7, deadline=self.clock.now + 5.0) for i in range(jobs)]):
                last = self.clock.now
            self.clock.now += 0.1
        return last - began


def test_a_programs_slow_first_tick_says_nothing_of_those_to_come() -> None:
    engine = Quick()
    engine.step = 1.5
    assert engine.serve(Count("warm-up", 1))
    engine.step = 0.005
    assert engine.healed() == 0.0


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize(("slow", "quick"), [(0.95, 0.25), (3.0, 0.1)])
def test_a_device_that_was_slow_for_a_while_serves_the_impatient_again_within_seconds(
    slow: float, quick: float, jobs: int
) -> None:
    engine = Quick()
    engine.step = slow
    assert engine.serve(Count("patient", 100))
    engine.step = quick
    assert engine.healed(jobs) <= 8.0


def test_what_is_hopeless_costs_a_step_in_a_while() -> None:
    engine = Quick()
    assert engine.serve(Count("patient", 100))
    engine.clock.now += 2 * FRESH_S
    began, ticks = engine.clock.now, engine.costs._programs["a"].ticks
    while engine.clock.now < began + 20:
        assert not engine.serve(Count("hopeless", 100, deadline=engine.clock.now + 5.0))
        engine.clock.now += 0.1
    assert engine.costs._programs["a"].ticks - ticks <= 20 / FRESH_S
