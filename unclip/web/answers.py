"""Answers of the Images API: all pictures at once as JSON, or one by one with previews as server-sent events."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import ExitStack, aclosing
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from unclip.client import AsyncClient, GeneratedImage, ImageFile, ModelInfo, Preview
from unclip.errors import UnclipError
from unclip.serving.budget import Budget
from unclip.web.calls import Call, while_connected
from unclip.web.errors import refusal_of
from unclip.web.gateway import side_of
from unclip.web.requests import Asked
from unclip.web.store import PictureStore

log = logging.getLogger(__name__)
PULSE_S = 15.0  # after which proxies are reminded that a stream lives
COMMENT = b": \n\n"
NO_TOKENS = {
    "total_tokens": 0,
    "input_tokens": 0,
    "output_tokens": 0,
    "input_tokens_details": {"text_tokens": 0, "image_tokens": 0},
}
Frames = AsyncGenerator[bytes, None]


@dataclass(frozen=True)
class Making:
    """A request on its way through the gateway. url: of a picture that is kept, by its name."""

    asked: Asked
    call: Call
    client: AsyncClient
    info: ModelInfo
    url: Callable[[str], str]

    def about(self, size: str, file_format: str) -> dict[str, Any]:
        """What answers and events tell of a picture of ``size`` beside itself."""
        return {
            "background": "opaque",
            "output_format": file_format,
            "quality": self.asked.quality,
            "size": size,
            "native_size": written(side_of(self.info), side_of(self.info)),
        }

    @property
    def size(self) -> str:
        """Of the pictures that are answered."""
        return written(*self.asked.answered(self.info))


def written(width: int, height: int) -> str:
    """A size as OpenAI writes it."""
    return f"{width}x{height}"


class Answers:
    """Makes answers. limit: bytes of all that are put together at a time."""

    def __init__(self, store: PictureStore, limit: int) -> None:
        self._store, self._budget = store, Budget("web", "answer_bytes", limit)

    async def at_once(self, making: Making, room: ExitStack) -> Pieces:
        """All pictures, in their order. room: holds what they take until they are sent.

        Raises:
            UnclipError: the gateway's, or that there is no room.
        """
        data = dict[int, bytes]()
        async with aclosing(pictures(making)) as made:
            async for picture in made:
                data[picture.image_index] = await self._datum(picture, making, room)
        told = {"created": int(time.time()), **making.about(making.size, making.asked.format), "usage": NO_TOKENS}
        in_order = [data[index] for index in sorted(data)]
        between = [piece for datum in in_order for piece in (b",", datum)][1:]
        return Pieces([json.dumps(told)[:-1].encode() + b', "data": [', *between, b"]}"])

    async def _datum(self, picture: GeneratedImage, making: Making, room: ExitStack) -> bytes:
        """One picture of an answer, as JSON."""
        if making.asked.way == "url":
            name = await self._store.put(picture.data, making.asked.format)
            return json.dumps({"url": making.url(name), "seed": picture.seed}).encode()
        room.enter_context(self._budget.held(4 * len(picture.data) // 3, making.call.client))
        return b'{"seed": %d, "b64_json": "%s"}' % (picture.seed, base64.b64encode(picture.data))

    async def one_by_one(self, making: Making) -> Frames:
        """Previews and pictures as events. What the gateway raises is raised before the first, then told as one."""
        asked, partial, begun = making.asked, Counter[int](), False
        interval = asked.preview_interval(making.info)
        try:
            async with aclosing(making.client.stream(asked.request, preview_interval=interval)) as events:
                async for event in events:
                    if isinstance(event, GeneratedImage):
                        yield frame(making, "completed", event, event.image_index, usage=NO_TOKENS, seed=event.seed)
                    elif isinstance(event, Preview) and event.image_index < asked.count:
                        count = partial[event.image_index]
                        partial[event.image_index] += 1
                        if count < asked.partial_images:
                            yield frame(making, "partial_image", event, event.image_index, partial_image_index=count)
                    elif not begun:
                        yield COMMENT  # sends the status and headers
                    begun = True
        except UnclipError as error:
            if not begun:
                raise
            told = json.dumps({"type": "error", "error": refusal_of(error, making.call.id).error})
            yield f"event: error\ndata: {told}\n\n".encode()


async def pictures(making: Making) -> AsyncGenerator[GeneratedImage, None]:
    """The pictures as they are finished. A single one is asked for by itself, which spares everybody the news of its
    steps; several come one by one, so that they need not fit into one message."""
    if making.asked.count == 1:
        for picture in await making.client.make(making.asked.request):
            yield picture
        return
    async with aclosing(making.client.stream(making.asked.request)) as events:
        async for event in events:
            if isinstance(event, GeneratedImage):
                yield event


def frame(making: Making, what: str, picture: ImageFile, index: int, **more: Any) -> bytes:
    """A picture, number ``index`` of its request, as a server-sent event."""
    kind = f"{making.asked.kind}.{what}"
    about = making.about(f"{picture.width}x{picture.height}", picture.media_type.removeprefix("image/"))
    told = json.dumps({"type": kind, "created_at": int(time.time()), "image_index": index, **about, **more})
    data = base64.b64encode(picture.data)
    return b'event: %s\ndata: %s, "b64_json": "%s"}\n\n' % (kind.encode(), told[:-1].encode(), data)


class Released(Response):
    """An answer that holds something until it is sent. release: gives it back."""

    release: Callable[[], None] = staticmethod(lambda: None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends it."""
        try:
            await self._sent(receive, send)
        finally:
            self.release()

    async def _sent(self, receive: Receive, send: Send) -> None:
        raise NotImplementedError


class Pieces(Released):
    """A JSON answer in pieces, which are not copied together."""

    media_type = "application/json"

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = pieces
        super().__init__(headers={"content-length": str(sum(map(len, pieces)))})

    async def _sent(self, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for piece in self._pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


class Events(Released):
    """Server-sent events, as they come; the status is sent with the first. The caller who leaves ends their making."""

    media_type = "text/event-stream"

    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]

    async def _sent(self, receive: Receive, send: Send) -> None:
        pulse: asyncio.Task[None] | None = None
        try:
            async with while_connected(receive), aclosing(self._frames) as frames:
                async for piece in frames:
                    if pulse is None:
                        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
                        await send(start)
                        pulse = asyncio.create_task(pulsing(send))
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
        finally:
            if pulse is not None:
                pulse.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await pulse
        await send({"type": "http.response.body", "body": b""})


async def pulsing(send: Send) -> None:
    """Sends a comment now and then until cancelled."""
    while True:
        await asyncio.sleep(PULSE_S)
        await send({"type": "http.response.body", "body": COMMENT, "more_body": True})
