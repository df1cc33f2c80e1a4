"""Calls that no gRPC client would make: they end themselves, and nobody else's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest

from tests.http2 import DATA, END_HEADERS, END_STREAM, HEADERS, Connection, frame, literal, message
from tests.integration.gateway_front import Front
from unclip.api.gateway.v1 import gateway_pb2
from unclip.serving.request_id import TRAVELLING
from unclip.serving.server import Service
from unclip.testing import StubStages
from unclip.testing.stack import start_server


@pytest.fixture
async def address() -> AsyncIterator[str]:
    """A server without services."""
    services: list[Service] = []
    server, where = await start_server(services)
    yield where
    await server.stop(0)


def call(address: str, path: bytes) -> bool:
    """Whether a call by that name gets an answer, over a connection of its own."""
    headers = ((b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b"content-type", b"application/grpc"))
    with Connection(address) as connection:
        stream = connection.next_stream()
        head = b"".join(literal(header) for header in (*headers, (b"te", b"trailers")))
        connection.send(frame(HEADERS, head, END_HEADERS, stream), frame(DATA, message(), END_STREAM, stream))
        return connection.ended(stream)


@pytest.mark.parametrize("path", [b"/caf\xe9/\xff", b"", b"nowhere", b"/grpc.health.v1.Health/Check\xfe"])
async def test_a_method_whose_name_is_no_text_does_not_end_the_server(address: str, path: bytes) -> None:
    for _ in range(3):
        assert await asyncio.to_thread(call, address, path)
    async with grpc.aio.insecure_channel(address) as channel:
        ask: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert await ask(b"", timeout=10) == b"\x08\x01"  # SERVING


async def test_large_and_odd_metadata_stay_at_the_gateway_and_pause_no_stage(front: Front, stages: StubStages) -> None:
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    state = ",".join(f"k{number}=" + "x" * 150 for number in range(32))  # 5 KB, and as W3C has it
    odd = (("x-request-id", "a b" * 100), ("x-unclip-client", "y" * 500), ("x-anything", "z" * 500))
    for number in range(20):
        await front.stub.Embed(
            gateway_pb2.EmbedRequest(captions=[f"a cat {number}"]),
            metadata=(("traceparent", parent), ("tracestate", state), *odd),
            timeout=10,
        )
        await front.stub.Embed(gateway_pb2.EmbedRequest(captions=[f"a dog {number}"]), timeout=10)
    assert stages.encoder.asked
    for asked in stages.encoder.asked:
        ours = {
            key: value for key, value in asked.metadata.items() if key not in ("user-agent", "grpc-accept-encoding")
        }
        assert set(ours) <= {*TRAVELLING, "x-unclip-client", "x-unclip-part-of"}
        assert sum(map(len, ours.values())) < 1000
    assert any(asked.metadata.get("traceparent") == parent for asked in stages.encoder.asked)
