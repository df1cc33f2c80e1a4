"""The gateway as the web process calls it: one channel for all, and a client object with each caller's own key."""

from __future__ import annotations

import time

import grpc

from unclip.api.gateway.v1 import gateway_pb2
from unclip.client import AsyncClient, ModelInfo, Sizes
from unclip.client.contract_json import JsonClient
from unclip.errors import UnclipError
from unclip.serving.channels import open_channel
from unclip.serving.tls import Tls
from unclip.serving.wrapping import traced
from unclip.web.calls import Call

SERVICE = gateway_pb2.DESCRIPTOR.services_by_name["GatewayService"].full_name
REMEMBERED_S = 30.0


class Gateway:
    """Calls the gateway at ``target``. seconds: each call may take."""

    def __init__(self, target: str, tls: Tls | None, seconds: float) -> None:
        """Raises ConfigurationError."""
        self._channel = open_channel(target, SERVICE, tls)
        self._traced = traced(self._channel)
        self._target, self._tls, self._seconds = target, tls, seconds
        self._info: tuple[float, ModelInfo] | None = None
        self._reached = False

    @property
    def reachable(self) -> bool:
        """Whether a replica of it serves, as far as is known; connects where nobody has. A connection that is renewed,
        as gateways ask for every few seconds, changes nothing until it fails."""
        state = self._channel.get_state(try_to_connect=True)
        if state not in (grpc.ChannelConnectivity.CONNECTING, grpc.ChannelConnectivity.IDLE):
            self._reached = state is grpc.ChannelConnectivity.READY
        return self._reached

    def client(self, call: Call) -> JsonClient:
        """A client that calls on behalf of ``call``."""
        return JsonClient(
            self._target,
            timeout=self._seconds,
            metadata=call.metadata,
            tls=self._tls,
            api_key=call.key,
            channel=self._traced,
        )

    async def info(self, client: AsyncClient, age: float = REMEMBERED_S) -> ModelInfo:
        """What the stack has loaded, as it was asked at most ``age`` seconds ago. Raises UnclipError."""
        if self._info is None or time.monotonic() - self._info[0] > age:
            try:
                self._info = time.monotonic(), await client.model_info()
            except UnclipError:
                if self._info is None:
                    raise
        return self._info[1]

    async def close(self) -> None:
        """Closes the channel."""
        await self._channel.close()


def side_of(info: ModelInfo) -> int:
    """Pixels a side of what the stack makes; 0 where it does not say."""
    return next((stage.image_size for stage in info.stages if stage.stage == "upsampler"), 0)


def sizes_of(info: ModelInfo) -> Sizes | None:
    """What else the stack paints; None for nothing."""
    return next((stage.sizes for stage in info.stages if stage.stage == "decoder"), None)


def steps_of(info: ModelInfo, fast: bool = False) -> int:
    """Steps that the decoder, or where it is to be ``fast`` its student, takes where nobody says how many."""
    decoder = next((stage for stage in info.stages if stage.stage == "decoder"), None)
    told = decoder and ((decoder.fast if fast else None) or decoder.defaults)
    return (told and told.steps) or 1
