"""What an Edit may be asked: pictures with masks or holes become plans, and every broken rule is reported at once."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from gateway.requests.plan import EditPlan
from gateway.requests.planning import plan_of
from gateway.requests.recipes import recipe
from tests.unit.gateway_plans import INFO as SILENT
from tests.unit.gateway_plans import broken, png
from unclip.api.gateway.v1 import gateway_pb2
from unclip.api.type.v1 import image_pb2, model_info_pb2, sampling_pb2
from unclip.options import SamplingSettings

UPSAMPLER = model_info_pb2.StageInfo(stage=sampling_pb2.STAGE_UPSAMPLER, image_size=8)
INFO = replace(SILENT, model=model_info_pb2.ModelInfo(name="tiny", stages=[UPSAMPLER]))
LETTERBOX = gateway_pb2.FIT_LETTERBOX


def file(image: Image.Image, kind: str = "PNG", **options: object) -> image_pb2.Image:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return image_pb2.Image(data=buffer.getvalue())


def half(mode: str = "L", size: tuple[int, int] = (8, 8), light: int = 255, dark: int = 0) -> image_pb2.Image:
    """A mask whose right half is repainted."""
    mask = Image.new("L", size, dark)
    mask.paste(light, (size[0] // 2, 0, *size))
    return file(mask.convert(mode))


def edit_plan(**fields: object) -> EditPlan:
    request = gateway_pb2.EditRequest(**{"caption": "a cat", **fields})  # type: ignore[arg-type]
    plan = plan_of(gateway_pb2.StreamRequest(edit=request), INFO, nested=False)
    assert isinstance(plan, EditPlan)
    return plan


def refused(**fields: object) -> dict[str, str]:
    request = gateway_pb2.EditRequest(**{"caption": "a cat", **fields})  # type: ignore[arg-type]
    return broken(gateway_pb2.StreamRequest(edit=request))


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "1", "P", "I;16"])
def test_a_masks_light_part_is_repainted_whatever_its_mode(mode: str) -> None:
    mask = (
        half(mode)
        if mode != "I;16"
        else file(Image.fromarray(np.tile(np.array([0] * 4 + [65535] * 4, np.uint16), (8, 1))))
    )
    kept = edit_plan(image=png(), mask=mask).subject.kept
    assert (kept == (np.arange(8) < 4)).all()


def test_grey_of_128_is_light_and_127_is_dark() -> None:
    assert (edit_plan(image=png(), mask=half(light=128, dark=127)).subject.kept == (np.arange(8) < 4)).all()


@pytest.mark.parametrize(("alpha", "kept"), [(0, False), (127, False), (128, True), (255, True)])
def test_without_a_mask_what_is_more_than_half_transparent_is_repainted(alpha: int, kept: bool) -> None:
    image = Image.new("RGBA", (8, 8), (10, 20, 30, alpha))
    image.putpixel((0, 0), (0, 0, 0, 0))
    assert edit_plan(image=file(image)).subject.kept[4, 4] == kept


def test_with_a_mask_alpha_says_nothing_and_shows_white() -> None:
    plan = edit_plan(image=file(Image.new("RGBA", (8, 8), (10, 20, 30, 0))), mask=half())
    assert (plan.subject.kept == (np.arange(8) < 4)).all()
    assert (plan.subject.pixels == 255).all()


def test_mask_and_picture_are_both_set_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    turned = file(Image.new("RGB", (8, 4), "red"), "JPEG", exif=exif)
    kept = edit_plan(image=turned, mask=half(size=(4, 8)), fit=LETTERBOX).subject.kept
    assert (kept == ((np.arange(8) < 4) | (np.arange(8) >= 6))).all()  # two columns of bars on each side
    assert "4 x 8; got 8 x 4" in refused(image=turned, mask=half(size=(8, 4)))["mask"]


def test_a_mask_of_another_size_is_refused() -> None:
    assert refused(image=png(), mask=half(size=(8, 9)))["mask"] == "must be as large as the image, 8 x 8; got 8 x 9"


def test_a_picture_without_alpha_needs_a_mask() -> None:
    assert set(refused(image=png())) == {"mask"}


def test_a_mask_that_keeps_everything_is_refused() -> None:
    assert "8 x 8 px" in refused(image=png(), mask=half(light=127))["mask"]
    assert "128" in refused(image=png("RGBA", (8, 8)), mask=half(light=127))["mask"]
    assert "alpha below 128" in refused(image=file(Image.new("RGBA", (8, 8), "red")))["image"]


def test_what_the_fit_cuts_away_is_nothing_to_repaint() -> None:
    mask = Image.new("L", (16, 8))
    mask.paste(255, (0, 0, 4, 8))
    wide = png(size=(16, 8))
    assert set(refused(image=wide, mask=file(mask))) == {"mask"}
    kept = edit_plan(image=wide, mask=file(mask), fit=LETTERBOX).subject.kept
    assert np.argwhere(~kept).tolist() == [[row, column] for row in range(2, 6) for column in (0, 1)]


def test_a_mask_that_repaints_everything_leaves_a_generate() -> None:
    plan = edit_plan(image=png(), mask=file(Image.new("L", (8, 8), 255)))
    assert not plan.subject.kept.any()


def test_a_mask_with_transparency_is_refused_for_it_could_mean_either() -> None:
    mask = Image.new("RGBA", (8, 8), "white")
    mask.putpixel((0, 0), (255, 255, 255, 90))
    assert "got alpha of 90" in refused(image=png(), mask=file(mask))["mask"]


def test_every_broken_rule_of_an_edit_is_told_at_once() -> None:
    found = refused(
        image=image_pb2.Image(data=b"no picture"),
        mask=image_pb2.Image(),
        caption="",
        negative_caption="a\0b",
        image_count=17,
        prior_candidates=0,
        resampling=11,
        fit=7,
        format=9,
        prior=sampling_pb2.SamplingOptions(steps=0),
        decoder=sampling_pb2.SamplingOptions(eta=2),
        upsampler=sampling_pb2.SamplingOptions(guidance_scale=2),
    )
    assert set(found) == {
        "image.data",
        "mask.data",
        "caption",
        "negative_caption",
        "image_count",
        "prior_candidates",
        "resampling",
        "fit",
        "format",
        "prior.steps",
        "decoder.eta",
        "upsampler.guidance_scale",
    }
    assert found["resampling"] == "must be 1 to 10; got 11"
    assert found["caption"] == "must not be empty"


def test_candidates_of_an_edit_are_those_of_a_generate() -> None:
    plan = edit_plan(image=png(), mask=half(), seed=4, image_count=2, candidates=3)
    assert (plan.seeds, plan.generation.keep) == ((4, 5, 6), 2)
    assert "2 to 64" in refused(image=png(), mask=half(), image_count=2, candidates=1)["candidates"]


@pytest.mark.parametrize("resampling", [0, -1, 11])
def test_resampling_out_of_range_is_refused(resampling: int) -> None:
    assert (
        refused(image=png(), mask=half(), resampling=resampling)["resampling"] == f"must be 1 to 10; got {resampling}"
    )


def test_the_fields_of_a_streamed_edit_are_named_from_the_top() -> None:
    request = gateway_pb2.StreamRequest(edit=gateway_pb2.EditRequest(caption="a cat", image=png()))
    assert set(broken(request, nested=True)) == {"edit.mask"}


def test_a_silent_edit_walks_ddpm_with_the_checkpoints_steps_and_takes_each_twice() -> None:
    silent = replace(INFO, decoder=SamplingSettings("ddim", 12, 3.0, 0.5))
    request = gateway_pb2.EditRequest(caption="a cat", image=png(), mask=half())
    plan = plan_of(gateway_pb2.StreamRequest(edit=request), silent, nested=False)
    assert isinstance(plan, EditPlan)
    assert plan.generation.decoder == SamplingSettings("ddpm", 12, 3.0, 0.0)
    assert (plan.generation.prior, plan.output.upsampler) == (INFO.prior, INFO.upsampler)
    assert plan.resampling == 2


def test_what_an_edit_says_outranks_the_defaults() -> None:
    options = sampling_pb2.SamplingOptions(sampler=sampling_pb2.SAMPLER_DPMPP_2M, steps=9, guidance_scale=2)
    plan = edit_plan(image=png(), mask=half(), decoder=options, resampling=3, seed=41, image_count=2)
    assert plan.generation.decoder == SamplingSettings("dpm++2m", 9, 2.0, 0.0)
    assert (plan.resampling, plan.seeds) == (3, (41, 42))


@pytest.mark.parametrize("masked", [True, False])
def test_the_recipe_of_an_edit_leads_to_the_same_plan_once_its_pictures_are_put_back(masked: bool) -> None:
    image = file(Image.new("RGBA", (10, 8), (255, 0, 0, 0)))
    mask = half(size=(10, 8)) if masked else None
    sources = [image] if mask is None else [image, mask]
    plan = edit_plan(
        image=image, mask=mask, seed=3, image_count=2, resampling=5, fit=LETTERBOX, negative_caption="a dog"
    )
    assert [source.digest for source in plan.sources] == [hashlib.sha256(s.data).hexdigest() for s in sources]
    request = recipe(plan, 1)
    assert not request.edit.HasField("image")
    assert not request.edit.HasField("mask")
    request.edit.image.CopyFrom(image)
    if mask is not None:
        request.edit.mask.CopyFrom(mask)
    # Whatever the defaults become.
    again = plan_of(request, replace(INFO, decoder=SamplingSettings("dpm++2m", 3, 2.0)), nested=True)
    assert isinstance(again, EditPlan)
    assert again.generation == replace(plan.generation, seeds=(4,))
    assert (again.resampling, again.fit, again.sources) == (5, "letterbox", plan.sources)
    assert (again.subject.kept == plan.subject.kept).all()
