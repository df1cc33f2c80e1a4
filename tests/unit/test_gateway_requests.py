"""Requests become plans with every default filled in, and every broken rule is reported at once."""

from __future__ import annotations

import hashlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ImageFile

from gateway.requests.plan import seed_of_image
from gateway.requests.planning import pictures_in, plan_of, read_embed
from gateway.requests.reading import Reader
from tests.unit.gateway_plans import INFO, broken, diff_plan, generate_plan, interpolate_plan, png, vary_plan
from unclip.api.gateway.v1 import gateway_pb2
from unclip.api.type.v1 import image_pb2, sampling_pb2
from unclip.errors import InvalidRequest
from unclip.options import SamplingSettings


def test_a_silent_request_takes_the_stacks_defaults() -> None:
    plan = generate_plan(caption="a red apple")
    assert (plan.prior, plan.decoder, plan.output.upsampler) == (INFO.prior, INFO.decoder, INFO.upsampler)
    assert (len(plan.seeds), plan.candidates, plan.output.format, plan.output.preview_interval) == (1, 2, "png", 0)


def test_what_a_request_says_outranks_the_defaults() -> None:
    options = sampling_pb2.SamplingOptions(sampler=sampling_pb2.SAMPLER_DPMPP_2M, steps=9, guidance_scale=0)
    plan = generate_plan(caption="x", decoder=options, format=gateway_pb2.IMAGE_FORMAT_WEBP)
    assert plan.decoder == SamplingSettings("dpm++2m", 9, 0.0, 0.0)
    assert plan.output.format == "webp"


def test_image_i_uses_seed_plus_i() -> None:
    assert generate_plan(caption="x", seed=41, image_count=3).seeds == (41, 42, 43)


def test_a_chosen_seed_differs_from_one_request_to_the_next() -> None:
    assert generate_plan(caption="x").seeds != generate_plan(caption="x").seeds


def test_seed_zero_is_a_seed() -> None:
    assert generate_plan(caption="x", seed=0).seeds == (0,)


@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 15))
def test_seeds_wrap_within_int64(seed: int, index: int) -> None:
    wrapped = seed_of_image(seed, index)
    assert -(2**63) <= wrapped < 2**63
    assert (wrapped - seed - index) % 2**64 == 0


def test_vary_walks_ddim_unguided_from_the_inversion_and_strays_fully_by_default() -> None:
    plan = vary_plan(image=png())
    assert plan.decoder == SamplingSettings("ddim", 20, 1.0, 1.0)
    assert plan.start == "inverted"
    assert plan.image.digest == hashlib.sha256(plan.image.data).hexdigest()


def test_vary_eta_zero_is_kept() -> None:
    assert vary_plan(image=png(), eta=0.0).decoder.eta == 0


def test_text_diff_walks_ddim_without_noise_and_uses_one_seed() -> None:
    plan = diff_plan(image=png(), after="a cat", thetas=[0.0, 0.25], seed=7)
    assert plan.decoder == SamplingSettings("ddim", 20, 1.0, 0.0)
    assert plan.seeds == (7, 7)


def test_text_diff_without_thetas_makes_one_frame_half_way() -> None:
    assert diff_plan(image=png(), after="a cat").thetas == (0.5,)


def test_every_violation_is_reported_with_path_limit_and_value() -> None:
    found = broken(
        gateway_pb2.StreamRequest(
            preview_interval=-1,
            generate=gateway_pb2.GenerateRequest(
                caption="a\x07b",
                image_count=17,
                prior_candidates=0,
                prior=sampling_pb2.SamplingOptions(steps=0),
                decoder=sampling_pb2.SamplingOptions(guidance_scale=math.nan, eta=1.5, sampler=9),  # type: ignore[arg-type]
                upsampler=sampling_pb2.SamplingOptions(guidance_scale=2),
                format=7,  # type: ignore[arg-type]
            ),
        ),
        nested=True,
    )
    assert set(found) == {
        "preview_interval",
        "generate.caption",
        "generate.image_count",
        "generate.prior_candidates",
        "generate.prior.steps",
        "generate.decoder.guidance_scale",
        "generate.decoder.eta",
        "generate.decoder.sampler",
        "generate.upsampler.guidance_scale",
        "generate.format",
    }
    assert "16" in found["generate.image_count"]
    assert "17" in found["generate.image_count"]
    assert "nan" in found["generate.decoder.guidance_scale"]


