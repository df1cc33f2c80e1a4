"""An engine with jobs that only count, held at a gate until a test lets it go: nothing here depends on the clock."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from unclip.engine.engine import Engine
from unclip.engine.job import Job
from unclip.engine.observer import Observer

WAIT = 30  # seconds until a hung engine fails its test
FOREVER = 10**9


class Count(Job[str]):
    """A job that only counts; ``bad`` is what a tick with it raises."""

    def __init__(self, name: str, length: int, *, lane: str = "a", bad: Exception | None = None, **base: Any) -> None:
        super().__init__(length, **base)
        self.name, self.bad, self._lane = name, bad, lane

    @property
    def lane(self) -> Hashable:
        return (self._lane,)

    def result(self) -> str:
        return f"{self.name} done"


class BatchSizes(Observer):
    """``sizes``: jobs of each tick."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def ticked(self, program: str, rows: int, seconds: float) -> None:
        self.sizes.append(rows)


class Scribe:
    """A program that writes down every batch; ``before`` runs ahead of each tick, on the engine's thread."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.before: Callable[[Sequence[Count]], None] = lambda jobs: None

    def tick(self, jobs: Sequence[Count]) -> None:
        self.before(jobs)
        for job in jobs:
            if job.bad is not None:
                raise job.bad
        self.batches.append([job.name for job in jobs])


class Bench:
    """An engine that stands still at a gate until ``go``, so that tests decide what it finds."""

    def __init__(self, **limits: Any) -> None:
        self.scribe = Scribe()
        self.gate, self.reached = threading.Event(), threading.Event()
        self.engine = Engine({"a": self.scribe, "b": self.scribe, "gate": self}, stage="bench", **limits)
        self.submit(Count("gate", 1, lane="gate"))
        assert self.reached.wait(WAIT)

    def tick(self, jobs: Sequence[Count]) -> None:
        self.reached.set()
        assert self.gate.wait(WAIT)

    def submit(self, *jobs: Job[Any]) -> None:
        with self.engine.reserve(len(jobs)) as room:
            for job in jobs:
                room.submit(job)

    def go(self, *jobs: Count) -> list[str]:
        """Opens the gate and returns the results of jobs that are to succeed."""
        self.gate.set()
        return [job.future.result(WAIT) for job in jobs]

    def close(self) -> None:
        self.gate.set()
        self.engine.close()


MakeBench = Callable[..., Bench]
