"""A day of traffic with a tenfold peak through the chart's autoscaling rule, in simulation, against an oracle.

The rule is the chart's own, read from the ScaledObject that it renders: thresholds, policies, windows. What it sees
is the pool's state at the last scrape. A replica makes ``rate`` pictures a second, has ``capacity`` under way, and
serves ``start`` seconds after it was asked for. Arrivals are Poisson's, second by second; replicas with x pictures
each, under way or waiting, make x / (1 + x) of their rate, as a queue in its steady state would (the pointwise
stationary approximation of M/M/1). The oracle knows what will come and how long a replica takes to start, and has as
many as are nine tenths full.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.deploy.chart import named, render
from tests.deploy.variants import SWITCHES, merged

DAY_S = 86_400
SYNC_S = 15  # of the HorizontalPodAutoscaler controller, and of Prometheus' scrapes
TOLERANCE = 0.1  # of the former
SUBSTEPS = 5  # of a second
Traffic = Callable[[float], float]


@dataclass(frozen=True)
class Pool:
    """What its replicas can do. target: seconds from request to picture that its users were promised."""

    rate: float = 5.0
    capacity: int = 8
    start: float = 60.0
    target: float = 3.0


@dataclass(frozen=True)
class Rule:
    """When there are to be how many, as the chart renders it; policies: (replicas, percent, seconds)."""

    saturation: float
    queue_depth: float
    least: int
    most: int
    up: Sequence[tuple[int, int, int]]
    down: Sequence[tuple[int, int, int]]
    window: int

    @classmethod
    def of_the_chart(cls, **scaling: int) -> Rule:
        """Of the decoder's pool, with these values of ``autoscaling``."""
        values = merged(SWITCHES["keda"], {"decoder": {"autoscaling": scaling}})
        spec = named(render(values), "ScaledObject", "unclip-decoder")["spec"]
        thresholds = {each["name"]: float(each["metadata"]["threshold"]) for each in spec["triggers"]}
        behavior: dict[str, Any] = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        policies = [
            [
                (p["value"], 0, p["periodSeconds"]) if p["type"] == "Pods" else (0, p["value"], p["periodSeconds"])
                for p in behavior[way]["policies"]
            ]
            for way in ("scaleUp", "scaleDown")
        ]
        window = behavior["scaleDown"]["stabilizationWindowSeconds"]
        saturation, depth = (thresholds[name] for name in ("unclip-saturation", "unclip-queue-depth"))
        up, down = policies
        return cls(saturation, depth, spec["minReplicaCount"], spec["maxReplicaCount"], up, down, window)


@dataclass
class Scaler:
    """Decides as the HorizontalPodAutoscaler controller does."""

    rule: Rule
    wishes: deque[tuple[float, int]] = field(default_factory=deque)
    changes: deque[tuple[float, int]] = field(default_factory=deque)  # when, and how many there were before

    def decide(self, now: float, replicas: int, saturation: float, waiting: float) -> int:
        """How many there are to be, from the pool's sums."""
        found = [(saturation, self.rule.saturation), (waiting, self.rule.queue_depth)]
        wish = max(self._wish(replicas, seen, threshold) for seen, threshold in found)
        self.wishes.append((now, wish))
        while self.wishes[0][0] < now - self.rule.window:
            self.wishes.popleft()
        if wish < replicas:
            wish = min(replicas, max(each for _, each in self.wishes))
        wish = min(max(wish, self.rule.least), self.rule.most)
        if wish > replicas:
            limits = [
                (self._before(now, period, replicas) + pods, self._before(now, period, replicas) * (1 + percent / 100))
                for pods, percent, period in self.rule.up
            ]
            wish = min(wish, max(math.floor(max(pair)) for pair in limits))
        elif wish < replicas:
            limits = [
                (self._before(now, period, replicas) - pods, self._before(now, period, replicas) * (1 - percent / 100))
                for pods, percent, period in self.rule.down
            ]
            wish = max(wish, min(math.ceil(min(pair)) for pair in limits))
        if wish != replicas:
            self.changes.append((now, replicas))
        return wish

    def _wish(self, replicas: int, seen: float, threshold: float) -> int:
        ratio = seen / (threshold * replicas)
        return replicas if abs(ratio - 1) <= TOLERANCE else math.ceil(seen / threshold - 1e-9)

    def _before(self, now: float, period: float, replicas: int) -> int:
        """Replicas at the beginning of a policy's period."""
        while self.changes and self.changes[0][0] <= now - 120:
            self.changes.popleft()
        return next((before for when, before in self.changes if when > now - period), replicas)


