"""Reading the pictures of requests: admitted by their headers, decoded a few at a time, in turns that are fair.

A file of some hundred bytes can hold 16 megapixels. So nothing is decoded before the pixels have found room in a
budget, which bounds how long the last one waits; one picture at a time bounds the memory; and large ones are decoded in
a worker process that stands back behind all others, so that who waits for no picture does not notice.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from unclip.errors import InvalidRequest, PoisonSuspected
from unclip.serving.budget import Budget
from unclip.serving.worker import Worker, WorkerLost
from unclip.wire.images import MAX_TOGETHER
from unclip.wire.violations import Violations

Result = TypeVar("Result")

BUDGET = 2 * MAX_TOGETHER  # so that a client's share has room for any request; the default of `decode_megapixels`
LIGHT = 1 << 20  # pixels: they take some ten milliseconds, in which Python's lock may be held
REMEMBERED = 4096  # clients whose latest turn is known
SECONDS_PER_PIXEL = 20e-9  # until some have been timed


class Decoding:
    """The budget of one process, its thread for small pictures and its worker for large ones. For its event loop.

    A picture takes up to 300 MB while it is decoded, see `unclip.wire.images`: so there is one worker.

    Args:
        stage: named in errors and metrics.
        limit: pixels that may be under way at once, waiting ones included; half of it for each client.
        light: pixels up to which pictures are read in this process.
    """

    def __init__(self, stage: str, limit: int = BUDGET, light: int = LIGHT) -> None:
        self._stage, self._budget, self._most = stage, Budget(stage, "pixels", limit), light
        self._worker = Worker()
        self._light = _FairThread(f"{stage}-decoding")
        self._heavy = _FairThread(f"{stage}-worker")
        self._seconds_per_pixel = SECONDS_PER_PIXEL

    @contextmanager
    def admitted(self, pixels: int, client: str) -> Iterator[Admitted]:
        """Room for reading ``pixels`` of ``client``, as `unclip.wire.images.decode_cost` counts them.

        Raises:
            Overloaded: there is none; with the seconds until what is ahead is read.
        """
        began = time.monotonic()
        with self._budget.held(pixels, client, max(0.1, self._budget.taken * self._seconds_per_pixel)):
            yield Admitted(self, pixels, client)
        if pixels:
            self._seconds_per_pixel += 0.2 * (min(1e-6, (time.monotonic() - began) / pixels) - self._seconds_per_pixel)

    async def run(self, pixels: int, client: str, function: Callable[..., Result], *arguments: Any) -> Result:
        """See `Admitted.run`."""
        if pixels <= self._most:
            return await self._light.run(client, function, *arguments)
        return await self._heavy.run(client, self._call, function, *arguments)

    def _call(self, function: Callable[..., Result], *arguments: Any) -> Result:
        try:
            return self._worker.call(function, *arguments)
        except WorkerLost:
            message = "the process that reads pictures was lost at work on this request"
            raise PoisonSuspected(self._stage, message) from None

    def close(self) -> None:
        """Ends the threads once they have done what they are at, and the worker."""
        self._light.close()
        self._heavy.close()
        self._worker.close()


@dataclass(frozen=True)
class Admitted:
    """Room that a request of ``client`` has for reading its ``pixels``."""

    decoding: Decoding
    pixels: int
    client: str

    async def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """``function(*arguments)``, all of which can be pickled, when it is this client's turn.

        The client that has had no turn for longest is next, and of its functions the first.

        Raises:
            PoisonSuspected: the worker was lost.
            Exception: whatever the function raises; of large pictures what is no UnclipError as a RuntimeError.
        """
        return await self.decoding.run(self.pixels, self.client, function, *arguments)

    async def each(self, readers: Sequence[tuple[int, Callable[[], Result]]]) -> list[Result]:
        """The results of functions, one after the other, between which others have their turns; before each, how many
        of the pixels it reads.

        Raises:
            InvalidRequest: some raised it, with the violations of all.
        """
        violations, results = Violations(), []
        for pixels, function in readers:
            try:
                results.append(await self.decoding.run(pixels, self.client, function))
            except InvalidRequest as error:
                violations.include(error)
        violations.raise_if_any()
        return results


class _FairThread:
    """A thread that clients take turns at."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, name)
        self._free = True
        self._waiting: list[tuple[str, asyncio.Future[None]]] = []
        self._latest = OrderedDict[str, int]()  # each client's latest turn, of those remembered
        self._turns = 0

    async def run(self, client: str, function: Callable[..., Result], *arguments: Any) -> Result:
        """``function(*arguments)`` when it is the turn of ``client``. Raises what it raises."""
        await self._turn(client)
        loop = asyncio.get_running_loop()
        try:
            future = self._thread.submit(function, *arguments)
        except BaseException:
            self._call_next()
            raise

        def done(_: Future[Result]) -> None:
            # The thread is free when it is, not when its caller has gone.
            with contextlib.suppress(RuntimeError):  # the loop has closed
                loop.call_soon_threadsafe(self._call_next)

        future.add_done_callback(done)
        try:
            return await asyncio.wrap_future(future)
        finally:
            del future  # it has the error that has this frame: a circle, and with it the picture outlives its request

    def close(self) -> None:
        """Ends the thread once it has done what it is at."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _turn(self, client: str) -> None:
        if self._free:
            self._free = False
            self._record_turn(client)
            return
        called: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((client, called))
        try:
            await called
        except asyncio.CancelledError:
            if called.done() and not called.cancelled():
                self._call_next()  # it was called, and will not come
            else:
                self._waiting.remove((client, called))
            raise

    def _call_next(self) -> None:
        """The thread is free: calls whose turn it is."""
        if not self._waiting:
            self._free = True
            return
        first = min(self._waiting, key=lambda waiting: self._latest.get(waiting[0], 0))
        self._waiting.remove(first)
        self._record_turn(first[0])
        first[1].set_result(None)

    def _record_turn(self, client: str) -> None:
        self._turns += 1
        self._latest[client] = self._turns
        self._latest.move_to_end(client)
        while len(self._latest) > REMEMBERED:
            self._latest.popitem(last=False)
