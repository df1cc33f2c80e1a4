"""Clients that take no answers: their calls end when their time is over, and what waits for them is bounded."""

from __future__ import annotations

import asyncio
import io
import time
from unittest.mock import Mock

import grpc
import pytest
from PIL import Image

from gateway.admission.unread import Unread
from gateway.servicer import GatewayServicer
from tests.integration.gateway_front import MODEL, Front
from tests.stalled_client import StalledClient
from tests.waiting import until
from unclip.api.gateway.v1 import gateway_pb2
from unclip.errors import DeadlineExceeded
from unclip.serving.budget import Budget
from unclip.serving.clients import HEADER
from unclip.serving.deadlines import Ending
from unclip.serving.metrics import CALLS_RUNNING, REFUSALS
from unclip.testing import StubModel, StubStages

STREAM, GENERATE = ("/unclip.api.gateway.v1.GatewayService/" + name for name in ("Stream", "Generate"))
PICTURES = 16
ASKED = gateway_pb2.StreamRequest(generate=gateway_pb2.GenerateRequest(caption="a cat", image_count=PICTURES))
WAIT_S = 15


def servicer_of(front: Front) -> GatewayServicer:
    return next(s.servicer for s in front._gateway.services if isinstance(s.servicer, GatewayServicer))


def running() -> float:
    return float(CALLS_RUNNING.labels(STREAM[1:])._value.get())


async def test_streams_that_nobody_reads_end_with_their_time_and_leave_nothing(stages: StubStages) -> None:
    bounds = {"default_deadline": 3.0, "max_deadline": 3.0}
    request = gateway_pb2.StreamRequest(generate=gateway_pb2.GenerateRequest(caption="a cat", image_count=2))
    async with Front(stages.addresses, **bounds) as front, StalledClient(front.address) as client:
        streams = [client.call(STREAM, request.SerializeToString()) for _ in range(5)]
        unread = servicer_of(front)._unread
        await until(lambda: unread.size > 0)
        await until(lambda: running() == 0 and unread.size == 0)
        assert not any(stub.running for stub in stages.stubs.values())
        streams = [stream for stream in streams if stream not in client.ended]
        client.take(streams[0])  # who reads in the end learns what became of the call
        await until(lambda: streams[0] in client.ended)
        assert b"its answers were not read" in client.ended[streams[0]]
        await front.stub.Generate(ASKED.generate)


async def test_a_call_without_a_deadline_that_is_at_work_when_its_time_is_over_is_told_so(stages: StubStages) -> None:
    stages.decoder.faults.hang = True
    async with Front(stages.addresses, default_deadline=1.0, max_deadline=1.0) as front:

        async def watched() -> None:
            async for _ in front.stub.Stream(ASKED):
                pass

        for call in (front.stub.Generate(ASKED.generate), watched()):
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await call
            assert ended.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_client_that_reads_nothing_has_its_streams_ended_beyond_its_share_and_others_have_theirs(
    front: Front,
) -> None:
    servicer = servicer_of(front)
    one = (await front.stub.Generate(gateway_pb2.GenerateRequest(caption="a cat"))).images[0].ByteSize()
    servicer._unread = Unread(limit=2 * (PICTURES + 4) * one)
    refusals = REFUSALS.labels("gateway", "client_unread_bytes")
    before = refusals._value.get()
    async with StalledClient(front.address, "greedy") as client:
        streams = [client.call(STREAM, ASKED.SerializeToString()) for _ in range(4)]
        await until(lambda: refusals._value.get() > before)
        images = []
        async for answer in front.stub.Stream(ASKED, metadata=((HEADER, "modest"),)):
            images += [answer.image.image_index] if answer.HasField("image") else []
            assert servicer._unread.size <= servicer._unread._budget.limit
        assert sorted(images) == list(range(PICTURES))
        for stream in streams:
            client.take(stream)
        await until(lambda: len(client.ended) == 4)
    told = [
        b"the pictures of this call are not read, and the room for them is needed" in t for t in client.ended.values()
    ]
    assert any(told)
    assert not all(told)
    await until(lambda: servicer._unread.size == 0)


