"""A picture's recipe leads back to the plan that made it, alone and complete."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.requests.plan import GeneratePlan, InterpolatePlan, TextDiffPlan, VaryPlan
from gateway.requests.planning import plan_of
from gateway.requests.recipes import recipe
from gateway.stack import StackInfo
from tests.unit.gateway_plans import INFO, diff_plan, generate_plan, interpolate_plan, png, vary_plan
from unclip.api.gateway.v1 import gateway_pb2
from unclip.api.type.v1 import sampling_pb2
from unclip.options import SamplingSettings


def test_the_recipe_of_a_generated_picture_leads_to_the_same_plan_alone() -> None:
    options = sampling_pb2.SamplingOptions(steps=11, guidance_scale=3.3)
    plan = generate_plan(caption="x", seed=2**63 - 1, image_count=2, decoder=options)
    again = plan_of(recipe(plan, 1), INFO, nested=True)
    assert isinstance(again, GeneratePlan)
    assert again.seeds == (-(2**63),)
    assert (again.caption, again.candidates, again.prior, again.decoder, again.output) == (
        plan.caption, plan.candidates, plan.prior, plan.decoder, plan.output,
    )  # fmt: skip


def test_the_recipe_of_a_variation_leads_to_the_same_plan_once_the_picture_is_put_back() -> None:
    plan = vary_plan(image=png(), seed=1, image_count=2, eta=0.3, start=gateway_pb2.START_RANDOM)
    request = recipe(plan, 1)
    assert not request.vary.HasField("image")
    request.vary.image.CopyFrom(png())
    again = plan_of(request, INFO, nested=True)
    assert isinstance(again, VaryPlan)
    assert again.seeds == (2,)
    assert (again.decoder, again.start, again.output) == (plan.decoder, plan.start, plan.output)


def test_the_recipe_of_a_frame_leads_to_the_same_frame_once_the_picture_is_put_back() -> None:
    plan = diff_plan(image=png(), before="a", after="b", thetas=[0.1, 0.3], seed=5)
    request = recipe(plan, 1)
    assert not request.text_diff.HasField("image")
    request.text_diff.image.CopyFrom(png())
    again = plan_of(request, INFO, nested=True)
    assert isinstance(again, TextDiffPlan)
    assert (again.thetas, again.seed, again.before, again.after) == ((plan.thetas[1],), 5, "a", "b")
    assert again.decoder == plan.decoder


def test_a_recipe_is_complete_whatever_the_defaults_become() -> None:
    plan = generate_plan(caption="x", seed=3)
    others = SamplingSettings("dpm++2m", 3, 2.0, 0.5)
    other = StackInfo(INFO.model, prior=others, decoder=others, upsampler=others)
    again = plan_of(recipe(plan, 0), other, nested=True)
    assert again == plan


def test_a_negative_caption_travels_into_the_plan_and_its_recipe() -> None:
    plan = generate_plan(caption="a cat", negative_caption="a dog")
    assert plan.negative_caption == "a dog"
    assert recipe(plan, 0).generate.negative_caption == "a dog"


def test_the_recipe_of_the_best_candidate_makes_it_alone_and_unranked() -> None:
    plan = generate_plan(caption="x", seed=41, image_count=2, candidates=5)
    again = recipe(plan, 3)
    assert (again.generate.seed, again.generate.image_count) == (44, 1)
    assert not again.generate.HasField("candidates")
    assert plan_of(again, INFO, nested=True) == replace(plan, seeds=(44,), keep=None)


def test_measuring_is_no_part_of_the_recipe() -> None:
    plan = vary_plan(image=png(), report_psnr=True)
    assert plan.report_psnr
    assert not recipe(plan, 0).vary.report_psnr


@pytest.mark.parametrize("end", ["to_image", "to_caption"])
def test_the_recipe_of_a_frame_makes_its_plan_again(end: str) -> None:
    to: dict[str, object] = {"to_image": png(size=(9, 9))} if end == "to_image" else {"to_caption": "a cat"}
    plan = interpolate_plan(image=png(), ts=[0.25, 0.75], seed=4, start=gateway_pb2.START_RANDOM, **to)
    again = recipe(plan, 1)
    again.interpolate.image.CopyFrom(png())
    if end == "to_image":
        again.interpolate.to_image.CopyFrom(png(size=(9, 9)))
    replayed = plan_of(again, INFO, nested=True)
    assert isinstance(replayed, InterpolatePlan)
    assert replayed.ts == (0.75,)
    assert (replayed.start, replayed.seed, replayed.to_caption) == ("random", 4, plan.to_caption)
    assert replayed.sources == plan.sources
