"""The outermost layer of every call: a request id, and every error through the table."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc
from google.rpc import code_pb2
from grpc_status import rpc_status

from unclip.errors import InvalidRequest
from unclip.serving import request_id
from unclip.serving.error_table import to_status

OURS = "/unclip.api."
log = logging.getLogger(__name__)
Context = grpc.aio.ServicerContext[Any, Any]
Continuation = Callable[[grpc.HandlerCallDetails], Awaitable["grpc.RpcMethodHandler[Any, Any] | None"]]


@dataclass(frozen=True)
class Malformed:
    """Stands for a request whose bytes are no message of its type: raising in gRPC's deserialiser leaks the text."""

    reason: str


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Gives each call a request id and turns what its handler raises into the status of the error table."""

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Wraps the handlers of our contracts; health and reflection pass as they are."""
        handler: Any = await continuation(handler_call_details)
        if handler is None or handler.request_streaming or not handler_call_details.method.startswith(OURS):
            return handler  # type: ignore[no-any-return]
        read = _careful(handler.request_deserializer)
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(
                _stream(handler.unary_stream), read, handler.response_serializer
            )
        return grpc.unary_unary_rpc_method_handler(_unary(handler.unary_unary), read, handler.response_serializer)


def _careful(deserialize: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    if deserialize is None:
        return None

    def read(data: bytes) -> Any:
        try:
            return deserialize(data)
        except Exception:
            return Malformed("must be a message of its type in valid protobuf, with text in UTF-8")

    return read


def _check(request: Any) -> None:
    if isinstance(request, Malformed):
        raise InvalidRequest.of("request", request.reason)


def _unary(handler: Callable[[Any, Context], Awaitable[Any]]) -> Callable[[Any, Context], Awaitable[Any]]:
    async def handle(request: Any, context: Context) -> Any:
        name = _begin(context)
        try:
            _check(request)
            return await handler(request, context)
        except Exception as error:
            await _refuse(error, context, name)

    return handle


def _stream(handler: Callable[[Any, Context], AsyncIterator[Any]]) -> Callable[[Any, Context], AsyncIterator[Any]]:
    async def handle(request: Any, context: Context) -> AsyncIterator[Any]:
        name = _begin(context)
        try:
            _check(request)
            async for answer in handler(request, context):
                yield answer
        except Exception as error:
            await _refuse(error, context, name)

    return handle


def _begin(context: Context) -> str:
    name = request_id.of(context)
    request_id.current.set(name)
    context.set_trailing_metadata(((request_id.HEADER, name),))
    return name


async def _refuse(error: Exception, context: Context, name: str) -> None:
    """Ends the call with the error's status. A handler's own abort passes through."""
    if isinstance(error, grpc.aio.AbortError | asyncio.CancelledError):
        raise error
    status = to_status(error, name)
    if status.code == code_pb2.INTERNAL:
        log.error("call failed", exc_info=error)
    ended: Any = rpc_status.to_status(status)
    # Its trailing metadata replaces what was set before.
    metadata = (*ended.trailing_metadata, (request_id.HEADER, name))
    await context.abort_with_status(ended._replace(trailing_metadata=metadata))
