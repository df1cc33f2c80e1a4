"""gRPC servers that no call can end.

grpc.aio reads the name of a call as UTF-8 where it takes calls in, and a name that is not UTF-8 ends the loop that
takes them, and with it the server, for everybody. Methods that a server registers are matched by gRPC core, byte for
byte: so all methods of our contracts are registered, and what is called by any other name is refused unread.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import grpc
from google.protobuf.descriptor import FileDescriptor
from grpc._cython import cygrpc  # type: ignore[attr-defined]

from unclip.api.decoder.v1 import decoder_pb2, upsampler_pb2
from unclip.api.encoder.v1 import encoder_pb2
from unclip.api.gateway.v1 import gateway_pb2
from unclip.api.prior.v1 import prior_pb2
from unclip.serving import reflection
from unclip.serving.floods import Floods
from unclip.serving.handlers import Context

CONTRACTS: Sequence[FileDescriptor] = (
    *(module.DESCRIPTOR for module in (gateway_pb2, encoder_pb2, prior_pb2, decoder_pb2, upsampler_pb2)),
    *reflection.CONTRACTS,
)


class AioServer(cygrpc.AioServer):  # type: ignore[misc]
    """The server of grpc.aio, whose loop meets none but registered methods."""

    floods: Floods | None = None

    def _make_request_call_future(self, method: bytes | None) -> Any:
        """What ends with the next call of ``method``; None: of all that are not registered, of which none gets on."""
        if method is None:
            return asyncio.get_running_loop().create_task(self._refuse_others())
        if self.floods is None:
            return super()._make_request_call_future(method)
        return asyncio.get_running_loop().create_task(self._let_in(method, self.floods))

    async def _let_in(self, method: bytes, floods: Floods) -> Any:
        """The next call of ``method`` that is worth a handler."""
        while True:
            call = await super()._make_request_call_future(method)
            context = context_of(call)
            if floods.allows(context):
                floods.begun(context)
                return call

    async def _refuse_others(self) -> None:
        refusals = set[asyncio.Task[None]]()
        while True:
            context = context_of(await self._request_call())
            if self.floods:
                with contextlib.suppress(Exception):  # whatever it is, the server goes on
                    self.floods.wasted(context.peer())
            task = asyncio.create_task(unimplemented(context))
            refusals.add(task)
            task.add_done_callback(refusals.discard)


def context_of(call: Any) -> Context:
    """The context of a call that grpc.aio has not looked at."""
    context: Context = cygrpc._ServicerContext(call, None, None, asyncio.get_running_loop())
    return context


async def unimplemented(context: Context) -> None:
    """Refuses a call."""
    with contextlib.suppress(Exception):  # an AbortError ends the call, also where the caller has left
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "no such method")


def new_server(
    options: Sequence[tuple[str, int]], interceptors: Sequence[grpc.aio.ServerInterceptor] = (), *, late: bool = False
) -> grpc.aio.Server:
    """A server, yet to be started. late: methods of the contracts are served though their handlers come later."""
    server: Any = grpc.aio.server(interceptors=interceptors, options=options)
    server._server = AioServer(asyncio.get_running_loop(), None, (), tuple(interceptors), tuple(options), None)
    if late:
        server._server.add_registered_method_handlers(dict.fromkeys(methods(CONTRACTS)))
    return server  # type: ignore[no-any-return]


def methods(contracts: Iterable[FileDescriptor]) -> Iterator[str]:
    """The names of all methods, as gRPC calls them."""
    for contract in contracts:
        for service in contract.services_by_name.values():
            yield from (f"/{service.full_name}/{method.name}" for method in service.methods)


def watch_floods(server: grpc.aio.Server, floods: Floods) -> None:
    """Has ``floods`` see the calls of a server of `new_server` that is yet to be started."""
    server._server.floods = floods  # type: ignore[attr-defined]
