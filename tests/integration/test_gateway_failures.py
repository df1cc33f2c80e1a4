"""When stages fail, hang, refuse or restart, the gateway recovers or says which stage it was; cancels reach all."""

from __future__ import annotations

import asyncio
import io
import math
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
import pytest
from google.rpc import error_details_pb2  # type: ignore[import-untyped,unused-ignore]
from grpc_status import rpc_status  # type: ignore[import-untyped,unused-ignore]
from PIL import Image

from tests.integration.gateway_front import Front
from tests.integration.gateway_peers import Peer, Peers
from unclip.api.gateway.v1 import gateway_pb2
from unclip.api.type.v1 import image_pb2, sampling_pb2

REQUEST = gateway_pb2.GenerateRequest(caption="a red apple", seed=3)
STREAMED = gateway_pb2.StreamRequest(generate=REQUEST)


@pytest.fixture
async def peers() -> AsyncIterator[Peers]:
    peers = Peers()
    await peers.start()
    yield peers
    await peers.stop()


@pytest.fixture
async def front(peers: Peers) -> AsyncIterator[Front]:
    async with Front(peers.targets) as front:
        yield front


async def failure(call: Awaitable[object]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    return failed.value


def details(error: grpc.aio.AioRpcError) -> list[object]:
    status = rpc_status.from_call(error)
    assert status is not None
    kinds = [error_details_pb2.BadRequest, error_details_pb2.RetryInfo, error_details_pb2.ErrorInfo]
    kinds.append(error_details_pb2.PreconditionFailure)
    found: list[object] = []
    for detail in status.details:
        for kind in kinds:
            message = kind()
            if detail.Unpack(message):
                found.append(message)
    return found


async def served_again(front: Front) -> None:
    """Calls until a call succeeds; every failure before must say UNAVAILABLE."""
    end = time.monotonic() + 15
    while True:
        call = front.stub.Generate(REQUEST)
        code = await call.code()
        if code == grpc.StatusCode.OK:
            return
        assert code == grpc.StatusCode.UNAVAILABLE
        assert time.monotonic() < end, "the stage came back, the gateway did not notice"
        await asyncio.sleep(0.2)


async def until(condition: Callable[[], bool], seconds: float = 5) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("stage", ["prior", "decoder", "upsampler"])
@pytest.mark.parametrize("status", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, None])
async def test_a_stage_that_breaks_off_is_run_again_and_gives_the_same_picture(
    front: Front, peers: Peers, stage: str, status: grpc.StatusCode | None
) -> None:
    whole = (await front.stub.Generate(REQUEST)).images[0]
    peer: Peer = getattr(peers, stage)
    peer.breaks, peer.break_status, asked = 1, status, len(peer.asked)
    responses = [response async for response in front.stub.Stream(STREAMED)]
    assert responses[-1].image == whole
    assert len(peer.asked) == asked + 2
    steps = [(r.progress.stage, r.progress.step) for r in responses if r.HasField("progress")]
    assert steps == sorted(set(steps))  # no step is told twice, none after a later one


async def test_a_stage_that_always_breaks_off_is_named(front: Front, peers: Peers) -> None:
    peers.decoder.breaks = 99
    error = await failure(front.stub.Generate(REQUEST))
    assert error.code() == grpc.StatusCode.UNAVAILABLE
    assert any(isinstance(d, error_details_pb2.ErrorInfo) and d.metadata["stage"] == "decoder" for d in details(error))


async def test_a_stage_that_is_down_is_named_and_one_that_returns_is_used(front: Front, peers: Peers) -> None:
    await front.stub.Generate(REQUEST)
    await peers.stop("upsampler")
    error = await failure(front.stub.Generate(REQUEST))
    assert error.code() == grpc.StatusCode.UNAVAILABLE
    assert any(
        isinstance(d, error_details_pb2.ErrorInfo) and d.metadata["stage"] == "upsampler" for d in details(error)
    )
    await peers.start("upsampler")
    await served_again(front)


async def test_calls_that_do_not_need_the_missing_stage_are_served(front: Front, peers: Peers) -> None:
    await peers.stop("prior")
    assert (await front.stub.Embed(gateway_pb2.EmbedRequest(captions=["x"]))).captions
    assert (await front.stub.GetModelInfo(gateway_pb2.GetModelInfoRequest())).model.name == "peers"


async def test_the_gateway_starts_before_its_stages_and_serves_once_they_come() -> None:
    peers = Peers()
    await peers.start()
    await peers.stop()
    async with Front(peers.targets, patience=0.2) as front:
        assert (await failure(front.stub.Generate(REQUEST))).code() == grpc.StatusCode.UNAVAILABLE
        await peers.start()
        await served_again(front)
    await peers.stop()


