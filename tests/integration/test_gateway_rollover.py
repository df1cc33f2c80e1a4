"""While replicas of several versions stand behind one name, callers see one, and never a mixture."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any

import grpc
import pytest
from prometheus_client import REGISTRY

from tests.integration.gateway_front import MODEL, Front
from tests.integration.test_gateway_pictures import picture
from tests.waiting import until
from unclip import AsyncClient, Vary, read_recipe
from unclip.api.gateway.v1 import gateway_pb2
from unclip.api.type.v1 import model_info_pb2, sampling_pb2
from unclip.client import GeneratedImage
from unclip.errors import PreconditionFailed, UnclipError
from unclip.options import SamplingSettings, ServiceName
from unclip.testing import StubModel, StubStages
from unclip.testing.model import STAGES
from unclip.testing.stub import Stub

A, B = replace(MODEL, version="version-a"), replace(MODEL, version="version-b")  # of one CLIP
OTHER = replace(B, clip_space="0" * 64)
CAPTIONS = [f"an ordinary caption, number {number}" for number in range(24)]
TURNED_S = 15.0  # within which the gateway has surely turned to what is there


def behind(*groups: StubStages) -> dict[ServiceName, str]:
    """What a gateway dials that is to find every group's stages."""
    return {
        stage: "ipv4:" + ",".join(group.addresses[stage] for group in groups if stage in group.addresses)
        for stage in STAGES
    }


@asynccontextmanager
async def running(*chosen: tuple[StubModel, Sequence[ServiceName]]) -> AsyncIterator[list[StubStages]]:
    """Stubs of each model, of some stages each."""
    groups = [StubStages(model) for model, _ in chosen]
    async with AsyncExitStack() as exits:
        for group, (_, stages) in zip(groups, chosen, strict=True):
            await group.start(*stages)
            exits.push_async_callback(group.stop)
        yield groups


async def until_made_by(client: AsyncClient, stages: dict[str, str], failures: list[UnclipError]) -> GeneratedImage:
    """A picture of those versions, asked for until there is one."""
    async with asyncio.timeout(TURNED_S):
        while True:
            try:
                [made] = await client.generate("a cat", seed=1)
            except UnclipError as error:
                failures.append(error)
            else:
                if made.stage_versions == stages:
                    return made
            await asyncio.sleep(0.05)


async def test_one_seed_makes_one_picture_although_two_decoders_have_different_weights() -> None:
    async with running((A, STAGES), (B, ["decoder"])) as groups, Front(behind(*groups)) as front:
        async with AsyncClient(front.address) as client:
            made = [image for _ in range(12) for image in await client.generate("a cat", seed=1)]
            assert len({image.data for image in made}) == 1
            assert {image.stage_versions["decoder"] for image in made} == {"version-a"}
            again = await client.replay(read_recipe(made[0].data))
            assert again.data == made[0].data
            told = {(one.stage, one.version): (one.count, one.served) for one in (await client.model_info()).replicas}
            assert told["decoder", "version-b"] == (1, False)
            assert told["decoder", "version-a"] == (1, True)
        assert not groups[1].decoder.asked


async def test_captions_are_served_although_one_of_two_encoders_is_another_clip() -> None:
    async with running((A, STAGES), (OTHER, ["encoder"])) as groups, Front(behind(*groups)) as front:
        async with AsyncClient(front.address) as client:
            made = [image for caption in CAPTIONS for image in await client.generate(caption)]
            embedded = [(await client.embed([caption])).captions[0].clip_space for caption in CAPTIONS]
        assert len(made) == 24
        assert {image.stage_versions["encoder"] for image in made} == {"version-a"}
        assert set(embedded) == {A.clip_space}


async def test_a_picture_names_the_stages_that_had_a_part_in_it() -> None:
    async with running((A, STAGES)) as groups, Front(behind(*groups)) as front:
        async with AsyncClient(front.address) as client:
            [made] = await client.generate("a cat")
            [varied] = await client.vary(picture().data)
            version = (await client.model_info()).version
        assert made.stage_versions == dict.fromkeys(STAGES, "version-a")
        assert varied.stage_versions == dict.fromkeys(("encoder", "decoder", "upsampler"), "version-a")
        assert read_recipe(varied.data).stage_versions == varied.stage_versions
        assert {made.model_version, varied.model_version, version} == {"version-a"}


