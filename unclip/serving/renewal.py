"""Channels that open again when their certificates change, or they are lost: new calls on the new one, running calls
end on the old.

gRPC reads a channel's credentials once, and asks for a name that has no addresses ever more seldom, in the end every
two minutes, whatever it is told of how often to connect: a stage whose first replica comes late would be found as late
again. These stand in for a channel: each call is made on the channel that belongs to the certificates as they are then,
and a channel closes once it has been succeeded and its last call is over.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import grpc

from unclip.serving.tls import Material
from unclip.serving.wrapping import WrappedChannel

# A channel that reaches nobody, as calls see it for so long, is succeeded: as often as names are asked otherwise.
LOST_S = 5.0

Channel = TypeVar("Channel")
Secrets = TypeVar("Secrets")  # what a channel opens with: certificates, or nothing
Method = tuple[str, str, Any, Any]  # kind, such as "unary_stream"; path; serializer; deserializer


class Generation(Generic[Secrets, Channel]):
    """One channel and the calls on it."""

    def __init__(self, material: Secrets, channel: Channel, close: Callable[[Channel], None]) -> None:
        self.material, self.channel, self._close = material, channel, close
        self._lost_since: float | None = None
        self._methods: dict[Method, Any] = {}
        self._running, self._succeeded = 0, False
        self._lock = threading.Lock()

    def method(self, method: Method) -> Any:
        """The channel's own multi-callable for ``method``."""
        if method not in self._methods:
            kind, path, write, read = method
            self._methods[method] = getattr(self.channel, kind)(path, write, read)
        return self._methods[method]

    def lost(self, reaches_nobody: bool) -> bool:
        """Whether it is to be succeeded: it reaches nobody now, and did not whenever it was looked at for `LOST_S`."""
        now = time.monotonic()
        if not reaches_nobody:
            self._lost_since = None
        elif self._lost_since is None:
            self._lost_since = now
        return self._lost_since is not None and now - self._lost_since >= LOST_S

    def enter(self) -> bool:
        """Counts a call in, unless the channel has been succeeded."""
        with self._lock:
            self._running += not self._succeeded
            return not self._succeeded

    def leave(self) -> None:
        """Counts a call out."""
        with self._lock:
            self._running -= 1
            over = self._succeeded and self._running == 0
        if over:
            self._close(self.channel)

    def succeed(self) -> None:
        """Takes no more calls, and closes the channel once it has none."""
        with self._lock:
            over = not self._succeeded and self._running == 0
            self._succeeded = True
        if over:
            self._close(self.channel)


class Generations(Generic[Secrets, Channel]):
    """The channel for the certificates as they are now, and those before it that still have calls.

    material: what they are now. reaches_nobody: of a channel; where it cannot be told, none is ever lost.
    """

    def __init__(
        self,
        material: Callable[[], Secrets],
        open: Callable[[Secrets], Channel],
        close: Callable[[Channel], None],
        reaches_nobody: Callable[[Channel], bool] = lambda channel: False,
    ) -> None:
        self._material, self._open, self._close, self._reaches_nobody = material, open, close, reaches_nobody
        self._lock = threading.Lock()
        self._latest = self._new()

    def _new(self) -> Generation[Secrets, Channel]:
        material = self._material()
        return Generation(material, self._open(material), self._close)

    def latest(self) -> Generation[Secrets, Channel]:
        """The one that new calls belong on."""
        with self._lock:
            before = self._latest
            if self._material() is not before.material or before.lost(self._reaches_nobody(before.channel)):
                self._latest = self._new()
        if self._latest is not before:
            before.succeed()
        return self._latest

    def enter(self) -> Generation[Secrets, Channel]:
        """The same, with a call counted in."""
        while not (generation := self.latest()).enter():
            pass
        return generation


