"""Two ways to do the same, measured in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

PAUSE_S = 0.02  # between the two: what one leaves running, such as OpenMP's spinning workers, must not slow the other


@dataclass
class Pairs:
    """Seconds of both ways, pair by pair."""

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

    def row(self, ours: str, theirs: str) -> dict[str, object]:
        """Medians in seconds, the ratio, and its quartiles."""
        found = self.quotients
        return {
            "pairs": len(found),
            f"{ours}_s": round(statistics.median(self.ours), 4),
            f"{theirs}_s": round(statistics.median(self.theirs), 4),
            "ratio": round(self.ratio, 4),
            "quartiles": [round(found[len(found) // 4], 4), round(found[3 * len(found) // 4], 4)],
        }


def in_turns(ours: Callable[[int], object], theirs: Callable[[int], object], pairs: int, warm: int = 2) -> Pairs:
    """Calls both with 0, 1, 2, ... in turns, each as often first as second; the first ``warm`` pairs do not count."""
    found = Pairs()
    for number in range(-warm, pairs):
        order = ((ours, found.ours), (theirs, found.theirs))
        for way, seconds in order if number % 2 else order[::-1]:
            time.sleep(PAUSE_S)
            began = time.perf_counter()
            way(number + warm)
            if number >= 0:
                seconds.append(time.perf_counter() - began)
    return found
