"""A request that kills whoever reads it takes two replicas with it, not the fleet."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import grpc
import pytest
from google.rpc import error_details_pb2

from tests.integration.gateway_front import Front
from tests.integration.mortal_encoder import DEADLY
from tests.integration.test_gateway_failures import details
from tests.waiting import until
from unclip.api.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from unclip.serving.channels import open_channel
from unclip.serving.metrics import POISON
from unclip.testing import StubStages

REPLICAS = 5
WAIT_S = 10


@pytest.fixture
def encoders() -> Iterator[list[subprocess.Popen[str]]]:
    command = [sys.executable, "-m", "tests.integration.mortal_encoder"]
    made = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(REPLICAS)
    ]
    yield made
    for process in made:
        process.kill()
        process.communicate()


def dead(encoders: list[subprocess.Popen[str]]) -> int:
    return sum(process.poll() is not None for process in encoders)


async def test_a_request_that_kills_replicas_takes_two_and_is_refused_for_it(
    encoders: list[subprocess.Popen[str]], stages: StubStages
) -> None:
    addresses = [process.stdout.readline().strip() for process in encoders if process.stdout]
    before = POISON.labels("encoder")._value.get()
    async with Front({**stages.addresses, "encoder": f"ipv4:{','.join(addresses)}"}) as front:
        sound = gateway_pb2.GenerateRequest(caption="a red cat")
        await front.stub.Generate(sound)
        # As our clients call, whose channels ask again where a stage is not to be had.
        async with open_channel(front.address) as channel:
            stub = gateway_pb2_grpc.GatewayServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.Generate(gateway_pb2.GenerateRequest(caption=DEADLY), timeout=WAIT_S)
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
        assert "2 replicas were lost at work on this request" in (refused.value.details() or "")
        [info] = [d for d in details(refused.value) if isinstance(d, error_details_pb2.ErrorInfo)]
        assert (info.reason, info.metadata["stage"]) == ("POISON_SUSPECTED", "encoder")
        await until(lambda: dead(encoders) >= 2)  # their calls end a moment before they do
        assert dead(encoders) == 2
        assert POISON.labels("encoder")._value.get() == before + 1
        await front.stub.Generate(sound)
