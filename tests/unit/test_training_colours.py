"""Drawings in other colours: the main one turns, the rest stays, nothing is hidden or shown by it."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.colours import COLOURS, distance, main_colour, recoloured, to_hsv, to_rgb

SIDE = 16
Rgba = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


def apple(body: tuple[int, int, int] = (220, 30, 30), leaf: tuple[int, int, int] = (60, 160, 60)) -> Rgba:
    """A square with a leaf, on nothing."""
    rgba = np.zeros((SIDE, SIDE, 4), np.uint8)
    rgba[4:14, 3:13] = (*body, 255)
    rgba[1:4, 7:10] = (*leaf, 255)
    return rgba


def turned(rgba: Rgba, colour: str) -> Rgba:
    """The drawing in another colour."""
    main = main_colour(rgba)
    assert main is not None
    premultiplied = rgba.astype(np.float32)
    premultiplied[..., :3] *= premultiplied[..., 3:] / 255
    given_to = torch.from_numpy(premultiplied).permute(2, 0, 1)[None]
    found = recoloured(given_to, torch.tensor([main]), torch.tensor([COLOURS[colour]]))
    result: Rgba = found[0].permute(1, 2, 0).round().byte().numpy()
    return result


@given(st.tuples(*[st.floats(0, 1)] * 3))
def test_hue_saturation_and_value_are_those_of_the_standard_library(rgb: tuple[float, float, float]) -> None:
    found = to_hsv(torch.tensor([rgb])[..., None])[0, :, 0]
    hue, saturation, value = colorsys.rgb_to_hsv(*rgb)

    assert found[2].item() == pytest.approx(value, abs=1e-5)
    if value > 0.01 and saturation > 0.01:
        assert found[1].item() == pytest.approx(saturation, abs=1e-3)
        assert distance(found[0], torch.tensor(hue)).item() == pytest.approx(0, abs=1e-3)
    assert to_rgb(found[None, :, None])[0, :, 0].tolist() == pytest.approx(rgb, abs=1e-4)


def test_the_main_colour_is_that_of_most_of_the_drawing() -> None:
    found = main_colour(apple())

    assert found is not None
    assert min(found[0], 1 - found[0]) < 0.02
    assert main_colour(apple(body=(120, 120, 120))) is None
    half = apple()
    half[4:9, 3:13, :3] = (40, 60, 220)
    assert main_colour(half) is None
    assert main_colour(np.zeros((SIDE, SIDE, 4), np.uint8)) is None


@pytest.mark.parametrize("colour", COLOURS)
def test_a_drawing_gets_the_colour_and_its_leaf_stays(colour: str) -> None:
    found = turned(apple(leaf=(60, 110, 160)), colour)

    hue, _, value = colorsys.rgb_to_hsv(*(found[8, 8, :3] / 255))
    wanted = COLOURS[colour]
    assert min(abs(hue - wanted[0]), 1 - abs(hue - wanted[0])) < 0.03
    assert value == pytest.approx(wanted[2], abs=0.15)
    assert found[2, 8].tolist() == [60, 110, 160, 255]
    assert (found[..., 3] == apple()[..., 3]).all()
    assert (found[0] == 0).all()


def test_shades_stay_shades_and_no_colour_outshines_its_transparency() -> None:
    rgba = apple()
    rgba[10:14, 3:13, :3] = (150, 20, 20)
    rgba[:, 3:5, 3] = rgba[:, 3:5, 3] // 2

    found = turned(rgba, "yellow")

    assert found[6, 8, :3].sum() > found[12, 8, :3].sum() > 0
    assert (found[..., :3] <= found[..., 3:]).all()
