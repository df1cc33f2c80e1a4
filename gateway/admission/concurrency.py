"""Concurrency limits: calls wait at the gateway, so that a stage does not refuse what other stages have worked for."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Hashable, Mapping
from contextlib import asynccontextmanager

from gateway.stages.calls import ServiceName

DEFAULT_LIMIT = 16  # calls of a stage at a time that a request makes where the stage does not report its places


class Limiter:
    """A semaphore of weighted calls that wait in order. One that is alone always gets in, as at a stage."""

    def __init__(self) -> None:
        self._taken = 0
        self._waiting: deque[tuple[int, int, asyncio.Future[None]]] = deque()  # (places, limit, done when in)

    @property
    def idle(self) -> bool:
        """Whether nobody is in or waits."""
        return not (self._taken or self._waiting)

    @asynccontextmanager
    async def hold(self, places: int, limit: int) -> AsyncIterator[None]:
        """Waits until ``places`` more are at most ``limit`` in all, and has them until it is left."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((places, limit, turn))
        self._admit()
        try:
            await turn
            yield
        finally:
            if turn.done() and not turn.cancelled():
                self._taken -= places
            else:
                self._waiting = deque(waiting for waiting in self._waiting if waiting[2] is not turn)
            self._admit()

    def _admit(self) -> None:
        while self._waiting:
            places, limit, turn = self._waiting[0]
            if turn.cancelled():
                self._waiting.popleft()
                continue
            if self._taken and self._taken + places > limit:
                return
            self._waiting.popleft()
            self._taken += places
            turn.set_result(None)


class SharedLimiters:
    """One limiter for all calls with the same key, for as long as there are any."""

    def __init__(self) -> None:
        self._limiters: dict[Hashable, Limiter] = {}

    @asynccontextmanager
    async def hold(self, key: Hashable, places: int, limit: int) -> AsyncIterator[None]:
        """See `Limiter.hold`."""
        limiter = self._limiters.setdefault(key, Limiter())
        try:
            async with limiter.hold(places, limit):
                yield
        finally:
            if limiter.idle:
                self._limiters.pop(key, None)

    def __len__(self) -> int:
        return len(self._limiters)


class RequestLimits:
    """Has the stage calls of one request wait for each other, and for others of its client.

    A request takes at most half of the places that its client may have at a stage, and all of them together at most
    those: so none is refused there after other stages' work.
    """

    def __init__(
        self,
        places: Mapping[ServiceName, int],
        versions: Mapping[ServiceName, str],
        client: str,
        shared: SharedLimiters,
    ) -> None:
        """``places``: of each stage, where it reports them. ``versions``: of the stages; each has places of its own."""
        self._places, self._versions, self._client, self._shared = places, versions, client, shared
        self._own: dict[ServiceName, Limiter] = {}

    @asynccontextmanager
    async def hold(self, service: ServiceName, samples: int) -> AsyncIterator[None]:
        """Waits for as many places as a call of ``service`` takes, and has them until it is left."""
        own, places = self._own.setdefault(service, Limiter()), self._places.get(service, 0)
        if not places:
            async with own.hold(samples, DEFAULT_LIMIT * samples):
                yield
            return
        key = (self._client, service, self._versions[service])
        async with own.hold(samples, places // 4), self._shared.hold(key, samples, places // 2):
            yield
