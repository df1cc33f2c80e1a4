"""The probe of containers says what a server says of itself."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from unclip.serving.probe import main


@pytest.fixture
def address() -> Iterator[str]:
    """A server that lives, serves ``ready`` and does not serve ``loading``."""
    states = health.HealthServicer()
    states.set("ready", health_pb2.HealthCheckResponse.SERVING)
    states.set("loading", health_pb2.HealthCheckResponse.NOT_SERVING)
    server = grpc.server(ThreadPoolExecutor(max_workers=1))
    health_pb2_grpc.add_HealthServicer_to_server(states, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(0).wait()


@pytest.mark.parametrize(
    ("service", "status", "told"),
    [([], 0, "SERVING"), (["ready"], 0, "SERVING"), (["loading"], 1, "NOT_SERVING"), (["other"], 1, "NOT_FOUND")],
)
def test_the_status_is_zero_only_while_the_service_serves(
    address: str, service: list[str], status: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([address, *service]) == status
    assert capsys.readouterr().out == f"{told}\n"


def test_nobody_there_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["127.0.0.1:1"]) == 1
    assert capsys.readouterr().out == "UNAVAILABLE\n"