def test_a_unary_request_names_its_fields_without_prefix() -> None:
    assert set(broken(gateway_pb2.StreamRequest(generate=gateway_pb2.GenerateRequest()))) == {"caption"}


def test_an_empty_stream_request_is_refused() -> None:
    assert set(broken(gateway_pb2.StreamRequest(), nested=True)) == {"request"}


@pytest.mark.parametrize("caption", ["", " \n", "é" * 2049, "nul\0"])
def test_captions_out_of_bounds_are_refused(caption: str) -> None:
    assert set(broken(gateway_pb2.StreamRequest(generate=gateway_pb2.GenerateRequest(caption=caption)))) == {"caption"}


def test_a_caption_is_planned_on_one_line_and_kept_as_it_came() -> None:
    plan = generate_plan(caption="a red\r\napple\there", negative_caption=" \u200b")
    assert (plan.caption, plan.negative_caption) == ("a red apple here", "")
    assert (plan.asked.caption, plan.asked.negative_caption) == ("a red\r\napple\there", " \u200b")


def test_a_caption_of_exactly_4_kib_is_accepted() -> None:
    assert generate_plan(caption="é" * 2048).caption


def test_text_diff_allows_an_empty_before_but_not_an_empty_after() -> None:
    request = gateway_pb2.TextDiffRequest(image=png())
    assert set(broken(gateway_pb2.StreamRequest(text_diff=request))) == {"after"}


@pytest.mark.parametrize("theta", [-0.1, 1.1, math.nan, math.inf])
def test_thetas_out_of_range_are_refused_by_index(theta: float) -> None:
    request = gateway_pb2.TextDiffRequest(image=png(), after="x", thetas=[0.1, theta])
    assert set(broken(gateway_pb2.StreamRequest(text_diff=request))) == {"thetas[1]"}


def test_too_many_thetas_are_one_violation() -> None:
    request = gateway_pb2.TextDiffRequest(image=png(), after="x", thetas=[2.0] * 65)
    found = broken(gateway_pb2.StreamRequest(text_diff=request))
    assert "64" in found["thetas"]
    assert "65" in found["thetas"]


@pytest.mark.parametrize("eta", [-0.5, 2, math.nan])
def test_eta_out_of_range_is_refused(eta: float) -> None:
    request = gateway_pb2.VaryRequest(image=png(), eta=eta)
    assert set(broken(gateway_pb2.StreamRequest(vary=request))) == {"eta"}


def test_vary_refuses_a_second_eta_and_other_samplers() -> None:
    options = sampling_pb2.SamplingOptions(eta=0.5, sampler=sampling_pb2.SAMPLER_DDPM)
    request = gateway_pb2.VaryRequest(image=png(), decoder=options)
    assert set(broken(gateway_pb2.StreamRequest(vary=request))) == {"decoder.eta", "decoder.sampler"}


@pytest.mark.parametrize(
    "image",
    [
        image_pb2.Image(),
        image_pb2.Image(data=b"not a picture"),
        image_pb2.Image(data=png(size=(64, 64)).data[:-30]),
        png(size=(5000, 1)),
    ],
    ids=["missing", "other bytes", "truncated", "too wide"],
)
def test_bad_pictures_are_refused_beside_other_violations(image: image_pb2.Image) -> None:
    found = broken(gateway_pb2.StreamRequest(vary=gateway_pb2.VaryRequest(image=image, image_count=0)))
    assert any(path.startswith("image") and path != "image_count" for path in found)
    assert "image_count" in found


def test_embed_allows_the_empty_caption_and_bounds_the_lists() -> None:
    reader = Reader()
    assert read_embed(gateway_pb2.EmbedRequest(captions=[""]), reader) == []
    reader.done()
    assert len(read_embed(gateway_pb2.EmbedRequest(captions=["x"] * 65, images=[png()] * 17), reader)) == 16
    with pytest.raises(InvalidRequest) as refused:
        reader.done()
    assert {violation.field for violation in refused.value.violations} == {"captions", "images"}


def test_pictures_with_too_many_pixels_together_are_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    large = png(size=(4000, 4000))
    read_embed(gateway_pb2.EmbedRequest(images=[large] * 4), Reader())
    with pytest.raises(InvalidRequest) as refused:
        read_embed(gateway_pb2.EmbedRequest(captions=["x"] * 65, images=[large] * 5), Reader())
    told = {violation.field: violation.description for violation in refused.value.violations}
    assert told["images"] == "must be at most 64000000 pixels together; got 80000000"
    assert "captions" in told


