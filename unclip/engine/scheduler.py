"""Which jobs run, and which of them move next: in turns while there is time for all, else by deadline."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Any

from unclip.engine.admission import own_work
from unclip.engine.cost import CostModel, most_together
from unclip.engine.feasibility import BEFORE, Work, overdue
from unclip.engine.job import TIME_SLICE, Job
from unclip.errors import Cancelled, DeadlineExceeded, Overloaded, UnclipError, brief

AnyJob = Job[Any]
BATCH_SHARE = 0.8  # of the time that the most urgent job has for each of its steps, what one may take
TURNS_SHARE = 0.5  # of the time until the first deadline: while all that is here takes no more, jobs take turns


class Scheduler:
    """Jobs of one engine, running and waiting. Not for use by several threads at once: the engine calls it under its
    lock.

    While all that is here could well be done before the first deadline, jobs take turns: the least recently served is
    next, of the waiting ones the client's with the fewest running. When it could not, those that must end first go
    first (preemptive EDF, which meets all deadlines whenever any order does). Either way jobs of a later stage go
    before those of an earlier one, for their first `TIME_SLICE` ticks: they are nearer to being of use.
    """

    def __init__(
        self, stage: str, capacity: int, max_batch: int, costs: CostModel, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stage, self._capacity, self._max_batch = stage, capacity, max_batch
        self._costs, self._clock = costs, clock
        self.active: list[AnyJob] = []
        self.queue: list[AnyJob] = []
        self._short_of_time = False

    @property
    def jobs(self) -> list[AnyJob]:
        """All of them."""
        return [*self.active, *self.queue]

    @property
    def wanted(self) -> list[AnyJob]:
        """Those that somebody still waits for."""
        return [job for job in self.jobs if not job.cancelled]

    def to_drop(self) -> list[tuple[AnyJob, UnclipError]]:
        """The jobs that nobody waits for, or that cannot end in time any more, each with the error that ends it."""
        now, jobs, lost = self._clock(), list[AnyJob](), list[tuple[AnyJob, UnclipError]]()
        for job in self.jobs:
            if (error := self._lost(job, now)) is not None:
                lost.append((job, error))
            else:
                jobs.append(job)
        works = self._costs.works(jobs)
        first = min((job.deadline for job in jobs), default=now)
        self._short_of_time = sum(work.seconds for work in works) > TURNS_SHARE * (first - now)
        if self._short_of_time:
            lost += self._shed(jobs, works, now)
        return lost

    def _lost(self, job: AnyJob, now: float) -> UnclipError | None:
        if job.cancelled:
            return Cancelled(f"{self._stage}: cancelled")
        after = f"after {job.position} of {job.length} steps"
        if now > job.deadline:
            return DeadlineExceeded(f"{self._stage}: deadline passed {after}")
        left = job.deadline - now
        if (needed := self._needed(job)) > left:
            return DeadlineExceeded(f"{self._stage}: {after} {brief(needed)} are missing, {brief(left)} are left")
        return None

    def _needed(self, job: AnyJob) -> float:
        """Seconds for want of which ``job`` is dropped. Alone it takes them from nobody; and what nothing has confirmed
        of late, its first step is going to show."""
        if job.position == 0 and not self._costs.is_fresh(job.program):
            return 0.0
        alone = len(self.active) + len(self.queue) == 1
        return self._costs.best_case(job) if alone else max(self._costs.best_case(job), self._costs.typical(job))

    def _shed(self, jobs: list[AnyJob], works: list[Work], now: float) -> list[tuple[AnyJob, UnclipError]]:
        """Of the jobs for which nothing was done yet as few as have to go, so that the others end in time."""
        untouched = [job.position == 0 and job.priority == 0 for job in jobs]
        alone = all(work.belongs_to(works[0]) for work in works)
        if alone:  # see `refusal`
            works = [replace(work, least=0.0) for work in works]
        message = f"{self._stage}: there is no time left beside {BEFORE['own' if alone else 'any']}"
        return [
            (
                job,
                own_work(message, job, now) if alone else Overloaded(message, max(0.1, job.deadline - now), "TOO_LATE"),
            )
            for job in (jobs[index] for index in overdue(works, untouched, now))
        ]

    def remove(self, job: AnyJob) -> None:
        """Takes a job out."""
        (self.active if job in self.active else self.queue).remove(job)

    def schedule(self, tick: int) -> list[AnyJob]:
        """Has as many jobs run as may; those that have not run before. ``tick``: number of the latest."""
        ran = set(map(id, self.active))
        if self._short_of_time:
            ordered = sorted(self.jobs, key=urgency)
            self.active, self.queue = ordered[: self._capacity], ordered[self._capacity :]
        else:
            self._take_turns()
        joined = [job for job in self.active if id(job) not in ran]
        for job in joined:
            job.queue_position = job.turn = 0
            job.served = tick
        return [job for job in joined if job.position == 0 and not job.began]

    def _take_turns(self) -> None:
        # A full house of long jobs must not keep short ones out: long ones take turns.
        lacking = max(0, len(self.queue) - (self._capacity - len(self.active)))
        for job in [job for job in self.active if job.turn >= TIME_SLICE][:lacking]:
            self.active.remove(job)
            self.queue.append(job)
        running = Counter(job.client for job in self.active)
        while self.queue and len(self.active) < self._capacity:
            # Of the latest stage the client with the fewest running jobs is next, and of its jobs the first.
            job = min(self.queue, key=lambda job: (-job.rank, running[job.client]))
            self.queue.remove(job)
            running[job.client] += 1
            self.active.append(job)

    def next_batch(self) -> list[AnyJob]:
        """As many jobs of the lane whose turn it is as `most_together`; where time is short, as many as gain by it."""
        if not self.active:
            return []
        order = self.active if self._short_of_time else sorted(self.active, key=lambda job: (-job.rank, job.served))
        lane: Hashable = order[0].lane
        batch = [job for job in order if job.lane == lane][: most_together(self._max_batch, order[0].scale)]
        if not self._short_of_time:
            return batch
        # Who goes first is not held up by company that saves nobody anything, nor by any when it would be late for it.
        batch = batch[: self._costs.useful_batch(order[0].program, sum(job.width for job in batch) / len(batch))]
        # Later stages go before it with what becomes ready meanwhile: what they are going to take is none of its time.
        left = (order[0].deadline - self._clock()) / self._costs.downstream_factor(order[0].rank)
        left /= order[0].length - order[0].position
        while len(batch) > 1 and self._costs.tick_seconds(batch) > BATCH_SHARE * left:
            batch.pop()
        return batch


def urgency(job: AnyJob) -> tuple[int, float, float]:
    """What must be done first has the lower one."""
    return -job.rank, job.deadline, job.queued
