"""How busy this process is, told with every answer, so that callers can give more to replicas that have less to do.

An ORCA load report (xds.data.orca.v3.OrcaLoadReport) in the trailer where gRPC's weighted_round_robin looks for it
(gRFC A51, A58): calls a second, and utilization, of which the weight of a replica is the quotient.
"""

from __future__ import annotations

import struct
import time
from collections import deque
from collections.abc import Callable

TRAILER = "endpoint-load-metrics-bin"
RATE, UTILIZATION = 6 << 3 | 1, 9 << 3 | 1  # rps_fractional and application_utilization, 64 bits each
WINDOW_S = 10.0


class LoadReport:
    """Counts calls, and asks engines how full they are."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ended: deque[float] = deque()
        self._loads: dict[str, Callable[[], float]] = {}

    def watch(self, stage: str, load: Callable[[], float]) -> None:
        """From now on ``load`` tells how full a stage is: jobs running and waiting over its capacity, beyond 1 too."""
        self._loads[stage] = load

    def trailer(self) -> tuple[tuple[str, bytes], ...]:
        """The report, as metadata of a call that ends now; nothing where there is no engine."""
        if not self._loads:
            return ()
        now = self._clock()
        self._ended.append(now)
        while self._ended[0] <= now - WINDOW_S:
            self._ended.popleft()
        rate = len(self._ended) / WINDOW_S
        # A weight needs a utilization above 0; one call's share of a large engine is as good as nothing.
        utilization = max(0.01, *(load() for load in self._loads.values()))
        return ((TRAILER, struct.pack("<BdBd", RATE, rate, UTILIZATION, utilization)),)


report = LoadReport()  # of this process
