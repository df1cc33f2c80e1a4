"""The guard of a stage: it closes for a moment, and counts retries."""

from __future__ import annotations

import pytest

from gateway.guard import BURST, CLOSED_S, EARNED, Guard
from unclip.errors import Overloaded


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def spend_all(guard: Guard) -> int:
    """Retries until there are no more."""
    count = 0
    while guard.may_retry():
        count += 1
    return count


def test_it_opens_again_by_itself(clock: Clock) -> None:
    guard = Guard("decoder", clock)
    guard.full(Overloaded("full", 3.0))
    with pytest.raises(Overloaded, match="decoder: no room"):
        guard.check()
    clock.now = CLOSED_S
    guard.check()


def test_it_does_not_stay_closed_for_longer_than_the_stage_asked_for(clock: Clock) -> None:
    guard = Guard("decoder", clock)
    guard.full(Overloaded("full", CLOSED_S / 10))
    clock.now = CLOSED_S / 10
    guard.check()


def test_retries_are_earned_by_calls_and_by_time_up_to_a_burst(clock: Clock) -> None:
    guard = Guard("decoder", clock)
    assert spend_all(guard) == BURST
    for _ in range(15):
        guard.asked()
    assert spend_all(guard) == round(15 * EARNED)
    clock.now += 2
    assert spend_all(guard) == 2
    clock.now += 1000
    assert spend_all(guard) == BURST
