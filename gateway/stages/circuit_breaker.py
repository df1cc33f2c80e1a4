"""A circuit breaker with a retry budget for each stage: what all calls together know of it."""

from __future__ import annotations

import time
from collections.abc import Callable

from unclip.errors import Overloaded
from unclip.serving.metrics import REFUSALS, RETRIES

# How long a stage that was full everywhere is not called. Its queue holds more than it works off in that time, so that
# it does not run dry; and who would be refused is, before other stages have worked for nothing.
OPEN_S = 0.1

# The retry budget: a fifth of the calls, plus one a second. When everything fails, calling more only makes it worse.
EARNED, BURST, PER_SECOND = 0.2, 10.0, 1.0


class CircuitBreaker:
    """Holds the calls of a gateway back from one stage. clock: returns seconds that never go back."""

    def __init__(self, stage: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._stage = stage
        self._clock = clock
        self._tokens = BURST
        self._counted = clock()
        self._open_until = float("-inf")
        self._retry_after = 0.0

    def record_call(self) -> None:
        """The stage is called for the first time on behalf of a request."""
        self._earn(EARNED)

    def allow_retry(self) -> bool:
        """Whether the budget has a retry left; if so, takes it."""
        now = self._clock()
        self._earn(PER_SECOND * (now - self._counted))
        self._counted = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        RETRIES.labels(self._stage).inc()
        return True

    def record_overload(self, error: Overloaded) -> None:
        """The stage had no room for a call, whichever replica was asked."""
        if error.reason == Overloaded.reason:  # not: no room for this caller
            self._retry_after = error.retry_after
            self._open_until = self._clock() + min(OPEN_S, error.retry_after)

    def check(self) -> None:
        """Raises Overloaded while the stage is not to be asked."""
        if self._clock() < self._open_until:
            REFUSALS.labels(self._stage, "paused").inc()
            raise Overloaded(f"{self._stage}: no room a moment ago", self._retry_after)

    def _earn(self, tokens: float) -> None:
        self._tokens = min(BURST, self._tokens + tokens)