@pytest.mark.parametrize("stage", ["prior", "decoder", "upsampler"])
async def test_a_hung_stage_ends_in_deadline_exceeded_and_is_let_go(front: Front, peers: Peers, stage: str) -> None:
    peer: Peer = getattr(peers, stage)
    peer.hangs = True
    error = await failure(front.stub.Generate(REQUEST, timeout=1.0))
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    await until(lambda: peer.running == 0)
    peer.hangs = False
    assert (await front.stub.Generate(REQUEST)).images


async def test_a_caller_without_deadline_gets_the_servers(peers: Peers) -> None:
    peers.prior.hangs = True
    async with Front(peers.targets, default_deadline=0.8) as front:
        began = time.monotonic()
        assert (await failure(front.stub.Generate(REQUEST))).code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert time.monotonic() - began < 3


async def test_an_overloaded_stage_tells_when_to_come_back(front: Front, peers: Peers) -> None:
    peers.decoder.refuses = grpc.StatusCode.RESOURCE_EXHAUSTED
    error = await failure(front.stub.Generate(REQUEST))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    [retry] = [d for d in details(error) if isinstance(d, error_details_pb2.RetryInfo)]
    assert retry.retry_delay.ToTimedelta().total_seconds() > 0


async def test_a_stage_that_calls_our_request_invalid_is_our_fault_not_the_callers(front: Front, peers: Peers) -> None:
    peers.decoder.refuses = grpc.StatusCode.INVALID_ARGUMENT
    error = await failure(front.stub.Generate(REQUEST))
    assert error.code() == grpc.StatusCode.INTERNAL
    assert "as ordered" not in (error.details() or "")


async def test_cancelling_a_stream_frees_every_stage(front: Front, peers: Peers) -> None:
    peers.decoder.step_s = 0.2
    call = front.stub.Stream(
        gateway_pb2.StreamRequest(generate=gateway_pb2.GenerateRequest(caption="x", image_count=4))
    )
    async for response in call:
        if response.progress.stage == sampling_pb2.STAGE_DECODER:
            break
    assert peers.decoder.running == 4
    call.cancel()
    await until(lambda: peers.decoder.running == 0, seconds=1)
    peers.decoder.step_s = 0
    assert (await front.stub.Generate(REQUEST)).images


async def test_cancelling_a_unary_call_frees_every_stage(front: Front, peers: Peers) -> None:
    peers.upsampler.hangs = True
    call = front.stub.Generate(REQUEST)
    waiting = asyncio.ensure_future(call)
    await until(lambda: peers.upsampler.running == 1)
    call.cancel()
    await until(lambda: peers.upsampler.running == 0, seconds=1)
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_one_images_failure_frees_the_others(front: Front, peers: Peers) -> None:
    peers.prior.step_s, peers.prior.breaks = 0.05, 99
    peers.prior.break_status = grpc.StatusCode.RESOURCE_EXHAUSTED
    error = await failure(front.stub.Generate(gateway_pb2.GenerateRequest(caption="x", image_count=8)))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    await until(lambda: peers.prior.running == 0, seconds=1)


async def test_a_broken_request_reports_every_violation_and_reaches_no_stage(front: Front, peers: Peers) -> None:
    options = sampling_pb2.SamplingOptions(steps=0, guidance_scale=math.nan)
    request = gateway_pb2.VaryRequest(image=image_pb2.Image(data=b"no picture"), image_count=99, decoder=options)
    error = await failure(front.stub.Vary(request))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    [bad] = [d for d in details(error) if isinstance(d, error_details_pb2.BadRequest)]
    fields = {violation.field.split(".data")[0] for violation in bad.field_violations}
    assert fields == {"image", "image_count", "decoder.steps", "decoder.guidance_scale"}
    assert not peers.decoder.asked
    assert (await front.stub.Generate(REQUEST)).images


async def test_what_the_checkpoint_cannot_do_is_a_failed_precondition(peers: Peers) -> None:
    peers.decoder.lacks = "invert"
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    async with Front(peers.targets) as front:
        source = image_pb2.Image(data=buffer.getvalue())
        error = await failure(front.stub.Vary(gateway_pb2.VaryRequest(image=source)))
        assert error.code() == grpc.StatusCode.FAILED_PRECONDITION
        assert any(isinstance(d, error_details_pb2.PreconditionFailure) for d in details(error))
        assert (await front.stub.Generate(REQUEST)).images


def test_the_gateway_imports_no_torch() -> None:
    check = "import gateway.app, sys; assert not {'torch', 'transformers', 'diffusers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)
