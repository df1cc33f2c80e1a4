"""A cost model of ticks: how long they took of late, and what that means for the jobs here and for one to come."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from unclip.engine.feasibility import FRESH_S, MinimumTime, Work
from unclip.engine.job import Job

OPTIMISM = 0.8  # a job is hopeless only if it would be late even at this share of the fastest measured tick
DECAY = 0.97  # what a tick's weight in the average is worth at the next
OUTLIER = 4.0  # times the expected: what a tick counts at most
SURE_TICKS = 8  # ticks after which their average counts
RECALLED = 2.0  # ticks, as which all those before a pause count together
BATCH_SLACK = 1.04  # times the cheapest a step may cost a job, for the sake of a smaller batch
RANK_DECAY = 0.99  # what a second of device time is worth at the next tick, in the shares of ranks


def most_together(max_batch: int, scale: float) -> int:
    """Jobs of a tick, 1 at least: of larger pictures, ``scale`` times a usual one's pixels, as many as have no more
    pixels than ``max_batch`` of those."""
    return max(1, int(max_batch / max(scale, 1.0)))


class CostModel:
    """Measured ticks of one device."""

    def __init__(self, max_batch: int = 8, clock: Callable[[], float] = time.monotonic) -> None:
        """``max_batch``: jobs of one tick. ``clock``: gives seconds that never go back."""
        self._max_batch, self._clock = max_batch, clock
        self._programs: dict[str, TickCost] = {}
        self._spent: Counter[int] = Counter()  # seconds by rank

    def record(self, program: str, jobs: Sequence[Job[Any]], seconds: float) -> None:
        """A tick of ``jobs`` took ``seconds``."""
        self._programs.setdefault(program, TickCost()).record(sum(job.width for job in jobs), seconds, self._clock())
        for rank in self._spent:
            self._spent[rank] *= RANK_DECAY  # type: ignore[assignment]
        self._spent[jobs[0].rank] += seconds  # type: ignore[assignment]

    def is_fresh(self, program: str) -> bool:
        """Whether a tick of ``program`` has shown of late how long they are now."""
        cost = self._programs.get(program)
        return cost is not None and self._clock() - cost.noted < FRESH_S

    def best_case(self, job: Job[Any]) -> float:
        """Seconds of the steps that ``job`` has left, alone on the device, at best; 0 for what is not known."""
        cost = self._programs.get(job.program)
        return OPTIMISM * (job.length - job.position) * cost.least.of(job.width, self._clock()) if cost else 0.0

    def typical(self, job: Job[Any]) -> float:
        """The same, if steps go on as of late and not as at best."""
        cost = self._programs.get(job.program)
        if cost is None or cost.ticks <= SURE_TICKS:
            return 0.0
        return OPTIMISM * (job.length - job.position) * cost.seconds(job.width)

    def works(self, jobs: Iterable[Job[Any]]) -> list[Work]:
        """What the steps that ``jobs`` have left take, all of them together on the device, in their order.

        A job of an earlier stage is counted with what later stages are going to take on the same device: so much a
        second of its own as of late.
        """
        jobs = list(jobs)
        by_program: dict[str, list[Job[Any]]] = {}
        for job in jobs:
            by_program.setdefault(job.program, []).append(job)
        ticks: dict[str, tuple[float, float]] = {}  # (seconds of a tick, seconds of one row in it)
        for program, those in by_program.items():
            width, scale = (sum(sizes) / len(those) for sizes in ((j.width for j in those), (j.scale for j in those)))
            most = most_together(self._max_batch, scale)
            together = width * min(len(those), most, self.useful_batch(program, width))
            seconds = self._programs[program].seconds(together) if program in self._programs else 0.0
            ticks[program] = (seconds, seconds / together)
        works = []
        for job in jobs:
            left, (tick, row) = job.length - job.position, ticks[job.program]
            own = left * job.width * row
            seconds = own * self.downstream_factor(job.rank)
            works.append(Work(seconds, job.deadline, left * tick, job.rank, job.client, job.request))
        return works

    def tick_seconds(self, jobs: Sequence[Job[Any]]) -> float:
        """Seconds of a tick of ``jobs``, all of one program; 0 before any was measured."""
        cost = self._programs.get(jobs[0].program)
        return cost.seconds(sum(job.width for job in jobs)) if cost else 0.0

    def useful_batch(self, program: str, width: float = 1.0) -> int:
        """Jobs of a tick beyond which more of them hardly make a step of each cheaper, but all of them later."""
        cost = self._programs.get(program)
        return cost.useful_batch(width, self._max_batch) if cost else self._max_batch

    def downstream_factor(self, rank: int) -> float:
        """Seconds of the device that a second of work of ``rank`` comes to, later ranks included."""
        later = sum(seconds for other, seconds in self._spent.items() if other > rank)
        return 1 + later / self._spent[rank] if later and self._spent[rank] else 1.0


class TickCost:
    """Seconds of a tick as a straight line over its rows, the latest ticks counting most."""

    def __init__(self) -> None:
        self.least = MinimumTime()
        self.ticks = 0
        self.noted = 0.0  # when the latest ended
        self._sums = [0.0] * 5  # of 1, rows, rows squared, seconds, rows times seconds

    def record(self, rows: float, seconds: float, now: float) -> None:
        """A tick of ``rows`` took ``seconds``. One that was held up by something else counts as a slow one, no more;
        the first, which loads and compiles, says nothing of the least."""
        likely = seconds
        if self.ticks:
            self.least.note(rows, seconds, now)
            mean_rows, mean_seconds = self._sums[1] / self._sums[0], self._sums[3] / self._sums[0]
            likely = max(self.seconds(rows), mean_seconds * rows / mean_rows)
            if now - seconds - self.noted > FRESH_S:
                recalled = min(1.0, RECALLED / self._sums[0])
                self._sums = [recalled * old for old in self._sums]
        if OUTLIER * seconds < likely:
            self._sums = [0.0] * 5  # those before were held up, as a process's first ticks are
        self.ticks, self.noted = self.ticks + 1, now
        counted = min(seconds, OUTLIER * likely)
        new = (1.0, rows, rows * rows, counted, rows * counted)
        self._sums = [DECAY * old + added for old, added in zip(self._sums, new, strict=True)]

    def seconds(self, rows: float) -> float:
        """Seconds of a tick with ``rows``. Where all ticks had the same number of rows, more are hoped to cost no more:
        the next tick will show."""
        base, slope = self._fit()
        return base + slope * rows

    def useful_batch(self, width: float, most: int) -> int:
        """How many jobs of ``width`` rows, 1 to ``most``, come within `BATCH_SLACK` of the cheapest."""
        base, slope = self._fit()
        cost = slope * width
        if not cost:
            return most
        return max(1, min(most, math.ceil(base / (BATCH_SLACK * base / most + (BATCH_SLACK - 1) * cost))))

    def _fit(self) -> tuple[float, float]:
        """(seconds of a tick without rows, seconds of each row), neither below 0."""
        weight, sum_rows, squares, sum_seconds, products = self._sums
        mean, seconds = sum_rows / weight, sum_seconds / weight
        variance = squares / weight - mean * mean
        if variance < 1e-3:
            return seconds, 0.0
        slope = min(max((products / weight - mean * seconds) / variance, 0.0), seconds / mean)
        return seconds - slope * mean, slope