def test_the_pictures_of_a_request_are_found_whatever_its_kind() -> None:
    one, other = png(size=(1, 2)), png(size=(2, 1))
    edit = gateway_pb2.EditRequest(image=one, mask=other)
    between = gateway_pb2.InterpolateRequest(image=one, to_image=other)
    assert pictures_in(gateway_pb2.StreamRequest(edit=edit)) == [one, other]
    assert pictures_in(gateway_pb2.StreamRequest(interpolate=between)) == [one, other]
    assert pictures_in(gateway_pb2.StreamRequest(generate=gateway_pb2.GenerateRequest(caption="x"))) == []
    assert pictures_in(gateway_pb2.StreamRequest()) == []
    assert pictures_in(gateway_pb2.EmbedRequest(images=[one] * 17)) == [one] * 16


def test_a_negative_caption_without_guidance_is_refused() -> None:
    unguided = sampling_pb2.SamplingOptions(guidance_scale=1)
    asked = gateway_pb2.GenerateRequest(caption="a cat", negative_caption="a dog", prior=unguided, decoder=unguided)
    assert set(broken(gateway_pb2.StreamRequest(generate=asked))) == {"negative_caption"}
    asked.prior.guidance_scale = 4
    assert plan_of(gateway_pb2.StreamRequest(generate=asked), INFO, nested=False)


@pytest.mark.parametrize("caption", ["a\0b", "x" * 4097])
def test_a_negative_caption_obeys_the_limits_of_captions(caption: str) -> None:
    asked = gateway_pb2.GenerateRequest(caption="a cat", negative_caption=caption)
    assert set(broken(gateway_pb2.StreamRequest(generate=asked))) == {"negative_caption"}


def test_candidates_are_made_from_the_seeds_that_follow_and_as_many_kept_as_asked_for() -> None:
    plan = generate_plan(caption="x", seed=41, image_count=2, candidates=5)
    assert (plan.seeds, plan.keep) == ((41, 42, 43, 44, 45), 2)
    assert generate_plan(caption="x", candidates=1).keep == 1
    assert generate_plan(caption="x", image_count=2).keep is None


def test_without_an_inversion_there_is_nothing_to_measure() -> None:
    asked = gateway_pb2.VaryRequest(image=png(), start=gateway_pb2.START_RANDOM, report_psnr=True)
    assert set(broken(gateway_pb2.StreamRequest(vary=asked))) == {"report_psnr"}
    between = gateway_pb2.InterpolateRequest(
        image=png(), to_caption="x", start=gateway_pb2.START_RANDOM, report_psnr=True
    )
    assert set(broken(gateway_pb2.StreamRequest(interpolate=between))) == {"report_psnr"}


@pytest.mark.parametrize(("count", "candidates", "limits"), [(4, 3, "4 to 64"), (1, 65, "1 to 64"), (1, -1, "1 to 64")])
def test_fewer_candidates_than_pictures_or_too_many_are_refused(count: int, candidates: int, limits: str) -> None:
    asked = gateway_pb2.GenerateRequest(caption="x", image_count=count, candidates=candidates)
    found = broken(gateway_pb2.StreamRequest(generate=asked))
    assert set(found) == {"candidates"}
    assert limits in found["candidates"]
    assert str(candidates) in found["candidates"]


def test_an_interpolation_goes_half_way_unless_told_otherwise() -> None:
    plan = interpolate_plan(image=png(), to_image=png(size=(9, 9)), seed=4)
    assert (plan.ts, plan.seeds, plan.start) == ((0.5,), (4,), "inverted")
    assert plan.decoder == SamplingSettings("ddim", 20, 1.0)
    assert len(plan.sources) == 2


def test_what_is_wrong_with_an_interpolation_is_told_at_once() -> None:
    asked = gateway_pb2.InterpolateRequest(image=png(), ts=[-0.1, math.nan, 1.5])
    asked.prior.steps = 3
    assert set(broken(gateway_pb2.StreamRequest(interpolate=asked))) == {"to", "ts[0]", "ts[1]", "ts[2]", "prior"}
    asked = gateway_pb2.InterpolateRequest(to_caption="", ts=[0.5] * 65)
    assert set(broken(gateway_pb2.StreamRequest(interpolate=asked))) == {"to_caption", "ts", "image.data"}
