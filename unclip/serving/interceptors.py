"""The outermost layer of every call: a request id, and every error through the table."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from google.rpc import code_pb2
from grpc_status import rpc_status

from unclip.serving import request_id
from unclip.serving.error_table import to_status
from unclip.serving.handlers import Context, parsed
from unclip.serving.metrics import CALL_SECONDS, CALLS_RUNNING

HEALTH = "/grpc.health.v1."
log = logging.getLogger(__name__)
Read = Callable[[bytes], Any] | None
Continuation = Callable[[grpc.HandlerCallDetails], Awaitable["grpc.RpcMethodHandler[Any, Any] | None"]]


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Gives each call a request id and turns what its handler raises into the status of the error table."""

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Wraps every handler but those of health, which passes as it is."""
        handler: Any = await continuation(handler_call_details)
        if handler is None or handler_call_details.method.startswith(HEALTH):
            return handler  # type: ignore[no-any-return]
        method = handler_call_details.method.removeprefix("/")
        read, write = handler.request_deserializer, handler.response_serializer
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(_unary(handler.unary_unary, read, method), None, write)
        if handler.unary_stream:
            return grpc.unary_stream_rpc_method_handler(_stream(handler.unary_stream, read, method), None, write)
        assert handler.stream_stream, "none of our services takes a stream and gives one answer"
        return grpc.stream_stream_rpc_method_handler(_stream(handler.stream_stream, None, method), read, write)


def _unary(
    handler: Callable[[Any, Context], Awaitable[Any]], read: Read, method: str
) -> Callable[[Any, Context], Awaitable[Any]]:
    async def handle(request: Any, context: Context) -> Any:
        name = _begin(context)
        try:
            with _counted(method):
                return await handler(parsed(read, request), context)
        except Exception as error:
            await _refuse(error, context, name)

    return handle


def _stream(
    handler: Callable[[Any, Context], AsyncIterator[Any]], read: Read, method: str
) -> Callable[[Any, Context], AsyncIterator[Any]]:
    async def handle(request: Any, context: Context) -> AsyncIterator[Any]:
        name = _begin(context)
        try:
            with _counted(method):
                async for answer in handler(parsed(read, request), context):
                    yield answer
        except Exception as error:
            await _refuse(error, context, name)

    return handle


@contextmanager
def _counted(method: str) -> Iterator[None]:
    """Counts a call, its time and the status it will end with."""
    began, code = time.monotonic(), "OK"
    CALLS_RUNNING.labels(method).inc()
    try:
        yield
    except (asyncio.CancelledError, GeneratorExit):
        code = "CANCELLED"
        raise
    except Exception as error:
        code = code_pb2.Code.Name(to_status(error).code)
        raise
    finally:
        CALLS_RUNNING.labels(method).dec()
        CALL_SECONDS.labels(method, code).observe(time.monotonic() - began)


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
