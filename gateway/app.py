"""Puts the gateway together: channels to the stages, what they serve, and the servicer in front."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import grpc

from gateway.admission.control import Admission
from gateway.admission.unread import Unread
from gateway.requests.marking import Marking
from gateway.servicer import GatewayServicer
from gateway.settings import Settings
from gateway.stages.census import ModelInfoStubs
from gateway.stages.circuit_breaker import CircuitBreaker
from gateway.stages.releases import Releases, SharedChannels
from gateway.stages.text_cache import TextCache
from unclip.api.decoder.v1 import decoder_pb2, upsampler_pb2
from unclip.api.encoder.v1 import encoder_pb2
from unclip.api.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from unclip.api.prior.v1 import prior_pb2
from unclip.malloc import return_large_blocks
from unclip.options import SERVICES, ServiceName
from unclip.serving.channels import open_channel
from unclip.serving.deadlines import Deadlines
from unclip.serving.decoding import Decoding
from unclip.serving.key_guard import KeyGuard
from unclip.serving.metrics import watch_certificate
from unclip.serving.server import Service
from unclip.serving.signing import Signer
from unclip.serving.tls import require_current, watch
from unclip.serving.versions import health_name
from unclip.serving.wrapping import traced

LOG = logging.getLogger(__name__)

# Whose health a channel watches: a replica that loads or drains gets no calls.
WATCHED: dict[ServiceName, str] = {
    "encoder": encoder_pb2.DESCRIPTOR.services_by_name["EncoderService"].full_name,
    "prior": prior_pb2.DESCRIPTOR.services_by_name["PriorService"].full_name,
    "decoder": decoder_pb2.DESCRIPTOR.services_by_name["DecoderService"].full_name,
    "upsampler": upsampler_pb2.DESCRIPTOR.services_by_name["UpsamplerService"].full_name,
}


@dataclass(frozen=True)
class Gateway:
    """A gateway ready to be served; closing it closes its channels."""

    services: Sequence[Service]
    releases: Releases
    census_channels: Sequence[grpc.aio.Channel]
    marking: Marking
    failed: asyncio.Event = field(default_factory=asyncio.Event)

    async def close(self) -> None:
        """Closes the channels to the stages, cancelling what still runs on them."""
        await self.releases.close()
        await asyncio.gather(*(channel.close() for channel in self.census_channels))
        self.marking.close()


def signer_of(settings: Settings) -> Signer | None:
    """What signs pictures, None where nothing does. Raises ConfigurationError."""
    if not settings.c2pa_certificate:
        return None
    return Signer(settings.c2pa_certificate, settings.c2pa_key)


async def build(settings: Settings) -> Gateway:
    """The gateway for ``settings``, ready when its stages are, or when ``settings.patience`` is over without them.

    A stage missing by then costs each call that needs it an Unavailable, until it comes.

    Raises:
        ConfigurationError: a target is malformed, or the files for TLS, of keys or to sign with are not what they
            should be.
        PreconditionFailed: the stages are there but speak different CLIP spaces.
    """
    return_large_blocks()
    if settings.api_keys and not settings.tls_cert:
        LOG.warning(
            "API keys are taken over plaintext at %s: without a proxy that speaks TLS, others read them", settings.host
        )
    guards = [KeyGuard(settings.api_keys)] if settings.api_keys else []  # first: it fails at once or not at all
    marking = Marking(settings.marks == "on", await asyncio.to_thread(signer_of, settings))
    targets: dict[ServiceName, str] = {service: getattr(settings, service) for service in SERVICES}
    tls = settings.stage_tls

    def stage_channel(service: ServiceName, version: str) -> grpc.aio.Channel:
        """A channel to the replicas of a stage that serve one version of its model; to all where that is empty."""
        named = health_name(WATCHED[service], version)
        return traced(open_channel(targets[service], named, tls, to_stage=settings.balanced))

    # In turn, so that every replica is met; nobody's call is traced.
    census_channels = {
        service: open_channel(target, WATCHED[service], tls, to_stage="round_robin")
        for service, target in targets.items()
    }
    if tls is not None and tls.cert:
        material = watch(tls.cert, tls.key, tls.ca)
        require_current(tls.cert, material.value)
        watch_certificate("client", lambda: material.value.seconds_left())
    breakers = {service: CircuitBreaker(service) for service in SERVICES}
    releases = Releases(ModelInfoStubs(census_channels), SharedChannels(stage_channel), breakers)
    gateway = Gateway([], releases, list(census_channels.values()), marking)
    releases.start()
    try:
        await releases.wait(settings.patience)
    except BaseException:
        await gateway.close()
        raise
    texts = TextCache(settings.text_cache * 2**20)
    deadlines = Deadlines(settings.max_deadline, settings.default_deadline)
    servicer = GatewayServicer(
        releases,
        texts,
        deadlines,
        Admission(targets, releases.serving_replicas),
        Decoding("gateway", settings.decode_megapixels * 1_000_000),
        Unread(settings.unread_mib * 2**20),
        marking,
    )
    service = Service(
        gateway_pb2.DESCRIPTOR.services_by_name["GatewayService"].full_name,
        gateway_pb2_grpc.add_GatewayServiceServicer_to_server,
        servicer,
        guards,
    )
    return replace(gateway, services=[service])
