"""Channels to several replicas: named one by one, they share the calls."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from unclip.api.decoder.v1 import decoder_pb2, decoder_pb2_grpc
from unclip.errors import ConfigurationError
from unclip.serving.channels import is_loopback, open_channel, options, resolved
from unclip.testing.decoder import StubDecoder
from unclip.testing.model import StubModel
from unclip.testing.stack import start_server


@pytest.mark.parametrize("target", ["ipv4:10.0.0.1:50053", "ipv4:127.0.0.1:1,127.0.0.2:65535"])
def test_a_list_of_addresses_stays_as_it_is(target: str) -> None:
    assert resolved(target) == target


@pytest.mark.parametrize(
    "target", ["ipv4:", "ipv4:10.0.0.1", "ipv4:10.0.0.1:0", "ipv4:10.0.0.1:1,", "ipv4:10.0.0.1:65536,10.0.0.2:1"]
)
def test_a_list_of_addresses_names_a_port_for_each(target: str) -> None:
    with pytest.raises(ConfigurationError, match="commas"):
        resolved(target)


def test_a_host_may_be_called_ipv4() -> None:
    assert resolved("ipv4:50053") == "dns:///ipv4:50053"


async def test_channels_to_one_server_share_no_connection() -> None:
    """Since two that begin to watch its health over the same one at once can crash the process."""
    peers: list[str] = []

    class Telling(health_pb2_grpc.HealthServicer):
        async def Check(self, request: health_pb2.HealthCheckRequest, context: Any) -> health_pb2.HealthCheckResponse:
            peers.append(context.peer())
            return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)

    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(Telling(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channels = [open_channel(f"127.0.0.1:{port}", "unclip.Some") for _ in range(2)]
    try:
        for channel in channels:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            await stub.Check(health_pb2.HealthCheckRequest(), timeout=10)
    finally:
        for channel in channels:
            await channel.close()
        await server.stop(None)
    assert len(set(peers)) == 2


@pytest.mark.parametrize("variable", ["http_proxy", "https_proxy", "grpc_proxy"])
async def test_neither_stages_nor_this_machine_are_looked_for_behind_a_proxy(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:1")  # where nobody listens
    server, address = await start_server([StubDecoder(StubModel()).service])
    named = address.replace("127.0.0.1", "localhost")
    channels = [open_channel(address), open_channel(named), open_channel(named, to_stage="round_robin")]
    try:
        for channel in channels:
            assert (
                await decoder_pb2_grpc.DecoderServiceStub(channel).GetModelInfo(
                    decoder_pb2.GetModelInfoRequest(), timeout=20, wait_for_ready=True
                )
            ).model.name
    finally:
        for channel in channels:
            await channel.close()
        await server.stop(None)


def test_a_gateway_elsewhere_may_be_behind_one() -> None:
    assert dict(options("unclip.example:1", ""))["grpc.enable_http_proxy"] == 1
    assert dict(options("unclip.example:1", "", "round_robin"))["grpc.enable_http_proxy"] == 0


async def test_listed_replicas_take_turns() -> None:
    replicas = [StubDecoder(StubModel(name=name)) for name in ("first", "second", "third")]
    servers = [await start_server([replica.service]) for replica in replicas]
    channel = open_channel("ipv4:" + ",".join(address for _, address in servers), replicas[0].service.name)
    ask = decoder_pb2_grpc.DecoderServiceStub(channel).GetModelInfo
    try:
        names = [(await ask(decoder_pb2.GetModelInfoRequest(), wait_for_ready=True)).model.name for _ in range(60)]
    finally:
        await channel.close()
        for server, _ in servers:
            await server.stop(None)
    assert set(names) == {"first", "second", "third"}
    assert sorted(names[-30:]) == ["first"] * 10 + ["second"] * 10 + ["third"] * 10


@pytest.mark.parametrize(
    ("target", "here"),
    [
        ("localhost:1", True),
        ("LocalHost:1", True),
        ("dns:///localhost:1", True),
        ("dns://10.0.0.1:53/localhost:1", True),
        ("dns://127.0.0.1:53/unclip.example:1", False),
        ("[::1]:1", True),
        ("127.0.0.1:1", True),
        ("127.0.0.1.example:1", False),
        ("ipv4:127.0.0.1:1", True),
        ("ipv4:127.0.0.1:1,127.0.0.2:1", True),
        ("ipv4:127.0.0.1:1,10.0.0.1:1", False),
    ],
)
def test_what_is_on_this_machine_is_known_by_every_kind_of_target(target: str, here: bool) -> None:
    assert is_loopback(target) == here
