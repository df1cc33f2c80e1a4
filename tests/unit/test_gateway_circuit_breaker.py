"""The circuit breaker of a stage: it opens for a moment, and has a retry budget."""

from __future__ import annotations

import pytest

from gateway.stages.circuit_breaker import BURST, EARNED, OPEN_S, CircuitBreaker
from unclip.errors import Overloaded


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def spend_all(breaker: CircuitBreaker) -> int:
    """Retries until there are no more."""
    count = 0
    while breaker.allow_retry():
        count += 1
    return count


def test_it_closes_again_by_itself(clock: Clock) -> None:
    breaker = CircuitBreaker("decoder", clock)
    breaker.record_overload(Overloaded("full", 3.0))
    with pytest.raises(Overloaded, match="decoder: no room"):
        breaker.check()
    clock.now = OPEN_S
    breaker.check()


def test_it_does_not_stay_open_for_longer_than_the_stage_asked_for(clock: Clock) -> None:
    breaker = CircuitBreaker("decoder", clock)
    breaker.record_overload(Overloaded("full", OPEN_S / 10))
    clock.now = OPEN_S / 10
    breaker.check()


def test_retries_are_earned_by_calls_and_by_time_up_to_a_burst(clock: Clock) -> None:
    breaker = CircuitBreaker("decoder", clock)
    assert spend_all(breaker) == BURST
    for _ in range(15):
        breaker.record_call()
    assert spend_all(breaker) == round(15 * EARNED)
    clock.now += 2
    assert spend_all(breaker) == 2
    clock.now += 1000
    assert spend_all(breaker) == BURST
