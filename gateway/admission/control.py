"""Admission control: the bound on what is under way at once, as long as the callers' patience and no longer.

What a request takes is known before it begins: so many steps of so many rows at each stage, which with every answer
reports what one took (`unclip.serving.load_report`). How much of that the stages get done in a second is measured as
TCP BBR measures a path: by what was delivered while a call was under way. So a newcomer's end is known, and who would
come too late is refused before any stage works for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self

from gateway.admission.pace import Pool, Speed
from gateway.admission.workload import SAMPLING_STAGES, StageLoad, Workload
from unclip.engine.feasibility import FRESH_S, Work, refusal
from unclip.enum_names import StageName
from unclip.errors import DeadlineExceeded, Overloaded, brief
from unclip.options import ServiceName
from unclip.serving.load_report import Cost
from unclip.serving.metrics import REFUSALS

# What the gateway keeps of its own deadline, to write files and to answer in time.
MARGIN_S = 0.25

OPTIMISM = 0.8  # a call is hopeless only if it would be late even at this share of the least time measured
BUSY = 1.5  # times the time that its steps took: a call that took longer has waited, so that the stage was never idle
# Every answer changes a little what calls under way are going to take; it is not worked out anew for each newcomer.
RECOUNT_S = 0.25
# Of the bounds that stages keep: so it is the gateway that refuses, at once, and hardly ever a stage, later.
HEADROOM = 0.85


class Admission:
    """What is under way in this gateway, and how fast it moves. clock: gives seconds that never go back."""

    def __init__(
        self,
        targets: Mapping[ServiceName, str],
        replicas: Callable[[ServiceName], float] = lambda service: float("inf"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``targets``: where the stages are; those at the same address share their devices. ``replicas``: how many of a
        stage serve now, infinite where that is not known."""
        self._clock = clock
        pools = {target: Pool(partial(replicas, service)) for service, target in targets.items()}
        self.devices: Mapping[ServiceName, str] = targets  # what is at the same address has the same
        self.pools: dict[StageName, Pool] = {
            stage: pools[targets[service]] for stage, service in SAMPLING_STAGES.items()
        }
        self._speeds = {(stage, fast): Speed() for stage in SAMPLING_STAGES for fast in (False, True)}
        self._probed = float("-inf")  # when a call that looked hopeless was let in

    def speed(self, stage: StageName, load: StageLoad) -> Speed:
        """What is known of the steps of such a load."""
        return self._speeds[stage, load.fast]

    def enter(self, workload: Workload, deadline: float, client: str) -> Ticket:
        """Lets a call in that must be answered by ``deadline``. Use the ticket as a context manager.

        Raises:
            DeadlineExceeded: it could not be, even if nothing else were under way.
            Overloaded: it could not be with what is.
        """
        now, ticket = self._clock(), Ticket(self, workload, deadline - MARGIN_S, client)
        left, least = ticket.deadline - now, ticket.least_of_all()
        if least > left or left <= 0:
            if left <= 0 or not self._probes(ticket, now):
                REFUSALS.labels("gateway", "deadline").inc()
                raise DeadlineExceeded(f"the stages take about {brief(least)}, {brief(max(0.0, left))} are left")
            self._probed, ticket.probe = now, True
        for pool in ticket.pools:
            if found := refusal(ticket.work(pool), self._works(pool, now), now, HEADROOM):
                REFUSALS.labels("gateway", "deadline" if found.reason == "TOO_LATE" else "client_share").inc()
                message = f"with what is under way this takes about {brief(found.ahead)}, "
                message += f"{brief(deadline - now)} are left"
                if found.reason == "CLIENT_SHARE":
                    message = f"what is under way of this client fills its part of the {brief(deadline - now)} left"
                raise Overloaded(message, max(0.1, found.wait), found.reason)
        return ticket

    def _probes(self, ticket: Ticket, now: float) -> bool:
        """Whether a call that looks hopeless is to measure how fast the stages are now: it does so for what was
        measured a while ago of passes like its own, and nothing is under way. Were it refused for that, it would never
        change."""
        if now - self._probed < FRESH_S or any(pool.works for pool in ticket.pools):
            return False
        return ticket.least_of_all(since=now - FRESH_S) <= ticket.deadline - now

    def _works(self, pool: Pool, now: float) -> Collection[Work]:
        """What the calls under way still ask of ``pool``."""
        if now - pool.recounted >= RECOUNT_S:
            pool.works = {ticket: ticket.work(pool) for ticket in pool.works}
            pool.recounted = now
        return pool.works.values()

    def admitted(self, ticket: Ticket) -> None:
        """``ticket`` is under way from now on."""
        for pool in ticket.pools:
            pool.works[ticket] = ticket.work(pool)

    def moved(self, ticket: Ticket) -> None:
        """``ticket`` asks less than before, if it is still under way."""
        for pool in ticket.pools:
            if ticket in pool.works:
                pool.works[ticket] = ticket.work(pool)
                if not ticket.asks(pool):
                    del pool.works[ticket]

    def ended(self, ticket: Ticket) -> None:
        """It is over, well or not."""
        for pool in ticket.pools:
            pool.works.pop(ticket, None)

    def in_flight(self, pool: Pool) -> float:
        """Device seconds that ``pool`` has still to deliver to us."""
        return sum(ticket.device_seconds(pool) for ticket in pool.works)

    def now(self) -> float:
        """What the clock says."""
        return self._clock()


