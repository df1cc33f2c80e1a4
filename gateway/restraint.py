"""What all calls together know of one stage: whether it was full a moment ago, and how many retries are still due."""

from __future__ import annotations

import time
from collections.abc import Callable

from unclip.errors import Overloaded
from unclip.serving.metrics import REFUSALS, RETRIES

# How long a stage that was full everywhere is not asked again. Its queue holds more than it works off in that time, so
# that it does not run dry; and who would be refused is, before other stages have worked for nothing.
CLOSED_S = 0.1

# Retries may add a fifth to what is asked, plus one a second: when everything fails, asking more only makes it worse.
EARNED, BURST, PER_SECOND = 0.2, 10.0, 1.0


class Restraint:
    """What holds the calls of a gateway back from one stage. clock: gives seconds that never go back."""

    def __init__(self, stage: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._stage = stage
        self._clock = clock
        self._tokens = BURST
        self._counted = clock()
        self._closed_until = float("-inf")
        self._retry_after = 0.0

    def asked(self) -> None:
        """A call asks the stage for the first time."""
        self._earn(EARNED)

    def may_retry(self) -> bool:
        """Whether a call may ask again; if so, it is counted."""
        now = self._clock()
        self._earn(PER_SECOND * (now - self._counted))
        self._counted = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        RETRIES.labels(self._stage).inc()
        return True

    def full(self, error: Overloaded) -> None:
        """The stage had no room for a call, whichever replica was asked."""
        if error.reason == Overloaded.reason:  # not: no room for this caller
            self._retry_after = error.retry_after
            self._closed_until = self._clock() + min(CLOSED_S, error.retry_after)

    def check(self) -> None:
        """Raises Overloaded while the stage is not to be asked."""
        if self._clock() < self._closed_until:
            REFUSALS.labels(self._stage, "paused").inc()
            raise Overloaded(f"{self._stage}: no room a moment ago", self._retry_after)

    def _earn(self, tokens: float) -> None:
        self._tokens = min(BURST, self._tokens + tokens)
