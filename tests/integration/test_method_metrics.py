"""Every method of every contract is counted, by its name and by how it ended."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from prometheus_client import REGISTRY

from tests.integration.gateway_front import MODEL
from unclip.api.decoder.v1 import decoder_pb2, upsampler_pb2
from unclip.api.encoder.v1 import encoder_pb2
from unclip.api.gateway.v1 import gateway_pb2
from unclip.api.prior.v1 import prior_pb2
from unclip.testing import BlockingStubStack

CONTRACTS = {
    "gateway": gateway_pb2.DESCRIPTOR.services_by_name["GatewayService"],
    "encoder": encoder_pb2.DESCRIPTOR.services_by_name["EncoderService"],
    "prior": prior_pb2.DESCRIPTOR.services_by_name["PriorService"],
    "decoder": decoder_pb2.DESCRIPTOR.services_by_name["DecoderService"],
    "upsampler": upsampler_pb2.DESCRIPTOR.services_by_name["UpsamplerService"],
}
METHODS = [
    (place, f"{service.full_name}/{method.name}") for place, service in CONTRACTS.items() for method in service.methods
]


@pytest.fixture(scope="module")
def addresses() -> Iterator[dict[str, str]]:
    with BlockingStubStack(MODEL) as stack:
        yield {"gateway": stack.address, **{str(stage): address for stage, address in stack.addresses.items()}}


def figure(name: str, method: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, {"rpc_method": method, **labels}) or 0.0


@pytest.mark.parametrize(("place", "method"), METHODS)
def test_every_method_is_counted_by_how_it_ended(addresses: dict[str, str], place: str, method: str) -> None:
    def ended(code: str) -> float:
        return figure("rpc_server_call_duration_seconds_count", method, rpc_response_status_code=code)

    before = ended("INVALID_ARGUMENT")
    with grpc.insecure_channel(addresses[place]) as channel:
        ask: Any = channel.unary_stream(f"/{method}")  # as good as a unary call on the wire
        with pytest.raises(grpc.RpcError):
            list(ask(b"\xff\xff", timeout=10))  # no message of any type
    assert ended("INVALID_ARGUMENT") == before + 1
    assert figure("rpc_server_active_requests", method) == 0
