"""The chart's autoscaling rule, in simulation: a day with a tenfold peak."""

from __future__ import annotations

import dataclasses

import pytest

from tests.bench.day import Pool, Rule, Scaler, Traffic, ordinary, simulate, sudden

RULE = Rule.of_the_chart(minReplicas=2, maxReplicas=24)


def test_the_rule_is_the_charts() -> None:
    assert (RULE.saturation, RULE.queue_depth, RULE.least, RULE.most, RULE.window) == (0.75, 4.0, 2, 24, 300)
    assert set(RULE.up) == {(0, 100, 30), (4, 0, 30)}
    assert list(RULE.down) == [(1, 0, 60)]


def test_a_pool_grows_by_doubling_or_by_four_and_shrinks_by_one_a_minute() -> None:
    scaler, replicas, seen = Scaler(RULE), 2, []
    for now in range(0, 120, 15):
        replicas = scaler.decide(now, replicas, 1.0 * replicas, 1000.0)
        seen.append(replicas)
    assert seen == [6, 6, 12, 12, 24, 24, 24, 24]
    shrinking = []
    for now in range(120, 900, 15):
        replicas = scaler.decide(now, replicas, 0.0, 0.0)
        shrinking.append(replicas)
    assert shrinking[0] == 24  # five quiet minutes first
    assert min(shrinking) >= 24 - (900 - 420) // 60 - 1


def test_what_is_near_enough_is_left_alone() -> None:
    assert Scaler(RULE).decide(0, 4, 0.75 * 4 * 1.09, 0.0) == 4
    assert Scaler(RULE).decide(0, 4, 0.75 * 4 * 1.2, 0.0) == 5


@pytest.mark.parametrize(("traffic", "over"), [(ordinary(6.0), 0.02), (sudden(6.0), 0.05)], ids=["ordinary", "sudden"])
def test_a_day_with_a_tenfold_peak_keeps_its_promise(traffic: Traffic, over: float) -> None:
    found = simulate(traffic, Pool(), RULE)
    assert found.over <= over
    assert 12 <= found.most <= RULE.most
    assert 0.8 <= found.ratio <= 1.6


def test_a_rule_that_looks_away_does_not() -> None:
    asleep = dataclasses.replace(RULE, most=2)
    assert simulate(ordinary(6.0), Pool(), asleep).over > 0.3
