"""Places that calls wait for at the gateway, in order, whatever becomes of those before them."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from gateway.admission.concurrency import SharedLimiters


class House:
    """Calls that hold places of one client until they are told to go."""

    def __init__(self, most: int) -> None:
        self.limiters, self.most = SharedLimiters(), most
        self.inside: set[str] = set()
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.leave: dict[str, asyncio.Event] = {}

    async def come(self, name: str, places: int, client: str = "one") -> None:
        self.leave[name] = asyncio.Event()

        async def call() -> None:
            async with self.limiters.hold(client, places, self.most):
                self.inside.add(name)
                try:
                    await self.leave[name].wait()
                finally:
                    self.inside.remove(name)

        self.tasks[name] = asyncio.create_task(call())
        await asyncio.sleep(0.001)

    async def go(self, *names: str) -> None:
        for name in names:
            self.leave[name].set()
            await self.tasks[name]
        await asyncio.sleep(0.001)

    async def cancel(self, name: str) -> None:
        self.tasks[name].cancel()
        with suppress(asyncio.CancelledError):
            await self.tasks[name]
        await asyncio.sleep(0.001)


async def test_calls_wait_for_places_in_order_and_other_clients_have_their_own() -> None:
    house = House(4)
    for name, places in (("a", 3), ("b", 2), ("c", 1)):
        await house.come(name, places)
    assert house.inside == {"a"}
    await house.come("other", 4, client="two")
    assert house.inside == {"a", "other"}
    await house.go("a")
    assert house.inside == {"b", "c", "other"}
    await house.go("b", "c", "other")
    assert len(house.limiters) == 0


async def test_more_than_there_are_places_get_in_alone() -> None:
    house = House(4)
    await house.come("large", 9)
    await house.come("small", 1)
    assert house.inside == {"large"}
    await house.go("large")
    assert house.inside == {"small"}
    await house.go("small")


async def test_who_gives_up_waiting_or_inside_holds_nobody_up() -> None:
    house = House(2)
    for name in ("a", "b", "c"):
        await house.come(name, 2)
    await house.cancel("b")
    assert house.inside == {"a"}
    await house.cancel("a")
    assert house.inside == {"c"}
    await house.go("c")
    assert len(house.limiters) == 0
