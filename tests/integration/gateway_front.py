"""The gateway on a port of its own, and a stub to call it with."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import grpc

from unclip.api.gateway.v1 import gateway_pb2_grpc
from unclip.options import SamplingSettings
from unclip.testing import GatewayServer, StubModel

STEPS = 4
MODEL = StubModel(
    dim=6,
    context=5,
    base_size=8,
    final_size=16,
    prior=SamplingSettings("ddpm", STEPS, 4.0),
    decoder=SamplingSettings("ddpm", STEPS, 8.0),
    upsampler=SamplingSettings("ddpm", STEPS, 1.0),
)


class Front(GatewayServer):
    """A gateway in front of stages; ``stub`` calls it, ``channel`` opens its port."""

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self.channel = grpc.aio.insecure_channel(self.address)
        self.stub = gateway_pb2_grpc.GatewayServiceStub(self.channel)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.channel.close()
        await super().__aexit__(kind, error, trace)
