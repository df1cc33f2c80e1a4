"""How busy this process is, reported with every answer, so that callers can give more to replicas that have less to do.

An ORCA load report (xds.data.orca.v3.OrcaLoadReport) in the trailer where gRPC's weighted_round_robin looks for it
(gRFC A51, A58): calls a second, and utilization, of which the weight of a replica is the quotient. Beside it stands
what the call at hand cost, from which the gateway knows what the next one is going to (in a trailer of its own: gRPC's
core keeps the report to itself).
"""

from __future__ import annotations

import re
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from unclip.engine.observer import EngineUsage

TRAILER = "endpoint-load-metrics-bin"
RATE, UTILIZATION = 6 << 3 | 1, 9 << 3 | 1  # rps_fractional and application_utilization, 64 bits each
COST = "server-timing"  # as W3C's header, in which servers report their work
PATTERN = re.compile(r"device;dur=(\d{1,9}\.\d{3}), busy;dur=(\d{1,9}\.\d{3})")
WINDOW_S = 10.0


@dataclass(frozen=True)
class Cost:
    """What a call took of a stage. device: seconds of its device, the call's share of each pass. busy: seconds of those
    passes."""

    device: float
    busy: float

    @classmethod
    def of(cls, work: Iterable[EngineUsage]) -> Cost | None:
        """Of all jobs of a call; None where no job took a step."""
        done = list(work)
        cost = cls(sum(one.device for one in done), sum(one.busy for one in done))
        return cost if cost.device > 0 and cost.busy > 0 else None

    def header(self) -> tuple[str, str]:
        """As trailing metadata, in milliseconds."""
        return COST, f"device;dur={1000 * self.device:.3f}, busy;dur={1000 * self.busy:.3f}"

    @classmethod
    def from_trailers(cls, metadata: Iterable[tuple[str, str | bytes]] | None) -> Cost | None:
        """What a call cost, as its trailing metadata says; None where it says nothing that can be understood."""
        sent = next((value for key, value in metadata or () if key == COST), "")
        found = PATTERN.fullmatch(sent) if isinstance(sent, str) else None
        device, busy = (float(part) / 1000 for part in found.groups()) if found else (0.0, 0.0)
        return cls(device, busy) if device > 0 and busy > 0 else None


class LoadReport:
    """Counts calls, and asks engines how full they are."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ended: deque[float] = deque()
        self._loads: dict[str, Callable[[], float]] = {}

    def watch(self, stage: str, load: Callable[[], float]) -> None:
        """From now on ``load`` says how full a stage is: jobs running and waiting over its capacity, beyond 1 too."""
        self._loads[stage] = load

    def trailer(self, cost: Cost | None = None) -> tuple[tuple[str, str | bytes], ...]:
        """The report, as metadata of a call that ends now and took ``cost``; nothing where there is no engine."""
        timing = (cost.header(),) if cost else ()
        if not self._loads:
            return timing
        now = self._clock()
        self._ended.append(now)
        while self._ended[0] <= now - WINDOW_S:
            self._ended.popleft()
        rate = len(self._ended) / WINDOW_S
        # A weight needs a utilization above 0; one call's share of a large engine is as good as nothing.
        utilization = max(0.01, *(load() for load in self._loads.values()))
        return ((TRAILER, struct.pack("<BdBd", RATE, rate, UTILIZATION, utilization)), *timing)


report = LoadReport()  # of this process
