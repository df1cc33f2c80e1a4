"""Replicas that answer for another version than they report: their answers cannot be used, so they are not waited for.

gRPC cannot leave one replica out. But a replica says that it has begun with a call before that has cost much: a call
that came to one of these is taken back and made again, which brings it to the next one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import grpc

from gateway.stages.calls import BrokenOff
from unclip.options import ServiceName
from unclip.serving.acceptance import begun_by
from unclip.serving.metrics import STRAY_ANSWERS

LOG = logging.getLogger(__name__)
KNOWN_S = 60.0  # after which a replica's next answer is looked at again
# In a row: one may be thought to have the least to do. If there are no others, the last answer is taken to be seen.
PASSED_OVER = 32

Running = TypeVar("Running", bound=grpc.aio.Call)


class StrayAnswer(BrokenOff):
    """A replica answered for another version than the one that was asked for."""


class Strays:
    """Those of one service. clock: gives seconds that never go back."""

    def __init__(self, service: ServiceName, clock: Callable[[], float] = time.monotonic) -> None:
        self._service, self._clock = service, clock
        self._seen: dict[str, float] = {}  # when last

    def known(self, replica: str) -> bool:
        """Whether ``replica`` is one of them."""
        return self._clock() - self._seen.get(replica, float("-inf")) < KNOWN_S

    async def pass_over(self, ask: Callable[[], Running]) -> tuple[Running, str]:
        """A call that ``ask`` makes, with which none of them has begun if others are there; and the replica that has,
        "" where none says so."""
        for more in reversed(range(PASSED_OVER + 1)):
            call = ask()
            try:
                replica = begun_by(await call.initial_metadata())
            except BaseException:  # who waited has left
                call.cancel()
                raise
            if not more or not self.known(replica):
                break
            call.cancel()
        return call, replica

    @contextmanager
    def record_stray(self, replica: str) -> Iterator[None]:
        """Around reading the answer of ``replica``: remembers whether it was a stray one."""
        try:
            yield
        except StrayAnswer as error:
            STRAY_ANSWERS.labels(self._service).inc()
            if replica:
                if not self.known(replica):
                    LOG.warning("replica %s is left out: %s", replica, error)
                self._seen = {known: when for known, when in self._seen.items() if self.known(known)}
                self._seen[replica] = self._clock()
            raise
        self._seen.pop(replica, None)
