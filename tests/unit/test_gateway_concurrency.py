"""Places that calls wait for at the gateway, in order, whatever becomes of those before them."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from gateway.admission.concurrency import DEFAULT_LIMIT, RequestLimits, SharedLimiters
from unclip.options import ServiceName


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


async def most_at_once(calls: int, samples: int, *requests: RequestLimits) -> int:
    """The most samples of the decoder in ``calls`` of each of ``requests`` that are in at a time."""
    inside = most = 0

    async def call(limits: RequestLimits) -> None:
        nonlocal inside, most
        async with limits.hold("decoder", samples):
            inside += samples
            most = max(most, inside)
            await asyncio.sleep(0.001)
            inside -= samples

    await asyncio.gather(*(call(limits) for limits in requests for _ in range(calls)))
    return most


def limits_of(client: str, shared: SharedLimiters, version: str = "v1", places: int = 40) -> RequestLimits:
    reported: dict[ServiceName, int] = {"decoder": places} if places else {}
    return RequestLimits(reported, {"decoder": version}, client, shared)


async def test_a_request_takes_half_of_its_clients_places_and_all_requests_of_a_client_together_those() -> None:
    shared = SharedLimiters()
    assert await most_at_once(30, 1, limits_of("me", shared)) == 10
    assert await most_at_once(30, 1, *(limits_of("me", shared) for _ in range(3))) == 20
    assert len(shared) == 0


async def test_other_clients_and_other_versions_have_places_of_their_own() -> None:
    shared = SharedLimiters()
    requests = [limits_of(client, shared) for client in ("me", "you") for _ in range(2)]
    requests += [limits_of("me", shared, "v2") for _ in range(2)]
    assert await most_at_once(30, 1, *requests) == 60


async def test_where_a_stage_reports_no_places_a_request_makes_so_many_calls_at_a_time() -> None:
    assert await most_at_once(40, 2, limits_of("me", SharedLimiters(), places=0)) == 2 * DEFAULT_LIMIT


async def test_stages_that_share_a_device_share_its_places_and_the_later_one_goes_first() -> None:
    places: dict[ServiceName, int] = {"decoder": 8, "upsampler": 8}
    shared, devices = SharedLimiters(), dict.fromkeys(places, "one")
    requests = [RequestLimits(places, {}, "me", shared, devices) for _ in range(4)]
    inside = most = 0
    order = list[str]()

    async def picture(limits: RequestLimits) -> None:
        nonlocal inside, most
        for service in places:
            async with limits.hold(service, 1):
                inside += 1
                most = max(most, inside)
                order.append(service)
                await asyncio.sleep(0.001)
                inside -= 1

    await asyncio.gather(*(picture(limits) for limits in requests for _ in range(6)))
    assert most == 4  # half of the places, as one client has them of one engine
    assert order.index("upsampler") < 12  # of 24 pictures the first are done before the last have begun
    assert len(shared) == 0
