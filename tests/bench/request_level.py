"""``python -m tests.bench.request_level``: the decoder service with the scheduler that ``mixed`` compares ours with.

Takes the flags of ``python -m decoder_svc`` and serves the same networks, samplers, noise and contract; only the
engine is another: requests are what is scheduled, not steps. The device takes the oldest request, and with it as many
waiting ones as have equal settings (sampler, steps, guidance, eta, shapes), at most ``--max-batch``, and runs them to
their end before it looks at the queue again. That is what dynamic batching in front of a diffusers pipeline does,
Triton's for one, with no delay to wait for company; with ``--max-batch 1`` it is first come, first served, one at a
time. Room is bounded as with ours: ``--capacity`` and ``--queue-limit`` together.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future
from typing import Any
from unittest.mock import patch

import torch

from decoder_svc.settings import Settings
from unclip.engine.job import Job, Program
from unclip.engine.observer import Observer
from unclip.engine.trajectory import Trajectory
from unclip.errors import Cancelled, DeadlineExceeded, Overloaded, Unavailable
from unclip.serving.server import main

RETRY_S = 1.0


def settings_of(job: Job[Any]) -> Hashable:
    """What has to be equal for two requests to share a batch."""
    if not isinstance(job, Trajectory):
        return job.lane
    table = job.course.table
    return (job.lane, job.guidance_scale, job.length, table.c_x.tobytes(), table.sigma.tobytes())


class Place:
    """Stands in for the engine's Reservation."""

    def __init__(self, engine: RequestLevelEngine, rows: int) -> None:
        self._engine, self._rows = engine, rows

    def submit(self, job: Job[Any]) -> None:
        """Queues one of the jobs."""
        self._rows -= 1
        self._engine.enqueue(job)

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.give_back(self._rows)
        self._rows = 0


class RequestLevelEngine:
    """Stands in for `Engine`; what is told of that one's arguments holds here."""

    def __init__(
        self,
        programs: Mapping[str, Program[Any]],
        *,
        capacity: int = 16,
        max_batch: int = 8,
        queue_limit: int = 64,
        stage: str = "engine",
        observer: Observer | None = None,
        **_: object,
    ) -> None:
        self._programs, self._max_batch, self._stage = programs, max_batch, stage
        self._limit = capacity + queue_limit
        self._observer = observer or Observer()
        self._queue: deque[Job[Any]] = deque()
        self._calls: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._running = self._taken = 0
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="request-level", daemon=True)
        self._thread.start()

    def reserve(self, rows: int = 1, *_: object, **__: object) -> Place:
        """Holds room for ``rows`` jobs. Raises Overloaded when there is none."""
        with self._changed:
            if self._taken + rows > self._limit:
                self._observer.refused("queue_full")
                raise Overloaded(f"{self._stage}: {self._taken} jobs run or wait, limit {self._limit}", RETRY_S)
            self._taken += rows
        return Place(self, rows)

    def call(self, function: Callable[[], Any]) -> Future[Any]:
        """Runs ``function`` before the next batch begins."""
        future: Future[Any] = Future()
        with self._changed:
            self._calls.append((future, function))
            self._changed.notify_all()
        return future

    def enqueue(self, job: Job[Any]) -> None:
        """Queues a job for which there is room."""
        with self._changed:
            job.queued = time.monotonic()
            self._queue.append(job)
            self._changed.notify_all()

    def give_back(self, rows: int) -> None:
        """Frees room."""
        with self._changed:
            self._taken -= rows

    def load(self) -> tuple[int, int]:
        """(jobs running, jobs waiting)."""
        with self._changed:
            return self._running, len(self._queue)

    def close(self, reason: str = "shutting down") -> None:
        """Ends what waits, and the thread after its batch."""
        with self._changed:
            self._closed = True
            for job in self._queue:
                job.future.set_exception(Unavailable(self._stage, reason))
            self._queue.clear()
            self._changed.notify_all()
        self._thread.join(timeout=30)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._closed or self._queue or self._calls):
                    self._changed.wait()
                if self._closed:
                    return
                calls = [self._calls.popleft() for _ in range(len(self._calls))]
            for future, function in calls:
                try:
                    future.set_result(function())
                except Exception as error:
                    future.set_exception(error)
            with self._changed:
                batch = self._next_batch()
                self._running = len(batch)
            try:
                self._to_the_end(batch)
            except Exception as error:  # the requests fail, the next ones may not
                for job in batch:
                    job.future.set_exception(error)
            with self._changed:
                self._taken -= len(batch)
                self._running = 0

    def _next_batch(self) -> list[Job[Any]]:
        for job in [job for job in self._queue if job.cancelled or job.expired]:
            self._queue.remove(job)
            self._taken -= 1
            late = DeadlineExceeded(f"{self._stage}: the deadline passed in the queue")
            job.future.set_exception(Cancelled(f"{self._stage}: cancelled") if job.cancelled else late)
        if not self._queue:
            return []
        wanted = settings_of(self._queue[0])
        batch = [job for job in self._queue if settings_of(job) == wanted][: self._max_batch]
        for job in batch:
            self._queue.remove(job)
            self._observer.admitted(time.monotonic() - job.queued)
        return batch

    def _to_the_end(self, batch: list[Job[Any]]) -> None:
        for _ in range(batch[0].length if batch else 0):
            lane = batch[0].lane
            assert isinstance(lane, tuple)
            began = time.monotonic()
            with torch.inference_mode():
                self._programs[lane[0]].tick(batch)
            self._observer.ticked(lane[0], len(batch), time.monotonic() - began)
            for job in batch:
                job.position += 1
                if job.notify is not None:
                    job.notify(job)
        for job in batch:
            job.future.set_result(job.result())


if __name__ == "__main__":
    with patch("unclip.model_app.Engine", RequestLevelEngine):
        sys.exit(main("decoder_svc", Settings))
