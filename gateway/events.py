"""The event queue of a running request: progress, previews and pictures of all its images as one ordered stream."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from unclip.api.gateway.v1 import gateway_pb2
from unclip.api.type.v1 import image_pb2
from unclip.enum_names import StageName
from unclip.errors import UnclipError
from unclip.wire.notices import Notice

# Events held for a slow reader. Pictures are large and few; updates are small and replaceable.
MAX_UPDATES = 64
MAX_PICTURES = 4


@dataclass(frozen=True)
class Progress:
    """``step`` of ``of`` steps of one stage are done for one image; ``queue_position`` jobs wait before it."""

    stage: StageName
    step: int
    of: int
    image_index: int = 0
    queue_position: int = 0


@dataclass(frozen=True)
class Preview:
    """The picture as predicted so far, at base size."""

    image: image_pb2.Image
    image_index: int


@dataclass(frozen=True, eq=False)
class Finished:
    """A picture in its final form, not a file yet. pixels: float32 ``[3, H, W]`` in [-1, 1].

    row: which picture of the plan it is, where it was ranked and ``image_index`` is its rank. score: what it was
    ranked by, -1 to 1. inversion_psnr: of the inversion it began with, in dB, where that was measured.
    """

    pixels: npt.NDArray[np.float32]
    image_index: int
    row: int | None = None
    score: float | None = None
    inversion_psnr: float | None = None


@dataclass(frozen=True, eq=False)
class Delivery:
    """A picture as its caller gets it. answer: the message, which is sent as it is; size: its bytes."""

    answer: gateway_pb2.StreamResponse
    size: int


Event = Progress | Preview | Notice | Finished | Delivery


class Outbox(Protocol):
    """Where the pictures of one call wait until they are read."""

    async def put(self, event: Finished) -> Delivery:
        """``event`` as it is delivered, which is far smaller, and counted from now on. Raises Overloaded."""
        ...

    def taken(self, event: Delivery) -> None:
        """``event`` is with the caller."""
        ...

    def close(self) -> None:
        """Nothing that waits will be read."""
        ...


@dataclass(frozen=True)
class Reporter:
    """Reports on the stages at work on one image."""

    queue: EventQueue
    image_index: int = 0

    def progress(self, stage: StageName, step: int, of: int, queue_position: int = 0) -> None:
        """``step`` of ``of`` steps of ``stage`` are done for this image."""
        self.queue.offer(Progress(stage, step, of, self.image_index, queue_position))

    def preview(self, image: image_pb2.Image) -> None:
        """This image as predicted so far."""
        self.queue.offer(Preview(image, self.image_index))


class EventQueue:
    """A queue from many writers to one reader that never lets a slow reader hold many updates or lose a picture.

    Progress and previews are dropped, oldest first, beyond ``MAX_UPDATES``; a picture waits for room instead, which
    holds back only the image that made it. What remains keeps its order.
    """

    def __init__(self, outbox: Outbox | None = None) -> None:
        """outbox: makes deliveries of pictures; None leaves them as they are."""
        self._outbox = outbox
        self._failure: UnclipError | None = None
        self._events: deque[Event] = deque()
        self._updates = 0
        self._room = asyncio.Semaphore(MAX_PICTURES)
        self._closed = False
        self._changed = asyncio.Event()

    def offer(self, event: Progress | Preview) -> None:
        """Adds an event that may be dropped; never waits for the reader."""
        if self._updates == MAX_UPDATES:
            self._events.remove(next(e for e in self._events if isinstance(e, Progress | Preview)))
            self._updates -= 1
        self._updates += 1
        self._events.append(event)
        self._changed.set()

    async def deliver(self, event: Finished) -> None:
        """Adds a picture, waiting while ``MAX_PICTURES`` are unread. Raises Overloaded."""
        ready: Event = event if self._outbox is None else await self._outbox.put(event)
        del event  # as a file it is a small part of what it was as numbers, and may wait for long
        await self._room.acquire()
        self._events.append(ready)
        self._changed.set()

    def tell(self, notice: Notice) -> None:
        """Adds a notice, of which a request has few; it is never dropped."""
        self._events.append(notice)
        self._changed.set()

    def fail(self, error: UnclipError) -> None:
        """Ends the stream at once with ``error``; what it holds is dropped."""
        self._failure = error
        self._events.clear()
        self._updates = 0
        self.close()

    def close(self) -> None:
        """Ends the stream once what it holds is read."""
        self._closed = True
        self._changed.set()

    async def read(self) -> AsyncGenerator[Event, None]:
        """Yields events in order until the queue is closed and empty."""
        while True:
            while self._events:
                event = self._events.popleft()
                if isinstance(event, Progress | Preview):
                    self._updates -= 1
                elif not isinstance(event, Notice):
                    self._room.release()
                yield event
                if self._outbox is not None and isinstance(event, Delivery):
                    self._outbox.taken(event)
            if self._failure is not None:
                raise self._failure
            if self._closed:
                return
            self._changed.clear()
            await self._changed.wait()


async def events_of(
    work: Callable[[EventQueue], Awaitable[None]],
    outbox: Callable[[Callable[[UnclipError], None]], Outbox] | None = None,
) -> AsyncGenerator[Event, None]:
    """Runs ``work`` and yields what it puts into its queue.

    outbox: makes what delivers its pictures, given what ends all this with an error.

    Closing the iterator early, as a cancelled call does, cancels the work and waits until it has let go.

    Raises:
        UnclipError: whatever the work raises, after the events before it.
    """

    def end(error: UnclipError) -> None:
        queue.fail(error)
        task.cancel()

    box = None if outbox is None else outbox(end)
    queue = EventQueue(box)

    async def run() -> None:
        try:
            await work(queue)
        finally:
            queue.close()

    task = asyncio.create_task(run())
    try:
        async for event in queue.read():
            yield event
        await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if box is not None:
            box.close()


async def run_concurrently(jobs: Sequence[Coroutine[Any, Any, None]], limit: int | None = None) -> None:
    """Runs ``jobs`` at once, at most ``limit`` of them; the first failure cancels the others and is raised bare.

    Raises:
        UnclipError: the first that any job raised, unless one raised something worse.
    """
    room = asyncio.Semaphore(limit or len(jobs))

    async def limited(job: Coroutine[Any, Any, None]) -> None:
        async with room:
            await job

    try:
        async with asyncio.TaskGroup() as group:
            for job in jobs:
                group.create_task(limited(job))
    except BaseExceptionGroup as failures:
        bugs = [e for e in failures.exceptions if not isinstance(e, UnclipError)]
        raise (bugs or list(failures.exceptions))[0] from None
    finally:
        for job in jobs:
            job.close()  # those that never got room
