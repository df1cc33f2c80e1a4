"""Wrappers of grpc.aio channels, and the one that makes a span of each call."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self

import grpc

from unclip.serving import tracing
from unclip.serving.tracing import Span, Tracer


class WrappedChannel(grpc.aio.Channel):
    """Subclasses say in `_calls` what a call of any kind is."""

    def _calls(self, kind: str, *method: Any, **codecs: Any) -> Any:
        """A multi-callable of ``kind``, such as "unary_stream"."""
        raise NotImplementedError

    def unary_unary(self, *method: Any, **codecs: Any) -> Any:
        """As of any channel; so are the next three."""
        return self._calls("unary_unary", *method, **codecs)

    def unary_stream(self, *method: Any, **codecs: Any) -> Any:
        """See `unary_unary`."""
        return self._calls("unary_stream", *method, **codecs)

    def stream_unary(self, *method: Any, **codecs: Any) -> Any:
        """See `unary_unary`."""
        return self._calls("stream_unary", *method, **codecs)

    def stream_stream(self, *method: Any, **codecs: Any) -> Any:
        """See `unary_unary`."""
        return self._calls("stream_stream", *method, **codecs)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class TracedChannel(WrappedChannel):
    """A channel each of whose calls is a span that the other side goes on from."""

    def __init__(self, channel: grpc.aio.Channel, tracer: Tracer) -> None:
        self._channel, self._tracer = channel, tracer
        self._ending: set[asyncio.Task[None]] = set()

    def _calls(self, kind: str, *method: Any, **codecs: Any) -> Any:
        inner, name = getattr(self._channel, kind)(*method, **codecs), str(method[0]).removeprefix("/")

        def call(request: Any, *, metadata: Any = None, **options: Any) -> Any:
            span, sent = self._tracer.calling(name, metadata or ())
            running = inner(request, metadata=sent, **options)
            running.add_done_callback(lambda over: self._ended(span, over))
            return running

        return call

    def _ended(self, span: Span, call: Any) -> None:
        async def end_span() -> None:
            span.end((await call.code()).name)

        task = asyncio.get_running_loop().create_task(end_span())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def close(self, grace: float | None = None) -> None:
        """Closes the channel."""
        await self._channel.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """The channel's; so are the next two."""
        return self._channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """See `get_state`."""
        await self._channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """See `get_state`."""
        await self._channel.channel_ready()


def traced(channel: grpc.aio.Channel) -> grpc.aio.Channel:
    """``channel``, its calls traced where this process traces."""
    return channel if tracing.tracer is None else TracedChannel(channel, tracing.tracer)
