"""Who is there: every replica of every stage, asked for its model.

A replica is met by asking again and again over a channel that calls them in turn, until nobody new answers. So whatever
names a stage's replicas to gRPC, name servers, lists, health, names them here too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Protocol

import grpc

from unclip.api.decoder.v1 import decoder_pb2, decoder_pb2_grpc, upsampler_pb2, upsampler_pb2_grpc
from unclip.api.encoder.v1 import encoder_pb2, encoder_pb2_grpc
from unclip.api.prior.v1 import prior_pb2, prior_pb2_grpc
from unclip.api.type.v1 import model_info_pb2
from unclip.errors import PermissionDenied, Unauthenticated, Unavailable, UnclipError
from unclip.options import SERVICES, ServiceName
from unclip.serving.error_table import from_rpc_error

LOG = logging.getLogger(__name__)
# How long one question about a replica's model may take.
ASK_S = 3.0
# How many of a stage's replicas may be silent before it is given up for this time.
MAX_SILENT = 2
# Of nobody's trace, and not to be recorded as one: it is asked all the time.
UNTRACED = (("traceparent", f"00-{'0' * 31}1-{'0' * 15}1-00"),)
# Replicas of one stage that are counted.
MAX_REPLICAS = 1000

ModelInfoResponse = (
    encoder_pb2.GetModelInfoResponse
    | prior_pb2.GetModelInfoResponse
    | decoder_pb2.GetModelInfoResponse
    | upsampler_pb2.UpsamplerServiceGetModelInfoResponse
)


class ModelInfoSource(Protocol):
    """Whoever can ask the stages about themselves."""

    async def model_info(self, service: ServiceName) -> model_info_pb2.ModelInfo:
        """What the next replica of ``service`` has loaded. Raises UnclipError."""
        ...


async def census(source: ModelInfoSource) -> dict[ServiceName, dict[str, model_info_pb2.ModelInfo]]:
    """The replicas of every stage by the names they give themselves; none of a stage that does not answer."""
    found = await asyncio.gather(*(replicas_of(source, service) for service in SERVICES))
    return dict(zip(SERVICES, found, strict=True))


async def replicas_of(source: ModelInfoSource, service: ServiceName) -> dict[str, model_info_pb2.ModelInfo]:
    """The replicas of one stage: asked until as many answers in a row as there are replicas came from none that is new.

    A cycle would do if nothing changed meanwhile; a replica that connects anew has the order begin anew.
    """
    found: dict[str, model_info_pb2.ModelInfo] = {}
    known = silent = 0
    while silent < MAX_SILENT and len(found) < MAX_REPLICAS and (not found or known < len(found)):
        try:
            info = await source.model_info(service)
        except UnclipError as error:
            LOG.debug("a replica of the %s does not report its model: %s", service, error)
            if not found and isinstance(error, Unavailable):
                break  # there is none
            silent += 1
            continue
        known = known + 1 if info.replica in found else 0
        found[info.replica] = info
    return found


class ModelInfoStubs:
    """Asks each stage about its model, over ``channels`` that call its replicas in turn."""

    def __init__(self, channels: Mapping[ServiceName, grpc.aio.Channel]) -> None:
        encoder = encoder_pb2_grpc.EncoderServiceStub(channels["encoder"])
        prior = prior_pb2_grpc.PriorServiceStub(channels["prior"])
        decoder = decoder_pb2_grpc.DecoderServiceStub(channels["decoder"])
        upsampler = upsampler_pb2_grpc.UpsamplerServiceStub(channels["upsampler"])
        self._methods: Mapping[ServiceName, Callable[..., Awaitable[ModelInfoResponse]]] = {
            "encoder": partial(encoder.GetModelInfo, encoder_pb2.GetModelInfoRequest()),
            "prior": partial(prior.GetModelInfo, prior_pb2.GetModelInfoRequest()),
            "decoder": partial(decoder.GetModelInfo, decoder_pb2.GetModelInfoRequest()),
            "upsampler": partial(upsampler.GetModelInfo, upsampler_pb2.UpsamplerServiceGetModelInfoRequest()),
        }

    async def model_info(self, service: ServiceName) -> model_info_pb2.ModelInfo:
        """What the next replica of ``service`` has loaded. Asked once, without patience. Raises UnclipError."""
        try:
            return (await self._methods[service](timeout=ASK_S, metadata=UNTRACED)).model
        except grpc.aio.AioRpcError as error:
            failure = from_rpc_error(error, service)
            if isinstance(failure, Unauthenticated | PermissionDenied):
                LOG.error("the %s refuses the gateway: %s", service, failure)
                raise Unavailable(service, f"the {service} does not let the gateway in") from error
            raise failure from error
