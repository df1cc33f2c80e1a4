"""The four stubs on ports of their own, the real gateway in front of them, and both together, for asyncio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from types import TracebackType
from typing import Any, Self, TypedDict

import grpc
from grpc_health.v1 import health_pb2_grpc

from unclip.extras import explained
from unclip.options import ServiceName
from unclip.serving.grpc_server import new_server
from unclip.serving.health import SERVING, Health
from unclip.serving.interceptors import ErrorInterceptor
from unclip.serving.listening import guards_of, listen, material_of
from unclip.serving.server import App, LateHandlers, Service, options
from unclip.serving.settings import ServerSettings
from unclip.testing.decoder import StubDecoder, StubUpsampler
from unclip.testing.encoder import StubEncoder
from unclip.testing.faults import Faults
from unclip.testing.model import STAGES, StubModel
from unclip.testing.prior import StubPrior
from unclip.testing.stub import Stub

HOST = "127.0.0.1"
PLAIN = ServerSettings()


async def start_server(
    services: Sequence[Service], port: int = 0, settings: ServerSettings | None = None, stage: str = "stub"
) -> tuple[grpc.aio.Server, str]:
    """A server of ``services`` on 127.0.0.1 with the project's error table and health, and its ``host:port``.

    settings: TLS, who may call, and the options of gRPC; nothing else of them counts. stage: named in what callers are
    refused with.
    """
    secured = settings or PLAIN
    guards = guards_of(secured, stage)
    server = new_server(options(secured), [ErrorInterceptor(secured.max_request_bytes)], late=True)
    handlers = LateHandlers(stage)
    probes = Health()
    health_pb2_grpc.add_HealthServicer_to_server(probes, server)
    server.add_generic_rpc_handlers((handlers,))
    handlers.open([replace(service, guards=[*guards, *service.guards]) for service in services])
    for name in ("", *(name for service in services for name in service.health_names)):
        await probes.set(name, SERVING)
    address = f"{HOST}:{listen(server, f'{HOST}:{port}', material_of(secured))}"
    await server.start()
    return server, address


class Bounds(TypedDict):
    """Arguments that every stub takes."""

    max_deadline: float
    remember: bool


class StubStages:
    """The four stubs, ``encoder``, ``prior``, ``decoder`` and ``upsampler``, each behind a server of its own."""

    def __init__(
        self,
        model: StubModel | None = None,
        faults: Mapping[ServiceName, Faults] | None = None,
        *,
        max_deadline: float = 300.0,
        remember: bool = True,
        settings: ServerSettings | None = None,
    ) -> None:
        """``max_deadline`` and ``remember`` are each stub's, see `Stub`. ``settings``: TLS, and who may call."""
        self.model = model or StubModel()
        self._settings = settings
        of = faults or {}
        bounds = Bounds(max_deadline=max_deadline, remember=remember)
        self.encoder = StubEncoder(self.model, of.get("encoder"), **bounds)
        self.prior = StubPrior(self.model, of.get("prior"), **bounds)
        self.decoder = StubDecoder(self.model, of.get("decoder"), **bounds)
        self.upsampler = StubUpsampler(self.model, of.get("upsampler"), **bounds)
        self.addresses: dict[ServiceName, str] = {}  # where each stage is, or was
        self._servers: dict[ServiceName, grpc.aio.Server] = {}

    @property
    def stubs(self) -> Mapping[ServiceName, Stub]:
        """The stubs by name."""
        return {stub.stage: stub for stub in (self.encoder, self.prior, self.decoder, self.upsampler)}

    async def start(self, *stages: ServiceName) -> None:
        """Starts ``stages``, all when none is named; one that was stopped comes back on its old port."""
        for stage in stages or STAGES:
            _, _, port = self.addresses.get(stage, "::0").rpartition(":")
            server, self.addresses[stage] = await start_server(
                [self.stubs[stage].service], int(port), self._settings, stage
            )
            self._servers[stage] = server

    async def stop(self, *stages: ServiceName) -> None:
        """Stops ``stages`` at once, all when none is named; calls under way break off."""
        for stage in stages or tuple(self._servers):
            await self._servers.pop(stage).stop(None)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


async def open_gateway(
    targets: Mapping[ServiceName, str], patience: float, default_deadline: float, **more: Any
) -> tuple[App, ServerSettings]:
    """The real gateway, ready to be served, and its settings; see `GatewayServer`.

    Raises:
        ConfigurationError: a setting is not what it should be.
        PreconditionFailed: the stages do not belong together.
    """
    # Only who wants the gateway has to have it: the stubs alone serve other callers of the stages as well.
    with explained():
        from gateway.app import build
        from gateway.settings import Settings

    settings = Settings(
        encoder=targets["encoder"],
        prior=targets["prior"],
        decoder=targets["decoder"],
        upsampler=targets["upsampler"],
        patience=patience,
        default_deadline=default_deadline,
        **more,
    )
    return await build(settings), settings


class GatewayServer:
    """The real gateway in this process, in front of the stages at ``targets``. ``address``: its ``host:port``."""

    def __init__(
        self, targets: Mapping[ServiceName, str], *, patience: float = 5.0, default_deadline: float = 60.0, **more: Any
    ) -> None:
        """``patience``: seconds to wait for stages that are not there yet. ``default_deadline``: seconds for calls
        that set none. ``more`` of its settings, such as ``tls_cert`` or ``stage_tls_ca``."""
        self._targets = targets
        self._patience = patience
        self._default_deadline = default_deadline
        self._more = more
        self.address = ""

    async def __aenter__(self) -> Self:
        self._gateway, settings = await open_gateway(
            self._targets, self._patience, self._default_deadline, **self._more
        )
        self._server, self.address = await start_server(self._gateway.services, 0, settings, "gateway")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.stop(None)
        await self._gateway.close()


class StubStack:
    """All stubs with the real gateway in front: ``async with StubStack() as stack``, then call ``stack.address``.

    ``stages`` holds the stubs, which are found here too: ``stack.decoder.faults.hang = True``.
    """

    def __init__(
        self, model: StubModel | None = None, *, patience: float = 5.0, default_deadline: float = 60.0
    ) -> None:
        """``patience`` and ``default_deadline`` are the gateway's, see `GatewayServer`."""
        self.stages = StubStages(model)
        self.encoder, self.prior = self.stages.encoder, self.stages.prior
        self.decoder, self.upsampler = self.stages.decoder, self.stages.upsampler
        self._gateway = GatewayServer(self.stages.addresses, patience=patience, default_deadline=default_deadline)
        self._exits = AsyncExitStack()

    @property
    def address(self) -> str:
        """``host:port`` of the gateway."""
        return self._gateway.address

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as exits:
            await exits.enter_async_context(self.stages)
            await exits.enter_async_context(self._gateway)
            self._exits = exits.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exits.aclose()
