"""What holds calls back from a stage: it closes for a moment, and counts retries."""

from __future__ import annotations

import pytest

from gateway.restraint import BURST, CLOSED_S, EARNED, Restraint
from unclip.errors import Overloaded


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def spend_all(restraint: Restraint) -> int:
    """Retries until there are no more."""
    count = 0
    while restraint.may_retry():
        count += 1
    return count


def test_it_opens_again_by_itself(clock: Clock) -> None:
    restraint = Restraint("decoder", clock)
    restraint.full(Overloaded("full", 3.0))
    with pytest.raises(Overloaded, match="decoder: no room"):
        restraint.check()
    clock.now = CLOSED_S
    restraint.check()


def test_it_does_not_stay_closed_for_longer_than_the_stage_asked_for(clock: Clock) -> None:
    restraint = Restraint("decoder", clock)
    restraint.full(Overloaded("full", CLOSED_S / 10))
    clock.now = CLOSED_S / 10
    restraint.check()


def test_retries_are_earned_by_calls_and_by_time_up_to_a_burst(clock: Clock) -> None:
    restraint = Restraint("decoder", clock)
    assert spend_all(restraint) == BURST
    for _ in range(15):
        restraint.asked()
    assert spend_all(restraint) == round(15 * EARNED)
    clock.now += 2
    assert spend_all(restraint) == 2
    clock.now += 1000
    assert spend_all(restraint) == BURST
