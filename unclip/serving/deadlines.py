"""How long a call may take, and its end when that is over."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import grpc

from unclip.errors import DeadlineExceeded
from unclip.serving import request_id
from unclip.serving.refusing import refuse

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True)
class Deadlines:
    """most: seconds a call may take, whatever its caller allows: however patient that one is, a replica that drains
    must know when its last call ends. unset: for a caller without a deadline, at most ``most``; None for all of it."""

    most: float
    unset: float | None = None

    def of(self, context: Context) -> float:
        """When the call behind ``context`` must be answered, in ``time.monotonic`` seconds."""
        left = context.time_remaining()
        patience = self.unset if left is None else left
        return time.monotonic() + (self.most if patience is None else min(patience, self.most))

    def ending(self, context: Context) -> Ending:
        """What ends the call behind ``context`` by then; enter it in the call's handler."""
        return Ending(context, self.of(context))


class Ending:
    """Ends a call at ``deadline`` whatever it is at: DeadlineExceeded is raised in its handler, or where that has to
    wait for a client that does not take what it is sent, the handler is ended and the status sent after it.

    gRPC's core ends a call whose own deadline has passed. Of one without it would keep everything for as long as the
    client keeps its connection, however little that one takes.
    """

    def __init__(self, context: Context, deadline: float) -> None:
        self.deadline = deadline
        self._context = context
        self._over = self._writing = self._beginning = False

    @contextmanager
    def beginning(self) -> Iterator[None]:
        """Around the sending of the first metadata: were the call ended there, gRPC would send them again with the
        status, which its core refuses, and the client would never hear of the end."""
        self._beginning = True
        try:
            yield
        finally:
            self._beginning = False
            if self._over:
                self._task.cancel()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Around the yield of an answer, which comes back when it is written. gRPC's first metadata must be sent."""
        self._writing = True
        try:
            yield
        finally:
            self._writing = False

    async def __aenter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._name = request_id.current.get()
        # A loop keeps cancelled timers, with the context they were begun in, until they are due: an empty one.
        self._timer = asyncio.get_running_loop().call_at(self.deadline, self._end, context=contextvars.Context())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._over and isinstance(error, asyncio.CancelledError) and not self._task.uncancel():
            raise DeadlineExceeded("the time that a call may take is over") from None

    def _end(self) -> None:
        self._over = True
        if self._beginning:
            return  # once that is done
        if self._writing:
            error = DeadlineExceeded("the time that a call may take is over: its answers were not read")
            refusal = asyncio.get_running_loop().create_task(refuse(error, self._context, self._name))
            REFUSALS.add(refusal)
            refusal.add_done_callback(forget)
            asyncio.get_running_loop().call_soon(self._task.cancel)  # once the status is on its way
        else:
            self._task.cancel()


REFUSALS: set[asyncio.Task[None]] = set()  # under way: a loop holds its tasks but weakly


def forget(refusal: asyncio.Task[None]) -> None:
    """Forgets a refusal: it was sent, or the client has gone."""
    REFUSALS.discard(refusal)
    if not refusal.cancelled():
        refusal.exception()
