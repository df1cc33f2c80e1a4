"""The fast way: a decoder's student, asked of the stage itself and through the gateway, stubs and real ones alike."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.contract.bad_edits import mask_of
from tests.contract.conftest import serving
from tests.contract.gateways import gateway_of, noise_picture, png
from tests.contract.refusals import refusal
from tests.contract.requests import noise, sound, tensor
from tests.contract.services import OTHER, SAME, Bounds, Services, gap
from tests.contract.toys import STUDENTS, Toy
from unclip import Client, Generate, Sampling, read_recipe
from unclip.api.decoder.v1 import decoder_pb2
from unclip.api.type.v1 import sampling_pb2
from unclip.client import Progress, Quality
from unclip.errors import InvalidRequest
from unclip.wire.sampling import sampling_from_proto

FAMILIES = STUDENTS


def fast(services: Services, **sampling: Any) -> decoder_pb2.DecodeRequest:
    """A sound request to the student."""
    request: decoder_pb2.DecodeRequest = sound(services, "decode")
    request.fast = True
    request.sampling.CopyFrom(sampling_pb2.SamplingOptions(**sampling))
    return request


def told_steps(services: Services, request: decoder_pb2.DecodeRequest) -> int:
    """How many its progress counts."""
    [of] = {answer.progress.of for answer in services.ask("decode", request) if answer.HasField("progress")}
    return int(of)


def test_a_student_takes_its_own_steps_where_none_are_asked_for(services: Services) -> None:
    assert services.toy.model.fast is not None
    assert told_steps(services, fast(services)) == services.toy.model.fast.steps
    assert told_steps(services, fast(services, steps=2)) == 2


def test_a_student_is_another_painter_than_its_decoder(services: Services) -> None:
    own = {"sampler": sampling_pb2.SAMPLER_DDIM, "steps": 4, "guidance_scale": 3.0, "eta": 0.0}
    request = fast(services, **own)
    assert gap(services.result("decode", request), services.result("decode", fast(services))) < SAME
    request.fast = False
    assert gap(services.result("decode", request), services.result("decode", fast(services))) > OTHER


def test_embedding_text_seed_and_scale_matter_to_a_student_and_nothing_else(services: Services) -> None:
    first = services.result("decode", fast(services))
    request = fast(services)
    request.unconditional_text.CopyFrom(services.text("a dog"))
    request.preview_interval = 1
    assert gap(first, services.result("decode", request)) < SAME
    others = [fast(services) for _ in range(3)] + [fast(services, guidance_scale=3.5)]
    others[0].embedding.values.CopyFrom(services.text("a house").embedding.values)
    others[1].text.CopyFrom(services.text("a dog"))
    others[2].seed = 2
    for other in others:
        assert gap(first, services.result("decode", other)) > OTHER


@pytest.mark.parametrize("scale", [1.0, 8.0])
def test_a_student_takes_every_scale_it_was_taught(services: Services, scale: float) -> None:
    assert services.result("decode", fast(services, guidance_scale=scale)).shape == services.toy.base


def test_what_only_the_decoder_can_do_is_refused_all_at_once(services: Services) -> None:
    request = fast(services, guidance_scale=0.5, eta=0.5)
    request.start_noise.CopyFrom(tensor(*services.toy.base))
    side = services.toy.model.base_size
    request.known.pixels.CopyFrom(noise(side))
    request.known.mask.CopyFrom(mask_of(noise_picture(side, side, 1)[..., 0] > 100))
    told = refusal(lambda: services.ask("decode", request))
    assert told.code == grpc.StatusCode.INVALID_ARGUMENT
    assert told.violations.keys() == {"start_noise", "known", "sampling.guidance_scale", "sampling.eta"}
    assert "1 to 8; got 0.5" in told.violations["sampling.guidance_scale"]


def test_stages_tell_of_the_fast_way_and_whether_it_is_the_usual_one(services: Services) -> None:
    expected = {
        sampling_pb2.STAGE_DECODER: services.toy.model.fast,
        sampling_pb2.STAGE_UPSAMPLER: services.toy.model.fast_upsampler,
    }
    for stage, model in services.infos():
        told = model.stages[0]
        assert (sampling_from_proto(told.fast) if told.HasField("fast") else None) == expected.get(stage)
        assert model.quality == sampling_pb2.QUALITY_FAST


def steps_of(client: Client, request: Generate) -> dict[str, int]:
    """Steps of decoder and upsampler, as progress counts them."""
    events = [event for event in client.stream(request) if isinstance(event, Progress)]
    return {event.stage: event.of for event in events if event.stage in ("decoder", "upsampler")}


def test_the_gateway_paints_fast_where_the_stack_does_and_the_request_allows(client: Client) -> None:
    assert client.model_info().quality == "fast"
    assert steps_of(client, Generate("a cat")) == {"decoder": 4, "upsampler": 1}
    assert steps_of(client, Generate("a cat", quality="standard")) == {"decoder": 5, "upsampler": 3}
    assert steps_of(client, Generate("a cat", negative_caption="a dog")) == {"decoder": 5, "upsampler": 3}
    assert steps_of(client, Generate("a cat", decoder=Sampling(steps=7))) == {"decoder": 7, "upsampler": 3}
    assert steps_of(client, Generate("a cat", decoder=Sampling(guidance_scale=2))) == {"decoder": 4, "upsampler": 1}
    with pytest.raises(InvalidRequest, match=r"decoder\.steps: must be unset or 4 with QUALITY_FAST; got 7"):
        client.generate("a cat", quality="fast", decoder=Sampling(steps=7))


def test_all_else_stays_with_the_decoder(client: Client) -> None:
    source, mask = png(noise_picture(20, 20)), png(noise_picture(20, 20, 1)[..., 0] > 100)
    [edited] = client.edit(source, "a cat", mask, resampling=1, seed=1)
    assert edited.recipe.decoder.steps == 5
    [varied] = client.vary(source, seed=1, eta=0.0)
    assert (varied.recipe.decoder.steps, varied.recipe.upsampler.steps) == (5, 3)


@pytest.fixture(scope="module")
def slower(checkpoint: Path | None, toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of the same stack, but that it is standard where nobody asks for a quality."""
    copy = None
    if checkpoint is not None:
        copy = Path(shutil.copytree(checkpoint, tmp_path_factory.mktemp("slower") / "taught"))
        manifest = copy / "unclip.json"
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "quality": "standard"}))
    usual = replace(toy, model=replace(toy.model, quality="standard"))
    with serving(Bounds(), copy, usual) as services, gateway_of(services) as client:
        yield client


