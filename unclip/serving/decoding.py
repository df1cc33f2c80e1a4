"""Reading the pictures of requests: admitted by their headers, decoded in few threads, in turns that are fair.

A file of some hundred bytes can hold 16 megapixels. So nothing is decoded before the pixels have found room in a
budget, which bounds how long the last one waits; few threads bound the memory; and they stand back behind all other
threads, so that who waits for no picture does not notice.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from unclip.errors import InvalidRequest
from unclip.serving.budget import Budget
from unclip.wire.images import MAX_TOGETHER
from unclip.wire.violations import Violations

Result = TypeVar("Result")

BUDGET = 2 * MAX_TOGETHER  # so that a client's share has room for any request
THREADS = 1  # a picture takes up to 250 MB while it is decoded, see `unclip.wire.images`
NICENESS = 10  # of 19: about a tenth of the turns of others; on Linux, where a thread can have its own
PACE = 20e-9  # seconds a pixel, until some have been timed


class Decoding:
    """The budget and the threads of one process. For use on its event loop.

    Args:
        stage: named in errors and metrics.
        limit: pixels that may be under way at once, waiting ones included; half of it for each client.
        threads: pictures, or requests of few, that are decoded at a time.
    """

    def __init__(self, stage: str, limit: int = BUDGET, threads: int = THREADS) -> None:
        self._budget = Budget(stage, "pixels", limit)
        self._threads = ThreadPoolExecutor(threads, f"{stage}-decoding", initializer=stand_back)
        self._free = threads
        self._waiting: list[tuple[str, asyncio.Future[None]]] = []
        self._pace = PACE

    @contextmanager
    def admitted(self, pixels: int, client: str) -> Iterator[None]:
        """Room for reading ``pixels`` of ``client``, as `unclip.wire.images.weight` counts them.

        Raises:
            Overloaded: there is none; told with the seconds until what is ahead is read.
        """
        began = time.monotonic()
        with self._budget.held(pixels, client, max(0.1, self._budget.taken * self._pace)):
            yield
        if pixels:
            self._pace += 0.2 * (min(1e-6, (time.monotonic() - began) / pixels) - self._pace)

    async def run(self, client: str, function: Callable[..., Result], *arguments: Any) -> Result:
        """``function(*arguments)`` in one of the threads, when it is the turn of ``client``, for which room is held.

        The client with the fewest pixels is next, and of its functions the first. Raises what it raises.
        """
        await self._turn(client)
        loop = asyncio.get_running_loop()
        try:
            future = self._threads.submit(function, *arguments)
        except BaseException:
            self._next()
            raise

        def done(_: Future[Result]) -> None:
            # The thread is free when it is, not when its caller has gone.
            with contextlib.suppress(RuntimeError):  # the loop has closed
                loop.call_soon_threadsafe(self._next)

        future.add_done_callback(done)
        return await asyncio.wrap_future(future)

    async def each(self, client: str, functions: Sequence[Callable[[], Result]]) -> list[Result]:
        """The results of ``functions``, one after the other, between which others have their turns.

        Raises:
            InvalidRequest: some raised it, with the violations of all.
        """
        violations, results = Violations(), []
        for function in functions:
            try:
                results.append(await self.run(client, function))
            except InvalidRequest as error:
                violations.include(error)
        violations.raise_if_any()
        return results

    def close(self) -> None:
        """Ends the threads once they have done what they are at."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _turn(self, client: str) -> None:
        if self._free:
            self._free -= 1
            return
        called: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((client, called))
        try:
            await called
        except asyncio.CancelledError:
            if called.done() and not called.cancelled():
                self._next()  # it was called, and will not come
            else:
                self._waiting.remove((client, called))
            raise

    def _next(self) -> None:
        """A thread is free."""
        if not self._waiting:
            self._free += 1
            return
        first = min(self._waiting, key=lambda waiting: self._budget.taken_by(waiting[0]))
        self._waiting.remove(first)
        first[1].set_result(None)


def stand_back() -> None:
    """The current thread gets a processor when no other one wants it."""
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
