"""The gateway itself, in front of peers: on a port of its own, with the project's error table."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Self

import grpc

from gateway.app import Gateway, build
from gateway.settings import Settings
from unclip.api.gateway.v1 import gateway_pb2_grpc
from unclip.serving.interceptors import ErrorInterceptor


class Front:
    """A gateway whose stages are at ``targets``; ``stub`` calls it, ``channel`` opens its port."""

    def __init__(self, targets: Mapping[str, str], patience: float = 2.0, default_deadline: float = 30.0) -> None:
        self._settings = Settings(
            encoder=targets["encoder"],
            prior=targets["prior"],
            decoder=targets["decoder"],
            upsampler=targets["upsampler"],
            patience=patience,
            default_deadline=default_deadline,
        )

    async def __aenter__(self) -> Self:
        self._gateway: Gateway = await build(self._settings)
        self._server = grpc.aio.server(interceptors=[ErrorInterceptor()])
        for service in self._gateway.services:
            service.add(service.servicer, self._server)
        port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        self.stub = gateway_pb2_grpc.GatewayServiceStub(self.channel)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.channel.close()
        await self._server.stop(None)
        await self._gateway.close()
