"""The outermost layer of every call: a request id, and every error through the table."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Any, Self

import grpc
from google.rpc import code_pb2

from unclip.engine.observer import EngineUsage, usage_listener
from unclip.serving import clients, load_report, request_id, tracing
from unclip.serving.acceptance import accept
from unclip.serving.error_table import to_status
from unclip.serving.handlers import Context, bounded, parsed
from unclip.serving.metadata import received
from unclip.serving.metrics import CALL_SECONDS, CALLS_RUNNING
from unclip.serving.refusing import refuse
from unclip.serving.settings import MAX_REQUEST_BYTES

HEALTH = "/grpc.health.v1."
calls = logging.getLogger("unclip.calls")
Read = Callable[[bytes], Any] | None
Continuation = Callable[[grpc.HandlerCallDetails], Awaitable["grpc.RpcMethodHandler[Any, Any] | None"]]


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Gives each call a request id and turns what its handler raises into the status of the error table."""

    def __init__(self, most: int = MAX_REQUEST_BYTES) -> None:
        """``most``: bytes of a request."""
        self._most = most

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Wraps every handler but those of health, which passes as it is."""
        handler: Any = await continuation(handler_call_details)
        if handler is None or handler_call_details.method.startswith(HEALTH):
            return handler  # type: ignore[no-any-return]
        method = handler_call_details.method.removeprefix("/")
        read, write = bounded(handler.request_deserializer, self._most), handler.response_serializer
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(_unary(handler.unary_unary, read, method), None, write)
        if handler.unary_stream:
            return grpc.unary_stream_rpc_method_handler(_stream(handler.unary_stream, read, method), None, write)
        if handler.stream_unary:
            return grpc.stream_unary_rpc_method_handler(_unary(handler.stream_unary, None, method), read, write)
        return grpc.stream_stream_rpc_method_handler(_stream(handler.stream_stream, None, method), read, write)


def _unary(
    handler: Callable[[Any, Context], Awaitable[Any]], read: Read, method: str
) -> Callable[[Any, Context], Awaitable[Any]]:
    async def handle(request: Any, context: Context) -> Any:
        call = Call(method, context)
        try:
            with call:
                await accept(context, method)
                return await handler(parsed(read, request), context)
        except Exception as error:
            request = None  # see `refuse`: this frame would keep it
            await refuse(error, context, call.id)

    return handle


def _stream(
    handler: Callable[[Any, Context], AsyncIterator[Any]], read: Read, method: str
) -> Callable[[Any, Context], AsyncIterator[Any]]:
    async def handle(request: Any, context: Context) -> AsyncIterator[Any]:
        call = Call(method, context)
        try:
            with call:
                await accept(context, method)
                async for answer in handler(parsed(read, request), context):
                    yield answer
        except Exception as error:
            request = None  # see `refuse`: this frame would keep it
            await refuse(error, context, call.id)

    return handle


class Call:
    """One call: its id and trace are known to the code at hand from its first moment; its end is counted and logged."""

    def __init__(self, method: str, context: Context) -> None:
        """``method``: "package.Service/Method"."""
        self.id = request_id.of(context)
        self._method, self._began, self._context = method, time.monotonic(), context
        self._peer = context.peer()  # never of a call that is over: the process would die
        request_id.current.set(self.id)
        context.set_trailing_metadata(((request_id.HEADER, self.id),))
        self._span = tracing.serving(method, received(context))
        self._trace = tracing.trace_id.get()
        works: list[EngineUsage] = []
        self._work = works
        traced = usage_listener.get() if tracing.tracer else None

        # Timers keep the context that they were begun in until they are due, cancelled or not: so nothing in it may
        # lead to the call, which has its request.
        def record_usage(work: EngineUsage) -> None:
            works.append(work)
            if traced is not None:
                traced(work)

        usage_listener.set(record_usage)

    def __enter__(self) -> Self:
        CALLS_RUNNING.labels(self._method).inc()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        match error:
            case None:
                code = "OK"
                self._context.set_trailing_metadata(((request_id.HEADER, self.id), *self._report()))
            case asyncio.CancelledError() | GeneratorExit():
                code = "CANCELLED"
            case _:
                code = code_pb2.Code.Name(to_status(error).code)
        seconds = time.monotonic() - self._began
        CALLS_RUNNING.labels(self._method).dec()
        CALL_SECONDS.labels(self._method, code).observe(seconds)
        self._span.end(code)
        # Passed explicitly: a generator may be closed where the call's context is no longer known.
        known = {"request_id": self.id, "trace_id": self._trace, "client": clients.authenticated.get()}
        ended = {"method": self._method, "code": code, "seconds": round(seconds, 6), "peer": self._peer}
        # Gateways ask every replica for its model all the time.
        level = logging.DEBUG if self._method.endswith("/GetModelInfo") else logging.INFO
        calls.log(level, "%s %s in %.3f s", self._method, code, seconds, extra={**known, **ended})

    def _report(self) -> tuple[tuple[str, str | bytes], ...]:
        return load_report.report.trailer(load_report.Cost.of(self._work))
