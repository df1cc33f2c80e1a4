"""What strangers send beside their requests: metadata that no gRPC client would send, each with a secret in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.drill.cluster import Cluster, Role
from tests.http2 import Connection, Header
from unclip.api.decoder.v1 import decoder_pb2, upsampler_pb2
from unclip.api.encoder.v1 import encoder_pb2
from unclip.api.gateway.v1 import gateway_pb2
from unclip.api.prior.v1 import prior_pb2

SERVICES: Sequence[tuple[Role, str, object]] = (
    ("encoder", "EncoderService", encoder_pb2),
    ("prior", "PriorService", prior_pb2),
    ("decoder", "DecoderService", decoder_pb2),
    ("upsampler", "UpsamplerService", upsampler_pb2),
    ("gateway", "GatewayService", gateway_pb2),
)
SECRET = b"unclip_s3cr3tkey"
PARENT = (b"traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
ODD: Sequence[Sequence[Header]] = (
    [(b"authorization", b"Bearer " + SECRET + b"\xe9")],
    [(b"authorization", b"Bearer " + SECRET), (b"x-request-id", b"\x01" + SECRET), (b"x-unclip-client", SECRET + b" ")],
    [(b"x-anything", SECRET + b"\x00\x01\x7f\xff")],
    [(b"x-lines", SECRET + b"\r\nforged: line")],
    [(b"x-odd-bin", SECRET + b"!!!"), (b"grpc-trace-bin", SECRET), (b"grpc-tags-bin", SECRET)],
    [(b"X-UPPER", SECRET), (b"", SECRET), (b"x " + SECRET, SECRET), (b":made-up", SECRET)],
    [(b"x-huge", SECRET * 4000)],
    [(b"x-large", SECRET * 400)],
    [(b"grpc-timeout", SECRET), (b"grpc-encoding", SECRET), (b"grpc-previous-rpc-attempts", SECRET)],
    [(b"user-agent", SECRET + b"\xff"), (b"lb-token", SECRET), (b"content-type", SECRET), (b"te", SECRET)],
    [(b"traceparent", SECRET), (b"tracestate", b"a=" + SECRET)],
    [PARENT, (b"tracestate", b"a=" + SECRET + b"\xe9"), (b"tracestate", b"," * 5000)],
)


def paths() -> Iterator[tuple[Role, str]]:
    """Every method of every service, as gRPC calls it."""
    for role, name, module in SERVICES:
        service = module.DESCRIPTOR.services_by_name[name]  # type: ignore[attr-defined]
        yield from ((role, f"/{service.full_name}/{method.name}") for method in service.methods)


def telling(running: Cluster) -> list[Role]:
    """The roles in whose logs the secret is."""
    return [replica.role for replica in running.replicas if SECRET in replica.process.log.read_bytes()]


def one(address: str, path: str, headers: Sequence[Header], data: bytes = b"") -> None:
    """One call over a connection of its own, whatever becomes of it."""
    try:
        with Connection(address, 5) as connection:
            connection.ended(connection.call(path, headers, data))
    except OSError:
        pass
