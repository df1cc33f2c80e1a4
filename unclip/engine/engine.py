"""The step-batching engine: one per device, one worker thread, bounded admission, jobs join and leave at every tick."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

import torch

from unclip.engine.admission import Admission, Expected, Reservation
from unclip.engine.cost import CostModel
from unclip.engine.current_batch import running
from unclip.engine.job import Job, Program
from unclip.engine.observer import Observer, Outcome
from unclip.engine.scheduler import Scheduler
from unclip.errors import Cancelled, DeadlineExceeded, OutOfDeviceMemory, Overloaded, Unavailable, UnclipError

log = logging.getLogger(__name__)
AnyJob = Job[Any]
Answer = TypeVar("Answer")


class Engine:
    """Runs jobs of several programs on one device.

    Args:
        programs: program of each lane's first element; a lane is a tuple that starts with its program's name.
        capacity: jobs that may be under way at once; their state lies on the device.
        max_batch: rows of one tick.
        queue_limit: jobs that may wait.
        stage: names the engine in errors.
        on_failure: called once, on the engine's thread, when the device is beyond help or the thread itself fails.
        observer: called for all that happens.
        clock: gives seconds that never go back, by which deadlines are.
    """

    def __init__(
        self,
        programs: Mapping[str, Program[Any]],
        *,
        capacity: int = 16,
        max_batch: int = 8,
        queue_limit: int = 64,
        stage: str = "engine",
        on_failure: Callable[[BaseException], object] | None = None,
        observer: Observer | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._programs, self._clock = programs, clock
        self._stage = stage
        self._on_failure = on_failure
        self._observer = observer or Observer()
        self._costs = CostModel(max_batch, clock)
        self._scheduler = Scheduler(stage, capacity, max_batch, self._costs, clock)
        self._calls: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._admission = Admission(stage, capacity + queue_limit, self._observer, self._costs, clock)
        self._ticks = 0
        self._closed: str | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=f"{stage}-engine", daemon=True)
        self._thread.start()

    def reserve(self, rows: int = 1, client: str = "", *expected: Expected, part_of: str = "") -> Reservation:
        """Holds room for ``rows`` jobs of ``client``; the nameless one is not held to a share.

        part_of: name of the request that they belong to, together with jobs of other reservations; "" if there are no
        others.

        expected: each of them in turn, or one that all are like, as far as is known; what cannot end in time is then
        refused before its job is made.

        Raises:
            ValueError: more or fewer are expected than there is room to be.
            Overloaded: running, waiting and reserved jobs would exceed capacity + queue limit, or the client's
                would exceed half of that; or they could not end in time.
            DeadlineExceeded: they could not even on an idle engine.
            Unavailable: the engine is closed.
        """
        request = part_of or object()
        each = expected * rows if len(expected) == 1 else expected
        if len(each) not in (0, rows):
            raise ValueError(f"expected must be none, one or {rows}; got {len(expected)}")
        with self._changed:
            if self._closed is not None:
                raise Unavailable(self._stage, self._closed)
            self._admission.take(rows, client, self._scheduler.wanted, each, request)

        def release(unused: int, left: Sequence[Expected]) -> None:
            with self._changed:
                self._admission.give_back(unused, client, left)

        return Reservation(rows, client, request, self._enqueue, release, each, each[0].places if each else 1)

    def call(self, function: Callable[[], Answer]) -> Future[Answer]:
        """Runs ``function`` on the engine's thread before its next tick: for short work that touches the device.

        No other thread should: the device has one owner, and on a CPU a second thread's pool of OpenMP workers makes
        libgomp stop spinning in the first's (more threads than cores), which doubles the time of small layers.

        Raises:
            Unavailable: the engine is closed.
        """
        future: Future[Answer] = Future()
        with self._changed:
            if self._closed is not None:
                raise Unavailable(self._stage, self._closed)
            self._calls.append((future, function))
            self._changed.notify_all()
        return future

    def load(self) -> tuple[int, int]:
        """(jobs running, jobs waiting)."""
        with self._changed:
            return len(self._scheduler.active), len(self._scheduler.queue)

    def close(self, reason: str = "shutting down") -> None:
        """Ends every job with Unavailable and stops the thread. Call from another thread than the engine's."""
        with self._changed:
            self._closed = self._closed or reason
            self._changed.notify_all()
        self._thread.join(timeout=30)

    def _enqueue(self, job: AnyJob, expected: Expected | None) -> None:
        with self._changed:
            if self._closed is not None:
                raise Unavailable(self._stage, self._closed)
            self._admission.enter(job, self._scheduler.wanted, expected)
            job.queued = self._clock()
            self._scheduler.queue.append(job)
            self._changed.notify_all()

    # From here on: the engine's own thread.

    def _run(self) -> None:
        """Serves until closed. Whatever ends it otherwise ends every job with it, and is reported: none may hang."""
        try:
            self._serve()
        except BaseException as error:
            self._fail(error, "the engine failed")
        finally:
            with self._changed:
                self._end_all(self._closed or "the engine failed")

    def _serve(self) -> None:
        while True:
            with self._changed:
                while self._closed is None and not (self._scheduler.jobs or self._calls):
                    self._changed.wait()
                if self._closed is not None:
                    return
                calls = len(self._calls)
                self._drop_and_admit()
                batch = self._scheduler.next_batch()
            for _ in range(calls):
                self._answer(*self._calls.popleft())
            if batch and self._closed is None:
                self._tick(batch)

    def _end_all(self, reason: str) -> None:
        """Ends what is left, each with an answer of its own, whatever goes wrong with one of them."""
        for job in self._scheduler.jobs:
            try:
                self._end(job, Unavailable(self._stage, reason))
            except BaseException:
                log.exception("a job could not be ended as it should")
        for future, _ in self._calls:
            if future.set_running_or_notify_cancel():
                future.set_exception(Unavailable(self._stage, reason))
        self._scheduler.active.clear()
        self._scheduler.queue.clear()
        self._calls.clear()

    def _answer(self, future: Future[Any], function: Callable[[], Any]) -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(function())
        except Exception as error:
            if _poisoned(error):
                self._fail(error)
                error = Unavailable(self._stage, "the device failed")
            future.set_exception(_explain(error))
        except BaseException:
            future.set_exception(Unavailable(self._stage, "the engine failed"))
            raise

    def _drop_and_admit(self) -> None:
        for job, error in self._scheduler.to_drop():
            self._scheduler.remove(job)
            self._end(job, error)
        for job in self._scheduler.schedule(self._ticks):
            job.began = self._clock()
            self._observer.admitted(job.began - job.queued)
        for place, job in enumerate(self._scheduler.queue, start=1):
            if job.queue_position != place:
                job.queue_position = place
                self._notify(job)

    def _tick(self, batch: list[AnyJob]) -> None:
        started = self._clock()
        self._ticks += 1
        try:
            lane = batch[0].lane
            assert isinstance(lane, tuple)
            with torch.inference_mode(), running(batch):
                self._programs[lane[0]].tick(batch)
        except Exception as error:
            if isinstance(error, torch.OutOfMemoryError) and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
                torch.cuda.empty_cache()  # blocks of sizes that nobody asks for again leave room for smaller batches
            if _poisoned(error):
                self._fail(error)
            elif len(batch) == 1 or isinstance(error, Unavailable | Overloaded):
                # No row is at fault where a network that runs elsewhere is away or busy.
                for job in batch:
                    with self._changed:
                        self._scheduler.active.remove(job)
                    self._end(job, _explain(error))
            else:
                # Somebody's row is at fault, and only that one may suffer: take them one by one.
                for job in batch:
                    if self._closed is None:
                        self._tick([job])
            return
        seconds = self._clock() - started
        with self._changed:
            self._costs.record(lane[0], batch, seconds)
        row = seconds / sum(job.width for job in batch)
        self._observer.ticked(lane[0], len(batch), seconds)
        for job in batch:
            job.position += 1
            job.rows += len(batch)
            job.device += row * job.width
            job.busy += seconds
            job.turn += 1
            job.served = self._ticks
            self._notify(job)
            if job.position == job.length:
                with self._changed:
                    self._scheduler.active.remove(job)
                self._end(job, None)

    def _end(self, job: AnyJob, error: BaseException | None) -> None:
        with self._changed:
            self._admission.leave(job)
        job.ended = self._clock()
        if not job.future.set_running_or_notify_cancel():
            self._observer.ended("cancelled")
            return
        if error is None:
            try:
                job.future.set_result(job.result())
            except Exception as failure:
                error = _explain(failure)
        if error is not None:
            job.future.set_exception(error)
        self._observer.ended(_outcome(error))

    def _notify(self, job: AnyJob) -> None:
        if job.notify is not None:
            try:
                job.notify(job)
            except Exception:
                log.exception("a listener failed; its job goes on")

    def _fail(self, error: BaseException, reason: str = "the device failed") -> None:
        """The device, or the engine, is beyond help: nothing after this can be trusted, the process has to be
        replaced."""
        log.critical(reason, exc_info=error)
        with self._changed:
            self._closed = reason
        if self._on_failure is not None:
            try:
                self._on_failure(error)
            except Exception:
                log.exception("on_failure failed; the jobs are ended all the same")


def _outcome(error: BaseException | None) -> Outcome:
    match error:
        case None:
            return "ok"
        case Cancelled():
            return "cancelled"
        case DeadlineExceeded():
            return "deadline"
    return "error"


def _poisoned(error: BaseException) -> bool:
    kind = getattr(torch, "AcceleratorError", None)
    return (kind is not None and isinstance(error, kind)) or "CUDA error" in str(error)


def _explain(error: Exception) -> BaseException:
    if isinstance(error, torch.OutOfMemoryError):
        return OutOfDeviceMemory("the device has not enough free memory for this request")
    if not isinstance(error, UnclipError):
        log.error("a job failed", exc_info=error)
    return error
