"""What an evaluation says of pictures: the real ones reach the ceiling, wrong ones are found out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from tests.unit.training_drawings import COLOURS, Eyes, drawing
from training import judge as judging
from training.evaluate import distances, halves, pixels, retrieval
from training.pictures import BACKGROUNDS
from training.presets import PRESETS
from training.questions import askable, questions, unlike
from training.sweeps import edges, psnr


def test_what_a_judge_should_look_past_differs_by_picture_and_stays_a_picture() -> None:
    same = torch.full((6, 3, 16, 16), 0.3)

    changed = judging.torn(same, torch.Generator().manual_seed(0))

    assert changed.abs().max() <= 1
    means = changed.mean(dim=(1, 2, 3))
    assert len(set(means.tolist())) == 6
    assert (means - 0.3).abs().max() < 0.2


EVERY = [drawing(label, style, 64) for style in PRESETS["smoke"].styles for label in COLOURS]
ASKED = questions(EVERY)


def test_every_pair_is_asked_for_on_white_and_on_a_colour() -> None:
    assert len(ASKED) == 2 * len(EVERY)
    assert ASKED[0].caption == "a flat emoji of a red apple"
    assert ASKED[len(EVERY)].caption == "a flat emoji of a red apple on a blue background"
    assert ASKED[len(EVERY)].real[0, 0].tolist() == list(BACKGROUNDS[0][1])
    assert len({question.caption for question in ASKED}) == len(ASKED)


def test_what_another_package_or_another_name_has_too_is_not_asked_for() -> None:
    disc, like, other = (drawing(label, "flat", 64) for label in ("red apple", "red apple", "banana"))
    like = replace(like, label="tomato", style="3d", rgba=like.rgba ^ np.uint8(1))
    assert unlike([disc, other], [like]) == [other]
    assert unlike([disc], [drawing("red apple", "noto", 64), other]) == [disc]  # smaller; of another colour
    assert unlike([disc], []) == [disc]


def test_where_nothing_can_be_asked_that_is_said() -> None:
    disc, other = (drawing(label, "flat", 64) for label in ("red apple", "banana"))
    assert askable([other], [disc]) == [disc]
    for taught, held_out in (([disc], [replace(disc, style="3d")]), ([disc], [])):
        with pytest.raises(RuntimeError, match=f"of {len(held_out)} held-out pairs none can be asked for"):
            askable(taught, held_out)


def test_pictures_that_are_the_real_ones_reach_the_ceiling_and_shuffled_ones_do_not() -> None:
    real = np.stack([question.real for question in ASKED])

    found = retrieval(Eyes(), ASKED, real, EVERY)

    assert found["prompt.generated.top1"] == found["prompt.real.top1"] == 1
    assert found["prompt.shuffled.top1"] < 0.3
    assert found["prompt.chance.top5"] == pytest.approx(5 / len(ASKED))
    assert found["cosine.generated.mean"] == pytest.approx(1)
    assert found["cosine.shuffled.mean"] < 1


def test_pictures_of_the_wrong_thing_are_found_out() -> None:
    wrong = np.stack([question.real for question in ASKED[1:] + ASKED[:1]])

    found = retrieval(Eyes(), ASKED, wrong, EVERY)
    near = pixels(ASKED, wrong, EVERY)

    assert found["prompt.generated.top1"] < 0.2
    assert found["prompt.real.top1"] == 1
    assert near["pixels.generated.top1"] < 0.5


def test_the_distance_of_real_pictures_is_nothing_and_grows_with_what_is_wrong() -> None:
    real = np.stack([question.real for question in ASKED])

    same = distances(Eyes().see_all, "frechet", ASKED, real)
    dark = distances(Eyes().see_all, "frechet", ASKED, real // 2)

    assert same["frechet.generated.mean"] == pytest.approx(0, abs=1e-5)
    assert same["frechet_halves.generated.mean"] == pytest.approx(same["frechet_halves.real.mean"])
    assert dark["frechet.generated.mean"] > 100 * abs(same["frechet.generated.mean"]) + 0.01


def test_half_of_the_pairs_chooses_settings_and_each_half_has_its_own_figures() -> None:
    made = np.stack([question.real if question.tuning else 255 - question.real for question in ASKED])

    found = halves(Eyes(), ASKED, made)

    keys = {tuning: {q.pair.key for q in ASKED if q.tuning is tuning} for tuning in (True, False)}
    assert len(keys[True]) == len(keys[False]) == len(EVERY) / 2
    assert not keys[True] & keys[False]
    assert found["prompt_tuning.generated.top1"] == found["prompt_confirming.real.top1"] == 1
    assert found["prompt_confirming.generated.top1"] < 0.5
    assert found["frechet_confirming.generated.mean"] > 100 * abs(found["frechet_tuning.generated.mean"])


def test_likeness_and_sharpness_know_a_blurred_picture() -> None:
    sharp = np.stack([question.real for question in ASKED])
    soft = np.stack([np.asarray(Image.fromarray(picture).resize((8, 8)).resize((64, 64))) for picture in sharp])

    assert edges(soft) < 0.8 * edges(sharp)
    assert psnr(soft, sharp) < 40 < psnr(sharp, sharp)
