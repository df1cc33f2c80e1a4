"""What an engine reports of its work to whoever keeps figures."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

Outcome = Literal["ok", "cancelled", "deadline", "error"]


@dataclass(frozen=True)
class EngineUsage:
    """What became of one request's jobs. Times are `time.monotonic` seconds.

    queued: when the first was submitted. began: when the last of them left the queue, 0 if none did. ended: when the
    last ended. steps: taken by the slowest. jobs: how many. rows_per_pass: of this and other requests, on average.
    device: seconds of the device that they took, their rows' share of each pass; busy: of the passes of the longest.
    """

    queued: float
    began: float
    ended: float
    steps: int
    jobs: int
    rows_per_pass: float
    device: float = 0.0
    busy: float = 0.0


# Who wants to know, of the request that the code at hand works for.
usage_listener: ContextVar[Callable[[EngineUsage], None] | None] = ContextVar("usage_listener", default=None)


class Observer:
    """Keeps no figures; subclasses do. Called on the engine's thread, `refused` on callers'; must not block."""

    def admitted(self, waited: float) -> None:
        """A job has begun after ``waited`` seconds in the queue."""

    def ticked(self, program: str, rows: int, seconds: float) -> None:
        """``rows`` jobs of one program have taken a step together."""

    def ended(self, outcome: Outcome) -> None:
        """A job is over."""

    def refused(self, reason: str) -> None:
        """A request found no room: "queue_full", or "deadline" when it could not end in time."""
