"""What an edit is measured by: masks that repaint some and keep some, and seams that are seen where they are."""

from __future__ import annotations

import numpy as np
import pytest

from training.edits import across, random_mask


@pytest.mark.parametrize("seed", range(20))
def test_a_random_mask_repaints_some_and_keeps_some_and_is_the_same_again(seed: int) -> None:
    mask = random_mask(32, seed)
    assert 0.02 <= mask.mean() <= 0.8
    assert (mask == random_mask(32, seed)).all()
    assert (mask != random_mask(32, seed + 1)).any()


def test_a_seam_is_the_step_across_the_border_alone() -> None:
    mask = np.zeros((8, 8), np.bool_)
    mask[:, 4:] = True
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[:, 4:] = 60
    picture[:, 6:] = 255  # a step, but inside
    assert across(picture, mask) == 60
    assert across(picture, np.arange(8) >= np.full((8, 1), 5)) == 0


def test_the_corner_of_a_mask_has_two_sides() -> None:
    mask = np.zeros((4, 4), np.bool_)
    mask[2:, 2:] = True
    picture = np.zeros((4, 4, 3), np.uint8)
    picture[2:, 2:] = 40
    picture[2:, :2] = 20
    assert across(picture, mask) == pytest.approx((40 + 40 + 20 + 20) / 4)
