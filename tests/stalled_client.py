"""A client of gRPC methods that takes no answers before it is told to, as gRPC's own would not behave."""

from __future__ import annotations

import asyncio
import struct
from collections import defaultdict
from types import TracebackType
from typing import Self

from tests.http2 import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
    message,
    of_call,
)

INITIAL_WINDOW_SIZE, MOST = 4, 2**31 - 1


class StalledClient:
    """Calls whose windows stay closed until `take`; a context manager.

    taken: bytes of answers by stream. ended: trailers by stream, as they were packed (HPACK leaves new values legible).
    """

    def __init__(self, address: str, client: str = "") -> None:
        """address: host:port. client: its name in ``x-unclip-client``."""
        self._host, _, port = address.rpartition(":")
        self._port, self._client = int(port), client
        self._streams = 0
        self.taken: defaultdict[int, int] = defaultdict(int)
        self.ended: dict[int, bytes] = {}

    async def __aenter__(self) -> Self:
        self._in, self._out = await asyncio.open_connection(self._host, self._port)
        self._out.write(PREFACE + frame(SETTINGS, struct.pack(">HI", INITIAL_WINDOW_SIZE, 0)))
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        self._out.close()

    def call(self, path: str, request: bytes) -> int:
        """Calls a method, such as "/package.Service/Method"; gives the number of its stream."""
        stream, self._streams = 2 * self._streams + 1, self._streams + 1
        named = [(b"x-unclip-client", self._client.encode())] if self._client else []
        self._out.write(frame(HEADERS, of_call(path, named), END_HEADERS, stream))
        self._out.write(frame(DATA, message(request), END_STREAM, stream))
        return stream

    def take(self, stream: int) -> None:
        """From now on the answers of a call are taken."""
        self._out.write(frame(WINDOW_UPDATE, struct.pack(">I", MOST), 0, stream))

    async def _read(self) -> None:
        while True:
            head = await self._in.readexactly(9)
            kind, flags, stream = head[3], head[4], int.from_bytes(head[5:9], "big")
            body = await self._in.readexactly(int.from_bytes(head[:3], "big"))
            if kind in (SETTINGS, PING) and not flags & ACK:
                self._out.write(frame(kind, b"" if kind == SETTINGS else body, ACK))
            elif kind == DATA and body:
                self.taken[stream] += len(body)
                self._out.write(frame(WINDOW_UPDATE, struct.pack(">I", len(body))))
            elif kind == RST_STREAM or (kind == HEADERS and flags & END_STREAM):
                self.ended.setdefault(stream, body)