class RenewedChannel(WrappedChannel):
    """For asyncio. Make and use it on one event loop."""

    def __init__(self, material: Callable[[], Secrets], open: Callable[[Secrets], grpc.aio.Channel]) -> None:
        """``open``: makes a channel from what ``material`` tells at that time."""
        self._opened: set[grpc.aio.Channel] = set()
        self._closing: set[asyncio.Task[None]] = set()

        def opened(now: Secrets) -> grpc.aio.Channel:
            channel = open(now)
            self._opened.add(channel)
            return channel

        self._generations = Generations(material, opened, self._retire, _reaches_nobody)

    def _retire(self, channel: grpc.aio.Channel) -> None:
        self._opened.discard(channel)
        task = asyncio.get_running_loop().create_task(channel.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _calls(self, kind: str, *method: Any, _registered_method: bool | None = None, **codecs: Any) -> Any:
        whole = (kind, *_method(*method, **codecs))

        def call(request: Any, **options: Any) -> Any:
            generation = self._generations.enter()
            try:
                running = generation.method(whole)(request, **options)
            except BaseException:
                generation.leave()
                raise
            running.add_done_callback(lambda _: generation.leave())
            return running

        return call

    async def close(self, grace: float | None = None) -> None:
        """Closes every channel that is still open."""
        await asyncio.gather(*(channel.close(grace) for channel in self._opened), *self._closing)
        self._opened.clear()

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """The state of the channel for the certificates as they are now; so are the next two."""
        return self._generations.latest().channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """See `get_state`."""
        await self._generations.latest().channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """See `get_state`."""
        await self._generations.latest().channel.channel_ready()


class RenewedSyncChannel(grpc.Channel):
    """For threads."""

    def __init__(self, material: Callable[[], Material], open: Callable[[Material], grpc.Channel]) -> None:
        """``open``: makes a channel from certificates."""
        self._opened: set[grpc.Channel] = set()

        def opened(now: Material) -> grpc.Channel:
            channel = open(now)
            self._opened.add(channel)
            return channel

        self._generations = Generations(material, opened, self._retire)

    def _retire(self, channel: grpc.Channel) -> None:
        self._opened.discard(channel)
        # The last call reports its end on a thread of gRPC's, which must not wait for the channel to close.
        threading.Thread(target=channel.close, name="unclip-retired-channel", daemon=True).start()

    def _calls(self, kind: str, *method: Any, _registered_method: bool | None = None, **codecs: Any) -> Any:
        return _SyncCalls(self._generations, (kind, *_method(*method, **codecs)))

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

    def subscribe(self, callback: Callable[[grpc.ChannelConnectivity], None], try_to_connect: bool = False) -> None:
        """Calls ``callback`` with the states of the channel that is the latest now."""
        self._generations.latest().channel.subscribe(callback, try_to_connect)

    def unsubscribe(self, callback: Callable[[grpc.ChannelConnectivity], None]) -> None:
        """Calls it no more."""
        for channel in tuple(self._opened):
            channel.unsubscribe(callback)

    def close(self) -> None:
        """Closes every channel that is still open."""
        while self._opened:
            self._opened.pop().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _SyncCalls:
    """One method of a channel for threads; a call that gives a call object, and the ways to wait for one."""

    def __init__(self, generations: Generations[Material, grpc.Channel], method: Method) -> None:
        self._generations, self._method = generations, method

    def __call__(self, request: Any, **options: Any) -> Any:
        return self._start(request, options) if self._method[0].endswith("stream") else self._wait(request, options)

    def with_call(self, request: Any, **options: Any) -> Any:
        """(answer, call)."""
        return self._wait(request, options, "with_call")

    def future(self, request: Any, **options: Any) -> Any:
        """A call to wait for later."""
        return self._start(request, options, "future")

    def _wait(self, request: Any, options: Any, way: str = "__call__") -> Any:
        generation = self._generations.enter()
        try:
            return getattr(generation.method(self._method), way)(request, **options)
        finally:
            generation.leave()

    def _start(self, request: Any, options: Any, way: str = "__call__") -> Any:
        generation = self._generations.enter()
        try:
            running = getattr(generation.method(self._method), way)(request, **options)
        except BaseException:
            generation.leave()
            raise
        if not running.add_callback(generation.leave):  # it is over already
            generation.leave()
        return running


def _reaches_nobody(channel: grpc.aio.Channel) -> bool:
    return channel.get_state() is grpc.ChannelConnectivity.TRANSIENT_FAILURE


def _method(path: str, request_serializer: Any = None, response_deserializer: Any = None) -> tuple[str, Any, Any]:
    return path, request_serializer, response_deserializer