async def test_a_replay_needs_the_stages_that_made_the_picture_and_no_other() -> None:
    async with running((A, STAGES)) as groups, Front(behind(*groups)) as front, AsyncClient(front.address) as client:
        source = picture().data
        [made], [varied] = await client.generate("a cat", seed=1), await client.vary(source, seed=1)
    new = [stage for stage in STAGES if stage != "prior"]
    async with (
        running((A, new), (B, ["prior"])) as groups,
        Front(behind(*groups)) as front,
        AsyncClient(front.address) as client,
    ):
        assert (await client.replay(read_recipe(varied.data), [source])).stage_versions == varied.stage_versions
        with pytest.raises(PreconditionFailed, match="by prior version version-a, the server has version-b"):
            await client.replay(read_recipe(made.data))
        assert await client.replay(read_recipe(made.data), any_model=True)


async def test_weights_are_replaced_in_every_stage_and_no_call_fails_nor_mixes() -> None:
    async with running((A, STAGES)) as [old], AsyncExitStack() as exits:
        new = StubStages(OTHER)
        await new.start()
        await new.stop()  # its ports are known now
        async with Front(behind(old, new)) as front, AsyncClient(front.address) as client:
            failures: list[UnclipError] = []
            before = await until_made_by(client, dict.fromkeys(STAGES, "version-a"), failures)
            for stage in reversed(STAGES):
                await new.start(stage)
            exits.push_async_callback(new.stop)
            await asyncio.sleep(2)
            load = asyncio.create_task(batches(front))
            for stage in STAGES:
                await old.stop(stage)
                await asyncio.sleep(0.1)
            after = await until_made_by(client, dict.fromkeys(STAGES, "version-b"), failures)
            assert failures == []
            assert not load.done()  # what it would end with is a failure
            load.cancel()
            assert before.data != after.data
            await old.start()


async def batches(front: Front) -> None:
    """Batches of three pictures without end; raises where one is of several versions, or fails."""
    while True:
        answer = await front.stub.Generate(gateway_pb2.GenerateRequest(caption="a cat", seed=1, image_count=3))
        assert len(answer.images) == 3
        assert len({tuple(sorted(image.stage_versions.items())) for image in answer.images}) == 1


async def test_a_batch_of_which_a_picture_is_delivered_is_not_finished_by_another_version() -> None:
    async with running((A, STAGES), (OTHER, STAGES)) as [old, new], Front(behind(old, new)) as front:
        served, other = (old, new) if await is_served(front, old) else (new, old)
        served.upsampler.faults.capacity = 1
        served.upsampler.faults.step_seconds = 0.1
        request = gateway_pb2.StreamRequest(generate=gateway_pb2.GenerateRequest(caption="a cat", image_count=4))
        images: list[gateway_pb2.GeneratedImage] = []
        call = front.stub.Stream(request)

        async def read() -> None:
            async for event in call:
                if event.HasField("image"):
                    images.append(event.image)
                    await served.stop(*served._servers)

        with pytest.raises(grpc.aio.AioRpcError):
            await read()
        assert await call.code() == grpc.StatusCode.UNAVAILABLE
        assert {image.stage_versions["upsampler"] for image in images} == {served.model.version}
        assert not other.upsampler.asked
        await served.start()


async def test_a_stream_without_a_picture_yet_begins_anew_with_the_version_that_is_there() -> None:
    async with running((A, STAGES), (OTHER, STAGES)) as [old, new], Front(behind(old, new)) as front:
        served, other = (old, new) if await is_served(front, old) else (new, old)
        served.decoder.faults.hang = True
        request = gateway_pb2.StreamRequest(generate=gateway_pb2.GenerateRequest(caption="a cat", image_count=2))
        call = front.stub.Stream(request)
        events = aiter(call)
        await anext(events)
        await until(lambda: served.decoder.running > 0)
        await served.stop("decoder")
        images = [event.image async for event in events if event.HasField("image")]
        assert [set(image.stage_versions.values()) for image in images] == [{other.model.version}] * 2
        await served.start("decoder")


async def is_served(front: Front, group: StubStages) -> bool:
    answer = await front.stub.GetModelInfo(gateway_pb2.GetModelInfoRequest())
    return answer.model.version == group.model.version


