"""What the engine's thread is busy with: networks that run elsewhere ask whether anybody waits, and how long."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from unclip.engine.job import Job

_JOBS: ContextVar[Sequence[Job[Any]]] = ContextVar("jobs", default=())


@contextmanager
def running(jobs: Sequence[Job[Any]]) -> Iterator[None]:
    """The jobs of the tick that runs inside."""
    token = _JOBS.set(jobs)
    try:
        yield
    finally:
        _JOBS.reset(token)


def abandoned() -> bool:
    """Whether nobody waits for the tick any more: all its jobs are cancelled or late. Outside of ticks, no."""
    jobs = _JOBS.get()
    return bool(jobs) and all(job.cancelled or job.expired for job in jobs)


def deadline() -> float:
    """When the tick is of no more use, `time.monotonic` seconds; infinity outside of ticks."""
    return max((job.deadline for job in _JOBS.get()), default=float("inf"))
