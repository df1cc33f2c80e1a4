"""What a call brought is let go when the call has ended, and not when its deadline would have come."""

from __future__ import annotations

import gc

import grpc
import pytest
from PIL import Image

from gateway.requests.plan import VaryPlan
from unclip.api.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from unclip.api.type.v1 import image_pb2
from unclip.testing import StubStack
from unclip.wire.images import encode_image

CALLS = 20


async def test_refused_requests_are_not_kept_until_their_deadline() -> None:
    request = gateway_pb2.EmbedRequest(images=[image_pb2.Image(data=bytes(range(256)) * 40)])
    async with StubStack() as stack, grpc.aio.insecure_channel(stack.address) as channel:
        stub = gateway_pb2_grpc.GatewayServiceStub(channel)
        for _ in range(CALLS):
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.Embed(request, timeout=60)
        gc.collect()
        kept = [each for each in gc.get_objects() if isinstance(each, gateway_pb2.EmbedRequest)]
    assert len(kept) <= CALLS // 4


async def test_refused_requests_are_let_go_before_python_looks_for_garbage() -> None:
    """grpc.aio keeps the end of a refused call in a circle; of large requests it would keep hundreds of megabytes."""
    request = gateway_pb2.VaryRequest(image=image_pb2.Image(data=bytes(range(256)) * 40))
    async with StubStack() as stack, grpc.aio.insecure_channel(stack.address) as channel:
        stub = gateway_pb2_grpc.GatewayServiceStub(channel)
        gc.collect()
        gc.disable()
        try:
            for _ in range(CALLS):
                with pytest.raises(grpc.aio.AioRpcError):
                    await stub.Vary(request, timeout=60)
            kept = [each for each in gc.get_objects() if isinstance(each, gateway_pb2.VaryRequest)]
        finally:
            gc.enable()
    assert len(kept) <= CALLS // 4


async def test_so_are_those_of_streams_that_were_served() -> None:
    request = gateway_pb2.StreamRequest(vary=gateway_pb2.VaryRequest(image=encode_image(Image.new("RGB", (64, 64)))))
    async with StubStack() as stack, grpc.aio.insecure_channel(stack.address) as channel:
        stub = gateway_pb2_grpc.GatewayServiceStub(channel)
        gc.collect()
        gc.disable()
        try:
            for _ in range(CALLS):
                assert [event async for event in stub.Stream(request, timeout=60)]
            kept = [each for each in gc.get_objects() if isinstance(each, VaryPlan)]
        finally:
            gc.enable()
    assert len(kept) <= CALLS // 4
