"""How well a median is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

TAIL = 40  # one in so many: 2.5 % on each side, that is 95 % confidence


@dataclass(frozen=True)
class Interval:
    """Where a positive figure is, with 95 % confidence; ``high`` is infinite, and ``low`` 0, where nothing is known."""

    low: float
    high: float

    @property
    def width(self) -> float:
        """From end to end, over the middle; infinite where nothing is known."""
        return math.inf if math.isinf(self.high) else 2 * (self.high - self.low) / (self.high + self.low)

    def rounded(self) -> list[float] | None:
        """Both ends to four places, for JSON; None where nothing is known."""
        return None if math.isinf(self.width) else [round(self.low, 4), round(self.high, 4)]

    def inverse(self) -> Interval:
        """Of one over the figure."""
        return Interval(1 / self.high, 1 / self.low if self.low else math.inf)


UNKNOWN = Interval(0.0, math.inf)


def outside(count: int) -> int:
    """How many of ``count`` sorted samples may be left out at each end, so that the median of what they are drawn from
    lies among the others with 95 % confidence; -1 where not even all are enough.

    A sample is below that median as often as a coin falls on its head, whatever the distribution (David and Nagaraja,
    Order Statistics, 2003, 7.1).
    """
    total = 0
    for number in range(count + 1):
        total += math.comb(count, number)
        if TAIL * total > 2**count:
            return number - 1
    return -1


def median_interval(samples: Sequence[float]) -> Interval:
    """Of the median of the distribution that independent ``samples``, all positive, are drawn from."""
    cut = outside(len(samples))
    ordered = sorted(samples)
    return UNKNOWN if cut < 0 else Interval(ordered[cut], ordered[-1 - cut])


@dataclass(frozen=True)
class Precision:
    """How long to go on. width: of the interval, over the figure, that is enough; least: samples in any case, since an
    interval that is looked at again and again is small by chance at times, the likelier the fewer there are. limit_s:
    seconds after which it is enough anyhow."""

    width: float = 0.03
    least: int = 30
    limit_s: float = 150.0

    def reached(self, samples: Sequence[float]) -> bool:
        """Whether these are enough."""
        return len(samples) >= self.least and median_interval(samples).width <= self.width
