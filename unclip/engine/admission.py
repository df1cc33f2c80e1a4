"""Who gets in: bounded room, a fair share for every client, and nothing that cannot end in time."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from unclip.engine.job import Job
from unclip.engine.observer import Observer
from unclip.engine.pace import Pace
from unclip.errors import DeadlineExceeded, Overloaded, brief


class Reservation:
    """Room for some jobs, held before the request's costly parts are read. Use as a context manager."""

    def __init__(self, rows: int, client: str, enqueue: Callable[[Job[Any]], None], release: Callable[[int], None]):
        self._rows, self._client, self._enqueue, self._release = rows, client, enqueue, release

    def submit(self, job: Job[Any]) -> None:
        """Queues one of the reserved jobs.

        Raises:
            ValueError: more jobs than were reserved.
            Unavailable: the engine is closed.
            DeadlineExceeded: the job's steps take longer than its deadline allows, even on an idle engine.
            Overloaded: they do beside all that runs now.
        """
        if self._rows < 1:
            raise ValueError("reservation is used up")
        job.client = self._client
        self._enqueue(job)
        self._rows -= 1

    def __enter__(self) -> Reservation:
        return self

    def __exit__(self, *_: object) -> None:
        self._release(self._rows)
        self._rows = 0


class Admission:
    """Places of one engine. Not for use by several threads at once: the engine calls it under its lock.

    taken: places in all, of jobs running and waiting and of reservations. capacity + queue_limit bounds them, and
    a client with a name gets at most half.
    """

    def __init__(self, stage: str, capacity: int, queue_limit: int, observer: Observer) -> None:
        self._stage, self._limit, self._observer = stage, capacity + queue_limit, observer
        self._places: Counter[str] = Counter()
        self.pace = Pace()

    @property
    def taken(self) -> int:
        """See the class."""
        return self._places.total()

    def take(self, rows: int, client: str, jobs: Sequence[Job[Any]]) -> None:
        """Takes ``rows`` places for ``client``; jobs: those running and waiting, for the time to come back.

        Raises:
            Overloaded: there are not as many.
        """
        if self.taken + rows > self._limit:
            self._observer.refused("queue_full")
            message = f"{self._stage}: {self.taken} jobs are running or waiting, limit {self._limit}"
            raise Overloaded(message, self.wait(jobs))
        mine, share = self._places[client], self._limit // 2
        if client and mine and mine + rows > share:
            self._observer.refused("client_share")
            message = f"{self._stage}: {mine} jobs of this client are running or waiting, limit {share}"
            raise Overloaded(message, self.wait(jobs), "CLIENT_SHARE")
        self._places[client] += rows

    def give_back(self, rows: int, client: str) -> None:
        """Frees ``rows`` places of ``client``."""
        self._places[client] -= rows
        if self._places[client] <= 0:
            del self._places[client]

    def refuse_if_late(
        self, job: Job[Any], active: Sequence[Job[Any]], waiting: Sequence[Job[Any]], max_batch: int
    ) -> None:
        """Work that cannot end in time would only take the device from work that can.

        Raises:
            DeadlineExceeded, Overloaded: see `Reservation.submit`.
        """
        left = job.deadline - time.monotonic()
        alone, beside = self.pace.seconds(job, [*active, job], max_batch)
        if left >= max(alone, beside, 0.0):
            return
        self._observer.refused("deadline")
        steps = f"{job.length} steps take about"
        if left < alone or left <= 0:
            raise DeadlineExceeded(f"{self._stage}: {steps} {brief(alone)}, {brief(max(left, 0.0))} are left")
        message = f"{self._stage}: beside what runs now {steps} {brief(beside)}, {brief(left)} are left"
        raise Overloaded(message, self.wait([*active, *waiting]), "TOO_LATE")

    def wait(self, jobs: Sequence[Job[Any]]) -> float:
        """Seconds until a new job could start: all steps still to do, at the measured pace."""
        return max(0.1, sum(self.pace.per_row * (job.length - job.position) for job in jobs))
