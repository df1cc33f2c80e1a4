"""What is told of a running request: progress, previews and pictures of all its images as one ordered stream."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from unclip.errors import UnclipError

StageName = Literal["encoder", "prior", "invert", "decoder", "upsampler"]

# Events held for a slow reader. Pictures are large and few, the rest is small and replaceable.
MAX_HINTS = 64
MAX_PICTURES = 4


@dataclass(frozen=True)
class PictureFile:
    """An encoded picture: the file's bytes, its IANA media type, and its size in pixels."""

    data: bytes
    media_type: str
    width: int
    height: int


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

    file: PictureFile
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


Event = Progress | Preview | Finished


@dataclass(frozen=True)
class Watch:
    """Where the stages at work on one image report to."""

    feed: Feed
    image_index: int = 0

    def progress(self, stage: StageName, step: int, of: int, queue_position: int = 0) -> None:
        """``step`` of ``of`` steps of ``stage`` are done for this image."""
        self.feed.hint(Progress(stage, step, of, self.image_index, queue_position))

    def preview(self, file: PictureFile) -> None:
        """This image as predicted so far."""
        self.feed.hint(Preview(file, self.image_index))


class Feed:
    """A queue from many writers to one reader that never lets a slow reader hold many hints or lose a picture.

    Progress and previews are dropped, oldest first, beyond ``MAX_HINTS``; a picture waits for room instead, which
    holds back only the image that made it. What remains keeps its order.
    """

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._hints = 0
        self._room = asyncio.Semaphore(MAX_PICTURES)
        self._closed = False
        self._changed = asyncio.Event()

    def hint(self, event: Progress | Preview) -> None:
        """Adds an event that may be dropped; never waits for the reader."""
        if self._hints == MAX_HINTS:
            self._events.remove(next(e for e in self._events if not isinstance(e, Finished)))
            self._hints -= 1
        self._hints += 1
        self._events.append(event)
        self._changed.set()

    async def deliver(self, event: Finished) -> None:
        """Adds a picture, waiting while ``MAX_PICTURES`` are unread."""
        await self._room.acquire()
        self._events.append(event)
        self._changed.set()

    def close(self) -> None:
        """Ends the stream once what it holds is read."""
        self._closed = True
        self._changed.set()

    async def read(self) -> AsyncGenerator[Event, None]:
        """Yields events in order until the feed is closed and empty."""
        while True:
            while self._events:
                event = self._events.popleft()
                if isinstance(event, Finished):
                    self._room.release()
                else:
                    self._hints -= 1
                yield event
            if self._closed:
                return
            self._changed.clear()
            await self._changed.wait()


async def events_of(work: Callable[[Feed], Awaitable[None]]) -> AsyncGenerator[Event, None]:
    """Runs ``work`` and yields what it tells its feed.

    Closing the iterator early, as a cancelled call does, cancels the work and waits until it has let go.

    Raises:
        UnclipError: whatever the work raises, after the events before it.
    """
    feed = Feed()

    async def run() -> None:
        try:
            await work(feed)
        finally:
            feed.close()

    task = asyncio.create_task(run())
    try:
        async for event in feed.read():
            yield event
        await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def together(jobs: Sequence[Coroutine[Any, Any, None]], limit: int | None = None) -> None:
    """Runs ``jobs`` at once, at most ``limit`` of them; the first failure cancels the others and is raised bare.

    Raises:
        UnclipError: the first that any job raised, unless one raised something worse.
    """
    room = asyncio.Semaphore(limit or len(jobs))

    async def admitted(job: Coroutine[Any, Any, None]) -> None:
        async with room:
            await job

    try:
        async with asyncio.TaskGroup() as group:
            for job in jobs:
                group.create_task(admitted(job))
    except BaseExceptionGroup as failures:
        bugs = [e for e in failures.exceptions if not isinstance(e, UnclipError)]
        raise (bugs or list(failures.exceptions))[0] from None
    finally:
        for job in jobs:
            job.close()  # those that never got room
