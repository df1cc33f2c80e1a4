"""A request's jobs are watched from the event loop: every step told while the reader keeps up, none waited for."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Hashable, Sequence
from contextlib import aclosing

import pytest

from unclip.engine.engine import Engine
from unclip.engine.follow import BUFFER, Tick, follow
from unclip.engine.job import Job
from unclip.engine.observer import EngineUsage, usage_listener
from unclip.errors import InvalidRequest

LANE = ("count",)


class Count(Job[str]):
    @property
    def lane(self) -> Hashable:
        return LANE

    def result(self) -> str:
        return "done"


class Program:
    """Counts; ``before`` runs ahead of each tick on the engine's thread."""

    def __init__(self) -> None:
        self.ticks = 0
        self.before: Callable[[], None] = lambda: None

    def tick(self, jobs: Sequence[Count]) -> None:
        self.before()
        self.ticks += 1


def through(gate: threading.Semaphore) -> Callable[[], None]:
    """Lets as many ticks pass as the gate has permits."""

    def wait() -> None:
        assert gate.acquire(timeout=30)

    return wait


async def loaded(engine: Engine, load: tuple[int, int]) -> None:
    """Returns once so many jobs run and wait."""
    while engine.load() != load:  # noqa: ASYNC110 (the engine tells nobody)
        await asyncio.sleep(0)


async def drain(ticks: AsyncGenerator[Tick, None]) -> list[Tick]:
    async with aclosing(ticks):
        return [tick async for tick in ticks]


@pytest.fixture
async def bench() -> AsyncIterator[tuple[Engine, Program]]:
    program = Program()
    engine = Engine({"count": program}, stage="count")
    yield engine, program
    program.before = lambda: None
    await asyncio.to_thread(engine.close)


async def test_every_step_is_told_in_order(bench: tuple[Engine, Program]) -> None:
    job = Count(5)
    with bench[0].reserve() as room:
        told = [(tick.step, tick.of) async for tick in follow(room, [job])]
    assert told == [(step, 5) for step in range(1, 6)]
    assert job.future.result() == "done"


async def test_the_slowest_of_several_jobs_counts(bench: tuple[Engine, Program]) -> None:
    jobs = [Count(3), Count(3)]
    with bench[0].reserve(2) as room:
        told = [tick.step async for tick in follow(room, jobs)]
    assert told[-1] == 3
    assert told == sorted(told)


async def test_a_reader_that_stops_reading_slows_nobody_and_misses_the_oldest(bench: tuple[Engine, Program]) -> None:
    job = Count(10 * BUFFER)
    with bench[0].reserve() as room:
        async with aclosing(follow(room, [job])) as ticks:
            first = await anext(ticks)
            assert await asyncio.to_thread(job.future.result, 30) == "done"
            rest = [tick.step async for tick in ticks]
    assert first.step < rest[0]
    assert rest == list(range(rest[0], 10 * BUFFER + 1))
    assert len(rest) <= BUFFER + 1


async def test_who_leaves_takes_the_jobs_along_before_their_next_step(bench: tuple[Engine, Program]) -> None:
    engine, program = bench
    gate = threading.Semaphore(2)
    program.before = through(gate)
    job = Count(10**9)
    with engine.reserve() as room:
        async with aclosing(follow(room, [job])) as ticks:
            await anext(ticks)
    gate.release(2)
    with pytest.raises(Exception, match="cancelled"):
        await asyncio.wrap_future(job.future)
    assert program.ticks <= 4
    assert engine.load() == (0, 0)


async def test_a_job_that_fails_is_raised_and_its_companions_dropped(bench: tuple[Engine, Program]) -> None:
    engine, _ = bench
    bad, good = Count(2), Count(10**9)
    failing = InvalidRequest.of("x", "is bad")

    class Picky(Program):
        def tick(self, jobs: Sequence[Count]) -> None:
            if bad in jobs:
                raise failing

    engine._programs = {"count": Picky()}
    with engine.reserve(2) as room, pytest.raises(InvalidRequest):
        await drain(follow(room, [bad, good]))
    with pytest.raises(Exception, match="cancelled"):
        await asyncio.wrap_future(good.future)


async def test_places_in_the_queue_are_told(bench: tuple[Engine, Program]) -> None:
    engine, program = bench
    gate = threading.Semaphore(0)
    program.before = through(gate)
    engine._scheduler._capacity = 1
    waiting = Count(1)
    with engine.reserve(2) as room:
        room.submit(Count(2))
        await loaded(engine, (1, 0))
        async with aclosing(follow(room, [waiting])) as ticks:
            first = asyncio.ensure_future(anext(ticks))
            await loaded(engine, (1, 1))
            gate.release(100)
            assert ((await first).step, (await first).queue_position) == (0, 1)
            assert [tick.queue_position async for tick in ticks][-1] == 0


async def test_what_became_of_a_requests_jobs_is_told_once_with_its_times() -> None:
    program, gate = Program(), threading.Semaphore(0)
    program.before = through(gate)
    engine, told = Engine({"count": program}, capacity=1, max_batch=1), list[EngineUsage]()
    first, token = Count(2), usage_listener.set(told.append)
    try:
        with engine.reserve(1) as room:
            room.submit(first)
        await loaded(engine, (1, 0))
        with engine.reserve(2) as reservation:
            jobs, began = [Count(3), Count(2)], time.monotonic()
            watching = asyncio.ensure_future(drain(follow(reservation, jobs)))
            await loaded(engine, (1, 2))
            gate.release(7)
            await watching
    finally:
        usage_listener.reset(token)
        gate.release(100)
        await asyncio.to_thread(engine.close)
    [work] = told
    assert began <= work.queued <= first.ended <= work.began <= work.ended <= time.monotonic()
    assert (work.steps, work.jobs, work.rows_per_pass) == (2, 2, 1.0)


async def test_jobs_dropped_while_they_wait_have_not_begun() -> None:
    program, gate = Program(), threading.Semaphore(0)
    program.before = through(gate)
    engine, told = Engine({"count": program}, capacity=1), list[EngineUsage]()
    token = usage_listener.set(told.append)
    try:
        with engine.reserve(1) as room:
            room.submit(Count(1))
        await loaded(engine, (1, 0))
        with engine.reserve(1) as reservation:
            watching = asyncio.ensure_future(drain(follow(reservation, [Count(3)])))
            await loaded(engine, (1, 1))
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
    finally:
        usage_listener.reset(token)
        gate.release(100)
        await asyncio.to_thread(engine.close)
    [work] = told
    assert (work.began, work.steps) == (0.0, 0)
    assert work.queued <= work.ended
