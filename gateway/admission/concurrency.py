"""Concurrency limits: calls wait at the gateway, so that a stage does not refuse what other stages have worked for."""

from __future__ import annotations

import asyncio
from bisect import insort
from collections.abc import AsyncIterator, Hashable, Mapping
from contextlib import asynccontextmanager

from unclip.options import SERVICES, ServiceName

DEFAULT_LIMIT = 16  # calls of a stage at a time that a request makes where the stage does not report its places


class Limiter:
    """A semaphore of weighted calls that wait in order: of rank, then of coming. One that is alone always gets in, as
    at a stage."""

    def __init__(self) -> None:
        self._taken = 0
        self._waiting: list[tuple[int, int, int, int, asyncio.Future[None]]] = []  # (-rank, n, places, limit, when in)
        self._come = 0

    @property
    def idle(self) -> bool:
        """Whether nobody is in or waits."""
        return not (self._taken or self._waiting)

    @asynccontextmanager
    async def hold(self, places: int, limit: int, rank: int = 0) -> AsyncIterator[None]:
        """Waits until ``places`` more are at most ``limit`` in all, and has them until it is left."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._come += 1
        insort(self._waiting, (-rank, self._come, places, limit, turn))
        self._admit()
        try:
            await turn
            yield
        finally:
            if turn.done() and not turn.cancelled():
                self._taken -= places
            else:
                self._waiting = [waiting for waiting in self._waiting if waiting[-1] is not turn]
            self._admit()

    def _admit(self) -> None:
        while self._waiting:
            *_, places, limit, turn = self._waiting[0]
            if not turn.cancelled() and self._taken and self._taken + places > limit:
                return
            del self._waiting[0]
            if turn.cancelled():
                continue
            self._taken += places
            turn.set_result(None)


class SharedLimiters:
    """One limiter for all calls with the same key, for as long as there are any."""

    def __init__(self) -> None:
        self._limiters: dict[Hashable, Limiter] = {}

    @asynccontextmanager
    async def hold(self, key: Hashable, places: int, limit: int, rank: int = 0) -> AsyncIterator[None]:
        """See `Limiter.hold`."""
        limiter = self._limiters.setdefault(key, Limiter())
        try:
            async with limiter.hold(places, limit, rank):
                yield
        finally:
            if limiter.idle:
                self._limiters.pop(key, None)

    def __len__(self) -> int:
        return len(self._limiters)


class RequestLimits:
    """Has the stage calls of one request wait for each other, and for others of its client.

    A request takes at most half of the places that its client may have at a stage, and all of them together at most
    those: so none is refused there after other stages' work. Stages that share a device share its places, and the later
    one goes first.
    """

    def __init__(
        self,
        places: Mapping[ServiceName, int],
        versions: Mapping[ServiceName, str],
        client: str,
        shared: SharedLimiters,
        devices: Mapping[ServiceName, Hashable] = {},
    ) -> None:
        """``places``: of each stage, where it reports them. ``versions``: of the stages; each has places of its own.
        ``devices``: the same of stages that share one; each that is not named has its own."""
        self._places, self._client, self._shared, self._devices = places, client, shared, devices
        self._release = frozenset(versions.items())
        self._own: dict[Hashable, Limiter] = {}

    @asynccontextmanager
    async def hold(self, service: ServiceName, samples: int) -> AsyncIterator[None]:
        """Waits for as many places as a call of ``service`` takes, and has them until it is left."""
        places, rank = self._places.get(service, 0), SERVICES.index(service)
        device = self._devices.get(service, service)
        own = self._own.setdefault(device, Limiter())
        if not places:
            async with own.hold(samples, DEFAULT_LIMIT * samples, rank):
                yield
            return
        key = (self._client, device, self._release)
        async with own.hold(samples, places // 4, rank), self._shared.hold(key, samples, places // 2, rank):
            yield
