"""What ticks took, and what that says of the jobs to come."""

from __future__ import annotations

import pytest

from tests.unit.engine_bench import Count
from unclip.engine.cost import OPTIMISM, CostModel
from unclip.engine.feasibility import FORGOTTEN_S, FRESH_S


def jobs(count: int, length: int = 10, *, lane: str = "a", priority: int = 0, width: int = 1) -> list[Count]:
    made = [Count(str(i), length, lane=lane) for i in range(count)]
    for job in made:
        job.priority, job.width = priority, width
    return made


def test_what_was_never_measured_is_taken_to_take_no_time() -> None:
    [work] = CostModel().works(jobs(1))
    assert (work.seconds, work.least) == (0.0, 0.0)
    assert CostModel().best_case(jobs(1)[0]) == 0.0


def test_a_job_is_hopeless_only_below_the_fastest_tick() -> None:
    costs = CostModel()
    for seconds in (0.05, 0.3, 0.1, 0.2):  # the first says nothing
        costs.record("a", jobs(1), seconds)
    assert costs.best_case(jobs(1)[0]) == pytest.approx(OPTIMISM * 10 * 0.1)
    costs.record("a", jobs(4), 0.2)  # of which one row may be a quarter
    assert costs.best_case(jobs(1)[0]) == pytest.approx(OPTIMISM * 10 * 0.05)
    assert costs.best_case(jobs(1, width=2)[0]) == pytest.approx(OPTIMISM * 10 * 0.1)


def test_what_was_measured_is_forgotten_after_a_while() -> None:
    clock = [0.0]
    costs = CostModel(clock=lambda: clock[0])
    for _ in range(20):
        costs.record("a", jobs(1), 1.0)
    clock[0] = 10 * FRESH_S
    assert not costs.is_fresh("a")
    costs.record("a", jobs(1), 0.5)  # tells more than all those before the pause
    assert costs.is_fresh("a")
    assert costs.works(jobs(1))[0].least < 10 * 0.9
    clock[0] += 1 + FORGOTTEN_S
    assert costs.best_case(jobs(1)[0]) == 0.0


def test_ticks_are_a_line_over_their_rows() -> None:
    costs = CostModel(max_batch=8)
    for _ in range(3):
        costs.record("a", jobs(1), 0.03)
        costs.record("a", jobs(4), 0.06)
    [work] = costs.works(jobs(1))
    assert work.seconds == pytest.approx(10 * 0.03)
    together = costs.works(jobs(2))
    assert together[0].seconds == pytest.approx(10 * 0.04 / 2)
    assert together[0].least == pytest.approx(10 * 0.04)


def test_a_guided_job_takes_two_rows() -> None:
    costs = CostModel(max_batch=8)
    costs.record("a", jobs(1, width=2), 0.02)
    costs.record("a", jobs(1), 0.01)
    [guided], [plain] = costs.works(jobs(1, width=2)), costs.works(jobs(1))
    assert guided.seconds == pytest.approx(2 * plain.seconds)


def test_where_rows_cost_alike_a_batch_pays_no_longer_and_where_they_come_free_the_largest_does() -> None:
    costs = CostModel(max_batch=8)
    for count in (1, 8, 2):
        costs.record("dear", jobs(count), 0.001 + 0.07 * count)
        costs.record("free", jobs(count), 0.1 + 0.001 * count)
    assert costs.useful_batch("dear") == 1
    assert costs.useful_batch("free") >= 7
    assert costs.useful_batch("unknown") == 8


def test_a_tick_that_was_held_up_counts_as_a_slow_one_and_the_first_ones_are_forgotten_when_it_warms_up() -> None:
    costs = CostModel(max_batch=1)
    costs.record("a", jobs(1), 5.0)  # loads, compiles, and so on
    for _ in range(3):
        costs.record("a", jobs(1), 0.1)
    assert costs.works(jobs(1))[0].seconds == pytest.approx(10 * 0.1)
    costs.record("a", jobs(1), 30.0)  # the process stood still
    assert costs.works(jobs(1))[0].seconds < 10 * 0.25


def test_a_job_of_an_early_stage_is_counted_with_what_later_ones_take_on_the_same_device() -> None:
    costs = CostModel(max_batch=1)
    for _ in range(20):
        costs.record("a", jobs(1), 0.1)
        costs.record("b", jobs(1, lane="b", priority=1), 0.3)
    [early], [late] = costs.works(jobs(1)), costs.works(jobs(1, lane="b", priority=1))
    assert early.seconds == pytest.approx(10 * 0.1 * 4, rel=0.05)
    assert late.seconds == pytest.approx(10 * 0.3)
    assert (early.rank, late.rank) == (0, 1)
