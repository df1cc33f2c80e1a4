"""Which quality a Generate has: what it asks for, else the stack's own, as far as a student can do what is asked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gateway.admission.workload import StageLoad, workload_of
from gateway.requests.plan import EditPlan, GeneratePlan
from gateway.requests.planning import plan_of
from gateway.requests.recipes import recipe
from gateway.stack import FastWay, StackInfo, merge
from tests.unit.gateway_models import everyone
from tests.unit.gateway_plans import INFO, png
from unclip.api.gateway.v1 import gateway_pb2
from unclip.api.type.v1 import model_info_pb2, sampling_pb2
from unclip.errors import InvalidRequest, PreconditionFailed
from unclip.options import SamplingSettings, ServiceName
from unclip.wire.embeddings import Embedding
from unclip.wire.sampling import sampling_to_proto

FAST, STANDARD = sampling_pb2.QUALITY_FAST, sampling_pb2.QUALITY_STANDARD
WAY = FastWay(SamplingSettings("ddim", 4, 3.0), SamplingSettings("ddpm", 1, 1.0))
ABLE = replace(INFO, fast=WAY)
USUAL = replace(INFO, fast=replace(WAY, usual=True))


def asked(**fields: Any) -> gateway_pb2.StreamRequest:
    return gateway_pb2.StreamRequest(generate=gateway_pb2.GenerateRequest(caption="a cat", **fields))


def planned(info: StackInfo, **fields: Any) -> GeneratePlan:
    plan = plan_of(asked(**fields), info, nested=False)
    assert isinstance(plan, GeneratePlan)
    return plan


def broken(info: StackInfo, **fields: Any) -> dict[str, str]:
    with pytest.raises(InvalidRequest) as refused:
        plan_of(asked(**fields), info, nested=False)
    told = [(violation.field, violation.description) for violation in refused.value.violations]
    assert len(dict(told)) == len(told)  # each once
    return dict(told)


@pytest.mark.parametrize("info", [INFO, ABLE, USUAL])
def test_standard_quality_is_painted_by_the_decoder_on_every_stack(info: StackInfo) -> None:
    plan = planned(info, quality=STANDARD)
    assert not plan.fast
    assert (plan.decoder, plan.output.upsampler) == (INFO.decoder, INFO.upsampler)


@pytest.mark.parametrize("info", [ABLE, USUAL])
def test_fast_quality_takes_the_settings_of_the_fast_way(info: StackInfo) -> None:
    plan = planned(info, quality=FAST, decoder={"guidance_scale": 5})
    assert plan.fast
    assert plan.decoder == SamplingSettings("ddim", 4, 5.0)
    assert plan.output.upsampler == WAY.upsampler
    assert planned(info, quality=FAST, upsampler={"steps": 3}).output.upsampler == SamplingSettings("ddpm", 3, 1.0)


def test_who_asks_for_none_has_the_stacks_own() -> None:
    assert [planned(info).fast for info in (INFO, ABLE, USUAL)] == [False, False, True]
    assert planned(USUAL).decoder == WAY.decoder


@pytest.mark.parametrize(
    "fields",
    [
        {"decoder": {"sampler": sampling_pb2.SAMPLER_DDIM}},
        {"decoder": {"steps": 4}},
        {"decoder": {"eta": 0}},
        {"decoder": {"guidance_scale": 0.5}},
        {"decoder": {"guidance_scale": 8.5}},
        {"negative_caption": "a dog"},
    ],
    ids=str,
)
def test_what_a_student_cannot_do_is_standard_where_no_quality_is_asked_for(fields: dict[str, Any]) -> None:
    plan = planned(USUAL, **fields)
    assert not plan.fast
    assert plan.output.upsampler == INFO.upsampler
    assert plan.request.generate.quality == STANDARD


@pytest.mark.parametrize(
    "fields",
    [
        {"decoder": {"guidance_scale": 1}},
        {"decoder": {"guidance_scale": 8}},
        {"decoder": {}},
        {"prior": {"steps": 3, "guidance_scale": 20}},
        {"upsampler": {"sampler": sampling_pb2.SAMPLER_DDIM, "steps": 9}},
        {"negative_caption": " \n"},
        {"candidates": 3, "size": 64},
    ],
    ids=str,
)
def test_all_else_a_student_can_do(fields: dict[str, Any]) -> None:
    assert planned(USUAL, **fields).fast
    assert planned(ABLE, quality=FAST, **fields).fast


def test_every_option_that_a_student_has_not_is_named_with_limit_and_value() -> None:
    decoder = {"sampler": sampling_pb2.SAMPLER_DDPM, "steps": 12, "eta": 0.5, "guidance_scale": 9}
    assert broken(ABLE, quality=FAST, decoder=decoder, negative_caption="a dog", image_count=17) == {
        "decoder.sampler": "must be unset or SAMPLER_DDIM with QUALITY_FAST; got SAMPLER_DDPM",
        "decoder.steps": "must be unset or 4 with QUALITY_FAST; got 12",
        "decoder.eta": "must be unset or 0 with QUALITY_FAST; got 0.5",
        "decoder.guidance_scale": "must be 1 to 8 with QUALITY_FAST; got 9",
        "negative_caption": "must be empty with QUALITY_FAST; got 'a dog'",
        "image_count": "must be 1 to 16; got 17",
    }


@pytest.mark.parametrize("scale", [float("nan"), float("inf"), -1.0, 0.0, 31.0])
def test_a_scale_that_no_student_takes_is_refused_once(scale: float) -> None:
    assert list(broken(ABLE, quality=FAST, decoder={"guidance_scale": scale})) == ["decoder.guidance_scale"]


def test_a_quality_that_nobody_knows_is_refused() -> None:
    assert broken(ABLE, quality=7) == {
        "quality": "must be one of QUALITY_UNSPECIFIED, QUALITY_STANDARD, QUALITY_FAST; got 7"
    }


def test_a_stack_without_a_fast_way_says_so() -> None:
    with pytest.raises(PreconditionFailed, match="tiny has no fast way"):
        planned(INFO, quality=FAST)


@pytest.mark.parametrize("made_on", [ABLE, USUAL])
@pytest.mark.parametrize("again_on", [ABLE, USUAL])
@pytest.mark.parametrize("fields", [{}, {"quality": FAST}, {"quality": STANDARD}, {"decoder": {"guidance_scale": 2.6}}])
def test_a_recipe_is_its_own_on_every_stack_with_a_fast_way(
    made_on: StackInfo, again_on: StackInfo, fields: dict[str, Any]
) -> None:
    made = planned(made_on, seed=3, **fields)
    text = recipe(made, 0)
    assert text.generate.quality == (FAST if made.fast else STANDARD)
    assert text.generate.decoder == sampling_to_proto(made.decoder)
    again = plan_of(text, again_on, nested=False)
    assert again == made
    assert recipe(again, 0) == text


def test_a_recipe_from_before_there_was_a_choice_makes_the_same_picture_where_there_is_one() -> None:
    made = planned(INFO, seed=3)
    text = recipe(made, 0)
    assert text.generate.quality == sampling_pb2.QUALITY_UNSPECIFIED
    assert plan_of(text, USUAL, nested=False) == made


def test_an_embedding_is_painted_fast_too() -> None:
    request = asked(embedding=Embedding(np.ones(4, np.float32), "").to_proto())
    request.generate.caption = ""
    plan = plan_of(request, USUAL, nested=False)
    assert isinstance(plan, GeneratePlan)
    assert plan.fast
    assert "prior" not in workload_of(plan)


def test_an_edit_is_never_fast() -> None:
    request = gateway_pb2.EditRequest(image=png("RGBA"), caption="a cat", decoder=sampling_pb2.SamplingOptions(steps=9))
    sized = model_info_pb2.ModelInfo(
        stages=[model_info_pb2.StageInfo(stage=sampling_pb2.STAGE_UPSAMPLER, image_size=8)]
    )
    plan = plan_of(gateway_pb2.StreamRequest(edit=request), replace(USUAL, model=sized), nested=False)
    assert isinstance(plan, EditPlan)
    assert not plan.generation.fast
    assert (plan.generation.decoder.guidance_scale, plan.output.upsampler) == (8.0, INFO.upsampler)


def test_a_students_row_is_one_pass_of_its_own_steps_whatever_its_scale() -> None:
    way = workload_of(planned(USUAL, image_count=3, decoder={"guidance_scale": 4}))
    assert way["decoder"] == StageLoad(3, 1, 4, fast=True)
    assert way["upsampler"] == StageLoad(3, 1, 1)
    assert workload_of(planned(USUAL, quality=STANDARD))["decoder"] == StageLoad(1, 2, 20)


def taught(*fast: ServiceName) -> StackInfo:
    """A stack whose decoder and upsampler have a fast way, which some have by default."""
    infos = everyone()
    for service, settings in (("decoder", WAY.decoder), ("upsampler", WAY.upsampler)):
        infos[service].stages[0].fast.CopyFrom(sampling_to_proto(settings))  # type: ignore[index]
        infos[service].quality = FAST if service in fast else STANDARD  # type: ignore[index]
    return merge(infos)


@pytest.mark.parametrize(
    ("fast", "quality"),
    [((), STANDARD), (("decoder",), STANDARD), (("upsampler",), STANDARD), (("decoder", "upsampler"), FAST)],
)
def test_a_stack_is_fast_by_default_where_decoder_and_upsampler_agree(
    fast: tuple[ServiceName, ...], quality: sampling_pb2.Quality.ValueType
) -> None:
    info = taught(*fast)
    assert info.model.quality == quality
    assert info.fast == replace(WAY, usual=quality == FAST)


def test_the_decoder_alone_makes_a_fast_way_with_the_upsamplers_usual_settings() -> None:
    infos = everyone()
    infos["decoder"].stages[0].fast.CopyFrom(sampling_to_proto(WAY.decoder))
    infos["decoder"].quality = infos["upsampler"].quality = FAST
    info = merge(infos)
    assert info.fast == FastWay(WAY.decoder, info.upsampler, usual=True)


def test_an_upsampler_alone_makes_none() -> None:
    infos = everyone()
    infos["upsampler"].stages[0].fast.CopyFrom(sampling_to_proto(WAY.upsampler))
    infos["upsampler"].quality = FAST
    info = merge(infos)
    assert info.fast is None
    assert info.model.quality == sampling_pb2.QUALITY_UNSPECIFIED
