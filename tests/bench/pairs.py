"""Two ways to do the same, measured in turns until their ratio is known well enough."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.bench.intervals import Interval, Precision, median_interval

PAUSE_S = 0.02  # between the two: what one leaves running, such as OpenMP's spinning workers, must not slow the other
WARM = 2  # pairs that do not count


@dataclass
class Pairs:
    """Seconds of both ways, pair by pair. wanted: how well the ratio was to be known."""

    wanted: Precision = field(default_factory=Precision)
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """The median over pairs of ours / theirs: what slows the machine for a while slows both of a pair."""
        return statistics.median(self.quotients)

    @property
    def quotients(self) -> list[float]:
        """ours / theirs of each pair, smallest first."""
        return sorted(ours / theirs for ours, theirs in zip(self.ours, self.theirs, strict=True))

    @property
    def interval(self) -> Interval:
        """Of the ratio, with 95 % confidence."""
        return median_interval(self.quotients)

    @property
    def enough(self) -> bool:
        """Whether the ratio is known as well as was wanted."""
        return self.wanted.reached(self.quotients)

    def row(self, ours: str, theirs: str) -> dict[str, object]:
        """Medians in seconds, the ratio, its interval and how wide that is, and why there are no more pairs."""
        found = self.interval
        return {
            "pairs": len(self.ours),
            f"{ours}_s": round(statistics.median(self.ours), 4),
            f"{theirs}_s": round(statistics.median(self.theirs), 4),
            "ratio": round(self.ratio, 4),
            "interval": found.rounded(),
            "width_percent": None if math.isinf(found.width) else round(100 * found.width, 2),
            "ended": "precise enough" if self.enough else f"after {self.wanted.limit_s:g} s",
        }


def in_turns(ours: Callable[[int], object], theirs: Callable[[int], object], wanted: Precision) -> Pairs:
    """Calls both with 0, 1, 2, ... in turns, each as often first as second, until the ratio is known as well as
    ``wanted``, or the time for it is over; the first `WARM` pairs do not count."""
    found, number, until = Pairs(wanted), -WARM, float("inf")
    while number < 2 or not (number % 2 == 0 and (found.enough or time.monotonic() >= until)):
        if number == 0:
            until = time.monotonic() + wanted.limit_s
        order = ((ours, found.ours), (theirs, found.theirs))
        for way, seconds in order if number % 2 else order[::-1]:
            time.sleep(PAUSE_S)
            began = time.perf_counter()
            way(number + WARM)
            if number >= 0:
                seconds.append(time.perf_counter() - began)
        number += 1
    return found