async def test_an_answer_that_is_too_large_to_be_sent_is_refused_before_any_work() -> None:
    large = StubModel(dim=MODEL.dim, context=MODEL.context, base_size=8, final_size=1024)
    async with StubStages(large) as stages, Front(stages.addresses) as front:
        frames = [index / 64 for index in range(64)]
        request = gateway_pb2.InterpolateRequest(to_caption="a dog", ts=frames)
        made = await front.stub.Generate(gateway_pb2.GenerateRequest(caption="a cat"))
        request.image.CopyFrom(made.images[0].image)
        for stub in stages.stubs.values():
            stub.asked.clear()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await front.stub.Interpolate(request)
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        told = refused.value.details() or ""
        assert told.startswith("ts: must ask for at most 10 pictures of 1024 x 1024 px as png")
        assert "33554432 bytes; got 64" in told
        assert "Stream sends them one by one" in told
        assert not any(stub.asked for stub in stages.stubs.values())
        request.format = gateway_pb2.IMAGE_FORMAT_JPEG
        request.ts[:] = frames[:2]
        assert len((await front.stub.Interpolate(request)).images) == 2


async def test_how_much_may_wait_for_its_readers_is_a_setting(stages: StubStages) -> None:
    async with Front(stages.addresses, unread_mib=64) as front:
        assert servicer_of(front)._unread._budget.limit == 64 * 2**20


async def test_room_for_the_answer_of_a_unary_call_is_taken_before_its_work_and_given_back(
    front: Front, stages: StubStages
) -> None:
    servicer = servicer_of(front)
    servicer._unread = Unread(limit=5_000_000)
    stages.decoder.faults.hang = True
    first = front.stub.Generate(ASKED.generate, metadata=((HEADER, "one"),))
    await until(lambda: servicer._unread.size > 0)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await front.stub.Generate(ASKED.generate, metadata=((HEADER, "one"),))
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "unread_bytes" in (refused.value.details() or "")
    stages.decoder.faults.hang = False
    assert len((await first).images) == PICTURES
    await until(lambda: servicer._unread.size == 0)


async def test_large_requests_are_counted_until_their_calls_end_and_a_client_has_its_share(
    front: Front, stages: StubStages
) -> None:
    buffer = io.BytesIO()
    Image.effect_noise((512, 512), 90).save(buffer, "PNG")
    asked = gateway_pb2.VaryRequest()
    asked.image.data = buffer.getvalue()
    servicer = servicer_of(front)
    servicer._requests = Budget("gateway", "request_bytes", 3 * asked.ByteSize())
    stages.decoder.faults.hang = True
    first = front.stub.Vary(asked, metadata=((HEADER, "one"),))
    await until(lambda: servicer._requests.taken > 0)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await front.stub.Vary(asked, metadata=((HEADER, "one"),))
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "request_bytes" in (refused.value.details() or "")
    stages.decoder.faults.hang = False
    await front.stub.Vary(asked, metadata=((HEADER, "other"),))
    await first
    embedded = front.stub.Embed(gateway_pb2.EmbedRequest(images=[asked.image]), metadata=((HEADER, "one"),))
    assert len((await embedded).images) == 1
    await until(lambda: servicer._requests.taken == 0)


async def test_a_call_that_is_over_while_its_first_metadata_are_sent_ends_after_them() -> None:
    sent = False

    async def call() -> None:
        nonlocal sent
        async with Ending(Mock(), time.monotonic() + 0.02) as ending:
            with ending.beginning():
                await asyncio.sleep(0.1)
                sent = True
            await asyncio.sleep(WAIT_S)

    with pytest.raises(DeadlineExceeded):
        await asyncio.create_task(call())
    assert sent
