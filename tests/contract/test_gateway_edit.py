"""Edit through the gateway, in front of stubs and of the real: what is not repainted comes back, value for value."""

from __future__ import annotations

import dataclasses
import hashlib
from contextlib import closing
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.contract.gateways import apart, gateway_of, noise_picture, pixels_of, png
from tests.contract.services import Array, Services
from tests.contract.toys import TOYS
from tests.tiny import BASE, FINAL
from unclip import Client, Edit, GeneratedImage, Preview, Progress, Sampling
from unclip.errors import InvalidRequest
from unclip.options import SAMPLERS

SQUARE = (FINAL, FINAL)
RIGHT = np.broadcast_to(np.arange(FINAL) >= FINAL // 2, SQUARE)  # what the tests repaint


def edited(client: Client, pixels: Array, repainted: Array | None = None, **options: Any) -> Array:
    """The only picture of an edit, uint8 ``[FINAL, FINAL, 3]``."""
    mask = None if repainted is None else png(repainted)
    [image] = client.edit(png(pixels), "a cat", mask, **{"seed": 1, **options})
    return pixels_of(image)


@given(
    hnp.arrays(np.uint8, (*SQUARE, 3)),
    hnp.arrays(np.bool_, SQUARE).filter(lambda mask: bool(mask.any())),
    st.sampled_from(SAMPLERS),
    st.integers(1, 3),
    st.sampled_from(["png", "webp"]),
    st.booleans(),
)
@settings(max_examples=25)
def test_no_pixel_outside_the_mask_changes(
    client: Client, pixels: Array, mask: Array, sampler: Any, resampling: int, file_format: Any, as_alpha: bool
) -> None:
    options = {"decoder": Sampling(sampler, 2), "resampling": resampling, "format": file_format}
    if as_alpha:
        pixels = np.dstack([pixels, np.where(mask, np.uint8(0), np.uint8(255))])
    made = edited(client, pixels, None if as_alpha else mask, **options)
    assert (made[~mask] == pixels[~mask][:, :3]).all()


def test_no_pixel_outside_100_random_masks_changes(client: Client) -> None:
    changed, quick = 0, {"prior": Sampling(steps=1), "decoder": Sampling(steps=2), "prior_candidates": 1}
    for seed in range(100):
        pixels, chance = noise_picture(*SQUARE, seed=seed), np.random.default_rng(seed)
        mask = np.zeros(SQUARE, np.bool_)
        for top, left in chance.integers(0, FINAL - 2, (1 + seed % 4, 2)):
            height, width = chance.integers(1, FINAL, 2)
            mask[top : top + height, left : left + width] = True
        changed += int((edited(client, pixels, mask, seed=seed, **quick)[~mask] != pixels[~mask]).any(-1).sum())
    assert changed == 0


def test_the_best_candidates_of_an_edit_come_first_and_keep_what_is_kept(client: Client) -> None:
    pixels = noise_picture(*SQUARE)
    asked: dict[str, Any] = {"seed": 4, "candidates": 5, "image_count": 2}
    best, second = client.edit(png(pixels), "a cat", png(RIGHT), **asked)
    assert best.score is not None
    assert second.score is not None
    assert best.score >= second.score
    assert {best.seed, second.seed} < set(range(4, 9))
    for image in (best, second):
        assert (pixels_of(image)[~RIGHT] == pixels[~RIGHT]).all()
    assert isinstance(second.recipe, Edit)
    assert (second.recipe.seed, second.recipe.image_count, second.recipe.candidates) == (second.seed, 1, None)
    [alone] = client.edit(png(pixels), "a cat", png(RIGHT), seed=second.seed)
    assert apart(alone, second) <= 1


def test_what_is_repainted_follows_from_caption_and_seed_and_is_no_copy(client: Client) -> None:
    pixels = noise_picture(*SQUARE)
    [one, other] = client.edit(png(pixels), "a cat", png(RIGHT), seed=1, image_count=2)
    [again] = client.edit(png(pixels), "a cat", png(RIGHT), seed=2)
    assert (one.seed, other.seed) == (1, 2)
    assert apart(other, again) <= 1
    assert apart(one, other) > 1
    for image in (one, other):
        assert np.abs(pixels_of(image).astype(int) - pixels)[RIGHT].mean() > 20
    [dog] = client.edit(png(pixels), "a red dog", png(RIGHT), seed=1)
    assert apart(one, dog) > 0


def test_a_mask_over_everything_leaves_a_generate(client: Client) -> None:
    settings = Sampling(sampler="ddpm", steps=3)
    options: dict[str, Any] = {"seed": 4, "decoder": settings}
    [painted] = client.edit(png(noise_picture(*SQUARE)), "a cat", png(np.ones(SQUARE, np.bool_)), **options)
    [generated] = client.generate("a cat", **options)
    assert apart(painted, generated) <= 1


def test_the_middle_of_a_larger_picture_comes_back_exactly(client: Client) -> None:
    pixels, mask = noise_picture(FINAL, FINAL + 9), np.zeros((FINAL, FINAL + 9), np.bool_)
    mask[:, FINAL // 2 :] = True
    middle = slice(4, 4 + FINAL)
    made = edited(client, pixels, mask)
    assert (made[~mask[:, middle]] == pixels[:, middle][~mask[:, middle]]).all()


def test_a_letterboxed_picture_comes_back_whole_between_white_bars(client: Client) -> None:
    pixels, mask = noise_picture(FINAL - 12, FINAL), np.zeros((FINAL - 12, FINAL), np.bool_)
    mask[:, FINAL // 2 :] = True
    made = edited(client, pixels, mask, fit="letterbox")
    assert (made[6:-6][~mask] == pixels[~mask]).all()
    assert (made[:6] == 255).all()
    assert (made[-6:] == 255).all()


def test_what_lies_under_a_hole_in_the_picture_is_never_seen(client: Client) -> None:
    green, red = (np.full((*SQUARE, 4), colour, np.uint8) for colour in ((0, 255, 0, 255), (255, 0, 0, 255)))
    for pixels in (green, red):
        pixels[..., 3][RIGHT] = 0
    red[~RIGHT] = green[~RIGHT]
    assert (edited(client, green) == edited(client, red)).all()


def test_half_transparent_colours_that_are_kept_show_white(client: Client) -> None:
    pixels = np.full((*SQUARE, 4), (0, 0, 0, 128), np.uint8)
    pixels[..., 3][RIGHT] = 0
    assert (edited(client, pixels)[~RIGHT] == 127).all()


def test_an_edit_can_be_watched_step_by_step(client: Client) -> None:
    asked = Edit(
        png(noise_picture(*SQUARE)),
        "a cat",
        png(RIGHT),
        seed=1,
        resampling=3,
        decoder=Sampling("ddpm", 4),
        upsampler=Sampling("ddpm", 2),
    )
    events = list(client.stream(asked, preview_interval=1))
    told = [event for event in events if isinstance(event, Progress) and event.step]
    assert list(dict.fromkeys(event.stage for event in told)) == ["encoder", "prior", "decoder", "upsampler"]
    steps = {stage: [(e.step, e.of) for e in told if e.stage == stage] for stage in ("decoder", "upsampler")}
    assert steps == {"decoder": [(n, 10) for n in range(1, 11)], "upsampler": [(n, 4) for n in range(1, 5)]}
    assert {event.to_pil().size for event in events if isinstance(event, Preview)} == {(BASE, BASE)}
    [made] = [event for event in events if isinstance(event, GeneratedImage)]
    unary = {field.name: getattr(asked, field.name) for field in dataclasses.fields(asked)}
    [same] = client.edit(**unary)
    assert apart(made, same) <= 1


@pytest.mark.parametrize("masked", [True, False])
def test_a_recipe_makes_the_same_edit_once_its_sources_are_put_back(client: Client, masked: bool) -> None:
    pixels = noise_picture(*SQUARE, channels=4)
    sources = [png(pixels), png(RIGHT)] if masked else [png(pixels)]
    # Few steps: a random network makes more of what batches of other sizes round differently with each of them.
    options: dict[str, Any] = {"seed": 1, "image_count": 2, "resampling": 2, "format": "webp", "fit": "letterbox"}
    options |= {"decoder": Sampling(steps=3)}
    first = client.edit(sources[0], "a cat", *sources[1:], **options)[1]
    assert list(first.source_digests) == [hashlib.sha256(source).hexdigest() for source in sources]
    assert isinstance(first.recipe, Edit)
    with pytest.raises(InvalidRequest, match="put them back"):
        list(client.stream(first.recipe))
    recipe = dataclasses.replace(first.recipe, image=sources[0], mask=sources[1] if masked else None)
    [again] = [event for event in client.stream(recipe) if isinstance(event, GeneratedImage)]
    assert apart(again, first) <= 1
    assert again.recipe == first.recipe


def test_a_jpeg_is_close_but_not_exact(client: Client) -> None:
    smooth = np.tile(np.linspace(0, 200, FINAL).astype(np.uint8)[:, None, None], (1, FINAL, 3))
    made = edited(client, smooth, RIGHT, format="jpeg")
    far = np.abs(made.astype(int) - smooth)[:, : FINAL // 4]  # a block of 8 may straddle the seam
    assert far.mean() < 8


def test_what_is_wrong_with_an_edit_is_told_at_once(client: Client) -> None:
    with pytest.raises(InvalidRequest) as refused:
        client.edit(png(noise_picture(8, 9)), "", png(np.ones((9, 9), np.bool_)), resampling=11)
    told = {violation.field: violation.description for violation in refused.value.violations}
    assert set(told) == {"caption", "mask", "resampling"}
    assert told["mask"] == "must be as large as the image, 9 x 8; got 9 x 9"
    with pytest.raises(InvalidRequest, match="nothing to repaint"):
        client.edit(png(noise_picture(*SQUARE)), "a cat", png(~np.ones(SQUARE, np.bool_)))
    assert edited(client, noise_picture(*SQUARE), RIGHT).shape == (*SQUARE, 3)


@pytest.mark.parametrize("stage", ["prior", "decoder", "upsampler"])
def test_a_cancelled_edit_frees_its_stage(narrow: Services, stage: str) -> None:
    long = {"resampling": 10, "decoder": Sampling("ddpm", 20), "upsampler": Sampling("ddpm", 20)}
    asked = Edit(png(noise_picture(*SQUARE)), "a cat", png(RIGHT), prior_candidates=1, prior=Sampling(steps=10), **long)  # type: ignore[arg-type]
    if stage == "upsampler":
        asked = dataclasses.replace(asked, resampling=5, decoder=Sampling("ddpm", 1))
    with gateway_of(narrow) as client:
        with closing(client.stream(asked)) as events:
            assert any(isinstance(event, Progress) and event.stage == stage and event.step for event in events)
        assert edited(client, noise_picture(*SQUARE), RIGHT, prior_candidates=1).shape == (*SQUARE, 3)


def test_an_edit_takes_the_stacks_steps_and_guidance_but_walks_ddpm_by_default(client: Client) -> None:
    [made] = client.edit(png(noise_picture(*SQUARE)), "a cat", png(RIGHT))
    assert isinstance(made.recipe, Edit)
    assert (made.recipe.decoder.sampler, made.recipe.resampling) == ("ddpm", 2)
    assert made.recipe.decoder.steps == TOYS["real"].defaults("decoder").steps
    assert made.recipe.decoder.guidance_scale == TOYS["real"].defaults("decoder").guidance_scale
