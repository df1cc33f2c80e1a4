"""The ports of a server: in plaintext or over TLS, for whom, and one for probes that have no certificate."""

from __future__ import annotations

from typing import Any

import grpc
from grpc_health.v1 import health_pb2_grpc

from unclip.errors import ConfigurationError
from unclip.serving import tls
from unclip.serving.files import Watched
from unclip.serving.grpc_server import new_server
from unclip.serving.handlers import Guard
from unclip.serving.identities import IdentityGuard, parse_list
from unclip.serving.metrics import watch_certificate
from unclip.serving.settings import ServerSettings


def material_of(settings: ServerSettings) -> Watched[tls.Material] | None:
    """The certificate that ``settings`` name, its end among the metrics; None where they want no TLS.

    Raises:
        ConfigurationError: a file is not what it should be, or the certificate has ended.
    """
    if not settings.tls_cert:
        return None
    material = tls.watch(settings.tls_cert, settings.tls_key, settings.tls_ca)
    tls.require_current(settings.tls_cert, material.value)
    watch_certificate("server", lambda: material.value.seconds_left())
    return material


def guards_of(settings: ServerSettings, stage: str) -> list[Guard]:
    """Whose certificates are let in where ``settings`` do not let in all that the CA signed.

    Raises:
        ConfigurationError: the list cannot be read.
    """
    names = frozenset(name for name in settings.allowed_identities.split(",") if name)
    if not names and not settings.allowed_identities_file:
        return []
    file = settings.allowed_identities_file
    watched = Watched([file], parse_list) if file else None
    return [IdentityGuard(stage, names, watched, sharing=stage == "gateway", permissive=settings.permissive)]


def listen(server: grpc.aio.Server, address: str, material: Watched[tls.Material] | None = None) -> int:
    """Has ``server`` listen at ``host:port``, over TLS where there is material; the port.

    Raises:
        ConfigurationError: the address is malformed, taken or not allowed.
    """
    try:
        if material is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, tls.server_credentials(material))
    except RuntimeError:
        raise ConfigurationError(f"cannot listen on {address}: taken or not allowed") from None


def health_server(address: str, probes: Any) -> grpc.aio.Server:
    """A server, yet to be started, that serves health and nothing else, in plaintext, at ``host:port``: probes of
    Kubernetes have no certificate. Raises ConfigurationError as `listen` does."""
    server = new_server([("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 1024)])
    health_pb2_grpc.add_HealthServicer_to_server(probes, server)
    listen(server, address)
    return server
