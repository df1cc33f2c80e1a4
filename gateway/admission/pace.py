"""How fast the stages are: what a step takes of late and at best, and what replicas deliver in a second."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.admission.workload import StageLoad
from unclip.engine.feasibility import FORGOTTEN_S, MinimumTime, Work
from unclip.serving.load_report import Cost

if TYPE_CHECKING:
    from gateway.admission.control import Ticket

SMOOTHING = 0.1  # weight of the latest measurement in a mean
OUTLIER = 4.0  # times as fast as it was taken for: then those before were held up
WINDOW_S = 1.0  # over which deliveries are counted, at least
MIN_WINDOWS = 2  # such windows of a busy pool after which its rate is believed
# The rate is tried a little higher with every window, and taken back when a stage refuses: so it finds what
# others leave of stages that several gateways share, when that grows.
INCREASE, DECREASE = 1.01, 0.98


@dataclass
class Speed:
    """What a stage has reported of its steps, or of its student's. device: its device's seconds for the step of a row
    of the stack's own size. step: seconds of one of such rows, with what shares it; 0 before any report. least: of a
    step, by all rows of the pass."""

    device: float = 0.0
    step: float = 0.0
    noted: float = float("-inf")  # when it was reported last
    least: MinimumTime = field(default_factory=MinimumTime)

    def usual(self, now: float) -> float:
        """Seconds of a step as of late; 0 where nothing was reported for long."""
        return self.step if now - self.noted < FORGOTTEN_S else 0.0

    def note(self, load: StageLoad, cost: Cost, now: float) -> None:
        """A call of ``load`` took ``cost``."""
        device, step = cost.device / load.call_row_steps, cost.busy / (load.steps * load.area)
        # Rows in one pass make a step longer and each row's part of it shorter: where both are, the stage is faster.
        held_up = OUTLIER * step < self.step and OUTLIER * device < self.device
        weight = 1.0 if held_up or not self.device else SMOOTHING
        self.device += (device - self.device) * weight
        self.step += (step - self.step) * weight
        self.least.note(load.usual_rows * cost.busy / cost.device, cost.busy / load.steps, now)
        self.noted = now

    def least_call(self, load: StageLoad, now: float, since: float = float("-inf")) -> float:
        """Seconds that one call of ``load`` takes at the very least; 0 where that was not measured ``since``."""
        return load.steps * self.least.of(load.usual_rows, now, since)

    def least_calls(self, load: StageLoad, replicas: float, now: float, since: float) -> float:
        """Seconds that all of its calls take ``replicas`` together at the very least: in passes as large as there are,
        each row in one of them at a time. (Seconds grow less than rows do: fewer and larger passes take the least.)"""
        together = min(max(load.usual_rows, load.calls * load.usual_rows / replicas), load.pass_rows)
        full, rest = divmod(load.row_steps / replicas, together)
        passes = full * self.least.of(together, now, since) + self.least.of(rest, now, since)
        return max(self.least_call(load, now, since), passes)


@dataclass
class Pool:
    """Replicas behind one address, of one stage or of several that share their devices, and what they deliver.

    replicas: how many there are now, infinite where nobody knows. Each has one device, which works one second a second.
    works: what each call under way still asks of them; those whose turn elsewhere goes on as they were `RECOUNT_S` ago.
    recounted: when all of them were last reckoned anew.
    """

    replicas: Callable[[], float] = lambda: float("inf")
    works: dict[Ticket, Work] = field(default_factory=dict)
    recounted: float = float("-inf")
    _mean: float = 0.0  # of one replica
    _windows: int = 0
    _began: float = float("-inf")  # of the window that is counted now
    _delivered: float = 0.0
    _waited: int = 0
    _ended: int = 0

    @property
    def rate(self) -> float:
        """Device seconds that they deliver to us in a second; all they have until they were seen busy often enough."""
        known = self._windows >= MIN_WINDOWS
        return self._mean * self._counted if known else self.replicas()

    @property
    def _counted(self) -> float:
        """Replicas that the mean is for: all are taken for one where nobody knows how many there are."""
        return self.replicas() if self.replicas() < float("inf") else 1.0

    def deliver(self, seconds: float, waited: bool, now: float) -> None:
        """A call has ended that took so much of the device. waited: for others, so that the device was not idle.

        What ends in one pass ends together: so it is counted over `WINDOW_S` at least, or over the time between two.
        """
        self._delivered += seconds
        self._waited += waited
        self._ended += 1
        if (span := now - self._began) < WINDOW_S:
            return
        if span < 10 * WINDOW_S:
            self._sample(self._delivered / span, 2 * self._waited > self._ended)
        self._began, self._delivered, self._waited, self._ended = now, 0.0, 0, 0

    def _sample(self, rate: float, busy: bool) -> None:
        each = rate / self._counted
        if busy:
            self._windows += 1
            self._mean += (self._possible(each) - self._mean) * max(SMOOTHING, 1 / self._windows)
        else:
            self._mean = max(self._mean, each)  # nobody asked for more; it can do that at least
        self._mean = self._possible(self._mean * INCREASE)

    def _possible(self, each: float) -> float:
        """``each`` of a replica, where all are counted no more than it can: several passes that end in one window were
        begun in others."""
        return min(each, 1.0) if self.replicas() < float("inf") else each

    def refused(self, in_flight: float, left: float) -> None:
        """It has no time for what must be done in ``left`` seconds, with so much of ours under way."""
        if self._windows >= MIN_WINDOWS:
            self._mean *= DECREASE
        elif in_flight > 0:
            self._windows, self._mean = MIN_WINDOWS, self._possible(in_flight / left / self._counted)
