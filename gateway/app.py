"""Puts the gateway together: channels to the stages, what they serve, and the servicer in front."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import grpc

from gateway.calls import SERVICES, ServiceName
from gateway.servicer import GatewayServicer
from gateway.settings import Settings
from gateway.stack import Stack
from gateway.stages import Clients
from unclip.api.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from unclip.serving.channels import open_channel
from unclip.serving.server import Service


@dataclass(frozen=True)
class Gateway:
    """A gateway ready to be served; closing it closes its channels."""

    services: Sequence[Service]
    channels: Sequence[grpc.aio.Channel]

    async def close(self) -> None:
        """Closes the channels to the stages, cancelling what still runs on them."""
        await asyncio.gather(*(channel.close() for channel in self.channels))


async def build(settings: Settings) -> Gateway:
    """The gateway for ``settings``, ready when its stages are, or when ``settings.patience`` is over without them.

    A stage missing by then costs each call that needs it an Unavailable, until it comes.

    Raises:
        ConfigurationError: a target is malformed.
        PreconditionFailed: the stages are there but speak different CLIP spaces.
    """
    targets: dict[ServiceName, str] = {service: getattr(settings, service) for service in SERVICES}
    channels = {service: open_channel(target) for service, target in targets.items()}
    clients = Clients(channels)
    stack = Stack(clients)
    await stack.wait(settings.patience)
    servicer = GatewayServicer(stack, clients, settings.default_deadline)
    service = Service(
        gateway_pb2.DESCRIPTOR.services_by_name["GatewayService"].full_name,
        gateway_pb2_grpc.add_GatewayServiceServicer_to_server,
        servicer,
    )
    return Gateway([service], list(channels.values()))
