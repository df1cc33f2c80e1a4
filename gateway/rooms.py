"""Places that calls wait for at the gateway, so that a stage does not refuse what other stages have worked for."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager


class Room:
    """A number of places; calls that find too few wait in order. Who is alone always gets in, as at a stage."""

    def __init__(self) -> None:
        self._taken = 0
        self._waiting: deque[tuple[int, int, asyncio.Future[None]]] = deque()  # (places, of how many, told when in)

    @property
    def empty(self) -> bool:
        """Whether nobody is there or waits."""
        return not (self._taken or self._waiting)

    @asynccontextmanager
    async def hold(self, places: int, most: int) -> AsyncIterator[None]:
        """Waits until ``places`` more are no more than ``most`` in all, and has them until it is left."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((places, most, turn))
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
            places, most, turn = self._waiting[0]
            if turn.cancelled():
                self._waiting.popleft()
                continue
            if self._taken and self._taken + places > most:
                return
            self._waiting.popleft()
            self._taken += places
            turn.set_result(None)


class Rooms:
    """One room for all who ask for the same, for as long as anybody does."""

    def __init__(self) -> None:
        self._rooms: dict[Hashable, Room] = {}

    @asynccontextmanager
    async def hold(self, key: Hashable, places: int, most: int) -> AsyncIterator[None]:
        """See `Room.hold`."""
        room = self._rooms.setdefault(key, Room())
        try:
            async with room.hold(places, most):
                yield
        finally:
            if room.empty:
                self._rooms.pop(key, None)

    def __len__(self) -> int:
        return len(self._rooms)
