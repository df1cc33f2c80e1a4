"""What an engine tells of its work to whoever keeps figures."""

from __future__ import annotations

from typing import Literal

Outcome = Literal["ok", "cancelled", "deadline", "error"]


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