@pytest.mark.parametrize("quality", [None, "fast", "standard"])
def test_a_picture_is_made_again_byte_for_byte_also_where_another_quality_is_usual(
    client: Client, slower: Client, quality: Quality | None
) -> None:
    for first, second, usual in ((client, slower, "fast"), (slower, client, "standard")):
        assert first.model_info().quality == usual
        [made] = first.generate("a cat", seed=7, quality=quality, decoder=Sampling(guidance_scale=2.6))
        assert isinstance(made.recipe, Generate)
        assert made.recipe.quality == (quality or usual)
        assert second.replay(read_recipe(made.data)).data == made.data
        assert first.replay(read_recipe(made.data)).data == made.data


def test_the_two_qualities_are_two_pictures(client: Client, slower: Client) -> None:
    asked = Generate("a cat", seed=7)
    assert client.make(asked)[0].data != slower.make(asked)[0].data


def test_pictures_of_several_scales_and_qualities_at_once_are_those_that_each_is_alone(client: Client) -> None:
    qualities: list[Quality] = ["fast", "fast", "standard", "fast", "standard", "fast"]
    asked = [
        Generate("a cat", seed=seed, quality=quality, decoder=Sampling(guidance_scale=1.0 + seed))
        for seed, quality in enumerate(qualities)
    ]
    alone = [client.make(each)[0].data for each in asked]
    with ThreadPoolExecutor(len(asked)) as threads:
        together = list(threads.map(lambda each: client.make(each)[0].data, asked))
    assert together == alone
    assert len(set(alone)) == len(alone)
