"""When stages fail, hang, refuse or restart, the gateway recovers or says which stage it was; cancels reach all."""

from __future__ import annotations

import asyncio
import io
import math
import subprocess
import sys
import time
from collections.abc import Awaitable
from dataclasses import replace
from typing import cast

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from PIL import Image

from tests.integration.gateway_front import MODEL, Front
from tests.waiting import until
from unclip.api.gateway.v1 import gateway_pb2
from unclip.api.type.v1 import image_pb2, sampling_pb2
from unclip.errors import Cancelled, InvalidRequest, Overloaded
from unclip.options import SERVICES, ServiceName
from unclip.serving.error_table import from_rpc_error
from unclip.testing import Faults, StubStages

REQUEST = gateway_pb2.GenerateRequest(caption="a red apple", seed=3)
WALKING: list[ServiceName] = ["prior", "decoder", "upsampler"]
STREAMED = gateway_pb2.StreamRequest(generate=REQUEST)


async def failure(call: Awaitable[object]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    return failed.value


def details(error: grpc.aio.AioRpcError) -> list[object]:
    status = rpc_status.from_call(cast(grpc.Call, error))  # reads an aio error as well
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


@pytest.mark.parametrize("stage", WALKING)
@pytest.mark.parametrize(
    "breaks",
    [
        Faults(break_streams=1),
        Faults(break_streams=1, breakage=Cancelled("dropped")),
        Faults(break_streams=1, break_quietly=True),
    ],
    ids=["unavailable", "cancelled", "quietly"],
)
async def test_a_stage_that_breaks_off_is_run_again_and_gives_the_same_picture(
    front: Front, stages: StubStages, stage: ServiceName, breaks: Faults
) -> None:
    whole = (await front.stub.Generate(REQUEST)).images[0]
    stub = stages.stubs[stage]
    stub.faults, asked = replace(breaks), len(stub.asked)
    responses = [response async for response in front.stub.Stream(STREAMED)]
    assert responses[-1].image == whole
    assert len(stub.asked) == asked + 2
    steps = [(r.progress.stage, r.progress.step) for r in responses if r.HasField("progress")]
    assert steps == sorted(set(steps))  # no step is told twice, none after a later one


async def test_a_stage_that_always_breaks_off_is_named(front: Front, stages: StubStages) -> None:
    stages.decoder.faults.break_streams = 99
    error = await failure(front.stub.Generate(REQUEST))
    assert error.code() == grpc.StatusCode.UNAVAILABLE
    assert any(isinstance(d, error_details_pb2.ErrorInfo) and d.metadata["stage"] == "decoder" for d in details(error))


async def test_a_stage_that_is_down_is_named_and_one_that_returns_is_used(front: Front, stages: StubStages) -> None:
    await front.stub.Generate(REQUEST)
    await stages.stop("upsampler")
    error = await failure(front.stub.Generate(REQUEST))
    assert error.code() == grpc.StatusCode.UNAVAILABLE
    assert any(
        isinstance(d, error_details_pb2.ErrorInfo) and d.metadata["stage"] == "upsampler" for d in details(error)
    )
    await stages.start("upsampler")
    await served_again(front)


@pytest.mark.parametrize("stage", SERVICES)
async def test_a_stage_that_is_down_is_named_within_a_second(
    front: Front, stages: StubStages, stage: ServiceName
) -> None:
    await front.stub.Generate(REQUEST)
    await stages.stop(stage)
    unknown = gateway_pb2.GenerateRequest(caption="of which the gateway keeps no encoding")
    error = await failure(front.stub.Generate(unknown, timeout=1.0))  # whose end would be DEADLINE_EXCEEDED
    assert error.code() == grpc.StatusCode.UNAVAILABLE
    assert str(from_rpc_error(error, "")) == f"the {stage} cannot be reached"


async def test_a_stage_that_never_was_there_is_named_within_a_second(stages: StubStages) -> None:
    await stages.stop("prior")
    async with Front(stages.addresses, patience=0.2) as front:
        error = await failure(front.stub.Generate(REQUEST, timeout=1.0))
    assert (error.code(), str(from_rpc_error(error, ""))) == (
        grpc.StatusCode.UNAVAILABLE,
        "the prior has not reported its model yet",
    )


async def test_callers_do_not_ask_again_for_a_stage_that_is_down(front: Front, stages: StubStages) -> None:
    await front.stub.Generate(REQUEST)
    await stages.stop("decoder")
    error = await failure(front.stub.Generate(REQUEST))
    assert ("grpc-retry-pushback-ms", "-1") in [*error.trailing_metadata()]


async def test_a_stage_that_hangs_is_asked_whether_it_lives_and_keeps_its_calls(
    front: Front, stages: StubStages
) -> None:
    """Longer than the gateway's keepalive takes to be refused, thrice, by a server that finds it too eager."""
    stages.decoder.faults.hang = True
    error = await failure(front.stub.Generate(REQUEST, timeout=9.0))
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert "decoder" in str(from_rpc_error(error, ""))  # be it the gateway or the stage that says so


async def test_calls_that_do_not_need_the_missing_stage_are_served(front: Front, stages: StubStages) -> None:
    await stages.stop("prior")
    assert (await front.stub.Embed(gateway_pb2.EmbedRequest(captions=["x"]))).captions
    assert (await front.stub.GetModelInfo(gateway_pb2.GetModelInfoRequest())).model.name == MODEL.name


async def test_the_gateway_starts_before_its_stages_and_serves_once_they_come() -> None:
    stages = StubStages(MODEL)
    await stages.start()
    await stages.stop()
    async with Front(stages.addresses, patience=0.2) as front:
        assert (await failure(front.stub.Generate(REQUEST))).code() == grpc.StatusCode.UNAVAILABLE
        await stages.start()
        await served_again(front)
    await stages.stop()


@pytest.mark.parametrize("stage", WALKING)
async def test_a_hung_stage_ends_in_deadline_exceeded_and_is_let_go(
    front: Front, stages: StubStages, stage: ServiceName
) -> None:
    stub = stages.stubs[stage]
    stub.faults.hang = True
    error = await failure(front.stub.Generate(REQUEST, timeout=1.0))
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    await until(lambda: stub.running == 0)
    stub.faults.hang = False
    assert (await front.stub.Generate(REQUEST)).images


async def test_a_caller_without_deadline_gets_the_servers(stages: StubStages) -> None:
    stages.prior.faults.hang = True
    async with Front(stages.addresses, default_deadline=0.8) as front:
        began = time.monotonic()
        assert (await failure(front.stub.Generate(REQUEST))).code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert time.monotonic() - began < 3


@pytest.mark.parametrize("timeout", [None, 60.0])
async def test_no_caller_gets_more_than_the_longest_deadline(stages: StubStages, timeout: float | None) -> None:
    stages.prior.faults.hang = True
    async with Front(stages.addresses, max_deadline=0.8) as front:
        began = time.monotonic()
        assert (
            await failure(front.stub.Generate(REQUEST, timeout=timeout))
        ).code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert time.monotonic() - began < 3


async def test_the_longest_deadline_may_be_longer_than_five_minutes() -> None:
    stages = StubStages(MODEL, max_deadline=2000)
    stages.prior.faults.step_seconds = 200.0  # of `STEPS`: refused at once where less time is left
    async with stages, Front(stages.addresses, max_deadline=2000) as front:
        call = front.stub.Generate(REQUEST, timeout=1500)
        await until(lambda: stages.prior.running == 1)
        call.cancel()


async def test_an_overloaded_stage_tells_when_to_come_back(front: Front, stages: StubStages) -> None:
    stages.decoder.faults.refuse = Overloaded("full", 7)
    error = await failure(front.stub.Generate(REQUEST))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    [retry] = [d for d in details(error) if isinstance(d, error_details_pb2.RetryInfo)]
    assert retry.retry_delay.ToTimedelta().total_seconds() == 7


async def test_a_stage_that_calls_our_request_invalid_is_our_fault_not_the_callers(
    front: Front, stages: StubStages
) -> None:
    stages.decoder.faults.refuse = InvalidRequest.of("seed", "refused as ordered")
    error = await failure(front.stub.Generate(REQUEST))
    assert error.code() == grpc.StatusCode.INTERNAL
    assert "as ordered" not in (error.details() or "")


@pytest.mark.parametrize("asked", [{"image_count": 4}, {"candidates": 4}], ids=["pictures", "candidates"])
async def test_cancelling_a_stream_frees_every_stage(front: Front, stages: StubStages, asked: dict[str, int]) -> None:
    stages.decoder.faults.step_seconds = 0.2
    request = gateway_pb2.GenerateRequest(caption="x", **asked)  # type: ignore[arg-type]
    call = front.stub.Stream(gateway_pb2.StreamRequest(generate=request))
    async for response in call:
        if response.progress.stage == sampling_pb2.STAGE_DECODER:
            break
    assert stages.decoder.running == 4
    call.cancel()
    await until(lambda: stages.decoder.running == 0, seconds=1)
    stages.decoder.faults.step_seconds = 0
    assert (await front.stub.Generate(REQUEST)).images


async def test_cancelling_a_unary_call_frees_every_stage(front: Front, stages: StubStages) -> None:
    stages.upsampler.faults.hang = True
    call = front.stub.Generate(REQUEST)
    waiting = asyncio.ensure_future(call)
    await until(lambda: stages.upsampler.running == 1)
    call.cancel()
    await until(lambda: stages.upsampler.running == 0, seconds=1)
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_one_images_failure_frees_the_others(front: Front, stages: StubStages) -> None:
    stages.prior.faults = Faults(step_seconds=0.05, break_streams=99, breakage=Overloaded("full", 1))
    error = await failure(front.stub.Generate(gateway_pb2.GenerateRequest(caption="x", image_count=8)))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    await until(lambda: stages.prior.running == 0, seconds=1)


async def test_a_broken_request_reports_every_violation_and_reaches_no_stage(front: Front, stages: StubStages) -> None:
    options = sampling_pb2.SamplingOptions(steps=0, guidance_scale=math.nan)
    request = gateway_pb2.VaryRequest(image=image_pb2.Image(data=b"no picture"), image_count=99, decoder=options)
    error = await failure(front.stub.Vary(request))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    [bad] = [d for d in details(error) if isinstance(d, error_details_pb2.BadRequest)]
    fields = {violation.field.split(".data")[0] for violation in bad.field_violations}
    assert fields == {"image", "image_count", "decoder.steps", "decoder.guidance_scale"}
    assert not stages.decoder.asked
    assert (await front.stub.Generate(REQUEST)).images


async def test_what_the_checkpoint_cannot_do_is_a_failed_precondition(stages: StubStages) -> None:
    stages.decoder.faults.lacks = ["invert"]
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    async with Front(stages.addresses) as front:
        source = image_pb2.Image(data=buffer.getvalue())
        error = await failure(front.stub.Vary(gateway_pb2.VaryRequest(image=source)))
        assert error.code() == grpc.StatusCode.FAILED_PRECONDITION
        assert any(isinstance(d, error_details_pb2.PreconditionFailure) for d in details(error))
        assert (await front.stub.Generate(REQUEST)).images


async def test_without_an_image_encoder_pictures_are_made_but_not_ranked(stages: StubStages) -> None:
    stages.encoder.faults.lacks = ["encode_image"]
    async with Front(stages.addresses) as front:
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await front.stub.Generate(gateway_pb2.GenerateRequest(caption="x", candidates=2))
        assert failure.value.code() == grpc.StatusCode.FAILED_PRECONDITION
        assert not any(stub.asked for stub in stages.stubs.values())
        assert (await front.stub.Generate(gateway_pb2.GenerateRequest(caption="x"))).images


def test_the_gateway_imports_no_torch() -> None:
    check = "import gateway.app, sys; assert not {'torch', 'transformers', 'diffusers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)
