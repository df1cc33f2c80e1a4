"""The queue drops updates for a slow reader, never a picture, keeps order, and stops its work when it is closed."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import numpy as np
import pytest

from gateway.events import MAX_PICTURES, MAX_UPDATES, Event, EventQueue, Finished, Progress, events_of, run_concurrently
from unclip.errors import InvalidRequest, Overloaded
from unclip.wire.notices import caption_cut

PIXELS = np.zeros((3, 1, 1), np.float32)


def step(number: int) -> Progress:
    return Progress(stage="decoder", step=number, of=1000)


async def test_events_come_in_the_order_they_were_told() -> None:
    told: list[Event] = [step(1), Finished(PIXELS, 0), step(2)]

    async def work(queue: EventQueue) -> None:
        for event in told:
            if isinstance(event, Finished):
                await queue.deliver(event)
            elif isinstance(event, Progress):
                queue.offer(event)

    assert [event async for event in events_of(work)] == told


async def test_a_slow_reader_loses_the_oldest_updates_and_no_picture() -> None:
    queue = EventQueue()
    await queue.deliver(Finished(PIXELS, 0))
    for number in range(MAX_UPDATES + 10):
        queue.offer(step(number))
    await queue.deliver(Finished(PIXELS, 1))
    queue.close()
    read = [event async for event in queue.read()]
    assert [e.image_index for e in read if isinstance(e, Finished)] == [0, 1]
    assert [e.step for e in read if isinstance(e, Progress)] == list(range(10, MAX_UPDATES + 10))


async def test_a_notice_is_never_dropped_and_makes_no_room_for_a_picture() -> None:
    queue, notice = EventQueue(), caption_cut("caption", 2, 1, "dog")
    queue.tell(notice)
    for number in range(MAX_UPDATES + 10):
        queue.offer(step(number))
    for index in range(MAX_PICTURES):
        await queue.deliver(Finished(PIXELS, index))
    reading = queue.read()
    assert await anext(reading) == notice
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(queue.deliver(Finished(PIXELS, MAX_PICTURES)), 0.05)
    await reading.aclose()


async def test_pictures_wait_for_the_reader() -> None:
    delivered = 0

    async def work(queue: EventQueue) -> None:
        nonlocal delivered
        for index in range(MAX_PICTURES + 3):
            await queue.deliver(Finished(PIXELS, index))
            delivered += 1

    async with aclosing(events_of(work)) as events:
        await anext(events)
        await asyncio.sleep(0.01)
        assert delivered <= MAX_PICTURES + 1
        rest = [event async for event in events]
    assert len(rest) == MAX_PICTURES + 2


async def test_closing_the_stream_cancels_the_work_before_it_returns() -> None:
    released = False

    async def work(queue: EventQueue) -> None:
        nonlocal released
        queue.offer(step(1))
        try:
            await asyncio.sleep(60)
        finally:
            released = True

    async with aclosing(events_of(work)) as events:
        await anext(events)
    assert released


async def test_a_failure_comes_after_the_events_before_it() -> None:
    async def work(queue: EventQueue) -> None:
        queue.offer(step(1))
        raise Overloaded("full", 1.0)

    seen: list[Event] = []

    async def read() -> None:
        async for event in events_of(work):
            seen.append(event)

    with pytest.raises(Overloaded):
        await read()
    assert seen == [step(1)]


async def test_the_first_failure_cancels_the_others_and_is_raised_bare() -> None:
    cancelled = False

    async def fails() -> None:
        raise Overloaded("full", 1.0)

    async def hangs() -> None:
        nonlocal cancelled
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled = True
            raise

    with pytest.raises(Overloaded):
        await run_concurrently([hangs(), fails()])
    assert cancelled


async def test_a_bug_outranks_a_foreseen_error() -> None:
    async def foreseen() -> None:
        raise InvalidRequest.of("x", "y")

    async def bug() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await run_concurrently([foreseen(), bug()])
