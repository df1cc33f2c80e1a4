"""How fast an engine has been of late, and what that means for a job to come."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Sequence
from typing import Any

from unclip.engine.job import Job

REMEMBERED = 64  # ticks of each program
HOPE = 0.8  # a job is refused for lack of time only if it would be late even at this share of the measured time


class Pace:
    """Measured ticks. per_row: seconds, a moving average over all programs, of a tick's time per row."""

    def __init__(self) -> None:
        self.per_row = 0.05
        self._seconds: dict[str, deque[float]] = {}

    def note(self, program: str, rows: int, seconds: float) -> None:
        """A tick took ``seconds`` for ``rows`` rows."""
        self.per_row += 0.1 * (seconds / rows - self.per_row)
        self._seconds.setdefault(program, deque(maxlen=REMEMBERED)).append(seconds)

    def seconds(self, job: Job[Any], beside: Sequence[Job[Any]], max_batch: int) -> tuple[float, float]:
        """The least that ``job`` takes: on an idle engine, and together with the jobs ``beside`` it, itself included.

        Both are 0 for a program that has not been measured.
        """
        known = self._seconds.get(_program(job))
        if not known:
            return 0.0, 0.0
        lanes: dict[Hashable, list[int]] = {}
        for other in beside:
            # Steps beyond the job's own end need not be waited for.
            lanes.setdefault(other.lane, []).append(min(other.length - other.position, job.length))
        total = sum(
            max(sum(steps) / max_batch, max(steps)) * sum(ticks) / len(ticks)
            for lane, steps in lanes.items()
            if isinstance(lane, tuple) and (ticks := self._seconds.get(lane[0]))
        )
        return HOPE * job.length * min(known), HOPE * total


def _program(job: Job[Any]) -> str:
    lane = job.lane
    return str(lane[0]) if isinstance(lane, tuple) and lane else ""
