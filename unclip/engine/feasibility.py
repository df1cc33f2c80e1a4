"""Whether work can end when it must: the earliest deadline first, at a known speed, before anything is begun.

One rule for whoever lets work in: an engine in front of its device, and the gateway in front of all stages. Work is
measured in seconds of whatever does it. No torch, no gRPC.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

# Of the time that a newcomer can wait, the part that it must be expected to. The rest is for what the estimate does not
# know, and for callers with less patience, who go first and may use it up.
PROMISED = 0.8
# Of that, what such callers leave to those that were let in before.
KEPT = 0.1
# The part of that time which one client's own work may fill. Half of the patience keeps any device busy, so that
# this costs a client that is alone nothing, and leaves the other half to those that come later.
CLIENT_PART = 0.5
REMEMBERED = 64  # measurements whose least counts
FRESH_S = 1.0  # after which a measurement that nothing has confirmed may be wrong: one that it would refuse is tried
FORGOTTEN_S = 30.0  # after which a measurement counts no more
BEGUN = 0.25  # of the time that it takes, what must be to spare when something is begun

BEFORE = {"own": "other parts of its request", "any": "what goes before"}
Reason = Literal["TOO_LATE", "CLIENT_SHARE", "OWN_WORK"]


@dataclass(frozen=True, slots=True)
class Work:
    """seconds: of the device, if it does this beside much else. least: seconds it takes, sharing the device with what
    runs beside it, if nothing is ahead. deadline: as `time.monotonic`. rank: higher goes first. client: whose it is, ""
    is nobody's in particular. request: of which it is a part, None of none."""

    seconds: float
    deadline: float
    least: float = 0.0
    rank: int = 0
    client: str = ""
    request: Hashable = None

    @property
    def order(self) -> tuple[int, float]:
        """What goes first has the lower one: later stages, then the earliest deadline."""
        return -self.rank, self.deadline

    @property
    def lag(self) -> float:
        """Seconds that it ends after all that goes before it and itself could be done: while it runs others share the
        device with it, of which half come after it."""
        return max(0.0, self.least - self.seconds) / 2

    def belongs_to(self, other: Work) -> bool:
        """Whether both are parts of one request."""
        return self.request is not None and (self.request, self.client) == (other.request, other.client)


class MinimumTime:
    """The least that something has taken of late, by rows: as many as `REMEMBERED` measurements of `FORGOTTEN_S`."""

    def __init__(self) -> None:
        self._measured: deque[tuple[float, float, float]] = deque(maxlen=REMEMBERED)  # (when, rows, seconds)

    def note(self, rows: float, seconds: float, now: float) -> None:
        """So many ``rows`` took ``seconds``."""
        self._measured.append((now, rows, seconds))

    def of(self, rows: float, now: float, since: float = float("-inf")) -> float:
        """Seconds that ``rows`` take at the very least; 0 where nothing is known, or nothing was measured ``since``.

        Fewer than were measured take their part, more as much at any rate. That says little of many more: where passes
        of at least half as many rows are known, smaller ones say what as many of them as it takes would come to.
        """
        while self._measured and now - self._measured[0][0] > FORGOTTEN_S:
            self._measured.popleft()
        if not self._measured or self._measured[-1][0] < since:
            return 0.0
        enough = min(rows, max(measured for _, measured, _ in self._measured))
        return min(
            seconds * (min(1.0, rows / measured) if 2 * measured >= enough else enough / measured)
            for _, measured, seconds in self._measured
        )


@dataclass(frozen=True)
class Refusal:
    """Why there is no time for a newcomer. ahead: seconds until it would end; wait: until it could be let in."""

    reason: Reason
    ahead: float
    wait: float

    @property
    def before(self) -> str:
        """What it is that goes before it, in words."""
        return BEFORE["own" if self.reason == "OWN_WORK" else "any"]


def refusal(new: Work, others: Iterable[Work], now: float, part: float = 1.0) -> Refusal | None:
    """Why ``new`` cannot join ``others``, all of which were let in before; None if it can.

    part: of the usual bounds. Who stands in front of others that apply them as well has lower ones.

    It can if what goes before it leaves it its time, with `PROMISED` to spare, if none of those behind it would come
    too late for it, and if what goes before it is not too much of other requests of its client. Alone it always can: no
    estimate is so sure that it should not be tried. Other parts of its own request have to leave it its time, with
    nothing to spare: there is nobody to spare it for. What they leave is what is asked of others.
    """
    spare = new.deadline - now - new.seconds  # seconds that may pass until it has the device
    before = mine = own = ours = 0.0  # ours: of its own request, and before it
    alone = True
    behind: list[Work] = []
    rank, deadline = new.rank, new.deadline
    for other in others:
        same = other.belongs_to(new)
        alone = alone and same
        if same and other.rank >= rank:
            own += other.seconds
        if other.rank > rank or (other.rank == rank and other.deadline <= deadline):  # as `Work.order`
            before += other.seconds
            ours += other.seconds if same else 0.0
            if new.client and other.client == new.client and not same:
                mine += other.seconds
        elif other.rank == rank:
            behind.append(other)
    if own and own > spare:
        return Refusal("OWN_WORK", own + new.seconds, own - spare)
    if alone:
        return None
    # What shares the device with it, and comes after it, are other parts as well, which are counted as they are.
    lag = min(new.lag, sum(other.seconds for other in behind if not other.belongs_to(new))) if own else new.lag
    needed = before + new.seconds + lag
    allowed = ours + part * PROMISED * (spare - ours)
    if (before or behind) and before + lag > allowed:
        return Refusal("TOO_LATE", needed, before + lag - allowed)
    if mine and mine > part * CLIENT_PART * spare:
        return Refusal("CLIENT_SHARE", needed, mine - part * CLIENT_PART * spare)
    behind.sort(key=lambda work: work.deadline)
    total = before
    for work in behind:
        total += work.seconds
        # Who is late already is not so on account of the newcomer.
        time, same = work.deadline - now, work.belongs_to(new)
        slack, kept = time - total - (0.0 if same else work.lag), 0.0 if same else KEPT * time
        if slack >= 0 and slack < new.seconds + kept:
            return Refusal("TOO_LATE", needed, new.seconds + kept - slack)
    return None


def overdue(works: Sequence[Work], movable: Sequence[bool], now: float) -> list[int]:
    """Which of ``works`` to give up, so that all others end in time: as few as possible, none that is not ``movable``,
    and none on account of its own length.

    Moore and Hodgson's rule (1968): in order of deadlines, whenever one would be late, the longest so far is given up.
    """
    order = sorted(range(len(works)), key=lambda index: works[index].order)
    total, kept, given_up = now, list[int](), list[int]()
    for index in order:
        total += works[index].seconds
        if movable[index]:
            kept.append(index)
        work = works[index]
        # To begin is to promise: with a little time to spare.
        end = work.deadline - work.lag - (BEGUN * work.least if movable[index] else 0.0)
        if total - works[index].seconds == now or total <= end:
            continue
        if total - end > sum(works[other].seconds for other in kept):
            continue  # it is late whoever makes room for it
        while kept and total > end:
            longest = max(kept, key=lambda other: works[other].seconds)
            kept.remove(longest)
            given_up.append(longest)
            total -= works[longest].seconds
    return given_up
