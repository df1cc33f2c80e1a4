"""Who gets in: bounded room, a fair share for every client, and nothing that cannot end in time."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import Any

from unclip.engine.cost import CostModel
from unclip.engine.feasibility import refusal
from unclip.engine.job import Job
from unclip.engine.observer import Observer
from unclip.errors import DeadlineExceeded, Overloaded, UnclipError, brief

UNMEASURED_S = 0.05  # what a step is taken for, in times to come back, before any was measured


class Expected(Job[None]):
    """A job to come, of which no more is known than how long it is. It stands for the job until that is submitted.

    Of a larger picture it takes more places, as that has more of the device's memory. follows: it is begun when those
    that are reserved with it have ended.
    """

    def __init__(
        self,
        program: str,
        length: int,
        deadline: float,
        width: int = 1,
        priority: int = 0,
        scale: float = 1.0,
        follows: bool = False,
    ) -> None:
        super().__init__(length, deadline)
        self.follows = follows
        self._lane, self.priority, self.scale, self.width = (program,), priority, scale, scale * width
        self.places = max(1, math.ceil(scale))

    @property
    def lane(self) -> Hashable:
        """Its only lane."""
        return self._lane


class Reservation:
    """Room for some jobs, held before the request's costly parts are read. Use as a context manager."""

    def __init__(
        self,
        rows: int,
        client: str,
        request: Hashable,
        enqueue: Callable[[Job[Any], Expected | None], None],
        release: Callable[[int, Sequence[Expected]], None],
        expected: Sequence[Expected] = (),
        places: int = 1,
    ):
        """expected: the jobs in their order, where anything is known of them; places: of each job."""
        self._rows, self._client, self._request = rows, client, request
        self._enqueue, self._release = enqueue, release
        self._expected, self._places = list(expected), places

    def submit(self, job: Job[Any]) -> None:
        """Queues one of the reserved jobs.

        Raises:
            ValueError: more jobs than were reserved.
            Unavailable: the engine is closed.
            DeadlineExceeded: the job's steps take longer than its deadline allows, even on an idle engine.
            Overloaded: they do with all that goes before.
        """
        if self._rows < 1:
            raise ValueError("reservation is used up")
        job.client, job.request, job.places = self._client, self._request, self._places
        self._enqueue(job, self._expected[0] if self._expected else None)
        self._rows, self._expected = self._rows - 1, self._expected[1:]

    def ahead(self) -> Reservation:
        """Room for one job that has to be done before those that it is held for: it takes no place beside theirs."""
        return Reservation(1, self._client, self._request, self._enqueue, lambda rows, expected: None, places=0)

    def __enter__(self) -> Reservation:
        return self

    def __exit__(self, *_: object) -> None:
        self._release(self._rows, self._expected)
        self._rows, self._expected = 0, []


