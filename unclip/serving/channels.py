"""Channels to services: name resolution, balancing, health, keepalive, retries and TLS, the same for every caller."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Literal

import grpc

from unclip.errors import ConfigurationError
from unclip.serving.renewal import RenewedChannel, RenewedSyncChannel
from unclip.serving.tls import Tls, channel_credentials, watch

TARGET = re.compile(r"(?:dns://(?:\d+\.\d+\.\d+\.\d+:\d{1,5})?/)?(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):\d{1,5}")
LIST = re.compile(r"ipv4:\d+\.\d+\.\d+\.\d+:\d{1,5}(?:,\d+\.\d+\.\d+\.\d+:\d{1,5})*")
LOOPBACK = re.compile(r"localhost\.?|\[?::1\]?|127(?:\.\d+){3}", re.IGNORECASE)
MAX_MESSAGE = 32 * 1024 * 1024
MAX_ANSWER = 40 * 1024 * 1024  # of one service to another: 64 captions by Stable unCLIP's two text encoders are 34 MiB
RETRYABLE = ["UNAVAILABLE", "CANCELLED"]  # a server that stops drops some calls as CANCELLED
# gRFC A50. Every call must have failed: an overloaded replica serves some, and is no better off without the others.
OUTLIER_DETECTION = {
    "interval": "5s",
    "baseEjectionTime": "30s",
    "maxEjectionTime": "120s",
    "maxEjectionPercent": 50,
    "failurePercentageEjection": {
        "threshold": 99,
        "enforcementPercentage": 100,
        "minimumHosts": 2,
        "requestVolume": 5,
    },
}

# gRFC A58. Connections are young, see `max_connection_age`: a new one is weighed by its first answer.
WEIGHTED_ROUND_ROBIN = {"blackoutPeriod": "0s", "weightUpdatePeriod": "1s", "weightExpirationPeriod": "30s"}
Balancing = Literal["round_robin", "weighted_round_robin"]


def service_config(service: str, to_stage: Balancing | None = None) -> str:
    """The gRPC service config: round robin over replicas whose health says that they serve ``service``.

    to_stage: as the gateway calls a stage, balancing so. It asks another replica itself, at once, where one has no
    room; and a replica that answers every call with an error gets none for a while.
    """
    balancing: dict[str, object] = {"round_robin": {}}
    if to_stage:
        child = {"weighted_round_robin": WEIGHTED_ROUND_ROBIN} if to_stage == "weighted_round_robin" else balancing
        balancing = {"outlier_detection_experimental": {**OUTLIER_DETECTION, "childPolicy": [child]}}
    return json.dumps(
        {
            "loadBalancingConfig": [balancing],
            "healthCheckConfig": {"serviceName": service},
            "methodConfig": [
                {
                    "name": [{}],
                    "retryPolicy": {
                        "maxAttempts": 3,
                        # The gateway asks a stage again itself, which for a stream gRPC could not.
                        "initialBackoff": "0.02s" if to_stage else "0.1s",
                        "maxBackoff": "2s",
                        "backoffMultiplier": 2 if to_stage else 4,
                        "retryableStatusCodes": RETRYABLE if to_stage else [*RETRYABLE, "RESOURCE_EXHAUSTED"],
                    },
                }
            ],
            "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1},
        }
    )


def is_loopback(address: str) -> bool:
    """Whether what is sent to ``host:port``, or to any target of `resolved`, stays on this machine."""
    places = address.removeprefix("ipv4:") if LIST.fullmatch(address) else address.rpartition("/")[2]
    return all(LOOPBACK.fullmatch(place.rpartition(":")[0]) for place in places.split(","))


def options(target: str, service: str, to_stage: Balancing | None = None) -> Sequence[tuple[str, str | int]]:
    """Channel options: quick to find new replicas and to leave dead ones.

    The environment's proxy (``grpc_proxy``, ``https_proxy``, ``http_proxy``, by gRPC's rules) is not for stages, which
    stand beside the gateway, nor for this machine.

    Who pings may wait for twice its keepalive time before it does, so that a stage's replica that neither answers nor
    hangs up is left within 7 s, and a gateway within 11 s. Before a gateway a proxy may stand: one that takes this for
    an attack says so, and is pinged half as often from then on.
    """
    return (
        ("grpc.service_config", service_config(service, to_stage)),
        ("grpc.enable_http_proxy", 0 if to_stage or is_loopback(target) else 1),
        # Two channels that share a connection can begin to watch its health at once, of which gRPC's core dies (seen
        # with 1.85: HealthProducer's second watcher comes before its start): each channel has connections of its own.
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.dns_min_time_between_resolutions_ms", 5_000),
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.min_reconnect_backoff_ms", 2_000),
        ("grpc.max_reconnect_backoff_ms", 5_000),
        ("grpc.keepalive_time_ms", 2_000 if to_stage else 3_000),
        ("grpc.keepalive_timeout_ms", 3_000 if to_stage else 5_000),
        ("grpc.http2.ping_timeout_ms", 3_000 if to_stage else 5_000),  # of other pings, which hold that one up
        ("grpc.http2.max_pings_without_data", 0),  # a long step sends nothing, and is asked all the same
        # Beyond the default 256 KiB a request with a picture would not be retried.
        ("grpc.per_rpc_retry_buffer_size", MAX_MESSAGE),
        ("grpc.max_receive_message_length", MAX_ANSWER),
        ("grpc.max_send_message_length", MAX_MESSAGE),
    )


def resolved(target: str) -> str:
    """``host:port`` as a target that gRPC resolves by DNS; ``ipv4:a:port,b:port``, replicas one by one, stays as it is,
    and so does ``dns://a:port/host:port``, which names the server to ask.

    Raises:
        ConfigurationError: it is neither.
    """
    one, several = TARGET.fullmatch(target), LIST.fullmatch(target)
    ports = re.findall(r":(\d+)(?:,|$)", target) if one or several else []
    if not ports or not all(1 <= int(port) <= 65535 for port in ports):
        raise ConfigurationError(
            f"a target must be host:port, or ipv4: and such addresses with commas, with ports of 1 to 65535; "
            f"got {target!r}"
        )
    return target if several or target.startswith("dns:") else f"dns:///{target}"


def open_channel(
    target: str, service: str = "", tls: Tls | None = None, to_stage: Balancing | None = None
) -> grpc.aio.Channel:
    """An asyncio channel to a target of `resolved`; connects when first used, and anew where it reaches nobody for 5 s.

    service: full name whose health counts. tls: how to speak TLS, None for plaintext; when its files change, new calls
    go over new connections, and those under way end on the old ones.

    to_stage: see `service_config`.

    Raises:
        ConfigurationError: the target is malformed, or a file of ``tls`` is not what it should be.
    """
    where, given = resolved(target), options(target, service, to_stage)
    if tls is None:
        return RenewedChannel(lambda: None, lambda _: grpc.aio.insecure_channel(where, options=given))
    material, named = watch(tls.cert, tls.key, tls.ca), [*given, *named_as(tls)]
    return RenewedChannel(
        lambda: material.value,
        lambda now: grpc.aio.secure_channel(where, channel_credentials(now), options=named),
    )


def open_sync_channel(target: str, service: str = "", tls: Tls | None = None) -> grpc.Channel:
    """As `open_channel`, for threads."""
    where, given = resolved(target), options(target, service)
    if tls is None:
        return grpc.insecure_channel(where, options=given)
    material, named = watch(tls.cert, tls.key, tls.ca), [*given, *named_as(tls)]
    return RenewedSyncChannel(
        lambda: material.value, lambda now: grpc.secure_channel(where, channel_credentials(now), options=named)
    )


def named_as(tls: Tls) -> list[tuple[str, str]]:
    """Channel options for a server whose certificate bears another name than its address."""
    return [("grpc.ssl_target_name_override", tls.server_name)] if tls.server_name else []