class Ticket:
    """One call under way. deadline: by when its pictures have to be there. probe: it is let in though it looks
    hopeless. pools: those on its way."""

    probe = False

    def __init__(self, admission: Admission, workload: Workload, deadline: float, client: str) -> None:
        self._admission, self._workload, self._client = admission, workload, client
        self.deadline = deadline
        self._left = {stage: load.row_steps for stage, load in workload.items()}
        self.pools = list({id(pool): pool for pool in map(admission.pools.__getitem__, workload)}.values())

    def __enter__(self) -> Self:
        self._admission.admitted(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._admission.ended(self)

    def device_seconds(self, pool: Pool) -> float:
        """What it still asks of ``pool``."""
        admission = self._admission
        return sum(
            left * admission.speed(stage, self._workload[stage]).device
            for stage, left in self._left.items()
            if admission.pools[stage] is pool
        )

    def work(self, pool: Pool) -> Work:
        """The same, in seconds of the clock, with the time that its steps take there and elsewhere."""
        here = elsewhere = 0.0
        for stage, load in self._workload.items():
            if self._left[stage]:
                seconds = load.steps * load.area * self._admission.speed(stage, load).usual(self._admission.now())
                here, elsewhere = (
                    (here + seconds, elsewhere) if self._admission.pools[stage] is pool else (here, elsewhere + seconds)
                )
        return Work(self.device_seconds(pool) / pool.rate, self.deadline - elsewhere, here, client=self._client)

    def asks(self, pool: Pool) -> bool:
        """Whether it still asks something of ``pool``."""
        pools = self._admission.pools
        return any(left and pools[stage] is pool for stage, left in self._left.items())

    def least(self, stages: Iterable[StageName]) -> float:
        """Seconds that ``stages`` take for a picture at the very least."""
        now = self._admission.now()
        return OPTIMISM * sum(speed.least_call(load, now) for load, speed in self._speeds(stages))

    def least_of_all(self, since: float = float("-inf")) -> float:
        """Seconds that all stages take for all pictures at the very least, as far as it was measured ``since``: the
        pool that has the most to do for all of them, the others for one before it or after it."""
        now, pools = self._admission.now(), self._admission.pools
        alone, together = dict[StageName, float](), dict[StageName, float]()
        for stage, (load, speed) in zip(self._workload, self._speeds(self._workload), strict=True):
            alone[stage] = speed.least_call(load, now, since)
            together[stage] = speed.least_calls(load, pools[stage].replicas(), now, since)
        least = 0.0
        for pool in self.pools:
            seconds = {stage: (together if pools[stage] is pool else alone)[stage] for stage in alone}
            if "prior" in seconds and "invert" in seconds and pools["prior"] is not pools["invert"]:  # at once
                seconds["prior"] = max(0.0, seconds["prior"] - seconds["invert"])
            least = max(least, sum(seconds.values()))
        return OPTIMISM * least

    def after(self, stage: StageName) -> float:
        """Seconds to keep for the stages after ``stage``: what they are going to take for a picture as they do now.

        Where that is most of what is left, half of it, but what they take at best: they may be quicker again by then.
        A probe keeps what they take at best on the same devices, but half of what is left at most: its first step shows
        whether these are quicker now. Of others it is to measure that, and keeps nothing for them.
        """
        admission, order, now = self._admission, list(SAMPLING_STAGES), self._admission.now()
        later = [s for s in order[order.index(stage) + 1 :] if s in self._workload]
        if self.probe:
            here = self.least(s for s in later if admission.pools[s] is admission.pools[stage])
            return min(here, (self.deadline - now) / 2)
        usual = sum(load.steps * load.area * speed.usual(now) for load, speed in self._speeds(later))
        return min(usual, max(self.least(later), (self.deadline - now) / 2))

    def _speeds(self, stages: Iterable[StageName]) -> list[tuple[StageLoad, Speed]]:
        """What it asks of ``stages``, and how fast they are with that."""
        loads = [(stage, self._workload[stage]) for stage in stages]
        return [(load, self._admission.speed(stage, load)) for stage, load in loads]

    def replicas(self, stage: StageName) -> Callable[[], float]:
        """Tells how many replicas of ``stage`` there are; infinite where nobody knows."""
        return self._admission.pools[stage].replicas

    def places(self, stage: StageName, samples: int) -> int:
        """That a call of ``stage`` takes there for ``samples``."""
        return samples * self._workload[stage].places

    def begin(self, stage: StageName) -> StageCall:
        """A call of ``stage`` is made."""
        return StageCall(stage, self._admission.now())

    def end(self, stage_call: StageCall, cost: Cost | None) -> None:
        """It ended well, and took ``cost`` if the stage reports such things."""
        admission, stage = self._admission, stage_call.stage
        load, pool = self._workload[stage], admission.pools[stage]
        speed = admission.speed(stage, load)
        row_steps = load.call_row_steps
        self._left[stage] = max(0, self._left[stage] - row_steps)
        if cost is not None:
            now = admission.now()
            speed.note(load, cost, now)
            pool.deliver(row_steps * speed.device, now - stage_call.began > BUSY * cost.busy, now)
        admission.moved(self)

    def refused(self, stage: StageName) -> None:
        """The stage said that there is no time for a call of it."""
        pool = self._admission.pools[stage]
        left = self.deadline - self._admission.now()
        if left > 0:
            pool.refused(self._admission.in_flight(pool), left)


@dataclass(frozen=True)
class StageCall:
    """A call of a stage, and when it began."""

    stage: StageName
    began: float
