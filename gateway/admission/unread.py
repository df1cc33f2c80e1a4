"""Finished pictures that nobody has read yet: their bytes are bounded, for all calls and for each client.

A unary call's pictures wait for each other: how large they may get is known beforehand, and room for them is taken
before any work. A stream's wait for its reader, who may never come: the one that has waited for longest makes room.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from gateway.events import Delivery, Finished
from gateway.requests.fitting import Size
from gateway.requests.pictures import in_thread
from gateway.requests.plan import GeneratePlan, InterpolatePlan, Plan, TextDiffPlan
from unclip.api.gateway.v1 import gateway_pb2
from unclip.enum_names import FileFormat
from unclip.errors import InvalidRequest, Overloaded, UnclipError
from unclip.serving.budget import Budget
from unclip.serving.channels import MAX_MESSAGE
from unclip.wire import recipe_text

# Bytes a pixel of the worst pictures, measured on noise of three kinds: lossless files cannot shrink them.
WORST_BYTES_PER_PIXEL: dict[FileFormat, float] = {"png": 3.04, "webp": 3.04, "jpeg": 1.8}
METADATA_BYTES = 2 * recipe_text.MAX_BYTES + 8192  # the recipe in the file and that beside it, names and digests
UNREAD = "UNREAD_PICTURES"
Write = Callable[[Finished], gateway_pb2.StreamResponse]


class Unread:
    """What waits at this process. limit: bytes of all calls; half of it for each client."""

    def __init__(self, limit: int) -> None:
        self._budget = Budget("gateway", "unread_bytes", limit)
        self._streams: list[StreamOutbox] = []

    @property
    def size(self) -> int:
        """Bytes that wait, or that room is held for."""
        return self._budget.taken

    def reserve(self, size: int, client: str) -> None:
        """Room for all that a unary call answers, until the task that serves it ends: gRPC has written it by then.

        Raises:
            Overloaded: there is none.
        """
        self._budget.take(size, client)
        task = asyncio.current_task()
        assert task is not None
        task.add_done_callback(lambda _: self._budget.give_back(size, client))

    def stream(self, client: str, write: Write, end: Callable[[UnclipError], None]) -> StreamOutbox:
        """Where a stream of ``client`` has its pictures. write: makes a message of one; end: ends the stream."""
        made = StreamOutbox(self, client, write, end)
        self._streams.append(made)
        return made

    def hold(self, outbox: StreamOutbox, size: int) -> None:
        """``size`` more bytes wait at ``outbox``. Raises Overloaded when that is the one to end for it."""
        while True:
            try:
                self._budget.take(size, outbox.client)
                return
            except Overloaded as full:
                mine = full.reason == "CLIENT_SHARE"
                oldest = min(
                    (one for one in self._streams if one.waiting and (not mine or one.client == outbox.client)),
                    key=lambda one: one.since,
                    default=outbox,
                )
                message = f"the pictures of this call are not read, and the room for them is needed: {full}"
                error = Overloaded(message, 1.0, UNREAD)
                if oldest is outbox:
                    raise error from None
                oldest.fail(error)

    def release(self, outbox: StreamOutbox, size: int) -> None:
        """``size`` bytes wait no more."""
        self._budget.give_back(size, outbox.client)

    def forget(self, outbox: StreamOutbox) -> None:
        """``outbox`` is closed."""
        self._streams.remove(outbox)


class UnaryOutbox:
    """Makes messages of pictures, for which room is held already."""

    def __init__(self, write: Write) -> None:
        self._write = write

    async def put(self, event: Finished) -> Delivery:
        """See `gateway.events.Outbox`."""
        # Compressing a large picture takes tens of milliseconds, which other calls must not wait for.
        answer = await in_thread(self._write, event)
        return Delivery(answer, answer.ByteSize())

    def taken(self, event: Delivery) -> None:
        """See `gateway.events.Outbox`."""

    def close(self) -> None:
        """See `gateway.events.Outbox`."""


class StreamOutbox(UnaryOutbox):
    """As that, and counts what waits. since: when the reader last took something, or the first picture came."""

    def __init__(self, unread: Unread, client: str, write: Write, end: Callable[[UnclipError], None]) -> None:
        super().__init__(write)
        self.client = client
        self.since = 0.0
        self._unread = unread
        self._end: Callable[[UnclipError], None] | None = end
        self._waiting: deque[int] = deque()

    @property
    def waiting(self) -> bool:
        """Whether a picture waits."""
        return bool(self._waiting)

    async def put(self, event: Finished) -> Delivery:
        """See `gateway.events.Outbox`."""
        made = await super().put(event)
        self._unread.hold(self, made.size)
        if not self._waiting:
            self.since = time.monotonic()
        self._waiting.append(made.size)
        return made

    def taken(self, event: Delivery) -> None:
        """See `gateway.events.Outbox`."""
        if event.size in self._waiting:  # else the stream has been ended
            self._waiting.remove(event.size)
            self._unread.release(self, event.size)
            self.since = time.monotonic()

    def fail(self, error: UnclipError) -> None:
        """Ends the stream, and gives up what waits."""
        self._drop()
        if self._end is not None:
            self._end(error)

    def close(self) -> None:
        """See `gateway.events.Outbox`."""
        self._drop()
        self._unread.forget(self)
        # It knows what delivers here: in that circle the request's pictures would stay until Python looks for such.
        self._end = None

    def _drop(self) -> None:
        while self._waiting:
            self._unread.release(self, self._waiting.popleft())


def largest_answer(plan: Plan, size: Size, signature: int = 0) -> int:
    """Bytes that all pictures of ``plan`` can have together, of ``size``, width and height in pixels, with
    ``signature`` bytes of a signature each. 0 where the size is not known.

    Raises:
        InvalidRequest: more than one message takes, as the answer of a unary call would be.
    """
    count = plan.keep if isinstance(plan, GeneratePlan) and plan.keep is not None else len(plan.seeds)
    width, height = size
    each = round(WORST_BYTES_PER_PIXEL[plan.output.format] * width * height) + METADATA_BYTES + signature
    if not width or count * each <= MAX_MESSAGE:
        return count * each if width else 0
    field = "thetas" if isinstance(plan, TextDiffPlan) else "ts" if isinstance(plan, InterpolatePlan) else "image_count"
    raise InvalidRequest.of(
        field,
        f"must ask for at most {MAX_MESSAGE // each} pictures of {width} x {height} px as {plan.output.format} in one "
        f"answer of {MAX_MESSAGE} bytes; got {count} of up to {each} bytes each: Stream sends them one by one",
    )