@dataclass(frozen=True)
class Outcome:
    """What a day came to. over: share of pictures that were promised more quickly. worst: the longest, in seconds."""

    pictures: int
    over: float
    worst: float
    most: int
    replica_hours: float
    oracle_hours: float

    @property
    def ratio(self) -> float:
        """Replica-hours, of those of the oracle."""
        return self.replica_hours / self.oracle_hours


def simulate(traffic: Traffic, pool: Pool, rule: Rule, seed: int = 1) -> Outcome:
    """A day, second by second."""
    chance, scaler, replicas = np.random.default_rng(seed), Scaler(rule), rule.least
    ready, coming, inside, seen = float(replicas), deque[tuple[float, int]](), 0.0, (0.0, 0.0)
    hours = late = pictures = worst = 0.0
    peak = replicas
    for now in range(DAY_S):
        while coming and coming[0][0] <= now:
            ready += coming.popleft()[1]
        arrived = float(chance.poisson(traffic(now)))
        for _ in range(SUBSTEPS):
            inside += (arrived - ready * pool.rate * inside / (inside + ready)) / SUBSTEPS
        wait = (inside / ready + 1) / pool.rate
        late, pictures = late + arrived * (wait > pool.target), pictures + arrived
        worst = max(worst, wait)
        hours += replicas / 3600
        if now % SYNC_S == 0:
            wanted = scaler.decide(now, replicas, *seen)  # what the scrape before this one saw
            seen = min(inside / pool.capacity, ready), max(0.0, inside - ready * pool.capacity)
            if wanted > replicas:
                coming.append((now + pool.start, wanted - replicas))
            elif wanted < replicas:
                gone = replicas - wanted
                while coming and gone:  # those that are not there yet go first
                    when, count = coming.pop()
                    if count > gone:
                        coming.append((when, count - gone))
                    gone = max(0, gone - count)
                ready = max(1.0, ready - gone)
            replicas, peak = wanted, max(peak, wanted)
    return Outcome(int(pictures), late / pictures, worst, peak, hours, oracle(traffic, pool, rule))


def oracle(traffic: Traffic, pool: Pool, rule: Rule) -> float:
    """Replica-hours of who knows what comes: paid from their start on, never more than nine tenths full."""
    needed = [max(rule.least, math.ceil(traffic(now) / (0.9 * pool.rate))) for now in range(DAY_S)]
    ahead, paid = int(pool.start), 0
    for now in range(DAY_S):
        paid += max(needed[now : now + ahead + 1])
    return paid / 3600


def ordinary(base: float) -> Traffic:
    """A day that rises tenfold to its afternoon, and falls again: a cosine of ten hours around three o'clock."""

    def rate(now: float) -> float:
        hour = now / 3600
        return base * (1 + 9 * (0.5 + 0.5 * math.cos(math.pi * (hour - 15) / 5) if abs(hour - 15) < 5 else 0.0))

    return rate


def sudden(base: float) -> Traffic:
    """A quiet day, and at eight in the evening ten times as many within a minute, for half an hour."""

    def rate(now: float) -> float:
        since = now - 20 * 3600
        return base * (1 + 9 * min(1.0, max(0.0, min(since, 1860 - since) / 60)))

    return rate