class Admission:
    """Places of one engine, and its time. Not for use by several threads at once: the engine calls it under its lock.

    taken: places in all, of jobs running and waiting and of reservations. capacity + queue_limit bounds them, and
    a client with a name gets at most half.
    """

    def __init__(
        self,
        stage: str,
        limit: int,
        observer: Observer,
        costs: CostModel,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stage, self._limit, self._observer, self._costs, self._clock = stage, limit, observer, costs, clock
        self._places: Counter[str] = Counter()
        self._expected: list[Expected] = []

    @property
    def taken(self) -> int:
        """See the class."""
        return self._places.total()

    def take(
        self,
        rows: int,
        client: str,
        jobs: Sequence[Job[Any]],
        expected: Sequence[Expected] = (),
        request: Hashable = None,
    ) -> None:
        """Takes the places of ``rows`` jobs of a ``request`` of ``client``, and the time of those ``expected``; jobs:
        those here.

        Raises:
            DeadlineExceeded: the expected jobs could not end in time even on an idle engine.
            Overloaded: there are not as many, or it could not with all that goes before.
        """
        places = sum(job.places for job in expected) or rows
        if self.taken and self.taken + places > self._limit:
            self._observer.refused("queue_full")
            message = f"{self._stage}: {self.taken} places are taken, limit {self._limit}"
            raise Overloaded(message, self.wait(jobs))
        mine, share = self._places[client], self._limit // 2
        if client and mine and mine + places > share:
            self._observer.refused("client_share")
            message = f"{self._stage}: {mine} places are taken by this client, limit {share}"
            raise Overloaded(message, self.wait(jobs), "CLIENT_SHARE")
        for job in expected:
            job.client, job.request = client, request
        if expected:
            following = [job for job in expected if job.follows]
            *others, longest = sorted((job for job in expected if not job.follows), key=lambda job: job.length)
            self.refuse_if_late(longest, jobs, others, following)
            self._expected += expected
        self._places[client] += places

    def give_back(self, rows: int, client: str, expected: Sequence[Expected] = ()) -> None:
        """Frees what ``rows`` jobs took of ``client`` that do not come any more, and the time of those ``expected``."""
        self._free(sum(job.places for job in expected) or rows, client)
        for job in expected:
            self._expected.remove(job)

    def leave(self, job: Job[Any]) -> None:
        """Frees the places of a job that has ended."""
        self._free(job.places, job.client)

    def _free(self, places: int, client: str) -> None:
        self._places[client] -= places
        if self._places[client] <= 0:
            del self._places[client]

    def enter(self, job: Job[Any], jobs: Sequence[Job[Any]], expected: Expected | None = None) -> None:
        """Lets ``job`` in among ``jobs``, in place of what was ``expected``, if anything was; one without a place, see
        `Reservation.ahead`, for what it goes ahead of.

        Raises:
            DeadlineExceeded, Overloaded: see `Reservation.submit`.
        """
        if job.places and (expected is None or job.length > expected.length):
            self.refuse_if_late(job, jobs)
        if expected is not None:
            self._expected.remove(expected)

    def refuse_if_late(
        self,
        job: Job[Any],
        jobs: Sequence[Job[Any]],
        beside: Sequence[Job[Any]] = (),
        following: Sequence[Job[Any]] = (),
    ) -> None:
        """Work that cannot end in time would only take the device from work that can. beside: what comes with it.
        following: what comes after it and is as much a part of it.

        Raises:
            DeadlineExceeded, Overloaded: see `Reservation.submit`.
        """
        chain = [job, *following]
        left, least = job.deadline - self._clock(), sum(self._costs.best_case(each) for each in chain)
        if left == float("inf") or (left > 0 and self._probes(job, jobs)):
            return
        steps = f"{sum(each.length for each in chain)} steps take about"
        if left < least or left <= 0:
            self._observer.refused("deadline")
            raise DeadlineExceeded(f"{self._stage}: {steps} {brief(least)}, {brief(max(left, 0.0))} are left")
        works = self._costs.works([*jobs, *self._expected, *beside, *chain])
        others, mine = works[: -len(chain)], works[-len(chain) :]
        new = replace(mine[0], seconds=sum(work.seconds for work in mine), least=sum(work.least for work in mine))
        if found := refusal(new, others, self._clock()):
            self._observer.refused("client_share" if found.reason == "CLIENT_SHARE" else "deadline")
            message = f"{self._stage}: with {found.before} {steps} {brief(found.ahead)}, {brief(left)} are left"
            if found.reason == "OWN_WORK":
                raise own_work(message, job, self._clock())
            raise Overloaded(message, max(0.1, found.wait), found.reason)

    def _probes(self, job: Job[Any], jobs: Sequence[Job[Any]]) -> bool:
        """Whether ``job`` is to show how long its steps are now: nothing has of late, and nothing else is about to.
        Were it refused for what was once measured, that would never change."""
        return not self._costs.is_fresh(job.program) and not any(
            other.program == job.program for other in (*jobs, *self._expected)
        )

    def wait(self, jobs: Sequence[Job[Any]]) -> float:
        """Seconds until a new job could start: all steps still to do, at their measured costs."""
        here = [*jobs, *self._expected]
        steps = ((job.length - job.position) * UNMEASURED_S for job in here)
        return max(
            0.1, sum(work.seconds or assumed for work, assumed in zip(self._costs.works(here), steps, strict=True))
        )


def own_work(message: str, job: Job[Any], now: float) -> UnclipError:
    """The error for a job that other parts of its request leave no time. Where these came with it, in one call, nothing
    is going to change that; where they came in others, another replica may not have them."""
    return (
        Overloaded(message, max(0.1, job.deadline - now), "OWN_WORK")
        if isinstance(job.request, str)
        else (DeadlineExceeded(message))
    )
