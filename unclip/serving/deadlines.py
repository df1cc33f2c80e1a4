"""How long a call may take."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import grpc


@dataclass(frozen=True)
class Deadlines:
    """most: seconds a call may take, whatever its caller allows; a caller without a deadline gets them all."""

    most: float

    def of(self, context: grpc.aio.ServicerContext[Any, Any]) -> float:
        """When the call behind ``context`` must be answered, in ``time.monotonic`` seconds."""
        left = context.time_remaining()
        return time.monotonic() + (self.most if left is None else min(left, self.most))
