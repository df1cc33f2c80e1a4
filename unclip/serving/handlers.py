"""Who may call a service: guards, which every call passes before its request is even parsed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any, Protocol

import grpc

from unclip.errors import InvalidRequest

Context = grpc.aio.ServicerContext[Any, Any]
MALFORMED = "must be a message of its type in valid protobuf, with text in UTF-8"
Handler = Any  # grpc.RpcMethodHandler, whose types say nothing of what is in it


class Guard(Protocol):
    """Lets calls in, or does not."""

    def admit(self, context: Context) -> AbstractContextManager[None]:
        """Held for as long as the call runs. Entering it raises an UnclipError for a call that may not."""
        ...


def bounded(read: Callable[[bytes], Any] | None, most: int) -> Callable[[bytes], Any]:
    """``read`` for messages of at most ``most`` bytes.

    What is larger is refused here and not by gRPC's core, whose word for it, RESOURCE_EXHAUSTED, has clients try again.
    """

    def checked(data: bytes) -> Any:
        if len(data) > most:
            raise InvalidRequest.of("request", f"must be at most {most} bytes; got {len(data)}")
        return data if read is None else read(data)

    return checked


def parsed(read: Callable[[bytes], Any] | None, data: Any) -> Any:
    """The message in ``data``. gRPC's own parsing would send callers the text of whatever goes wrong.

    Raises:
        InvalidRequest: the bytes are no message of its type.
    """
    if read is None:
        return data
    try:
        return read(data)
    except InvalidRequest:
        raise
    except Exception:
        raise InvalidRequest.of("request", MALFORMED) from None


def guarded(handler: Handler, guards: Sequence[Guard]) -> Handler:
    """``handler`` for those calls only that all ``guards`` let in, and for as long as they do.

    A handler of one request becomes one of a stream with one request in it, which is the same on the wire: gRPC reads
    the whole request, megabytes perhaps, before it calls the former, and nothing before it calls the latter.
    """
    read, write = handler.request_deserializer, handler.response_serializer

    async def unary(requests: AsyncIterator[bytes], context: Context) -> Any:
        with _all_admit(guards, context):
            return await handler.unary_unary(await _single_request(requests, read), context)

    async def server_stream(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[Any]:
        with _all_admit(guards, context):
            async for answer in handler.unary_stream(await _single_request(requests, read), context):
                yield answer

    async def bidirectional_stream(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[Any]:
        with _all_admit(guards, context):
            async for answer in handler.stream_stream((parsed(read, r) async for r in requests), context):
                yield answer

    if handler.unary_unary:
        return grpc.stream_unary_rpc_method_handler(unary, None, write)
    assert handler.unary_stream or handler.stream_stream, "none of our services takes a stream and gives one answer"
    return grpc.stream_stream_rpc_method_handler(
        server_stream if handler.unary_stream else bidirectional_stream, None, write
    )


async def _single_request(requests: AsyncIterator[bytes], read: Callable[[bytes], Any] | None) -> Any:
    async for request in requests:
        return parsed(read, request)
    raise InvalidRequest.of("request", "is missing")


def _all_admit(guards: Sequence[Guard], context: Context) -> AbstractContextManager[Any]:
    with ExitStack() as passed:
        for guard in guards:
            passed.enter_context(guard.admit(context))
        return passed.pop_all()


class Guarded(grpc.GenericRpcHandler):
    """Handlers of one service, guarded."""

    def __init__(self, inner: grpc.GenericRpcHandler, guards: Sequence[Guard]) -> None:
        self._inner, self._guards = inner, guards

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """The handler of a call."""
        found = self._inner.service(details)
        return None if found is None else guarded(found, self._guards)


class GuardedServer:
    """What generated code takes for a server when a guarded service is added to ``server``."""

    def __init__(self, server: Any, guards: Sequence[Guard]) -> None:
        self._server, self._guards = server, guards

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Adds them, guarded."""
        self._server.add_generic_rpc_handlers(tuple(Guarded(handler, self._guards) for handler in handlers))

    def add_registered_method_handlers(self, service: str, handlers: object) -> None:
        """Adds nothing: registered handlers would go before the guarded ones."""
