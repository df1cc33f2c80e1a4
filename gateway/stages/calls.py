"""The bounds of one call: how long its stages may take, and how a stage that breaks off is asked again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

import grpc

from gateway.admission.control import MARGIN_S
from gateway.stages.circuit_breaker import CircuitBreaker
from unclip.errors import (
    DeadlineExceeded,
    InvalidRequest,
    Overloaded,
    PermissionDenied,
    PoisonSuspected,
    ReplicaLost,
    Unauthenticated,
    Unavailable,
)
from unclip.options import ServiceName
from unclip.serving.error_table import from_rpc_error
from unclip.serving.metrics import POISON, timed

Result = TypeVar("Result")

# Pauses before a broken stage is asked again. The same seed makes the same picture, so asking again is safe. With what
# `gateway.stages.releases` waits, a caller knows within a second that a stage is down.
PAUSES_S = (0.03, 0.05, 0.06)


# Replicas that a request may take with it. One dies for many reasons; two at work on the same request hardly do.
MAX_LOST = 2


class BrokenOff(Exception):
    """A stage ended its stream without its last message, or was not the one that was asked."""


@dataclass(frozen=True)
class Call:
    """One incoming call: when it must be answered (``time.monotonic`` seconds), and the metadata that travels on.

    client: whose it is. lost: the replicas that died, or fell silent, at work on it.
    """

    deadline: float
    metadata: tuple[tuple[str, str], ...] = ()
    client: str = ""
    lost: set[str] = field(default_factory=set, compare=False)

    def seconds_for(self, stage: ServiceName, after: float = 0.0) -> float:
        """Seconds that ``stage`` may take. after: what the stages that follow it need.

        Raises:
            DeadlineExceeded: none are left.
        """
        left = self.deadline - time.monotonic() - MARGIN_S - after
        if left <= 0:
            raise DeadlineExceeded(f"no time is left for the {stage}")
        return left

    def lose(self, loss: ReplicaLost) -> None:
        """Notes a replica that was lost.

        Raises:
            PoisonSuspected: it is the second one. A third may be no better off, and is needed by others.
        """
        if loss.replica not in self.lost:
            self.lost.add(loss.replica)
            if len(self.lost) == MAX_LOST:
                POISON.labels(loss.stage).inc()
        if len(self.lost) >= MAX_LOST:
            raise PoisonSuspected(
                loss.stage, f"{MAX_LOST} replicas were lost at work on this request: it is not tried on another one"
            )


async def with_retries(
    attempt: Callable[[float], Awaitable[Result]],
    stage: ServiceName,
    call: Call,
    breaker: CircuitBreaker,
    after: Callable[[], float] = lambda: 0.0,
    replicas: Callable[[], float] = lambda: float("inf"),
) -> Result:
    """The result of ``attempt``, which is given the seconds it may take, asked again while the stage breaks off.

    gRPC's own retries end with the first message of a stream; these do not. A replica without room is no reason to
    wait: the next one is asked at once. ``breaker`` has the last word on asking again. A request that a replica died
    of is tried on one more, see `Call.lose`. ``after`` returns the seconds that later stages need; ``replicas`` how
    many there are: the only one is not asked again for room. Nor is it looked for twice where it is other parts of the
    request that take it: they are everywhere.

    Raises:
        UnclipError: what the stage's status stands for; Unavailable when it broke off every time.
        RuntimeError: the stage's answer is malformed.
    """
    breaker.record_call()
    before: Unavailable | None = None
    own = 0
    taken: Overloaded | None = None  # by others
    for pause in (*PAUSES_S, None):
        try:
            with timed(stage):
                return await attempt(call.seconds_for(stage, after()))
        except DeadlineExceeded as error:  # no time was left to ask
            failure: Exception = error
        except grpc.aio.AioRpcError as error:
            failure = from_rpc_error(error, stage)
            if isinstance(failure, InvalidRequest | Unauthenticated | PermissionDenied):
                raise RuntimeError(f"the {stage} refused what the gateway asked: {failure}") from error
        except InvalidRequest as error:
            # The caller's request was sound; an answer that is not is a fault behind the gateway.
            raise RuntimeError(f"the {stage} sent an invalid answer: {error}") from error
        except BrokenOff as error:
            failure = Unavailable(stage, str(error) or f"the {stage} ended its stream early")
        except asyncio.CancelledError:
            # grpc.aio raises this also when the stage, not our caller, cancelled; only our caller cancels the task.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            failure = Unavailable(stage, f"the {stage} dropped the call")
        if isinstance(failure, ReplicaLost):
            call.lose(failure)
        if isinstance(failure, Unavailable):
            failure.asked_again, before = True, failure
        elif isinstance(failure, DeadlineExceeded) and before is not None:
            raise before
        if not isinstance(failure, Overloaded):
            again, budgeted = isinstance(failure, Unavailable), True
        elif failure.reason == "OWN_WORK":
            own += 1
            again, budgeted = own == 1 and replicas() > 1, False
        else:
            taken = failure
            again, budgeted = replicas() > 1, True
        if pause is None or not again or (budgeted and not breaker.allow_retry()):
            if isinstance(failure, Overloaded):
                failure = taken or failure
                breaker.record_overload(failure)
            raise failure
        if isinstance(failure, Unavailable):
            await asyncio.sleep(max(0.0, min(pause, call.deadline - time.monotonic() - MARGIN_S)))
    raise AssertionError("unreachable")
