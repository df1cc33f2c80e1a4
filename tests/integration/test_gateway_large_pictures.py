"""Pictures that are small as files and large as pixels: bounded in memory, refused before they are decoded, and nobody
else's business."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
import time

import grpc
import pytest
from PIL import Image

from tests.integration.gateway_front import Front
from unclip.api.encoder.v1 import encoder_pb2, encoder_pb2_grpc
from unclip.api.gateway.v1 import gateway_pb2
from unclip.api.type.v1 import image_pb2
from unclip.serving.clients import HEADER
from unclip.testing import StubStages


def flat(
    side: int, mode: str = "RGB", kind: str = "WEBP", colour: str | tuple[int, ...] | int = "red"
) -> image_pb2.Image:
    """A picture of one colour: a file of some hundred bytes."""
    buffer = io.BytesIO()
    Image.new(mode, (side, side), colour).save(buffer, kind, **({"lossless": True} if kind == "WEBP" else {}))
    return image_pb2.Image(data=buffer.getvalue())


LARGE = flat(4000)


async def test_pictures_with_too_many_pixels_are_invalid_not_too_much_for_now(front: Front, stages: StubStages) -> None:
    """16 MP each, 11 KB together: no amount of waiting would let them in."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await front.stub.Embed(gateway_pb2.EmbedRequest(images=[LARGE] * 16))
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "images: must be at most 64000000 pixels together; got 256000000" in (refused.value.details() or "")
    async with grpc.aio.insecure_channel(stages.addresses["encoder"]) as channel:
        encoder = encoder_pb2_grpc.EncoderServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await encoder.EncodeImage(encoder_pb2.EncodeImageRequest(images=[LARGE] * 16))
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_client_that_sends_many_large_pictures_is_refused_in_time_and_others_are_served(
    front: Front,
) -> None:
    many = gateway_pb2.EmbedRequest(images=[LARGE] * 4)
    small = gateway_pb2.EmbedRequest(images=[flat(8)])
    calls = [front.stub.Embed(many, metadata=((HEADER, "greedy"),)) for _ in range(3)]
    await asyncio.sleep(0.05)
    began = time.monotonic()
    await front.stub.Embed(small, metadata=((HEADER, "modest"),))
    waited = time.monotonic() - began
    ended = await asyncio.gather(*calls, return_exceptions=True)
    whole = time.monotonic() - began
    refused = [error for error in ended if isinstance(error, grpc.aio.AioRpcError)]
    assert {error.code() for error in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert len(refused) == 2
    assert "this client has 64000000 pixels" in (refused[0].details() or "")
    assert waited < whole / 2  # one picture is ahead of it, not all four


async def test_how_many_pixels_wait_to_be_read_is_a_setting(stages: StubStages) -> None:
    many = gateway_pb2.EmbedRequest(images=[LARGE] * 4)
    async with Front(stages.addresses, decode_megapixels=64) as front:
        first = front.stub.Embed(many, metadata=((HEADER, "one"),))
        await asyncio.sleep(0.05)
        with pytest.raises(grpc.aio.AioRpcError, match="64000000 of 64000000 pixels are taken"):
            await front.stub.Embed(many, metadata=((HEADER, "another"),))
        first.cancel()


async def test_a_picture_that_its_header_forbids_is_refused_without_waiting_for_those_that_are_decoded(
    front: Front,
) -> None:
    busy = front.stub.Embed(gateway_pb2.EmbedRequest(images=[LARGE] * 4), metadata=((HEADER, "greedy"),))
    await asyncio.sleep(0.05)
    for image in (flat(4090), image_pb2.Image(data=b"no picture")):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await front.stub.Vary(gateway_pb2.VaryRequest(image=image), metadata=((HEADER, "hasty"),))
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert not busy.done()
    await busy


async def test_four_edits_of_large_pictures_take_the_memory_of_one() -> None:
    code = (
        "import sys; from tests.processes import resident; from tests.unit.test_gateway_edit_requests import INFO;"
        "from gateway.requests.planning import plan_of; from unclip.api.gateway.v1 import gateway_pb2;"
        "request = gateway_pb2.StreamRequest.FromString(sys.stdin.buffer.read());"
        "before = resident('VmHWM');"
        "[plan_of(request, INFO, nested=False) for _ in range(4)];"
        "print(resident('VmHWM') - before)"
    )
    picture, mask = flat(4000, "RGBA", colour=(9, 9, 9, 255)), flat(4000, "L", "PNG", 255)
    asked = gateway_pb2.EditRequest(caption="a cat", image=picture, mask=mask)
    data = gateway_pb2.StreamRequest(edit=asked).SerializeToString()
    process = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", code], input=data, capture_output=True, check=True
    )
    assert int(process.stdout) < 400 * 2**20
