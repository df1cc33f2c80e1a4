"""Health of what a server serves: grpc.health.v1, for probes and for callers' channels.

The servicer of ``grpcio-health-checking`` is not used while its versions for protobuf 6, which Triton's client wants,
must do: in 1.81, for asyncio, one of those that watch a name leaves, and the others never hear of it again, and so send
calls to a replica that is about to go. (1.85 counts them.)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_NAME = "grpc.health.v1.Health"
UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
Status = int  # of grpc.health.v1.HealthCheckResponse.ServingStatus
Context = grpc.aio.ServicerContext[Any, Any]


class Health(health_pb2_grpc.HealthServicer):
    """The status of each name; "" is the process itself. loading: the names are not known yet, and none is ready."""

    def __init__(self) -> None:
        self.loading = False
        self._statuses: dict[str, Status] = {}
        self._changed = asyncio.Condition()

    async def set(self, service: str, status: Status) -> None:
        """From now on that is the status of ``service``."""
        async with self._changed:
            self._statuses[service] = status
            self._changed.notify_all()

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Context) -> health_pb2.HealthCheckResponse:
        """The status of one name; NOT_FOUND for one that is not served."""
        status = self._of(request.service)
        if status == UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND)
        return health_pb2.HealthCheckResponse(status=status)

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """The status of one name, and again whenever it has changed."""
        sent: Status | None = None
        while True:
            async with self._changed:
                while (status := self._of(request.service)) == sent:
                    await self._changed.wait()
            yield health_pb2.HealthCheckResponse(status=status)
            sent = status

    def _of(self, service: str) -> Status:
        return self._statuses.get(service, NOT_SERVING if self.loading and service else UNKNOWN)
