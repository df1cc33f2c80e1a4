"""From the engine's thread to an event loop: a request's jobs submitted, watched, and dropped when nobody waits."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from unclip.engine.admission import Reservation
from unclip.engine.job import Job
from unclip.engine.observer import EngineUsage, usage_listener
from unclip.engine.trajectory import Trajectory

BUFFER = 64  # ticks a slow reader may lag behind before it misses the oldest


@dataclass(frozen=True, eq=False)
class Tick:
    """How far a request's jobs have come: the slowest one counts.

    step: steps done; of: all steps; queue_position: jobs ahead of it, 0 once all run. predicted: the first job's
    latest prediction of its sample, float32 in the host's memory, where a preview is due.
    """

    step: int
    of: int
    queue_position: int
    predicted: torch.Tensor | None


async def follow(
    reservation: Reservation, jobs: Sequence[Job[Any]], watched: bool = True, preview_interval: int = 0
) -> AsyncGenerator[Tick, None]:
    """Submits ``jobs`` and yields what happens until all have a result in their futures.

    Not ``watched``, it yields nothing: each tick that is reported costs the engine's thread a wait for the interpreter.
    preview_interval: steps of the first job, a trajectory, between predictions; 0 for none. The last step has none: it
    is the sample itself.

    Close the generator (``contextlib.aclosing``) to drop the jobs before their next step. The device never waits
    for the reader: ticks it is too slow for are dropped, oldest first.

    Raises:
        UnclipError: a job was ended; the others are dropped.
    """
    listener = usage_listener.get()
    loop, woken = asyncio.get_running_loop(), asyncio.Event()
    ticks: deque[Tick] = deque(maxlen=BUFFER)
    last, predicted = (-1, -1), 0

    def wake(_: object = None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody is left to be woken
            loop.call_soon_threadsafe(woken.set)

    def prediction() -> torch.Tensor | None:
        nonlocal predicted
        job = jobs[0]
        if not preview_interval or not predicted + preview_interval <= job.position < job.length:
            return None
        assert isinstance(job, Trajectory)
        predicted = job.position
        return job.predicted.cpu()

    def report(_: Job[Any]) -> None:
        nonlocal last
        behind = min(jobs, key=lambda job: job.position)
        now = (behind.position, max(job.queue_position for job in jobs))
        if now != last:
            last = now
            ticks.append(Tick(behind.position, behind.length, now[1], prediction()))
            wake()

    for job in jobs:
        job.notify = report if watched else None
        job.future.add_done_callback(wake)
    try:
        for job in jobs:
            reservation.submit(job)
        while True:
            woken.clear()
            done = all(job.future.done() for job in jobs)
            while ticks:
                yield ticks.popleft()
            for job in jobs:
                if job.future.done():
                    job.future.result()
            if done:
                return
            await woken.wait()
    finally:
        for job in jobs:
            job.cancel()
        if listener is not None and any(job.queued for job in jobs):
            listener(usage_of(jobs))


async def finished(reservation: Reservation, jobs: Sequence[Job[Any]]) -> None:
    """Runs ``jobs`` to their end, as `follow` does without being watched. Raises what ended one of them."""
    async with contextlib.aclosing(follow(reservation, jobs, watched=False)) as ticks:
        async for _ in ticks:
            pass


def usage_of(jobs: Sequence[Job[Any]]) -> EngineUsage:
    """What became of ``jobs``, of which at least one was submitted."""
    steps = sum(job.position for job in jobs)
    return EngineUsage(
        queued=min(job.queued for job in jobs if job.queued),
        began=max(job.began for job in jobs),
        ended=max(job.ended or time.monotonic() for job in jobs),
        steps=min(job.position for job in jobs),
        jobs=len(jobs),
        rows_per_pass=sum(job.rows for job in jobs) / max(steps, 1),
        device=sum(job.device for job in jobs),
        busy=max(job.busy for job in jobs),
    )
