"""What replicas deliver in a second, as it is seen from what ends."""

from __future__ import annotations

import pytest

from gateway.admission.pace import Pool


def deliver(pool: Pool, rate: float, *, waited: bool, begin: float, seconds: float = 60.0) -> None:
    """Calls that end four at a time, every second."""
    for second in range(int(seconds)):
        for _ in range(4):
            pool.deliver(rate / 4, waited, begin + second)


def test_the_rate_follows_what_busy_stages_deliver_and_what_idle_ones_show_they_can() -> None:
    pool = Pool()
    assert pool.rate == float("inf")
    deliver(pool, 1.0, waited=True, begin=0.0)
    assert pool.rate == pytest.approx(1.0, rel=0.2)
    deliver(pool, 0.5, waited=True, begin=60.0)
    assert pool.rate == pytest.approx(0.5, rel=0.2)
    deliver(pool, 0.01, waited=False, begin=120.0)  # nobody asked for more
    assert pool.rate >= 0.5
    deliver(pool, 2.0, waited=False, begin=180.0, seconds=10.0)
    assert pool.rate >= 1.5


def test_a_time_in_which_nobody_called_says_nothing_of_the_rate() -> None:
    pool = Pool()
    deliver(pool, 1.0, waited=True, begin=0.0)
    before = pool.rate
    pool.deliver(0.5, True, 3600.0)
    assert pool.rate == before


def test_a_stages_refusal_lowers_the_rate() -> None:
    pool = Pool()
    pool.refused(in_flight=6.0, left=3.0)
    assert pool.rate == pytest.approx(2.0)
    pool.refused(in_flight=6.0, left=3.0)
    assert pool.rate < 2.0


def test_no_more_is_expected_of_replicas_than_their_devices_have_time() -> None:
    replicas = 2.0
    pool = Pool(lambda: replicas)
    assert pool.rate == 2.0
    deliver(pool, 7.0, waited=True, begin=0.0)  # passes begun before, which ended all at once
    assert pool.rate == 2.0
    replicas = 1.0
    assert pool.rate == 1.0
    deliver(pool, 0.5, waited=True, begin=60.0)
    assert pool.rate == pytest.approx(0.5, rel=0.2)


def test_what_is_known_of_each_replica_holds_for_those_that_come_and_go() -> None:
    replicas = 2.0
    pool = Pool(lambda: replicas)
    deliver(pool, 1.6, waited=True, begin=0.0)
    assert pool.rate == pytest.approx(1.6, rel=0.2)
    replicas = 8.0
    assert pool.rate == pytest.approx(6.4, rel=0.2)
    replicas = 1.0
    assert pool.rate == pytest.approx(0.8, rel=0.2)


def test_hours_in_which_nobody_waits_do_not_make_stages_faster_than_they_can_be() -> None:
    pool = Pool(lambda: 1.0)
    deliver(pool, 0.8, waited=True, begin=0.0)
    deliver(pool, 0.1, waited=False, begin=60.0, seconds=3600.0)
    deliver(pool, 0.5, waited=True, begin=3660.0, seconds=20.0)
    assert pool.rate == pytest.approx(0.55, rel=0.2)
