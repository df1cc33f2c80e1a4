"""How long a call may take."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import grpc


@dataclass(frozen=True)
class Deadlines:
    """most: seconds a call may take, whatever its caller allows: however patient that one is, a replica that drains
    must know when its last call ends. unset: for a caller without a deadline, at most ``most``; None for all of it."""

    most: float
    unset: float | None = None

    def of(self, context: grpc.aio.ServicerContext[Any, Any]) -> float:
        """When the call behind ``context`` must be answered, in ``time.monotonic`` seconds."""
        left = context.time_remaining()
        wanted = self.unset if left is None else left
        return time.monotonic() + (self.most if wanted is None else min(wanted, self.most))
