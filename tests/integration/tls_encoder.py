"""A stub of the encoder behind mTLS, and its callers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from cryptography import x509

from tests.certificates import Authority, Files, put
from unclip import Tls
from unclip.api.encoder.v1 import encoder_pb2, encoder_pb2_grpc
from unclip.serving.channels import open_channel
from unclip.serving.handlers import Context

GATEWAY = "spiffe://unclip/gateway"


@dataclass
class Encoder:
    """A stub of the encoder that wants certificates, and whose list of identities may be edited."""

    authority: Authority
    server: Files
    allowed: Path
    address: str = ""
    callers: list[int] = field(default_factory=list)  # serial number of each call's certificate

    @contextmanager
    def admit(self, context: Context) -> Iterator[None]:
        [certificate] = context.auth_context()["x509_pem_cert"]
        self.callers.append(x509.load_pem_x509_certificate(certificate).serial_number)
        yield

    def allow(self, *names: str) -> None:
        put(self.allowed, "\n".join(["# who may call", *names, ""]).encode())

    async def ask(self, tls: Tls | None, channel: grpc.aio.Channel | None = None) -> str:
        """ "served", or the status that a caller with ``tls`` gets."""
        opened = channel or open_channel(self.address, tls=tls)
        stub = encoder_pb2_grpc.EncoderServiceStub(opened)
        try:
            await stub.GetModelInfo(encoder_pb2.GetModelInfoRequest(), timeout=5)
        except grpc.aio.AioRpcError as error:
            self.error = error
            return error.code().name
        finally:
            if channel is None:
                await opened.close()
        return "served"


def caller(authority: Authority, files: Files | None, ca: Path | None = None) -> Tls:
    own = (str(files.cert), str(files.key)) if files else ("", "")
    return Tls(str(ca or authority.ca), *own)