async def test_an_answer_by_another_version_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a proxy might bring it that balances calls as it likes."""
    monkeypatch.setattr("gateway.stages.releases.READY_S", 0.3)

    def strays() -> float:
        return REGISTRY.get_sample_value("unclip_stage_stray_answers_total", {"stage": "decoder"}) or 0.0

    async with running((A, STAGES)) as [group], Front(behind(group)) as front, AsyncClient(front.address) as client:
        assert await client.generate("a cat", seed=1)
        before = strays()
        group.decoder.model = B  # while its health says what it said
        with pytest.raises(grpc.aio.AioRpcError, match="the decoder was answered for by another version") as failed:
            await front.stub.Generate(gateway_pb2.GenerateRequest(caption="a cat"))  # asked once
        assert failed.value.code() == grpc.StatusCode.UNAVAILABLE
        assert strays() >= before + 1
        group.decoder.model = A
        [made] = await client.generate("a cat", seed=1)
        assert made.stage_versions["decoder"] == "version-a"


@pytest.mark.parametrize("cannot", [{"fast": None}, {"clip_space": OTHER.clip_space}], ids=str)
async def test_a_refusal_by_a_replica_that_cannot_do_what_its_version_can_is_no_answer(
    monkeypatch: pytest.MonkeyPatch, cannot: dict[str, Any]
) -> None:
    """As a proxy might bring it, from a replica whose checkpoint has no student, or another CLIP."""
    monkeypatch.setattr("gateway.stages.releases.READY_S", 0.3)
    taught = replace(A, fast=SamplingSettings("ddim", 2, 3.0), quality="fast")
    request = gateway_pb2.GenerateRequest(caption="a cat", quality=sampling_pb2.QUALITY_FAST)
    async with running((taught, STAGES)) as [group], Front(behind(group)) as front:
        able = group.decoder.spec
        group.decoder.spec = replace(able, **cannot)
        with pytest.raises(grpc.aio.AioRpcError, match="the decoder was answered for by another version") as failed:
            await front.stub.Generate(request)
        assert failed.value.code() == grpc.StatusCode.UNAVAILABLE
        group.decoder.spec = able
        assert (await front.stub.Generate(request)).images


@contextmanager
def stray(stage: ServiceName) -> Iterator[str]:
    """The address of a replica that tells of version-a, and answers for version-b."""
    command = [sys.executable, "-m", "tests.integration.stray_stage", stage]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield process.stdout.readline().strip()
        process.communicate()


@pytest.mark.parametrize("stage", ["encoder", "decoder"])
async def test_a_replica_that_answers_for_another_version_than_it_tells_is_left_out_and_no_call_fails(
    stage: ServiceName,
) -> None:
    def strays() -> float:
        return REGISTRY.get_sample_value("unclip_stage_stray_answers_total", {"stage": stage}) or 0.0

    async with running((A, STAGES)) as [group]:
        with stray(stage) as address:
            both = {**group.addresses, stage: f"ipv4:{group.addresses[stage]},{address}"}
            async with Front(both) as front, AsyncClient(front.address) as client:
                before = strays()
                while strays() == before:  # the first answer by it is what tells
                    await client.generate(f"a cat, {strays()}")
                made = await asyncio.gather(*map(client.generate, CAPTIONS))
                counts = {(one.stage, one.version): one.count for one in (await client.model_info()).replicas}
    assert counts[stage, "version-a"] == 2  # it is believed to be one of them
    assert {image.stage_versions[stage] for images in made for image in images} == {"version-a"}
    assert strays() == before + 1


async def test_stages_from_before_versions_were_told_are_served_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """As while a chart is upgraded: the gateway's new pods may be ready first."""

    def untold(stub: Stub) -> model_info_pb2.ModelInfo:
        info = stub.model.info(stub.stage, stub.capabilities)
        info.version = "version-a"
        return info

    monkeypatch.setattr(Stub, "info", property(untold))
    silent = replace(A, version="")  # in answers and health
    async with running((silent, STAGES)) as [old], Front(behind(old)) as front, AsyncClient(front.address) as client:
        [made] = await client.generate("a cat", seed=1)
        assert made.model_version == (await client.model_info()).version == "version-a"
        assert made.stage_versions == dict.fromkeys(STAGES, "version-a")
        assert await client.replay(read_recipe(made.data))


async def test_a_watched_variation_is_of_one_version_too() -> None:
    async with (
        running((A, STAGES), (B, ["decoder", "upsampler"])) as groups,
        Front(behind(*groups)) as front,
        AsyncClient(front.address) as client,
    ):
        events = [event async for event in client.stream(Vary(picture().data, image_count=6))]
        frames = [event for event in events if isinstance(event, GeneratedImage)]
        assert len(frames) == 6
        assert {tuple(frame.stage_versions.values()) for frame in frames} == {("version-a",) * 3}
